import { type Engine, logSumExp, type Rng, throwIfAborted, treeDispose, treeLeaves, treeMap } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { ImportanceWeighted, VaeFunctions } from "./vae-functions.ts";

// Anomalies: examples to which a model trained on normal data gives little probability, or that it cannot rebuild.
//
//   J. An, S. Cho, "Variational Autoencoder based Anomaly Detection using Reconstruction Probability", 2015
//   J. Serra et al., "Input Complexity and Out-of-Distribution Detection with Likelihood-based Generative Models", ICLR 2020
//   V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2 (conformal thresholds)

/**
 * The negative bound on log p(x) of each example: with one sample the negative ELBO, with more the importance-weighted
 * bound, which is tighter. High for examples unlike the training data.
 *
 * @param x [B, ...]
 * @param options.samples draws of z for each example; 1 by default
 * @returns [B], nats
 */
export function anomalyScore(
  vae: ImportanceWeighted,
  x: tf.Tensor,
  rng: Rng,
  options: { readonly samples?: number } = {},
): tf.Tensor1D {
  const { samples = 1 } = options;
  if (!Number.isInteger(samples) || samples < 1) {
    throw new Error(`anomalyScore: samples (${samples}) must be a positive integer`);
  }
  return tf.tidy(() => tf.sub(Math.log(samples), logSumExp(vae.logWeights(x, rng, samples), 0)) as tf.Tensor1D);
}

/** -log p(x | z) of each example at the posterior's mean, [B], nats: the reconstruction error. */
export function reconstructionScore(vae: VaeFunctions, x: tf.Tensor): tf.Tensor1D {
  return tf.tidy(() => vae.likelihood.nll(x, vae.decode(vae.encode(x).mu)));
}

/**
 * How many nats a grey image costs beyond what any model must pay, for its ink: (-log p(x) - H(x)) / (sum x)^inkPower
 * with H(x), the entropy of its pixels taken as probabilities, the least that Bernoulli pixels can cost. Plain likelihoods
 * call simple images likely, whatever they show (Serra et al., section 3): to a model of the other digits a one, which is
 * little ink, is the most normal of images. This score compares images of any amount of ink.
 *
 * @param vae with Bernoulli pixels, as `anomalyScore` takes it
 * @param x [B, ...] in [0, 1], 0 for background
 * @param options.samples draws of z for each example; 1 by default
 * @param options.inkPower 1 by default: nats for each fully inked pixel. Less favours images of much ink, 0 leaves ink out.
 * @returns [B]
 */
export function relativeAnomalyScore(
  vae: ImportanceWeighted,
  x: tf.Tensor,
  rng: Rng,
  options: { readonly samples?: number; readonly inkPower?: number } = {},
): tf.Tensor1D {
  const { inkPower = 1 } = options;
  return tf.tidy(() => {
    const pixels = tf.reshape(x, [x.shape[0]!, -1]);
    const [p, q] = [pixels, tf.sub(1, pixels)].map((t) => tf.mul(t, tf.log(tf.maximum(t, 1e-12)))); // 0 log 0 = 0
    const entropy = tf.neg(tf.sum(tf.add(p!, q!), 1));
    const ink = tf.maximum(tf.sum(pixels, 1), 1); // an empty image has no ink to divide by
    return tf.div(tf.sub(anomalyScore(vae, x, rng, options), entropy), tf.pow(ink, inkPower)) as tf.Tensor1D;
  });
}

/**
 * Scores a set of examples batch by batch.
 *
 * @param score a function of its arguments alone that gives [B] for a batch, such as one that calls `anomalyScore`
 * @param examples a tensor, or a tree of tensors, with the examples along the first axis
 * @throws AbortError when the signal fires between two batches.
 */
export async function scoreAll<P, B>(
  engine: Engine,
  params: P,
  score: (params: P, batch: B, rng: Rng) => tf.Tensor,
  examples: B,
  options: { readonly rng: Rng; readonly batchSize?: number; readonly signal?: AbortSignal },
): Promise<Float64Array> {
  const { rng, batchSize = 500, signal } = options;
  const total = treeLeaves(examples)[0]?.shape[0] ?? 0;
  if (total === 0) throw new Error("scoreAll: got no examples; expected at least one");
  const scores = new Float64Array(total);
  const compiled = engine.compile(score);
  try {
    for (let start = 0; start < total; start += batchSize) {
      throwIfAborted("scoreAll", signal);
      const count = Math.min(batchSize, total - start);
      const batch = treeMap(examples, (t) =>
        tf.slice(t, [start, ...t.shape.slice(1).map(() => 0)], [count, ...t.shape.slice(1)]),
      );
      const out = await compiled(params, batch, rng);
      scores.set(await out.data(), start);
      treeDispose([batch, out]);
    }
  } finally {
    compiled.dispose();
  }
  return scores;
}

/**
 * The threshold above which a score counts as an anomaly, so that a new normal example exceeds it with at most the
 * probability given: the ceil((n + 1) (1 - rate))-th smallest of n scores of normal examples that were not trained on.
 *
 * @param falsePositiveRate in (0, 1)
 * @throws if there are too few scores for the rate: at least 1 / rate - 1 are needed.
 */
export function calibrateThreshold(normalScores: ArrayLike<number>, falsePositiveRate: number): number {
  if (!(falsePositiveRate > 0 && falsePositiveRate < 1)) {
    throw new Error(`calibrateThreshold: falsePositiveRate (${falsePositiveRate}) must be between 0 and 1`);
  }
  const sorted = checkedScores("calibrateThreshold", normalScores).sort();
  const n = sorted.length;
  // Less a rounding error, so that (n + 1) * 0.9 = 90.00000000000001 counts as 90.
  const rank = Math.ceil((n + 1) * (1 - falsePositiveRate) - 1e-9);
  if (rank > n) {
    throw new Error(
      `calibrateThreshold: ${n} scores cannot show a falsePositiveRate of ${falsePositiveRate}; expected at least ` +
        `${Math.ceil(1 / falsePositiveRate - 1 - 1e-9)}`,
    );
  }
  return sorted[rank - 1]!;
}

/**
 * The area under the ROC curve: the probability that an anomaly scores higher than a normal example, ties counting half.
 * 0.5 is guessing, 1 is perfect.
 */
export function auroc(normalScores: ArrayLike<number>, anomalyScores: ArrayLike<number>): number {
  const normal = checkedScores("auroc", normalScores).sort();
  const anomalies = checkedScores("auroc", anomalyScores).sort();
  let below = 0; // normal scores less than the anomaly's
  let upTo = 0; // ... less or equal
  let wins = 0;
  for (const score of anomalies) {
    while (below < normal.length && normal[below]! < score) below += 1;
    while (upTo < normal.length && normal[upTo]! <= score) upTo += 1;
    wins += (below + upTo) / 2;
  }
  return wins / (normal.length * anomalies.length);
}

function checkedScores(caller: string, scores: ArrayLike<number>): Float64Array {
  if (scores.length === 0) throw new Error(`${caller}: got no scores; expected at least one`);
  const copy = Float64Array.from(scores);
  const bad = copy.findIndex((score) => Number.isNaN(score));
  if (bad >= 0) throw new Error(`${caller}: score ${bad} is NaN; expected numbers`);
  return copy;
}
