import { type Engine, iwaeBound, type Rng, throwIfAborted, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { binarize } from "./likelihoods.ts";
import { mlpVaePresets } from "./mlp-vae.ts";
import type { ImportanceWeighted } from "./vae-functions.ts";

// Importance-weighted autoencoders: the mean of K importance weights bounds log p(x) more closely than one does, as a
// loss for any VAE and, with K in the thousands, as the estimate of log p(x) that papers report.
//
//   Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, arXiv:1509.00519
//
// Shapes: B batch, K samples.

/**
 * The negative importance-weighted bound, -log((1/K) sum_k p(x, z_k) / q(z_k | x)) (Burda et al., eq. 8).
 *
 * @param vae functions of the parameters that are trained: `mlpVaeFunctions(vae)` and its like. Any prior.
 * @param x [B, ...] in [0, 1]
 * @param options.samples K. Takes K times the memory and time of the decoder.
 * @returns scalars in nats, averaged over the batch: loss, at most `negativeElbo`, the same without the mean over k.
 */
export function iwaeLoss(
  vae: ImportanceWeighted,
  x: tf.Tensor,
  noise: Rng,
  options: { readonly samples: number },
): { loss: tf.Scalar; negativeElbo: tf.Scalar } {
  checkCount("iwaeLoss", "samples", options.samples);
  return tf.tidy(() => {
    const logWeights = vae.logWeights(x, noise, options.samples); // [K, B]
    return {
      loss: tf.neg(iwaeBound(logWeights)) as tf.Scalar,
      negativeElbo: tf.neg(tf.mean(logWeights)) as tf.Scalar,
    };
  });
}

export interface LogLikelihoodOptions<M> {
  /** The model as functions: `mlpVaeFunctions`, `convVaeFunctions`, or a function that adds a prior. */
  readonly functions: (model: M, labels?: tf.Tensor1D) => ImportanceWeighted;
  /** K: draws of z for each image, 5000 in papers. */
  readonly samples: number;
  readonly rng: Rng;
  /** Draws in one call of the engine; 50 by default. Memory is that of samplesPerCall * batchSize images. */
  readonly samplesPerCall?: number;
  /** Images in one call of the engine; 20 by default. */
  readonly batchSize?: number;
  /** Whether pixels are drawn from their grey levels first, once for each image; false by default. */
  readonly binarized?: boolean;
  /** int32 [N]: what `functions` gets the labels of a batch from. */
  readonly labels?: tf.Tensor1D;
  readonly signal?: AbortSignal;
  readonly onProgress?: (at: { readonly done: number; readonly total: number }) => unknown;
}

export interface LogLikelihood {
  /** Mean over the images, in nats. */
  readonly logLikelihood: number;
  /** [N], in nats. */
  readonly perImage: Float64Array;
}

/**
 * Estimates log p(x) of each image from below by importance sampling: log((1/K) sum_k p(x, z_k) / q(z_k | x)).
 *
 * @param x [N, ...] in [0, 1]
 * @throws AbortError when the signal fires between two calls of the engine.
 */
export async function estimateLogLikelihood<M>(
  engine: Engine,
  model: M,
  x: tf.Tensor,
  options: LogLikelihoodOptions<M>,
): Promise<LogLikelihood> {
  const { functions, samples, rng, samplesPerCall = 50, batchSize = 20, binarized = false, labels, signal } = options;
  for (const [name, n] of Object.entries({ samples, samplesPerCall, batchSize })) {
    checkCount("estimateLogLikelihood", name, n);
  }
  const total = x.shape[0] ?? 0;
  if (total === 0) throw new Error("estimateLogLikelihood: got no images; expected at least one");
  if (labels && labels.size !== total) {
    throw new Error(`estimateLogLikelihood: ${labels.size} labels for ${total} images; expected as many`);
  }
  const weigh = engine.compile((m: M, batch: { x: tf.Tensor; labels?: tf.Tensor1D }, noise: Rng, count: number) =>
    functions(m, batch.labels).logWeights(batch.x, noise, count),
  );
  const perImage = new Float64Array(total).fill(Number.NEGATIVE_INFINITY); // log of the sum of weights so far
  try {
    for (let start = 0; start < total; start += batchSize) {
      const count = Math.min(batchSize, total - start);
      const batch = tf.tidy(() => {
        const images = tf.slice(x, start, count);
        return {
          x: binarized ? binarize(images, rng) : images,
          ...(labels ? { labels: tf.slice(labels, start, count) } : {}),
        };
      });
      try {
        for (let done = 0; done < samples; done += samplesPerCall) {
          throwIfAborted("estimateLogLikelihood", signal);
          const k = Math.min(samplesPerCall, samples - done);
          const result = await weigh(model, batch, rng, k);
          addWeights(perImage.subarray(start, start + count), (await result.data()) as Float32Array);
          result.dispose();
        }
      } finally {
        treeDispose(batch);
      }
      options.onProgress?.({ done: start + count, total });
    }
  } finally {
    weigh.dispose();
  }
  const logCount = Math.log(samples);
  const logLikelihood = perImage.reduce((sum, value, i) => {
    perImage[i] = value - logCount;
    return sum + value - logCount;
  }, 0);
  return { logLikelihood: logLikelihood / total, perImage };
}

/** logSums[b] = log(exp(logSums[b]) + sum_k exp(logWeights[k, b])), in double precision. */
function addWeights(logSums: Float64Array, logWeights: Float32Array): void {
  const batch = logSums.length;
  for (let b = 0; b < batch; b++) {
    let largest = logSums[b]!;
    for (let i = b; i < logWeights.length; i += batch) largest = Math.max(largest, logWeights[i]!);
    let sum = Math.exp(logSums[b]! - largest);
    for (let i = b; i < logWeights.length; i += batch) sum += Math.exp(logWeights[i]! - largest);
    logSums[b] = largest + Math.log(sum);
  }
}

function checkCount(caller: string, name: string, n: number): void {
  if (!Number.isInteger(n) || n < 1) throw new Error(`${caller}: ${name} (${n}) must be a positive integer`);
}

/**
 * What Burda et al. (2016) trained on MNIST with one stochastic layer, and what they measured: -log p(x) of the test set
 * in nats, estimated with 5000 samples. "Dynamic" draws the pixels anew from their grey levels (table 1), "static" is the
 * fixed binarization of Larochelle and Murray (appendix D).
 */
export const iwaeMnistPreset = {
  model: mlpVaePresets.burda,
  samples: 50,
  batchSize: 20,
  adam: { betas: [0.9, 0.999], eps: 1e-4 },
  /** Passes over the training set at each learning rate: 3^i at 0.001 * 10^(-i / 7), 3280 in all. */
  learningRates: Array.from({ length: 8 }, (_, i) => ({ epochs: 3 ** i, learningRate: 1e-3 * 10 ** (-i / 7) })),
  evaluationSamples: 5000,
  published: [
    { objective: "VAE", samples: 1, binarization: "dynamic", nll: 86.76 },
    { objective: "IWAE", samples: 5, binarization: "dynamic", nll: 85.54 },
    { objective: "IWAE", samples: 50, binarization: "dynamic", nll: 84.78 },
    { objective: "VAE", samples: 1, binarization: "static", nll: 88.71 },
    { objective: "IWAE", samples: 5, binarization: "static", nll: 87.63 },
    { objective: "IWAE", samples: 50, binarization: "static", nll: 87.1 },
  ],
} as const;
