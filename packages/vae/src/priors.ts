import {
  embedding,
  gaussianLogProb,
  klStandardNormal,
  logSoftmax,
  logSumExp,
  type Rng,
  standardNormalLogProb,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { checkCode, sizeOf } from "./mlp.ts";
import type { Posterior } from "./vae-functions.ts";

// Distributions p(z) of codes.
//
//   J. M. Tomczak, M. Welling, "VAE with a VampPrior", AISTATS 2018, arXiv:1705.07120
//
// Shapes: N codes, Z latentDim, K components. A prior with parameters is a record { config, params } that is trained with
// the VAE: keep both in one tree, and make the functions from it inside the loss.

/** A distribution of codes as functions. Any VAE takes any of them. */
export interface Prior {
  /** log p(z) of each code, in nats. z is [N, Z]; returns [N]. */
  logProb(z: tf.Tensor2D): tf.Tensor1D;
  /** `count` codes, [count, Z]. */
  sample(count: number, rng: Rng): tf.Tensor2D;
  /** KL(q || p) of each dimension, [B, Z], where it is known; elsewhere the draws of z estimate the KL of all. */
  kl?(posterior: Posterior): tf.Tensor2D;
}

/** N(0, I). */
export function standardNormalPrior(latentDim: number): Prior {
  return {
    logProb: (z) => tf.tidy(() => tf.sum(standardNormalLogProb(z), -1) as tf.Tensor1D),
    sample: (count, rng) => rng.normal([count, latentDim]) as tf.Tensor2D,
    kl: ({ mu, logvar }) => klStandardNormal(mu, logvar, { reduction: "none" }) as tf.Tensor2D,
  };
}

/** sum_k softmax(logits)[k] N(mu[k], diag(exp(logvar[k]))), from logits [K], mu [K, Z] and logvar [K, Z]. */
export interface GaussianMixtureParams {
  logits: tf.Tensor; // [K]
  mu: tf.Tensor; // [K, Z]
  logvar: tf.Tensor; // [K, Z]
}

function mixtureLogProb({ logits, mu, logvar }: GaussianMixtureParams, z: tf.Tensor2D): tf.Tensor1D {
  const parts = tf.sum(gaussianLogProb(tf.expandDims(z, 1), tf.expandDims(mu, 0), tf.expandDims(logvar, 0)), -1);
  return logSumExp(tf.add(parts, tf.expandDims(logSoftmax(logits), 0))) as tf.Tensor1D; // of [N, K]
}

function mixtureSample({ logits, mu, logvar }: GaussianMixtureParams, count: number, rng: Rng): tf.Tensor2D {
  const ids = rng.categorical(tf.tile(tf.expandDims(logits, 0), [count, 1])); // [count]
  const scale = tf.exp(tf.mul(0.5, embedding({ weight: logvar }, ids)));
  const eps = rng.normal([count, mu.shape[1]!]);
  return tf.add(embedding({ weight: mu }, ids), tf.mul(scale, eps)) as tf.Tensor2D;
}

export interface MixturePriorConfig {
  readonly latentDim: number;
  readonly components: number;
}

/** A mixture of Gaussians; see `createMixturePrior`. */
export interface MixturePrior {
  readonly config: MixturePriorConfig;
  readonly params: { logits: tf.Tensor; mu: tf.Tensor; logvar: tf.Tensor };
}

/** A prior of K Gaussians with means, variances and weights of their own ("MoG prior" of Tomczak & Welling). */
export function createMixturePrior(config: MixturePriorConfig, rng: Rng): MixturePrior {
  const { latentDim, components } = config;
  checkPositive("createMixturePrior", { latentDim, components });
  return {
    config,
    params: {
      logits: tf.zeros([components]),
      mu: rng.normal([components, latentDim]),
      logvar: tf.zeros([components, latentDim]),
    },
  };
}

/** The functions of a mixture prior. logProb holds [N, K, Z] numbers at once. */
export function mixturePrior({ config, params }: MixturePrior): Prior {
  return {
    logProb: (z) => {
      checkCode("mixturePrior", config.latentDim, z);
      return tf.tidy(() => mixtureLogProb(params, z));
    },
    sample: (count, rng) => tf.tidy(() => mixtureSample(params, count, rng)),
  };
}

export interface VampPriorConfig {
  /** Shape of one of the VAE's inputs. */
  readonly inputShape: readonly number[];
  /** K: pseudo-inputs; 500 in the paper. */
  readonly components: number;
}

/** A variational mixture of posteriors; see `createVampPrior`. */
export interface VampPrior {
  readonly config: VampPriorConfig;
  /** Before the sigmoid that keeps them in [0, 1]: [K, ...inputShape]. */
  readonly params: { pseudoInputs: tf.Tensor; logits: tf.Tensor };
}

/**
 * Creates the learned "pseudo-inputs" of a VampPrior, p(z) = sum_k w_k q(z | u_k) (Tomczak & Welling, section 3). The
 * paper's weights are equal; here they are learned too and begin equal.
 */
export function createVampPrior(config: VampPriorConfig, rng: Rng): VampPrior {
  const { inputShape, components } = config;
  checkPositive("createVampPrior", { inputShape: sizeOf(inputShape), components });
  return {
    config,
    params: { pseudoInputs: rng.normal([components, ...inputShape], -2, 1), logits: tf.zeros([components]) },
  };
}

/**
 * The functions of a VampPrior of a VAE with this encoder.
 *
 * @param encode of the same parameters that are being trained, so that gradients reach the encoder and the pseudo-inputs
 */
export function vampPrior({ params }: VampPrior, encode: (x: tf.Tensor) => Posterior): Prior {
  const mixture = (): GaussianMixtureParams => ({
    logits: params.logits,
    ...encode(tf.sigmoid(params.pseudoInputs)),
  });
  return {
    logProb: (z) => tf.tidy(() => mixtureLogProb(mixture(), z)),
    sample: (count, rng) => tf.tidy(() => mixtureSample(mixture(), count, rng)),
  };
}

function checkPositive(caller: string, options: Record<string, number>): void {
  for (const [name, n] of Object.entries(options)) {
    if (!Number.isInteger(n) || n < 1) throw new Error(`${caller}: ${name} (${n}) must be a positive integer`);
  }
}
