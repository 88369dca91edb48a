import * as tf from "@tensorflow/tfjs";
import { attention, maskBias } from "./attention.ts";
import { fusedOp } from "./fused.ts";
import { type RopeTables, rotateHalves } from "./positions.ts";

// Attention of a decoder that remembers keys and values of the tokens it has read, in tensors of a fixed length.
//
// Shapes: B batch, H query heads, G key/value heads, T new tokens, L slots of the cache, D head dimension.

/** Keys or values [B, G, L, D] of one layer; of row b the first `lengths[b]` slots are in use. */
export interface CachedKeysAndValues {
  readonly k: tf.Tensor4D;
  readonly v: tf.Tensor4D;
}

export interface CachedAttentionOptions {
  /** A token sees itself and the window - 1 before it; all before it by default. */
  readonly window?: number | undefined;
  /** Factor of the scores; default 1 / sqrt(D). */
  readonly scale?: number;
}

/**
 * Attention of new tokens to those in a cache, to each other causally and to themselves.
 *
 * @param q [B, H, T, D]
 * @param k [B, G, T, D]
 * @param v [B, G, T, D]
 * @param past slots [B, G, L, D]
 * @param lengths int32 [B]: how many slots of each row are in use. Kept within [0, L - T].
 * @returns `mixed` [B, H, T, D], and the slots with the new tokens in them
 */
export function cachedAttention(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  past: CachedKeysAndValues,
  lengths: tf.Tensor1D,
  options: CachedAttentionOptions = {},
): { mixed: tf.Tensor4D } & CachedKeysAndValues {
  const [b, h, t, d] = q.shape;
  const [pb, g, l, pd] = past.k.shape;
  if (pb !== b || pd !== d || h % g !== 0 || `${k.shape}` !== `${[b, g, t, d]}` || `${v.shape}` !== `${k.shape}`) {
    throw new Error(
      `cachedAttention: q [${q.shape}], k [${k.shape}], v [${v.shape}] and the cache [${past.k.shape}] do not fit together`,
    );
  }
  if (t > l) throw new Error(`cachedAttention: ${t} new tokens; the cache has ${l} slots`);
  return tf.tidy(() => {
    const used = tf.minimum(tf.maximum(lengths, int(0)), int(l - t)) as tf.Tensor1D;
    const { window, scale = 1 / Math.sqrt(d) } = options;
    const composed = () => {
      // Nothing can have been read before: no slot is hidden but those of the future.
      if (t === l && window === undefined) return [attention(q, k, v, { causal: true, scale }), k.clone(), v.clone()];
      const slots = { k: writeSlots(past.k, k, used), v: writeSlots(past.v, v, used) };
      const bias = maskBias(seenSlots(used, { queries: t, slots: l, window }).expandDims(1));
      return [attention(q, slots.k, slots.v, { bias, scale }), slots.k, slots.v];
    };
    // One runtime operator reads one token a row, or the tokens of one row.
    const fusable = (t === 1 || b === 1) && d % 8 === 0;
    const inputs = { q, k, v, pastK: past.k, pastV: past.v, lengths: used };
    const [mixed, newK, newV] = fusable
      ? fusedOp("GenaiCachedAttention", inputs, { scale, window: window ?? 0 }, composed)
      : composed();
    return { mixed: mixed as tf.Tensor4D, k: newK as tf.Tensor4D, v: newV as tf.Tensor4D };
  });
}

/**
 * Rotates queries or keys of new tokens as `applyRope` does, by positions that rows have of their own. Without a gradient on engines
 * that have an operator for it.
 *
 * @param x [B, H, T, D]
 * @param tables of L positions
 * @param positions int32 [B, T] in [0, L)
 */
export function cachedRope(x: tf.Tensor4D, tables: RopeTables, positions: tf.Tensor2D): tf.Tensor4D {
  const [b, , t, d] = x.shape;
  const { cos, sin } = tables;
  if (`${positions.shape}` !== `${[b, t]}` || cos.shape[1] * 2 !== d) {
    throw new Error(
      `cachedRope: x [${x.shape}], positions [${positions.shape}] and tables [${cos.shape}] do not fit together`,
    );
  }
  return fusedOp("GenaiCachedRope", { x, cos, sin, positions }, {}, () =>
    tf.tidy(() => {
      const [atCos, atSin] = [cos, sin].map((table) => tf.gather(table, positions).expandDims(1));
      return rotateHalves(x, atCos!, atSin!) as tf.Tensor4D;
    }),
  );
}

/** Writes x [B, G, T, D] into slots [B, G, L, D], those of row b from `lengths[b]` (int32 [B]) on. */
export function writeSlots(slots: tf.Tensor4D, x: tf.Tensor4D, lengths: tf.Tensor1D): tf.Tensor4D {
  const [b, g, l, d] = slots.shape;
  const t = x.shape[2];
  return tf.tidy(() => {
    // A row of the flattened cache for each (batch, head, token), but for the row's length.
    const rows = Int32Array.from({ length: b * g * t }, (_, n) => Math.floor(n / t) * l + (n % t));
    const at = tf.add(tf.tensor2d(rows, [b, g * t], "int32"), lengths.reshape([b, 1]));
    const flat = tf.tensorScatterUpdate(slots.reshape([-1, d]), at.reshape([-1, 1]).toInt(), x.reshape([-1, d]));
    return flat.reshape([b, g, l, d]) as tf.Tensor4D;
  });
}

/**
 * `tensor` with the slices at `indices` replaced. A donated tensor is written to where it is, without a copy: nothing else of
 * a compiled function may read it.
 *
 * @param indices int32 [N, R]: places along the first R axes; of places that are named twice any update counts
 * @param updates [N, ...the other axes]
 */
export function scatterInto(tensor: tf.Tensor4D, indices: tf.Tensor2D, updates: tf.Tensor): tf.Tensor4D {
  return fusedOp("GenaiScatterInto", { tensor, indices, updates }, {}, () =>
    tf.tensorScatterUpdate(tensor, indices, updates),
  ) as tf.Tensor4D;
}

/** Which slots new tokens see, bool [B, T, L]: those up to their own, the latest `window` of them. */
export function seenSlots(
  lengths: tf.Tensor1D,
  of: { readonly queries: number; readonly slots: number; readonly window?: number | undefined },
): tf.Tensor3D {
  return tf.tidy(() => {
    const own = lengths.reshape([-1, 1, 1]).add(range(of.queries).reshape([1, -1, 1])); // [B, T, 1]
    const slot = range(of.slots).reshape([1, 1, -1]);
    const seen = tf.lessEqual(slot, own);
    if (of.window === undefined) return seen as tf.Tensor3D;
    return tf.logicalAnd(seen, tf.greater(slot, own.sub(int(of.window)))) as tf.Tensor3D;
  });
}

const int = (n: number): tf.Scalar => tf.scalar(n, "int32");
const range = (n: number): tf.Tensor =>
  tf.tensor1d(
    Int32Array.from({ length: n }, (_, i) => i),
    "int32",
  );
