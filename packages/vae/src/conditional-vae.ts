import {
  createLinear,
  embedding,
  gaussianLogProb,
  klDiagonalGaussians,
  type LinearParams,
  linear,
  type Rng,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { createLikelihood, type LikelihoodConfig } from "./likelihoods.ts";
import { checkCode, checkInput, checkMlpConfig, createMlp, flatten, type MlpActivation, mlp, sizeOf } from "./mlp.ts";
import { type Prior, standardNormalPrior } from "./priors.ts";
import {
  type Posterior,
  repeatBatch,
  type VaeFunctions,
  type VaeLossOptions,
  vaeFunctions,
  vaeLoss,
} from "./vae-functions.ts";

// A conditional variational autoencoder: encoder, decoder and, if wanted, prior know the class y of each image, so that
// one can draw images of a class and z is left to say the rest (the hand, not the digit).
//
//   K. Sohn, H. Lee, X. Yan, "Learning Structured Output Representation using Deep Conditional Generative Models",
//   NeurIPS 2015, eq. 4
//
// Shapes: B batch, D numbers in an input, Y classes, C channels, P the likelihood's numbers for each pixel, H hidden
// width, Z latentDim. Inputs are [B, ...inputShape] in [0, 1], labels int32 [B].

export interface ConditionalVaeConfig {
  /** Shape of one input, channels last: [28, 28, 1] for grey images, [D] for vectors. */
  readonly inputShape: readonly number[];
  /** Y: labels are 0 to Y - 1. */
  readonly classes: number;
  /** Widths of the encoder's hidden layers; the decoder mirrors them. */
  readonly hiddenDims: readonly number[];
  readonly latentDim: number;
  readonly activation: MlpActivation;
  readonly likelihood: LikelihoodConfig;
  /** p(z | y): "class" learns a Gaussian for each class, as in the paper; "standard" is N(0, I) for all. */
  readonly prior: "standard" | "class";
}

export type ConditionalVaeParams = {
  encoder: {
    hidden: LinearParams[]; // [H, D + Y], then [H, H]
    mu: LinearParams; // [Z, H]
    logvar: LinearParams; // [Z, H]
  };
  decoder: {
    hidden: LinearParams[]; // [H, Z + Y], then [H, H]
    output: LinearParams; // [D / C * P, H]
  };
  prior?: {
    mu: { weight: tf.Tensor }; // [Y, Z]
    logvar: { weight: tf.Tensor }; // [Y, Z]
  };
};

/** A conditional VAE; see `createConditionalVae`. */
export interface ConditionalVae {
  readonly config: ConditionalVaeConfig;
  readonly params: ConditionalVaeParams;
}

/**
 * Creates a conditional VAE of fully connected layers.
 *
 * @throws if a size is no positive integer, or the activation, likelihood or prior is unknown.
 */
export function createConditionalVae(config: ConditionalVaeConfig, rng: Rng): ConditionalVae {
  const { inputShape, classes, hiddenDims, latentDim, activation, prior } = config;
  checkMlpConfig("createConditionalVae", config, { classes, hiddenDims, latentDim });
  if (hiddenDims.length === 0)
    throw new Error("createConditionalVae: hiddenDims is empty; expected at least one layer");
  if (prior !== "standard" && prior !== "class") {
    throw new Error(`createConditionalVae: prior (${prior}) must be "standard" or "class"`);
  }
  const size = sizeOf(inputShape);
  const channels = inputShape.at(-1)!;
  const outputs = (size / channels) * createLikelihood(config.likelihood, channels).channelsPerPixel;
  const params: ConditionalVaeParams = {
    encoder: {
      hidden: createMlp([size + classes, ...hiddenDims], activation, rng),
      mu: createLinear(hiddenDims.at(-1)!, latentDim, rng),
      logvar: createLinear(hiddenDims.at(-1)!, latentDim, rng),
    },
    decoder: {
      hidden: createMlp([latentDim + classes, ...[...hiddenDims].reverse()], activation, rng),
      output: createLinear(hiddenDims[0]!, outputs, rng),
    },
    ...(prior === "class"
      ? {
          prior: { mu: { weight: tf.zeros([classes, latentDim]) }, logvar: { weight: tf.zeros([classes, latentDim]) } },
        }
      : {}),
  };
  return { config, params };
}

/**
 * Class ids as the tensor that the model's functions take.
 *
 * @throws naming the first label that is no class of the model: functions on tensors cannot look.
 */
export function classLabels(ids: ArrayLike<number>, config: { readonly classes: number }): tf.Tensor1D {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (Number.isInteger(id) && id >= 0 && id < config.classes) continue;
    throw new Error(`classLabels: label ${i} (${id}) is unknown; expected a class from 0 to ${config.classes - 1}`);
  }
  return tf.tensor1d(Int32Array.from(ids), "int32");
}

/**
 * q(z | x, y).
 *
 * @param x [B, ...inputShape] in [0, 1]
 * @param labels int32 [B]
 * @returns mu and logvar, each [B, Z].
 */
export function encodeConditionalVae(vae: ConditionalVae, x: tf.Tensor, labels: tf.Tensor1D): Posterior {
  const { config, params } = vae;
  checkInput("encodeConditionalVae", config.inputShape, x);
  checkLabels("encodeConditionalVae", labels, x.shape[0]!);
  return tf.tidy(() => {
    const h = mlp(params.encoder.hidden, config.activation, withClass(config, flatten(x), labels));
    const { mu, logvar } = params.encoder;
    return { mu: linear(mu, h) as tf.Tensor2D, logvar: linear(logvar, h) as tf.Tensor2D };
  });
}

/**
 * The parameters of p(x | z, y).
 *
 * @param z [B, Z]
 * @param labels int32 [B]
 * @returns [B, ...inputShape], with the likelihood's P in the place of the channels.
 */
export function decodeConditionalVae(vae: ConditionalVae, z: tf.Tensor2D, labels: tf.Tensor1D): tf.Tensor {
  const { config, params } = vae;
  checkCode("decodeConditionalVae", config.latentDim, z);
  checkLabels("decodeConditionalVae", labels, z.shape[0]);
  return tf.tidy(() => {
    const h = mlp(params.decoder.hidden, config.activation, withClass(config, z, labels));
    const { channelsPerPixel } = createLikelihood(config.likelihood, config.inputShape.at(-1)!);
    return linear(params.decoder.output, h).reshape([z.shape[0], ...config.inputShape.slice(0, -1), channelsPerPixel]);
  });
}

/**
 * The model of images of these classes, as functions for bounds, estimates and latent tasks. Where they get more codes
 * than labels, N = K * B, the labels repeat.
 *
 * @param labels int32 [B]: of the images that `encode` gets, and of the images to decode
 */
export function conditionalVaeFunctions(vae: ConditionalVae, labels: tf.Tensor1D): VaeFunctions {
  const { inputShape, latentDim, likelihood } = vae.config;
  return vaeFunctions({
    latentDim,
    encode: (x) => encodeConditionalVae(vae, x, labels),
    decode: (z) => tf.tidy(() => decodeConditionalVae(vae, z, labelsFor(labels, z.shape[0]))),
    likelihood: createLikelihood(likelihood, inputShape.at(-1)!),
    prior: vae.params.prior ? classPrior(vae.params.prior, labels) : standardNormalPrior(latentDim),
  });
}

/**
 * The negative conditional evidence lower bound (Sohn et al., eq. 4), the KL term times beta; see `vaeLoss`.
 *
 * @param noise an Rng, or eps itself, [B, Z]
 * @returns scalars in nats per input: loss, recon, kl.
 */
export function conditionalVaeLoss(
  vae: ConditionalVae,
  batch: { readonly x: tf.Tensor; readonly labels: tf.Tensor1D },
  noise: Rng | tf.Tensor2D,
  options: VaeLossOptions = {},
): { loss: tf.Scalar; recon: tf.Scalar; kl: tf.Scalar } {
  return vaeLoss(conditionalVaeFunctions(vae, batch.labels), batch.x, noise, options);
}

/** p(z | y): a Gaussian for each class. */
function classPrior({ mu, logvar }: NonNullable<ConditionalVaeParams["prior"]>, labels: tf.Tensor1D): Prior {
  const of = (count: number) => {
    const ids = labelsFor(labels, count);
    return { mu: embedding(mu, ids), logvar: embedding(logvar, ids) };
  };
  return {
    logProb: (z) =>
      tf.tidy(() => {
        const p = of(z.shape[0]);
        return tf.sum(gaussianLogProb(z, p.mu, p.logvar), -1) as tf.Tensor1D;
      }),
    sample: (count, rng) =>
      tf.tidy(() => {
        const p = of(count);
        return tf.add(p.mu, tf.mul(tf.exp(tf.mul(0.5, p.logvar)), rng.normal(p.mu.shape))) as tf.Tensor2D;
      }),
    kl: (q) =>
      tf.tidy(() => {
        const p = of(q.mu.shape[0]);
        return klDiagonalGaussians(q.mu, q.logvar, p.mu, p.logvar, { reduction: "none" }) as tf.Tensor2D;
      }),
  };
}

function labelsFor(labels: tf.Tensor1D, count: number): tf.Tensor1D {
  const times = count / labels.shape[0];
  if (!Number.isInteger(times)) {
    throw new Error(
      `conditionalVaeFunctions: ${count} codes for ${labels.shape[0]} labels; expected a multiple, with the labels in turn`,
    );
  }
  return repeatBatch(labels, times) as tf.Tensor1D;
}

/** [B, ...] beside the one-hot class: [B, ... + Y]. */
function withClass({ classes }: ConditionalVaeConfig, rows: tf.Tensor2D, labels: tf.Tensor1D): tf.Tensor {
  return tf.concat([rows, tf.cast(tf.oneHot(labels, classes), "float32") as tf.Tensor2D], 1);
}

function checkLabels(caller: string, labels: tf.Tensor, count: number): void {
  if (labels.dtype === "int32" && labels.rank === 1 && labels.shape[0] === count) return;
  throw new Error(`${caller}: labels are ${labels.dtype} [${labels.shape}]; expected int32 [${count}]`);
}

/** Architectures; spread one to change a field. */
export const conditionalVaePresets = {
  /** 28x28 grey images of ten classes. */
  mnist: {
    inputShape: [28, 28, 1],
    classes: 10,
    hiddenDims: [400],
    latentDim: 16,
    activation: "relu",
    likelihood: { kind: "bernoulli" },
    prior: "standard",
  },
} as const satisfies Record<string, ConditionalVaeConfig>;
