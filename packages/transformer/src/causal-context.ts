import { causalBias, maskBias } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type KvCache, writeSlots } from "./kv-cache.ts";

// Where the tokens of a causal model stand and what each of them sees: worked out once, for all layers.
//
// Shapes: B batch, T tokens read now (queries), S keys: T, or with a cache its L slots.

export interface CausalContextOptions {
  /** int32 [B]: tokens of padding that each row begins with. A cache brings its own. */
  readonly start?: tf.Tensor1D | undefined;
  readonly cache?: KvCache | undefined;
  /** A token sees itself and the window - 1 before it; all before it by default. */
  readonly window?: number | undefined;
}

export interface CausalContext {
  /** int32 [T], or [B, T] where rows differ: 0 for the first token behind the padding. Padding has 0 too. */
  readonly positions: tf.Tensor;
  /** int32 [T]: the places of the tokens among the keys, padding counted. */
  readonly slots: tf.Tensor;
  /** Positions are below this number: T, or L with a cache. */
  readonly length: number;
  /** Added to the scores: 0 where a query sees a key and -1e9 where not; broadcasts against [B, H, T, S]. */
  readonly bias: tf.Tensor;
  /** The keys and values that a layer attends to, given those of the tokens read now: with a cache, all in it. */
  readonly remember: (layer: number, k: tf.Tensor, v: tf.Tensor) => { k: tf.Tensor; v: tf.Tensor };
  /** The cache with the tokens read now, once every layer has remembered them. */
  readonly advanced: () => KvCache;
}

/** @param ids [B, T] */
export function causalContext(caller: string, ids: tf.Tensor2D, options: CausalContextOptions = {}): CausalContext {
  const { cache, window } = options;
  const [b, t] = ids.shape;
  const start = cache?.start ?? options.start;
  if (start && (start.rank !== 1 || start.shape[0] !== b || start.dtype !== "int32")) {
    throw new Error(`${caller}: start is ${start.dtype} of shape [${start.shape}]; expected int32 [${b}]`);
  }
  const length = cache ? cache.layers[0]!.k.shape[2] : t;
  if (t > length) throw new Error(`${caller}: ids hold ${t} tokens; the cache has room for ${length}`);
  const advanced: KvCache["layers"] = [];
  const remember = (layer: number, k: tf.Tensor, v: tf.Tensor) => {
    const past = cache?.layers[layer];
    if (!cache || !past) return { k, v };
    const now = { k: writeSlots(past.k, k, cache.position), v: writeSlots(past.v, v, cache.position) };
    advanced[layer] = now;
    return now;
  };
  const common = {
    length,
    remember,
    advanced: () => {
      if (!cache) throw new Error(`${caller}: there is no cache to advance`);
      return {
        layers: advanced,
        position: tf.add(cache.position, tf.scalar(t, "int32")) as tf.Scalar,
        start: cache.start.clone(),
      };
    },
  };
  const queries = range(t);
  if (!cache && !start && window === undefined)
    return { ...common, positions: queries, slots: queries, bias: causalBias(t) };
  const slots = cache ? queries.add(cache.position) : queries; // [T]
  const i = slots.reshape([t, 1]);
  const j = range(length).reshape([1, length]);
  let seen = tf.lessEqual(j, i); // [T, S]
  if (window !== undefined) seen = seen.logicalAnd(tf.greater(j, i.sub(tf.scalar(window, "int32"))));
  if (!start) return { ...common, positions: slots, slots, bias: maskBias(seen) };
  const behindPadding = tf.greaterEqual(j, start.reshape([b, 1])); // [B, S]
  return {
    ...common,
    slots,
    positions: tf.maximum(slots.reshape([1, t]).sub(start.reshape([b, 1])), tf.scalar(0, "int32")), // [B, T]
    bias: maskBias(tf.logicalAnd(seen.expandDims(0), behindPadding.expandDims(1)).expandDims(1)), // [B, 1, T, S]
  };
}

const range = (n: number): tf.Tensor =>
  tf.tensor1d(
    Int32Array.from({ length: n }, (_, i) => i),
    "int32",
  );
