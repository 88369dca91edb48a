import { createLinear, type LinearParams, linear, type Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { createLikelihood, type LikelihoodConfig } from "./likelihoods.ts";
import { checkCode, checkInput, checkMlpConfig, createMlp, flatten, type MlpActivation, mlp, sizeOf } from "./mlp.ts";
import { type Prior, standardNormalPrior } from "./priors.ts";
import { type Posterior, type VaeFunctions, type VaeLossOptions, vaeFunctions, vaeLoss } from "./vae-functions.ts";

// A variational autoencoder of fully connected layers, for images of any size and for vectors.
//
//   D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, arXiv:1312.6114, appendix C
//
// Shapes: B batch, D numbers in an input, C channels (the last axis of inputShape), P the likelihood's numbers for each
// pixel, H hidden width, Z latentDim. Inputs are [B, ...inputShape] in [0, 1].

export interface MlpVaeConfig {
  /** Shape of one input, channels last: [28, 28, 1] for grey images, [D] for vectors. */
  readonly inputShape: readonly number[];
  /** Widths of the encoder's hidden layers; the decoder mirrors them. */
  readonly hiddenDims: readonly number[];
  readonly latentDim: number;
  readonly activation: MlpActivation;
  readonly likelihood: LikelihoodConfig;
}

export type MlpVaeParams = {
  encoder: {
    hidden: LinearParams[]; // [H, D], then [H, H]
    mu: LinearParams; // [Z, H]
    logvar: LinearParams; // [Z, H]
  };
  decoder: {
    hidden: LinearParams[]; // [H, Z], then [H, H]
    output: LinearParams; // [D / C * P, H]
  };
};

/** A VAE of fully connected layers; see `createMlpVae`. */
export interface MlpVae {
  readonly config: MlpVaeConfig;
  readonly params: MlpVaeParams;
}

/**
 * Creates a VAE of fully connected layers.
 *
 * @throws if a size is no positive integer, or the activation or likelihood is unknown.
 */
export function createMlpVae(config: MlpVaeConfig, rng: Rng): MlpVae {
  const { inputShape, hiddenDims, latentDim, activation } = config;
  checkMlpConfig("createMlpVae", config, { hiddenDims, latentDim });
  const size = sizeOf(inputShape);
  const channels = inputShape.at(-1)!;
  const outputs = (size / channels) * createLikelihood(config.likelihood, channels).channelsPerPixel;
  const last = hiddenDims.at(-1) ?? size;
  const mirrored = [latentDim, ...[...hiddenDims].reverse()];
  const params: MlpVaeParams = {
    encoder: {
      hidden: createMlp([size, ...hiddenDims], activation, rng),
      mu: createLinear(last, latentDim, rng),
      logvar: createLinear(last, latentDim, rng),
    },
    decoder: {
      hidden: createMlp(mirrored, activation, rng),
      output: createLinear(mirrored.at(-1)!, outputs, rng),
    },
  };
  return { config, params };
}

/**
 * The approximate posterior q(z | x) = N(mu, diag(exp(logvar))).
 *
 * @param x [B, ...inputShape] in [0, 1]
 * @returns mu and logvar, each [B, Z].
 */
export function encodeMlpVae(vae: MlpVae, x: tf.Tensor): Posterior {
  const { config, params } = vae;
  checkInput("encodeMlpVae", config.inputShape, x);
  return tf.tidy(() => {
    const h = mlp(params.encoder.hidden, config.activation, flatten(x));
    const { mu, logvar } = params.encoder;
    return { mu: linear(mu, h) as tf.Tensor2D, logvar: linear(logvar, h) as tf.Tensor2D };
  });
}

/**
 * The parameters of p(x | z): for Bernoulli pixels their logits.
 *
 * @param z [B, Z]
 * @returns [B, ...inputShape], with the likelihood's P in the place of the channels.
 */
export function decodeMlpVae(vae: MlpVae, z: tf.Tensor2D): tf.Tensor {
  const { config, params } = vae;
  checkCode("decodeMlpVae", config.latentDim, z);
  return tf.tidy(() => {
    const h = mlp(params.decoder.hidden, config.activation, z);
    const { channelsPerPixel } = createLikelihood(config.likelihood, config.inputShape.at(-1)!);
    return linear(params.decoder.output, h).reshape([z.shape[0], ...config.inputShape.slice(0, -1), channelsPerPixel]);
  });
}

/** The model as functions, for bounds, estimates and latent tasks. @param prior of the codes; N(0, I) by default */
export function mlpVaeFunctions(vae: MlpVae, prior?: Prior): VaeFunctions {
  const { inputShape, latentDim, likelihood } = vae.config;
  return vaeFunctions({
    latentDim,
    encode: (x) => encodeMlpVae(vae, x),
    decode: (z) => decodeMlpVae(vae, z),
    likelihood: createLikelihood(likelihood, inputShape.at(-1)!),
    prior: prior ?? standardNormalPrior(latentDim),
  });
}

/**
 * The negative evidence lower bound with the KL term times beta; see `vaeLoss`.
 *
 * @param x [B, ...inputShape] in [0, 1]
 * @param noise an Rng, or eps itself, [B, Z]
 * @returns scalars in nats per input: loss, recon, kl.
 */
export function mlpVaeLoss(
  vae: MlpVae,
  x: tf.Tensor,
  noise: Rng | tf.Tensor2D,
  options: VaeLossOptions & { readonly prior?: Prior } = {},
): { loss: tf.Scalar; recon: tf.Scalar; kl: tf.Scalar } {
  checkInput("mlpVaeLoss", vae.config.inputShape, x);
  return vaeLoss(mlpVaeFunctions(vae, options.prior), x, noise, options);
}

/** Published architectures; spread one to change a field. */
export const mlpVaePresets = {
  /** 28x28 grey images with a map of codes to look at: two dimensions. */
  map: {
    inputShape: [28, 28, 1],
    hiddenDims: [500],
    latentDim: 2,
    activation: "tanh",
    likelihood: { kind: "bernoulli" },
  },
  /** Binarized MNIST: one stochastic layer of Burda et al. (2016), section 5: 50 codes, two layers of 200 tanh. */
  burda: {
    inputShape: [28, 28, 1],
    hiddenDims: [200, 200],
    latentDim: 50,
    activation: "tanh",
    likelihood: { kind: "bernoulli" },
  },
} as const satisfies Record<string, MlpVaeConfig>;
