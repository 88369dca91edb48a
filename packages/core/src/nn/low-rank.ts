import * as tf from "@tensorflow/tfjs";
import type { Rng } from "../rng.ts";
import { dropout } from "./dropout.ts";

/** scale B A, which is added to a matrix [out, in] without being formed (LoRA, Hu et al. 2022, arXiv:2106.09685). */
export interface LowRankTerm {
  /** A, [r, in] */
  readonly a: tf.Tensor;
  /** B, [out, r] */
  readonly b: tf.Tensor;
  readonly scale: number;
  /** The share of what A reads that is dropped, in [0, 1); acts only with `rng`. Default 0. */
  readonly dropout?: number;
  readonly rng?: Rng;
}

/**
 * y + scale B A x: what a layer with a low-rank term computes, given what it computes without.
 *
 * @param x [N, in]
 * @param y [N, out]
 */
export function addLowRank(term: LowRankTerm, x: tf.Tensor, y: tf.Tensor): tf.Tensor {
  const { a, b, scale, rng, dropout: rate = 0 } = term;
  const [inDim, outDim] = [x.shape[1]!, y.shape[1]!];
  if (a.shape[1] !== inDim || b.shape[0] !== outDim || a.shape[0] !== b.shape[1]) {
    throw new Error(
      `addLowRank: a has shape [${a.shape}] and b [${b.shape}]; expected [r, ${inDim}] and [${outDim}, r]`,
    );
  }
  return tf.tidy(() => {
    const down = tf.matMul(dropout(x, rate, rng) as tf.Tensor2D, a as tf.Tensor2D, false, true); // [N, r]
    return tf.add(y, tf.mul(tf.matMul(down, b as tf.Tensor2D, false, true), scale));
  });
}
