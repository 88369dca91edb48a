import * as tf from "@tensorflow/tfjs";
import { customOp } from "./custom-op.ts";
import { fusedOp } from "./fused.ts";
import type { LowRankTerm } from "./low-rank.ts";
import { oneHot } from "./one-hot.ts";

/** Sums the rows of dy [N, D] into a matrix [rows, D] by ids [N]: the transpose of `gatherRows`. */
function scatterRows(ids: tf.Tensor, dy: tf.Tensor, rows: number): tf.Tensor {
  return customOp({
    inputs: { dy },
    constants: { ids },
    forward: () =>
      fusedOp("GenaiGatherRowsGrad", { ids, dy }, { rows }, () => {
        const n = ids.size;
        // A small product is exact and in a fixed order on every backend. A large one would be mostly zeros; tfjs'
        // scatterND adds up repeated rows on all of its backends, and unlike segment sums exists on all of them.
        if (n * rows <= 1 << 16) {
          return tf.matMul(tf.transpose(oneHot(ids, rows)), dy as tf.Tensor2D);
        }
        return tf.scatterND(tf.reshape(ids, [n, 1]), dy, [rows, dy.shape[1]!]);
      }),
    backward: (d2, { ids }) => ({ dy: () => gatherRows(d2, ids) }),
  });
}

/** Rows of `table` [rows, D] by ids [N], with a gradient on every backend. */
function gatherRows(table: tf.Tensor, ids: tf.Tensor): tf.Tensor {
  const rows = table.shape[0]!;
  return customOp({
    inputs: { table },
    constants: { ids },
    forward: () => tf.gather(table, ids as tf.Tensor1D),
    backward: (dy, { ids }) => ({ table: () => scatterRows(ids, dy, rows) }),
  });
}

/**
 * Looks up vectors by id.
 *
 * Ids are not checked against the table's size: reading them would stall the GPU. Check them on the host, where they
 * come from; out-of-range ids give NaN, zeros or an error, depending on the backend.
 *
 * @param p `weight` [num, dim], `lowRank` (optional; B [num, r], A [r, dim], nothing dropped)
 * @param ids int32 [...]
 * @returns [..., dim]
 */
export function embedding(
  p: { readonly weight: tf.Tensor; readonly lowRank?: LowRankTerm },
  ids: tf.Tensor,
): tf.Tensor {
  if (p.weight.rank !== 2) throw new Error(`embedding: weight has shape [${p.weight.shape}]; expected [num, dim]`);
  if (ids.dtype !== "int32") throw new Error(`embedding: ids have dtype ${ids.dtype}; expected int32`);
  return tf.tidy(() => {
    const flat = tf.reshape(ids, [ids.size]);
    let rows = gatherRows(p.weight, flat);
    if (p.lowRank) {
      const { a, b, scale } = p.lowRank;
      rows = tf.add(rows, tf.mul(tf.matMul(gatherRows(b, flat) as tf.Tensor2D, a as tf.Tensor2D), scale));
    }
    return tf.reshape(rows, [...ids.shape, p.weight.shape[1]!]);
  });
}
