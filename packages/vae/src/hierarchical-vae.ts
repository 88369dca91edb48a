import {
  createLinear,
  gaussianLogProb,
  klDiagonalGaussians,
  klStandardNormal,
  type LinearParams,
  linear,
  type Rng,
  sigmoid,
  softplus,
  standardNormalLogProb,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { LatentCodec } from "./latent-tasks.ts";
import { createLikelihood, type LikelihoodConfig } from "./likelihoods.ts";
import { checkCode, checkInput, checkMlpConfig, createMlp, flatten, type MlpActivation, mlp, sizeOf } from "./mlp.ts";
import { type ImportanceWeighted, type Posterior, repeatBatch } from "./vae-functions.ts";

// A ladder variational autoencoder with two layers of codes: z2 -> z1 -> x. What the encoder says of z1 is joined with
// what the generative model expects of it, precision by precision, so that the upper layer stays in use.
//
//   C. K. Sonderby, T. Raiko, L. Maaloe, S. K. Sonderby, O. Winther, "Ladder Variational Autoencoders", NeurIPS 2016,
//   arXiv:1602.02282. Without its batch normalisation; warm up beta, as it does.
//
// Shapes: B batch, N = K * B with K draws of codes (the outer axis), Z1 Z2 latentDims, H1 H2 hidden widths. Inputs are
// [B, ...inputShape] in [0, 1].

export interface HierarchicalVaeConfig {
  /** Shape of one input, channels last: [28, 28, 1] for grey images, [D] for vectors. */
  readonly inputShape: readonly number[];
  /** Widths of the hidden layers between x and z1, and between z1 and z2. */
  readonly hiddenDims: readonly [readonly number[], readonly number[]];
  /** Z1 (next to x) and Z2. */
  readonly latentDims: readonly [number, number];
  readonly activation: MlpActivation;
  readonly likelihood: LikelihoodConfig;
}

type GaussianParams = { mu: LinearParams; logvar: LinearParams };

export type HierarchicalVaeParams = {
  encoder: {
    hidden1: LinearParams[]; // d1 = MLP(x): [H1, D], ...
    z1: GaussianParams; // [Z1, H1]
    hidden2: LinearParams[]; // d2 = MLP(d1): [H2, H1], ...
    z2: GaussianParams; // [Z2, H2]
  };
  decoder: {
    hidden2: LinearParams[]; // [H2, Z2], ...
    z1: GaussianParams; // [Z1, H2]
    hidden1: LinearParams[]; // [H1, Z1], ...
    output: LinearParams; // [D / C * P, H1]
  };
};

/** A ladder VAE; see `createHierarchicalVae`. */
export interface HierarchicalVae {
  readonly config: HierarchicalVaeConfig;
  readonly params: HierarchicalVaeParams;
}

/**
 * Creates a VAE with two layers of codes.
 *
 * @throws if a size is no positive integer, or the activation or likelihood is unknown.
 */
export function createHierarchicalVae(config: HierarchicalVaeConfig, rng: Rng): HierarchicalVae {
  const { inputShape, hiddenDims, latentDims, activation } = config;
  const [hidden1, hidden2] = hiddenDims;
  const [dim1, dim2] = latentDims;
  checkMlpConfig("createHierarchicalVae", config, { hiddenDims: hiddenDims.flat(), latentDims });
  if (hidden1.length === 0 || hidden2.length === 0) {
    throw new Error("createHierarchicalVae: hiddenDims has an empty list; expected at least one layer in both");
  }
  const size = sizeOf(inputShape);
  const channels = inputShape.at(-1)!;
  const outputs = (size / channels) * createLikelihood(config.likelihood, channels).channelsPerPixel;
  const gaussian = (from: number, to: number): GaussianParams => ({
    mu: createLinear(from, to, rng),
    logvar: createLinear(from, to, rng),
  });
  const params: HierarchicalVaeParams = {
    encoder: {
      hidden1: createMlp([size, ...hidden1], activation, rng),
      z1: gaussian(hidden1.at(-1)!, dim1),
      hidden2: createMlp([hidden1.at(-1)!, ...hidden2], activation, rng),
      z2: gaussian(hidden2.at(-1)!, dim2),
    },
    decoder: {
      hidden2: createMlp([dim2, ...[...hidden2].reverse()], activation, rng),
      z1: gaussian(hidden2[0]!, dim1),
      hidden1: createMlp([dim1, ...[...hidden1].reverse()], activation, rng),
      output: createLinear(hidden1[0]!, outputs, rng),
    },
  };
  return { config, params };
}

/** The encoder's way up: what x says of z1 by itself, and q(z2 | x). */
function bottomUp({ config, params: { encoder } }: HierarchicalVae, x: tf.Tensor): { z1: Posterior; z2: Posterior } {
  const d1 = mlp(encoder.hidden1, config.activation, flatten(x));
  const d2 = mlp(encoder.hidden2, config.activation, d1);
  return { z1: gaussianOf(encoder.z1, d1), z2: gaussianOf(encoder.z2, d2) };
}

/** p(z1 | z2). z2 is [N, Z2]. */
function topDown({ config, params: { decoder } }: HierarchicalVae, z2: tf.Tensor): Posterior {
  return gaussianOf(decoder.z1, mlp(decoder.hidden2, config.activation, z2));
}

/** q(z1 | z2, x): both Gaussians, weighted by their precisions (Sonderby et al., section 2.2). */
function joined(up: Posterior, down: Posterior): Posterior {
  const share = sigmoid(tf.sub(down.logvar, up.logvar)); // of the precision that comes from x
  return {
    mu: tf.add(down.mu, tf.mul(share, tf.sub(up.mu, down.mu))) as tf.Tensor2D,
    logvar: tf.sub(up.logvar, softplus(tf.sub(up.logvar, down.logvar))) as tf.Tensor2D,
  };
}

/** The parameters of p(x | z1). z1 is [N, Z1]. */
function output({ config, params: { decoder } }: HierarchicalVae, z1: tf.Tensor): tf.Tensor {
  const pixels = linear(decoder.output, mlp(decoder.hidden1, config.activation, z1));
  return tf.reshape(pixels, [z1.shape[0]!, ...config.inputShape.slice(0, -1), likelihoodOf(config).channelsPerPixel]);
}

/**
 * The negative evidence lower bound with one draw of both codes, both KL terms times beta (Sonderby et al., section 2).
 *
 * @param x [B, ...inputShape] in [0, 1]
 * @returns scalars in nats, averaged over the batch: recon, kl1 and kl2 of the two layers, kl their sum, and
 *   loss = recon + beta * kl.
 */
export function hierarchicalVaeLoss(
  vae: HierarchicalVae,
  x: tf.Tensor,
  noise: Rng,
  options: { readonly beta?: number | tf.Scalar } = {},
): { loss: tf.Scalar; recon: tf.Scalar; kl: tf.Scalar; kl1: tf.Scalar; kl2: tf.Scalar } {
  checkInput("hierarchicalVaeLoss", vae.config.inputShape, x);
  return tf.tidy(() => {
    const up = bottomUp(vae, x);
    const p1 = topDown(vae, draw(up.z2, noise));
    const q1 = joined(up.z1, p1);
    const recon = tf.mean(likelihoodOf(vae.config).nll(x, output(vae, draw(q1, noise)))) as tf.Scalar;
    const kl1 = klDiagonalGaussians(q1.mu, q1.logvar, p1.mu, p1.logvar) as tf.Scalar;
    const kl2 = klStandardNormal(up.z2.mu, up.z2.logvar) as tf.Scalar;
    const kl = tf.add(kl1, kl2) as tf.Scalar;
    return { loss: tf.add(recon, tf.mul(kl, options.beta ?? 1)) as tf.Scalar, recon, kl, kl1, kl2 };
  });
}

/**
 * The model as functions: importance weights for `iwaeLoss` and `estimateLogLikelihood`, and a codec between images and
 * the upper codes z2 for latent tasks, with z1 at its mean.
 */
export function hierarchicalVaeFunctions(vae: HierarchicalVae): ImportanceWeighted & LatentCodec {
  const { config } = vae;
  return {
    logWeights: (x, noise, samples) => {
      checkInput("hierarchicalVaeFunctions", config.inputShape, x);
      return tf.tidy(() => logWeights(vae, x, noise, samples));
    },
    encode: (x) => tf.tidy(() => bottomUp(vae, x).z2.mu),
    decode: (z2) => {
      checkCode("hierarchicalVaeFunctions", config.latentDims[1], z2);
      return tf.tidy(() => likelihoodOf(config).mean(output(vae, topDown(vae, z2).mu)));
    },
  };
}

function logWeights(vae: HierarchicalVae, x: tf.Tensor, noise: Rng, samples: number): tf.Tensor2D {
  const up = bottomUp(vae, x);
  const repeated = ({ mu, logvar }: Posterior): Posterior => ({
    mu: repeatBatch(mu, samples) as tf.Tensor2D,
    logvar: repeatBatch(logvar, samples) as tf.Tensor2D,
  });
  const q2 = repeated(up.z2);
  const z2 = draw(q2, noise); // [N, Z2]
  const p1 = topDown(vae, z2);
  const q1 = joined(repeated(up.z1), p1);
  const z1 = draw(q1, noise); // [N, Z1]
  const logProb = (z: tf.Tensor, { mu, logvar }: Posterior) => tf.sum(gaussianLogProb(z, mu, logvar), -1);
  const nll = likelihoodOf(vae.config).nll(repeatBatch(x, samples), output(vae, z1));
  const logPrior = tf.add(tf.sum(standardNormalLogProb(z2), -1), logProb(z1, p1));
  const logPosterior = tf.add(logProb(z2, q2), logProb(z1, q1));
  return tf.reshape(tf.sub(tf.sub(logPrior, nll), logPosterior), [samples, x.shape[0]!]);
}

/**
 * The mean images at the means of both codes, which the encoder and the ladder give: [B, ...inputShape].
 *
 * @param x [B, ...inputShape] in [0, 1]
 */
export function reconstructHierarchicalVae(vae: HierarchicalVae, x: tf.Tensor): tf.Tensor {
  checkInput("reconstructHierarchicalVae", vae.config.inputShape, x);
  return tf.tidy(() => {
    const up = bottomUp(vae, x);
    const q1 = joined(up.z1, topDown(vae, up.z2.mu));
    return likelihoodOf(vae.config).mean(output(vae, q1.mu));
  });
}

/** Draws z2 from N(0, I), z1 from p(z1 | z2), and returns the mean images: [count, ...inputShape]. */
export function sampleHierarchicalVae(
  vae: HierarchicalVae,
  options: { readonly count: number; readonly rng: Rng },
): tf.Tensor {
  const { count, rng } = options;
  if (!Number.isInteger(count) || count < 1) {
    throw new Error(`sampleHierarchicalVae: count (${count}) must be a positive integer`);
  }
  return tf.tidy(() => {
    const z2 = rng.normal([count, vae.config.latentDims[1]]);
    return likelihoodOf(vae.config).mean(output(vae, draw(topDown(vae, z2), rng)));
  });
}

function gaussianOf(p: GaussianParams, h: tf.Tensor): Posterior {
  return { mu: linear(p.mu, h) as tf.Tensor2D, logvar: linear(p.logvar, h) as tf.Tensor2D };
}

function draw({ mu, logvar }: Posterior, rng: Rng): tf.Tensor2D {
  return tf.add(mu, tf.mul(tf.exp(tf.mul(0.5, logvar)), rng.normal(mu.shape))) as tf.Tensor2D;
}

const likelihoodOf = ({ likelihood, inputShape }: HierarchicalVaeConfig) =>
  createLikelihood(likelihood, inputShape.at(-1)!);

/** Published architectures; spread one to change a field. */
export const hierarchicalVaePresets = {
  /** Binarized MNIST: two stochastic layers of Burda et al. (2016), section 5: 100 and 50 codes. */
  burda: {
    inputShape: [28, 28, 1],
    hiddenDims: [
      [200, 200],
      [100, 100],
    ],
    latentDims: [100, 50],
    activation: "tanh",
    likelihood: { kind: "bernoulli" },
  },
} as const satisfies Record<string, HierarchicalVaeConfig>;
