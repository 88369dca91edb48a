import { scatterInto, treeLeaves, treeMap } from "@genai/core";
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

/** Which rows of a cache become which of another: int32 [N] each. */
export interface KvCacheRows {
  readonly of: tf.Tensor1D;
  readonly to: tf.Tensor1D;
}

/**
 * The cache `into` with rows of another in the place of its own, as far as they have tokens in their first `slots` slots. Where
 * `into` is donated to a compiled function, nothing else is copied.
 */
export function copyKvCacheRows(into: KvCache, from: KvCache, { of, to }: KvCacheRows, slots: number): KvCache {
  return tf.tidy(() => {
    const [rows, heads, , headDim] = into.layers[0]!.k.shape;
    const n = of.shape[0];
    // Where whole rows are copied, each is one piece of memory.
    const isWhole = [into, from].every(({ layers }) => layers[0]!.k.shape[2] === slots);
    const places = isWhole ? to.expandDims<tf.Tensor2D>(1) : slotsOf(to, heads, slots);
    const sources = isWhole ? undefined : slotsOf(of, heads, slots);
    const copied = (x: tf.Tensor4D, source: tf.Tensor4D) =>
      scatterInto(
        x,
        places,
        sources ? tf.gatherND(source, sources).reshape([n * heads * slots, headDim]) : tf.gather(source, of),
      );
    const read = tf.minimum(tf.gather(from.lengths, of), tf.scalar(slots, "int32"));
    const lengths = tf.tensorScatterUpdate(into.lengths, to.expandDims<tf.Tensor2D>(1), read).reshape([rows]);
    const layers = into.layers.map(({ k, v }, i) => ({
      k: copied(k, from.layers[i]!.k),
      v: copied(v, from.layers[i]!.v),
    }));
    return { layers, lengths: lengths as tf.Tensor1D };
  });
}

/** Row `row` (int32 [1]) of a cache as a cache of its own, cut to the first `slots` slots. */
export function takeKvCacheRow(cache: KvCache, row: tf.Tensor1D, slots: number): KvCache {
  return tf.tidy(() => {
    const [, heads, , headDim] = cache.layers[0]!.k.shape;
    const places = slotsOf(row, heads, slots);
    const taken = (x: tf.Tensor4D) => tf.gatherND(x, places).reshape<tf.Tensor4D>([1, heads, slots, headDim]);
    const lengths = tf.minimum(tf.gather(cache.lengths, row), tf.scalar(slots, "int32")) as tf.Tensor1D;
    return { layers: cache.layers.map(({ k, v }) => ({ k: taken(k), v: taken(v) })), lengths };
  });
}

/** Where the first slots of rows (int32 [N]) are in [B, G, L, D]: int32 [N G slots, 3]. */
function slotsOf(rows: tf.Tensor1D, heads: number, slots: number): tf.Tensor2D {
  const n = rows.shape[0];
  const within = new Int32Array(heads * slots * 3);
  for (let at = 0; at < heads * slots; at++) within.set([0, Math.floor(at / slots), at % slots], at * 3);
  const first = tf.mul(rows.reshape([n, 1, 1]), tf.tensor3d([1, 0, 0], [1, 1, 3], "int32"));
  return tf.add(first, tf.tensor3d(within, [1, heads * slots, 3], "int32")).reshape([n * heads * slots, 3]);
}
