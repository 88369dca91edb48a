import * as tf from "@tensorflow/tfjs";
import { fusedOp } from "../nn/fused.ts";
import type { MatrixData, MatrixLayout } from "./panels.ts";

// Matrices in 4 or 8 bits a weight: groups of inputs, the blocks of a row, share a scale, w = (code - 2^(bits - 1)) scale. In
// groups of 32 these are the numbers of llama.cpp's Q4_0 and Q8_0, but that codes of 8 bits use the whole range.
//
// Shapes: N outputs, K inputs of a linear layer, S group size. A unit holds 32 bits of codes, the first in its lowest bits, so
// that the bytes are in the order that ONNX Runtime reads, and take no more memory than they have to. Backends on GPUs keep
// int32 as float32, which has 24 bits: nothing may be computed with units but on the host.

export type CodeBits = 4 | 8;

/** Inputs that share a scale: few follow the weights more closely, many are smaller and faster. */
export type GroupSize = 32 | 64 | 128;
export const GROUP_SIZES: readonly GroupSize[] = [32, 64, 128];
export const MIN_GROUP_SIZE = 32;

/** A matrix in blocks. */
export type Blocks = {
  units: tf.Tensor3D; // int32 [N, K / S, S bits / 32]
  scales: tf.Tensor2D; // [N, K / S]
};

/** Rounds a matrix [N, K] or [K, N] to codes: units and scales as in `Blocks`. K is a multiple of the group size. */
export function toBlocks(
  { values, shape }: MatrixData,
  bits: CodeBits,
  layout: MatrixLayout,
  groupSize: GroupSize = MIN_GROUP_SIZE,
): { units: Int32Array; scales: Float32Array } {
  const [outputs, inputs] = layout === "out-in" ? shape : [shape[1], shape[0]];
  const [nextOutput, nextInput] = layout === "out-in" ? [inputs, 1] : [1, outputs];
  if (inputs % groupSize !== 0) {
    throw new Error(`toBlocks: the matrix [${shape}] has ${inputs} inputs; expected a multiple of ${groupSize}`);
  }
  const half = 2 ** (bits - 1);
  const perUnit = 32 / bits;
  const units = new Int32Array((outputs * inputs) / perUnit);
  const scales = new Float32Array((outputs * inputs) / groupSize);
  for (let n = 0, block = 0, unit = 0; n < outputs; n++) {
    for (let k = 0; k < inputs; k += groupSize, block++) {
      const first = n * nextOutput + k * nextInput;
      // The largest weight, with its sign, gets the code 0, which lies furthest from the middle.
      let largest = 0;
      for (let i = 0; i < groupSize; i++) {
        const w = values[first + i * nextInput]!;
        if (Math.abs(w) > Math.abs(largest)) largest = w;
      }
      const scale = Math.fround(largest / -half);
      scales[block] = scale;
      const inverse = scale === 0 ? 0 : 1 / scale;
      for (let i = 0; i < groupSize; unit++) {
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
      const [outputs] = scales.shape;
      const weights = decode(units.dataSync() as Int32Array, scales.dataSync() as Float32Array, bits);
      const rows = tf.tensor2d(weights, [outputs, weights.length / outputs]);
      return layout === "out-in" ? rows : rows.transpose<tf.Tensor2D>();
    }),
  ) as tf.Tensor2D;
}

function decode(units: Int32Array, scales: Float32Array, bits: CodeBits): Float32Array {
  const weights = new Float32Array((units.length * 32) / bits);
  const groupSize = weights.length / scales.length;
  const half = 2 ** (bits - 1);
  const mask = 2 * half - 1;
  for (let block = 0, unit = 0, i = 0; block < scales.length; block++) {
    const scale = scales[block]!;
    for (const end = i + groupSize; i < end; unit++) {
      const packed = units[unit]!;
      for (let place = 0; place < 32; place += bits, i++) weights[i] = (((packed >>> place) & mask) - half) * scale;
    }
  }
  return weights;
}
