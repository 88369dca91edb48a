import * as tf from "@tensorflow/tfjs";
import type { Rng } from "../rng.ts";
import { softmax } from "./activations.ts";
import { dropout } from "./dropout.ts";

// Shapes: B batch, H query heads, G key/value heads, T queries, S keys, D head dimension.

/** What is added to the score of a key that may not be attended to: exp of it is 0 in float32, but it is finite. */
const BLOCKED = -1e9;

export interface AttentionOptions {
  /** Query i sees key j only if j <= i + S - T, so that the last query sees all keys (default false). */
  readonly causal?: boolean;
  /** Broadcasts against [B, H, T, S]; 1 (or true) where a query may attend to a key, 0 where not. */
  readonly mask?: tf.Tensor;
  /** Added to the scaled scores; broadcasts against [B, H, T, S]. */
  readonly bias?: tf.Tensor;
  /** Factor of the scores; default 1 / sqrt(D). */
  readonly scale?: number;
  /** Probability of dropping an attention weight; acts only with `rng`. */
  readonly dropout?: number;
  readonly rng?: Rng | undefined;
}

/**
 * Scaled dot-product attention (Vaswani et al. 2017): softmax(scale q k^T + bias) v.
 *
 * With fewer key/value heads than query heads (grouped-query attention), each serves H / G consecutive query heads. A
 * query that may attend to nothing gets the mean of the values of all keys.
 *
 * @param q [B, H, T, D]
 * @param k [B, G, S, D]
 * @param v [B, G, S, Dv]
 * @returns [B, H, T, Dv]
 */
export function attention(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: AttentionOptions = {}): tf.Tensor {
  if (q.rank !== 4 || k.rank !== 4 || v.rank !== 4) {
    throw new Error(`attention: q [${q.shape}], k [${k.shape}], v [${v.shape}]; expected [B, H, T, D] each`);
  }
  const [b, h, t, d] = q.shape as [number, number, number, number];
  const [, g, s] = k.shape as [number, number, number, number];
  if (k.shape[0] !== b || k.shape[3] !== d || v.shape[0] !== b || v.shape[1] !== g || v.shape[2] !== s) {
    throw new Error(`attention: q [${q.shape}], k [${k.shape}] and v [${v.shape}] do not fit together`);
  }
  if (h % g !== 0) throw new Error(`attention: q has ${h} heads; the ${g} heads of k and v must divide them`);
  // What a query gets that a mask hides everything from depends on all keys: with a mask there are no blocks.
  const isPlain = options.causal && t === s && !options.mask;
  const blocks = isPlain ? Math.min(MAX_CAUSAL_BLOCKS, Math.floor(t / CAUSAL_BLOCK)) : 1;
  return tf.tidy(() => (blocks > 1 ? attendByBlocks(q, k, v, options, blocks) : attend(q, k, v, options)));
}

/** Queries of one block at least, where causal attention is computed by blocks: with fewer, copies cost more than they save. */
const CAUSAL_BLOCK = 128;
const MAX_CAUSAL_BLOCKS = 8;

function attend(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: AttentionOptions): tf.Tensor {
  const [b, h, t, d] = q.shape as [number, number, number, number];
  const [, g, s] = k.shape as [number, number, number, number];
  const perGroup = h / g;
  // Queries that share a key/value head become rows of one product: nothing is repeated in memory.
  const scaled = tf.mul(q, options.scale ?? 1 / Math.sqrt(d));
  const rows = tf.reshape(scaled, [b, g, perGroup * t, d]);
  let scores = tf.reshape(tf.matMul(rows, k, false, true), [b, h, t, s]);
  if (options.bias) scores = tf.add(scores, options.bias);
  if (options.mask) scores = tf.add(scores, maskBias(options.mask));
  if (options.causal) scores = tf.add(scores, causalBias(t, s));
  let weights = softmax(scores);
  if (options.dropout && options.rng) weights = dropout(weights, options.dropout, options.rng);
  return tf.reshape(tf.matMul(tf.reshape(weights, [b, g, perGroup * t, s]), v), [b, h, t, v.shape[3]!]);
}

/**
 * Causal attention one block of queries after another, each over the keys up to its own last: with n blocks, (n + 1) / 2n
 * of the work and of the memory for weights.
 */
function attendByBlocks(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  options: AttentionOptions,
  blocks: number,
): tf.Tensor {
  const t = q.shape[2]!;
  const ends = Array.from({ length: blocks }, (_, i) => Math.round(((i + 1) * t) / blocks));
  const sizes = ends.map((end, i) => end - (ends[i - 1] ?? 0));
  const parts = tf.split(q, sizes, 2).map((queries, i) => {
    const end = ends[i]!;
    const bias = options.bias && part(part(options.bias, t, -2, end - sizes[i]!, end), t, -1, 0, end);
    return attend(queries, part(k, t, -2, 0, end), part(v, t, -2, 0, end), { ...options, ...(bias && { bias }) });
  });
  return tf.concat(parts, 2);
}

/** From `start` to `end` of an axis, counted from the last, unless that axis is missing or broadcast: not `size` long. */
function part(x: tf.Tensor, size: number, axis: -1 | -2, start: number, end: number): tf.Tensor {
  const at = x.rank + axis;
  if (at < 0 || x.shape[at] !== size || (start === 0 && end === size)) return x;
  return tf.slice(
    x,
    x.shape.map((_, i) => (i === at ? start : 0)),
    x.shape.map((n, i) => (i === at ? end - start : n)),
  );
}

/** The scores' bias for a mask of 1 (attend) and 0 (do not): 0 and -1e9, float32, of the mask's shape. */
export function maskBias(mask: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.mul(tf.sub(1, tf.cast(mask, "float32")), BLOCKED));
}

/** The scores' bias of causal attention, [T, S]: 0 where key j <= i + S - T, else -1e9. */
export function causalBias(queries: number, keys = queries): tf.Tensor2D {
  return tf.tidy(() => {
    const i = tf.tensor2d(
      Float32Array.from({ length: queries }, (_, n) => n + keys - queries),
      [queries, 1],
    );
    const j = tf.tensor2d(
      Float32Array.from({ length: keys }, (_, n) => n),
      [1, keys],
    );
    return tf.mul(tf.cast(tf.greater(j, i), "float32"), BLOCKED) as tf.Tensor2D;
  });
}

/** The slopes of ALiBi (Press et al. 2022) for a number of heads: 2^(-8 i / heads) where that is a power of two. */
export function alibiSlopes(heads: number): number[] {
  if (!Number.isInteger(heads) || heads < 1)
    throw new Error(`alibiSlopes: heads (${heads}) must be a positive integer`);
  const powerOfTwo = (n: number) => Array.from({ length: n }, (_, i) => 2 ** ((-8 * (i + 1)) / n));
  const whole = 2 ** Math.floor(Math.log2(heads));
  if (whole === heads) return powerOfTwo(heads);
  // As the paper's code: the rest are every other slope of twice as many heads.
  const extra = powerOfTwo(2 * whole).filter((_, i) => i % 2 === 0);
  return [...powerOfTwo(whole), ...extra.slice(0, heads - whole)];
}

/** ALiBi's bias, [H, T, S]: slope of the head times (key position - query position), the last query at the last key. */
export function alibiBias(heads: number, queries: number, keys = queries): tf.Tensor3D {
  return tf.tidy(() => {
    const slopes = tf.tensor3d(alibiSlopes(heads), [heads, 1, 1]);
    const i = tf.tensor3d(
      Float32Array.from({ length: queries }, (_, n) => n + keys - queries),
      [1, queries, 1],
    );
    const j = tf.tensor3d(
      Float32Array.from({ length: keys }, (_, n) => n),
      [1, 1, keys],
    );
    return tf.mul(slopes, tf.sub(j, i)) as tf.Tensor3D;
  });
}

/** [B, T, H * D] to [B, H, T, D]. */
export function splitHeads(x: tf.Tensor, heads: number): tf.Tensor4D {
  const [b, t, c] = x.shape;
  if (x.rank !== 3 || c! % heads !== 0) {
    throw new Error(`splitHeads: x has shape [${x.shape}]; expected [B, T, C] with C a multiple of heads (${heads})`);
  }
  return tf.tidy(() => tf.transpose(tf.reshape(x, [b!, t!, heads, c! / heads]), [0, 2, 1, 3]) as tf.Tensor4D);
}

/** [B, H, T, D] to [B, T, H * D]. */
export function mergeHeads(x: tf.Tensor): tf.Tensor3D {
  const [b, h, t, d] = x.shape;
  if (x.rank !== 4) throw new Error(`mergeHeads: x has shape [${x.shape}]; expected [B, H, T, D]`);
  return tf.tidy(() => tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [b!, t!, h! * d!]) as tf.Tensor3D);
}
