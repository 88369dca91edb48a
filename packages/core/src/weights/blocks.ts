import * as tf from "@tensorflow/tfjs";
import { fusedOp } from "../nn/fused.ts";
import type { MatrixData, MatrixLayout } from "./panels.ts";

// Matrices in 4 or 8 bits a weight: blocks of 32 inputs share a scale, w = (code - 2^(bits - 1)) scale. The same numbers as
// llama.cpp's Q4_0 and Q8_0, but that codes of 8 bits use the whole range.
//
// Shapes: N outputs, K inputs of a linear layer, S block size. A unit holds 32 bits of codes, the first in its lowest bits, so
// that the bytes are in the order that ONNX Runtime reads, and take no more memory than they have to. Backends on GPUs keep
// int32 as float32, which has 24 bits: nothing may be computed with units but on the host.

export type CodeBits = 4 | 8;

export const BLOCK_SIZE = 32;

/** A matrix in blocks. */
export type Blocks = {
  units: tf.Tensor3D; // int32 [N, K / S, S bits / 32]
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
  const perUnit = 32 / bits;
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
        for (let place = 0; place < 32; place += bits, i++) {
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
      const [outputs, blocks] = scales.shape;
      const weights = decode(units.dataSync() as Int32Array, scales.dataSync() as Float32Array, bits);
      const rows = tf.tensor2d(weights, [outputs, blocks * BLOCK_SIZE]);
      return layout === "out-in" ? rows : rows.transpose<tf.Tensor2D>();
    }),
  ) as tf.Tensor2D;
}

function decode(units: Int32Array, scales: Float32Array, bits: CodeBits): Float32Array {
  const weights = new Float32Array(scales.length * BLOCK_SIZE);
  const half = 2 ** (bits - 1);
  const mask = 2 * half - 1;
  for (let block = 0, unit = 0, i = 0; block < scales.length; block++) {
    const scale = scales[block]!;
    for (const end = i + BLOCK_SIZE; i < end; unit++) {
      const packed = units[unit]!;
      for (let place = 0; place < 32; place += bits, i++) weights[i] = (((packed >>> place) & mask) - half) * scale;
    }
  }
  return weights;
}
