import * as tf from "@tensorflow/tfjs";
import { fusedOp } from "../nn/fused.ts";
import type { MatrixLayout } from "./panels.ts";

// Matrices in 4 or 8 bits a weight: blocks of 32 inputs share a scale, w = (code - 2^(bits - 1)) scale. The same numbers as
// llama.cpp's Q4_0 and Q8_0, but that codes of 8 bits use the whole range.
//
// Shapes: N outputs, K inputs of a linear layer, S block size. A unit holds 16 bits of codes, the first in its lowest bits:
// as many as float32 and thus every backend has exactly.

export type CodeBits = 4 | 8;

export const BLOCK_SIZE = 32;

/** A matrix in blocks. */
export type Blocks = {
  units: tf.Tensor3D; // int32 [N, K / S, S bits / 16], each in [0, 2^16)
  scales: tf.Tensor2D; // [N, K / S]
};

/** Rounds a matrix [N, K] or [K, N] to codes. K is a multiple of the block size, 32. */
export function toBlocks(matrix: tf.Tensor2D, bits: CodeBits, layout: MatrixLayout): Blocks {
  return tf.tidy(() => {
    const rows = layout === "out-in" ? matrix : matrix.transpose<tf.Tensor2D>();
    const [n, k] = rows.shape;
    if (k % BLOCK_SIZE !== 0) {
      throw new Error(`toBlocks: the matrix [${matrix.shape}] has ${k} inputs; expected a multiple of ${BLOCK_SIZE}`);
    }
    const half = 2 ** (bits - 1);
    const blocks = rows.reshape([n, k / BLOCK_SIZE, BLOCK_SIZE]);
    const [low, high] = [blocks.min(2, true), blocks.max(2, true)];
    // The largest weight, with its sign, gets the code 0, which lies furthest from the middle.
    const largest = tf.where(tf.greater(high, tf.neg(low)), high, low);
    const scales = largest.div(-half); // [N, K / S, 1]
    const safe = tf.where(tf.equal(scales, 0), tf.onesLike(scales), scales);
    const codes = tf.clipByValue(tf.round(blocks.div(safe)).add(half), 0, 2 * half - 1);
    const perUnit = 16 / bits;
    const places = tf.tensor1d(Array.from({ length: perUnit }, (_, i) => 2 ** (bits * i)));
    const units = codes
      .reshape([n, k / BLOCK_SIZE, BLOCK_SIZE / perUnit, perUnit])
      .mul(places)
      .sum(3);
    return { units: units.toInt() as tf.Tensor3D, scales: scales.reshape([n, k / BLOCK_SIZE]) as tf.Tensor2D };
  });
}

/** The matrix [N, K] or [K, N] that codes stand for. */
export function fromBlocks({ units, scales }: Blocks, bits: CodeBits, layout: MatrixLayout): tf.Tensor2D {
  return fusedOp("GenaiFromBlocks", { units, scales }, { bits, layout }, () =>
    tf.tidy(() => {
      const [n, blocks] = scales.shape;
      const size = 2 ** bits;
      const perUnit = 16 / bits;
      const x = units.toFloat();
      // Divisions by powers of two are exact.
      const above = Array.from({ length: perUnit + 1 }, (_, i) => tf.floor(tf.div(x, size ** i)));
      const codes = tf.stack(
        Array.from({ length: perUnit }, (_, i) => above[i]!.sub(above[i + 1]!.mul(size))),
        3,
      );
      const centred = codes.reshape([n, blocks, -1]).sub(size / 2);
      const rows = centred.mul(scales.expandDims(2)).reshape<tf.Tensor2D>([n, -1]);
      return layout === "out-in" ? rows : rows.transpose<tf.Tensor2D>();
    }),
  ) as tf.Tensor2D;
}
