import * as tf from "@tensorflow/tfjs";
import { fusedOp } from "../nn/fused.ts";
import type { MatrixData, MatrixLayout } from "./panels.ts";

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

/** Rounds a matrix [N, K] or [K, N] to codes: units and scales as in `Blocks`. K is a multiple of the block size, 32. */
export function toBlocks(
  { values, shape }: MatrixData,
  bits: CodeBits,
  layout: MatrixLayout,
): { units: Int32Array; scales: Float32Array } {
  const [outputs, inputs] = layout === "out-in" ? shape : [shape[1], shape[0]];
  const [nextOutput, nextInput] = layout === "out-in" ? [inputs, 1] : [1, outputs];
  if (inputs % BLOCK_SIZE !== 0) {
    throw new Error(`toBlocks: the matrix [${shape}] has ${inputs} inputs; expected a multiple of ${BLOCK_SIZE}`);
  }
  const half = 2 ** (bits - 1);
  const perUnit = 16 / bits;
  const units = new Int32Array((outputs * inputs) / perUnit);
  const scales = new Float32Array((outputs * inputs) / BLOCK_SIZE);
  for (let n = 0, block = 0, unit = 0; n < outputs; n++) {
    for (let k = 0; k < inputs; k += BLOCK_SIZE, block++) {
      const first = n * nextOutput + k * nextInput;
      // The largest weight, with its sign, gets the code 0, which lies furthest from the middle.
      let largest = 0;
      for (let i = 0; i < BLOCK_SIZE; i++) {
        const w = values[first + i * nextInput]!;
        if (Math.abs(w) > Math.abs(largest)) largest = w;
      }
      const scale = Math.fround(largest / -half);
      scales[block] = scale;
      const inverse = scale === 0 ? 0 : 1 / scale;
      for (let i = 0; i < BLOCK_SIZE; unit++) {
        let packed = 0;
        for (let place = 0; place < 16; place += bits, i++) {
          const code = Math.round(values[first + i * nextInput]! * inverse) + half;
          packed |= Math.max(0, Math.min(2 * half - 1, code)) << place;
        }
        units[unit] = packed;
      }
    }
  }
  return { units, scales };
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
