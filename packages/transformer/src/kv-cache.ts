import { treeLeaves, treeMap } from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// Keys and values of the tokens that a causal model has seen, in tensors of a fixed length: each row of the batch fills its
// slots from the first on and knows how many it has filled, in a tensor, so that one compiled step serves all lengths, and
// rows join and leave a batch as they like.
//
// Shapes: B batch, G key/value heads, L slots, D head dimension.

/** A tree of tensors; what a step returns replaces what it was given, which the caller disposes of. */
export type KvCache = {
  layers: { k: tf.Tensor4D; v: tf.Tensor4D }[]; // [B, G, L, D]
  /** int32 [B]: how many slots of each row are filled. The caller keeps it, with the tokens of the next step, within L. */
  lengths: tf.Tensor1D;
};

/** An empty cache. @throws if a size is no positive integer. */
export function createKvCache(shape: {
  readonly batchSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly length: number;
  readonly headDim: number;
}): KvCache {
  const { batchSize, layers, heads, length, headDim } = shape;
  for (const [name, n] of Object.entries(shape)) {
    if (!Number.isInteger(n) || n < 1) throw new Error(`createKvCache: ${name} (${n}) must be a positive integer`);
  }
  const empty = () => tf.zeros([batchSize, heads, length, headDim]) as tf.Tensor4D;
  return {
    layers: Array.from({ length: layers }, () => ({ k: empty(), v: empty() })),
    lengths: tf.zeros([batchSize], "int32"),
  };
}

/** The cache of other rows: row i of the result is row `rows[i]` of the cache, as beam search asks for. */
export function gatherKvCacheRows<C extends KvCache>(cache: C, rows: tf.Tensor1D): C {
  return tf.tidy(
    () => treeMap(cache, (x) => tf.gather(x, rows)) as unknown as tf.TensorContainerObject,
  ) as unknown as C;
}

/** The rows of several caches of equal length, one below the other. */
export function concatKvCaches<C extends KvCache>(first: C, ...others: C[]): C {
  const trees = others.map((cache) => treeLeaves(cache));
  let leaf = 0;
  return tf.tidy(
    () =>
      treeMap(first, (x) => {
        const parts = [x, ...trees.map((leaves) => leaves[leaf]!)];
        leaf += 1;
        return tf.concat(parts, 0);
      }) as unknown as tf.TensorContainerObject,
  ) as unknown as C;
}
