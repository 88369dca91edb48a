import * as tf from "@tensorflow/tfjs";
import { customOp, isGradientRecorded, stopGradient } from "./custom-op.ts";
import { fusedOp } from "./fused.ts";

export interface NormParams {
  readonly weight: tf.Tensor;
  readonly bias?: tf.Tensor;
}

function checkChannels(caller: string, name: string, p: tf.Tensor | undefined, channels: number): void {
  if (p && (p.rank !== 1 || p.shape[0] !== channels)) {
    throw new Error(`${caller}: ${name} has shape [${p.shape}]; expected [${channels}], the channels of x`);
  }
}

function lastAxis(caller: string, x: tf.Tensor): number {
  const channels = x.shape[x.rank - 1];
  if (channels === undefined) throw new Error(`${caller}: x is a scalar; expected [..., C]`);
  return channels;
}

/** x minus its mean, and 1 / sqrt(variance + eps), over the last axis. */
function centre(x: tf.Tensor, eps: number): { centred: tf.Tensor; rstd: tf.Tensor } {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const variance = tf.mean(tf.mul(centred, centred), -1, true);
  return { centred, rstd: tf.rsqrt(tf.add(variance, eps)) };
}

function layerNormComposed(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, eps: number): tf.Tensor {
  const { centred, rstd } = centre(x, eps);
  return tf.add(tf.mul(tf.mul(centred, rstd), weight), bias);
}

function layerNormGradComposed(x: tf.Tensor, weight: tf.Tensor, dy: tf.Tensor, eps: number): tf.Tensor[] {
  const { centred, rstd } = centre(x, eps);
  const xhat = tf.mul(centred, rstd);
  const g = tf.mul(dy, weight);
  const along = tf.mul(xhat, tf.mean(tf.mul(g, xhat), -1, true));
  const dx = tf.mul(rstd, tf.sub(tf.sub(g, tf.mean(g, -1, true)), along));
  return [dx, tf.sum(tf.mul(dy, xhat), 0), tf.sum(dy, 0)];
}

/**
 * Layer normalisation over the last axis (Ba et al. 2016): (x - mean) / sqrt(var + eps) * weight + bias.
 *
 * @param p `weight` [C], `bias` [C] (optional)
 * @param x [..., C]
 * @param options.eps default 1e-5
 */
export function layerNorm(p: NormParams, x: tf.Tensor, options: { readonly eps?: number } = {}): tf.Tensor {
  const eps = options.eps ?? 1e-5;
  const channels = lastAxis("layerNorm", x);
  checkChannels("layerNorm", "weight", p.weight, channels);
  checkChannels("layerNorm", "bias", p.bias, channels);
  return tf.tidy(() => {
    const y = layerNormOp(tf.reshape(x, [-1, channels]), p.weight, p.bias ?? tf.zeros([channels]), eps);
    return tf.reshape(y, x.shape);
  });
}

function layerNormOp(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, eps: number): tf.Tensor {
  return customOp({
    inputs: { x, weight, bias },
    forward: () =>
      fusedOp("GenaiLayerNorm", { x, weight, bias }, { eps }, () => layerNormComposed(x, weight, bias, eps)),
    backward: (dy, { x, weight }) => {
      const composed = () => tf.tidy(() => layerNormGradComposed(x, weight, dy, eps));
      const [dx, dweight, dbias] = isGradientRecorded()
        ? composed()
        : fusedOp<"GenaiLayerNormGrad", tf.Tensor[]>("GenaiLayerNormGrad", { x, weight, dy }, { eps }, composed);
      return { x: () => dx!, weight: () => dweight!, bias: () => dbias! };
    },
  });
}

function rmsNormComposed(x: tf.Tensor, weight: tf.Tensor, eps: number): tf.Tensor {
  const rstd = tf.rsqrt(tf.add(tf.mean(tf.mul(x, x), -1, true), eps));
  return tf.mul(tf.mul(x, rstd), weight);
}

function rmsNormGradComposed(x: tf.Tensor, weight: tf.Tensor, dy: tf.Tensor, eps: number): tf.Tensor[] {
  const rstd = tf.rsqrt(tf.add(tf.mean(tf.mul(x, x), -1, true), eps));
  const xhat = tf.mul(x, rstd);
  const g = tf.mul(dy, weight);
  const dx = tf.mul(rstd, tf.sub(g, tf.mul(xhat, tf.mean(tf.mul(g, xhat), -1, true))));
  return [dx, tf.sum(tf.mul(dy, xhat), 0)];
}

/**
 * Root-mean-square normalisation over the last axis (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + eps) * weight.
 *
 * @param p `weight` [C]
 * @param x [..., C]
 * @param options.eps default 1e-5
 */
export function rmsNorm(
  p: { readonly weight: tf.Tensor },
  x: tf.Tensor,
  options: { readonly eps?: number } = {},
): tf.Tensor {
  const eps = options.eps ?? 1e-5;
  const channels = lastAxis("rmsNorm", x);
  checkChannels("rmsNorm", "weight", p.weight, channels);
  return tf.tidy(() => tf.reshape(rmsNormOp(tf.reshape(x, [-1, channels]), p.weight, eps), x.shape));
}

function rmsNormOp(x: tf.Tensor, weight: tf.Tensor, eps: number): tf.Tensor {
  return customOp({
    inputs: { x, weight },
    forward: () => fusedOp("GenaiRmsNorm", { x, weight }, { eps }, () => rmsNormComposed(x, weight, eps)),
    backward: (dy, { x, weight }) => {
      const composed = () => tf.tidy(() => rmsNormGradComposed(x, weight, dy, eps));
      const [dx, dweight] = isGradientRecorded()
        ? composed()
        : fusedOp<"GenaiRmsNormGrad", tf.Tensor[]>("GenaiRmsNormGrad", { x, weight, dy }, { eps }, composed);
      return { x: () => dx!, weight: () => dweight! };
    },
  });
}

/**
 * Group normalisation (Wu and He 2018): each image is normalised over space and over the channels of each group.
 *
 * @param p `weight` and `bias` [C]; both optional
 * @param x [N, ..., C]
 * @param options.groups must divide C
 * @param options.eps default 1e-5
 */
export function groupNorm(
  p: Partial<NormParams>,
  x: tf.Tensor,
  options: { readonly groups: number; readonly eps?: number },
): tf.Tensor {
  return groupNormNamed("groupNorm", p, x, options.groups, options.eps ?? 1e-5);
}

/**
 * Instance normalisation (Ulyanov et al. 2016): each channel of each image is normalised over space.
 *
 * @param p `weight` and `bias` [C]; both optional
 * @param x [N, ..., C]
 */
export function instanceNorm(p: Partial<NormParams>, x: tf.Tensor, options: { readonly eps?: number } = {}): tf.Tensor {
  return groupNormNamed("instanceNorm", p, x, x.shape[x.rank - 1] ?? 1, options.eps ?? 1e-5);
}

function groupNormNamed(caller: string, p: Partial<NormParams>, x: tf.Tensor, groups: number, eps: number): tf.Tensor {
  if (x.rank < 2) throw new Error(`${caller}: x has shape [${x.shape}]; expected [N, ..., C]`);
  const channels = lastAxis(caller, x);
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new Error(`${caller}: groups (${groups}) must divide the ${channels} channels of x`);
  }
  checkChannels(caller, "weight", p.weight, channels);
  checkChannels(caller, "bias", p.bias, channels);
  const n = x.shape[0]!;
  return tf.tidy(() => {
    const flat = tf.reshape(x, [n, x.size / (n * channels), channels]);
    return tf.reshape(normaliseGroups(flat, p, groupStats(flat, groups), groups, eps), x.shape);
  });
}

interface GroupStats {
  /** [N, 1, C], the same for all channels of a group */
  readonly mean: tf.Tensor;
  readonly variance: tf.Tensor;
}

/** The mean over each group's channels: [N, 1, C] to [N, 1, C]. */
function overGroups(perChannel: tf.Tensor, groups: number): tf.Tensor {
  const [n, , channels] = perChannel.shape as [number, number, number];
  const width = channels / groups;
  if (width === 1) return perChannel;
  const perGroup = tf.mean(tf.reshape(perChannel, [n, groups, width]), 2, true);
  return tf.reshape(tf.tile(perGroup, [1, 1, width]), [n, 1, channels]);
}

/** Mean and biased variance of x [N, space, C] over space and the channels of each group. */
function groupStats(x: tf.Tensor, groups: number): GroupStats {
  const mean = overGroups(tf.mean(x, 1, true), groups);
  const centred = tf.sub(x, mean);
  return { mean, variance: overGroups(tf.mean(tf.mul(centred, centred), 1, true), groups) };
}

/** Normalises x [N, space, C] by its own `stats`; the gradient includes the way through them. */
function normaliseGroups(
  x: tf.Tensor,
  p: Partial<NormParams>,
  stats: GroupStats,
  groups: number,
  eps: number,
): tf.Tensor {
  const [, space, channels] = x.shape as [number, number, number];
  const weight = p.weight ?? tf.ones([channels]);
  const bias = p.bias ?? tf.zeros([channels]);
  return customOp({
    inputs: { x, weight, bias },
    constants: { mean: stats.mean, variance: stats.variance },
    // One scale and one shift for each channel: two passes over the images.
    forward: () => {
      const scale = tf.mul(tf.rsqrt(tf.add(stats.variance, eps)), weight);
      return tf.add(tf.mul(x, scale), tf.sub(bias, tf.mul(stats.mean, scale)));
    },
    backward: (dy, { x, weight, ...saved }) => {
      const composed = () => {
        const { mean, variance } = isGradientRecorded() ? groupStats(x, groups) : saved;
        const rstd = tf.rsqrt(tf.add(variance, eps));
        const sum = tf.sum(dy, 1, true); // [N, 1, C], as the next
        const sumXhat = tf.mul(rstd, tf.sub(tf.sum(tf.mul(dy, x), 1, true), tf.mul(mean, sum)));
        // dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy * weight, sorted by what multiplies dy and x.
        const meanG = overGroups(tf.mul(tf.mul(sum, weight), 1 / space), groups);
        const meanGXhat = overGroups(tf.mul(tf.mul(sumXhat, weight), 1 / space), groups);
        const forX = tf.mul(tf.mul(rstd, rstd), meanGXhat);
        const shift = tf.sub(tf.mul(forX, mean), tf.mul(rstd, meanG));
        const dx = tf.add(tf.sub(tf.mul(dy, tf.mul(rstd, weight)), tf.mul(x, forX)), shift);
        return [dx, tf.sum(sumXhat, [0, 1]), tf.sum(sum, [0, 1])];
      };
      const [dx, dweight, dbias] = tf.tidy(composed);
      return { x: () => dx!, weight: () => dweight!, bias: () => dbias! };
    },
  });
}

/** Running statistics of batch normalisation; part of the training state, not of what the optimizer updates. */
export interface BatchNormStats {
  /** [C] */
  readonly running_mean: tf.Tensor;
  /** [C], unbiased */
  readonly running_var: tf.Tensor;
}

/**
 * Batch normalisation with the statistics of this batch (Ioffe and Szegedy 2015).
 *
 * Normalises with the biased variance and stores the unbiased one, as PyTorch does.
 *
 * @param p `weight` and `bias` [C]; both optional
 * @param x [N, ..., C]
 * @param options.momentum weight of this batch in the new running statistics (default 0.1)
 * @returns y of the shape of x, and the new running statistics, through which no gradient flows
 */
export function batchNormTrain(
  p: Partial<NormParams>,
  x: tf.Tensor,
  stats: BatchNormStats,
  options: { readonly momentum?: number; readonly eps?: number } = {},
): { y: tf.Tensor; stats: BatchNormStats } {
  const { momentum = 0.1, eps = 1e-5 } = options;
  const channels = checkBatchNorm("batchNormTrain", p, x, stats);
  const count = x.size / channels;
  if (count < 2) throw new Error(`batchNormTrain: x has shape [${x.shape}], one value per channel; expected several`);
  return tf.tidy(() => {
    // The batch is one image whose channels are normalised each by itself.
    const flat = tf.reshape(x, [1, count, channels]);
    const now = groupStats(flat, channels);
    const y = normaliseGroups(flat, p, now, channels, eps);
    const move = (old: tf.Tensor, value: tf.Tensor, scale: number) =>
      tf.add(tf.mul(old, 1 - momentum), tf.mul(stopGradient(tf.reshape(value, [channels])), momentum * scale));
    return {
      y: tf.reshape(y, x.shape),
      stats: {
        running_mean: move(stats.running_mean, now.mean, 1),
        running_var: move(stats.running_var, now.variance, count / (count - 1)),
      },
    };
  });
}

/** Batch normalisation with the running statistics, for use after training. x [N, ..., C], result of its shape. */
export function batchNormEval(
  p: Partial<NormParams>,
  x: tf.Tensor,
  stats: BatchNormStats,
  options: { readonly eps?: number } = {},
): tf.Tensor {
  checkBatchNorm("batchNormEval", p, x, stats);
  return tf.tidy(() => {
    const rstd = tf.rsqrt(tf.add(stats.running_var, options.eps ?? 1e-5));
    const centred = tf.sub(x, stats.running_mean);
    const scaled = tf.mul(centred, p.weight ? tf.mul(rstd, p.weight) : rstd);
    return p.bias ? tf.add(scaled, p.bias) : scaled;
  });
}

function checkBatchNorm(caller: string, p: Partial<NormParams>, x: tf.Tensor, stats: BatchNormStats): number {
  const channels = lastAxis(caller, x);
  checkChannels(caller, "weight", p.weight, channels);
  checkChannels(caller, "bias", p.bias, channels);
  checkChannels(caller, "running_mean", stats.running_mean, channels);
  checkChannels(caller, "running_var", stats.running_var, channels);
  return channels;
}
