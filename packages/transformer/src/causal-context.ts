import { attention, cachedAttention, maskBias, type Rng, seenSlots, writeSlots } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { range } from "./int-range.ts";
import type { KvCache } from "./kv-cache.ts";

// Where the tokens of a causal model stand and what each of them sees: worked out once, for all layers.
//
// Shapes: B batch, T tokens read now (queries), S keys: T, or with a cache its L slots; H query and G key/value heads.

export interface CausalContextOptions {
  /** int32 [B]: tokens of padding that each row begins with. Not with a cache. */
  readonly start?: tf.Tensor1D | undefined;
  /** int32 [B, T]: the document of each token, each in one piece; 0 for padding. Not with a cache. */
  readonly segments?: tf.Tensor2D | undefined;
  readonly cache?: KvCache | undefined;
  /** A token sees itself and the window - 1 before it; all before it by default. */
  readonly window?: number | undefined;
}

export interface CausalContext {
  /** int32 [T], or [B, T] where rows differ: 0 for the first token of a document, or behind the padding, which has 0 too. */
  readonly positions: tf.Tensor;
  /** Whether the tokens are read behind those in a cache. Positions are [B, T] then. */
  readonly cached: boolean;
  /** Positions are below this number: T, or L with a cache. */
  readonly length: number;
  /** Attention of the tokens q [B, H, T, D], k, v [B, G, T, D] of a layer to those they see, to [B, H, T, D]. */
  readonly attend: (layer: number, q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, how?: AttendOptions) => tf.Tensor;
  /**
   * The cache with the tokens read now, once every layer has attended.
   *
   * @param counts int32 [B]: how many of a row's tokens are no padding behind them; default T
   */
  readonly advanced: (counts?: tf.Tensor1D) => KvCache;
}

export interface AttendOptions {
  /** Added to the scores, besides what hides the future: against [B, H, T, S]. */
  readonly bias?: tf.Tensor;
  /** Factor of the scores; default 1 / sqrt(D). */
  readonly scale?: number;
  readonly dropout?: number;
  readonly rng?: Rng | undefined;
}

/** @param ids [B, T] */
export function causalContext(caller: string, ids: tf.Tensor2D, options: CausalContextOptions = {}): CausalContext {
  return options.cache ? cachedContext(caller, ids, options.cache, options.window) : wholeContext(caller, ids, options);
}

/** All tokens are read now. */
function wholeContext(
  caller: string,
  ids: tf.Tensor2D,
  { start, segments, window }: CausalContextOptions,
): CausalContext {
  const [b, t] = ids.shape;
  if (start && (start.rank !== 1 || start.shape[0] !== b || start.dtype !== "int32")) {
    throw new Error(`${caller}: start is ${start.dtype} of shape [${start.shape}]; expected int32 [${b}]`);
  }
  if (segments && (segments.shape.join() !== ids.shape.join() || segments.dtype !== "int32")) {
    throw new Error(
      `${caller}: segments are ${segments.dtype} of shape [${segments.shape}]; expected int32 [${b},${t}]`,
    );
  }
  const places = range(t);
  const documents = documentsOf(t, start, segments);
  const hidden = documents || window !== undefined ? maskBias(seenTokens(t, documents, window)) : undefined;
  return {
    positions: documents ? positionsIn(t, documents) : places,
    cached: false,
    length: t,
    attend: (_, q, k, v, how = {}) =>
      attention(
        q,
        k,
        v,
        hidden ? { ...how, bias: how.bias ? how.bias.add(hidden) : hidden } : { ...how, causal: true },
      ),
    advanced: () => {
      throw new Error(`${caller}: there is no cache to advance`);
    },
  };
}

/** Whether token j of a row is no padding and belongs to the document of token i: bool [B, 1 or T, T]. */
function documentsOf(
  t: number,
  start: tf.Tensor1D | undefined,
  segments: tf.Tensor2D | undefined,
): tf.Tensor | undefined {
  const behindPadding = start && tf.greaterEqual(range(t).reshape([1, 1, t]), start.reshape([-1, 1, 1]));
  if (!segments) return behindPadding;
  const ofKeys = segments.reshape([-1, 1, t]);
  const same = tf.equal(segments.reshape([-1, t, 1]), ofKeys).logicalAnd(tf.notEqual(ofKeys, tf.scalar(0, "int32")));
  return behindPadding ? same.logicalAnd(behindPadding) : same;
}

/** int32 [B, T]: how many tokens of its document come before each token. */
function positionsIn(t: number, documents: tf.Tensor): tf.Tensor {
  const before = tf.less(range(t).reshape([1, 1, t]), range(t).reshape([1, t, 1]));
  return tf.sum(documents.logicalAnd(before).toFloat(), 2).toInt();
}

/** Which tokens see which, bool [T, T], or [B, 1, T, T] where rows differ. */
function seenTokens(t: number, documents: tf.Tensor | undefined, window: number | undefined): tf.Tensor {
  const i = range(t).reshape([t, 1]);
  const j = range(t).reshape([1, t]);
  let seen = tf.lessEqual(j, i);
  if (window !== undefined) seen = seen.logicalAnd(tf.greater(j, i.sub(tf.scalar(window, "int32"))));
  return documents ? tf.logicalAnd(seen.expandDims(0), documents).expandDims(1) : seen;
}

/** Tokens are read behind those in the cache. */
function cachedContext(caller: string, ids: tf.Tensor2D, cache: KvCache, window: number | undefined): CausalContext {
  const [b, t] = ids.shape;
  const [rows, , length] = cache.layers[0]!.k.shape;
  if (rows !== b) throw new Error(`${caller}: ids have ${b} rows; the cache has ${rows}`);
  if (t > length) throw new Error(`${caller}: ids hold ${t} tokens; the cache has room for ${length}`);
  const { lengths } = cache;
  const layers: KvCache["layers"] = [];
  const positions = tf.minimum(lengths.reshape([b, 1]).add(range(t).reshape([1, t])), tf.scalar(length - 1, "int32")); // [B, T]
  return {
    positions,
    cached: true,
    length,
    attend: (layer, q, k, v, how = {}) => {
      const past = cache.layers[layer]!;
      const { bias, scale } = how;
      if (!bias) {
        const { mixed, ...slots } = cachedAttention(q, k, v, past, lengths, { window, ...(scale ? { scale } : {}) });
        layers[layer] = slots;
        return mixed;
      }
      const slots = { k: writeSlots(past.k, k, lengths), v: writeSlots(past.v, v, lengths) };
      layers[layer] = slots;
      const hidden = maskBias(seenSlots(lengths, { queries: t, slots: length, window }).expandDims(1));
      return attention(q, slots.k, slots.v, { ...how, bias: bias.add(hidden) });
    },
    advanced: (counts) => ({
      layers,
      lengths: tf.add(lengths, counts ?? tf.scalar(t, "int32")) as tf.Tensor1D,
    }),
  };
}

/**
 * The tokens that go on behind a block's attention, of x [B, T, C]. Where only the last token's logits are asked for, the last
 * block needs the others for keys and values alone.
 */
export type Keep = (x: tf.Tensor) => tf.Tensor;

/** Of x [B, T, C] what belongs to the last of `counts` tokens in each row, [B, C]; of all T by default. */
export function lastTokens(x: tf.Tensor, counts?: tf.Tensor1D): tf.Tensor2D {
  const [b, t, c] = x.shape as [number, number, number];
  if (t === 1) return x.reshape([b, c]);
  if (!counts) return x.slice([0, t - 1, 0], [b, 1, c]).reshape([b, c]);
  const rows = tf.tensor1d(
    Int32Array.from({ length: b }, (_, i) => i * t - 1),
    "int32",
  );
  return tf.gather(x.reshape([b * t, c]), rows.add(counts).toInt() as tf.Tensor1D) as tf.Tensor2D;
}
