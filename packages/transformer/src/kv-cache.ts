import { treeMap } from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// Keys and values of the tokens that a causal model has seen, in tensors of a fixed length: a step writes its tokens at
// `position`, itself a tensor, so that one compiled step serves all lengths.
//
// Shapes: B batch, G key/value heads, L slots, D head dimension, T tokens of a step.

/** A tree of tensors; what a step returns replaces what it was given, which the caller disposes of. */
export type KvCache = {
  layers: { k: tf.Tensor4D; v: tf.Tensor4D }[]; // [B, G, L, D]
  /** int32 scalar: how many slots are filled. The caller keeps it, with the tokens of the next step, within L. */
  position: tf.Scalar;
  /** int32 [B]: the first slot of each row that holds a token; those before are padding. */
  start: tf.Tensor1D;
};

export interface CreateKvCacheOptions {
  /** How many tokens of padding each row begins with: prompts of unequal length are padded on the left. Default 0. */
  readonly start?: readonly number[];
}

/** An empty cache. @throws if a size is no positive integer or `start` does not fit the batch. */
export function createKvCache(
  shape: {
    readonly batchSize: number;
    readonly layers: number;
    readonly heads: number;
    readonly length: number;
    readonly headDim: number;
  },
  options: CreateKvCacheOptions = {},
): KvCache {
  const { batchSize, layers, heads, length, headDim } = shape;
  for (const [name, n] of Object.entries(shape)) {
    if (!Number.isInteger(n) || n < 1) throw new Error(`createKvCache: ${name} (${n}) must be a positive integer`);
  }
  const start = options.start ?? new Array<number>(batchSize).fill(0);
  if (start.length !== batchSize || !start.every((n) => Number.isInteger(n) && n >= 0 && n < length)) {
    throw new Error(`createKvCache: start ([${start}]) must hold ${batchSize} integers from 0 to ${length - 1}`);
  }
  const empty = () => tf.zeros([batchSize, heads, length, headDim]) as tf.Tensor4D;
  return {
    layers: Array.from({ length: layers }, () => ({ k: empty(), v: empty() })),
    position: tf.scalar(0, "int32"),
    start: tf.tensor1d([...start], "int32"),
  };
}

/** The cache of other rows: row i of the result is row `rows[i]` of the cache. For beam search and continuous batches. */
export function reorderKvCache(cache: KvCache, rows: tf.Tensor1D): KvCache {
  return tf.tidy(
    () => treeMap(cache, (x) => (x.rank === 0 ? x.clone() : tf.gather(x, rows))) as unknown as tf.TensorContainerObject,
  ) as unknown as KvCache;
}

/** Writes x [B, G, T, D] into the slots from `position` on of a cache's keys or values. */
export function writeSlots(slots: tf.Tensor4D, x: tf.Tensor, position: tf.Scalar): tf.Tensor4D {
  const [b, g, l, d] = slots.shape;
  const t = x.shape[2]!;
  return tf.tidy(() => {
    // A row of the flattened cache for each (batch, head, token), but for the position.
    const rows = Int32Array.from({ length: b * g * t }, (_, n) => Math.floor(n / t) * l + (n % t));
    const at = tf.add(tf.tensor1d(rows, "int32"), position);
    const flat = tf.tensorScatterUpdate(slots.reshape([-1, d]), at.reshape([-1, 1]), x.reshape([-1, d]));
    return flat.reshape([b, g, l, d]) as tf.Tensor4D;
  });
}
