import * as tf from "@tensorflow/tfjs";
import { fusedOp } from "../nn/fused.ts";
import type { MatrixData, MatrixLayout } from "./panels.ts";

// Matrices in 4 or 8 bits a weight: groups of inputs, the blocks of a row, share a scale and a zero point, w = (code - zero point)
// scale. What is rounded here has its zero points in the middle of the codes, 2^(bits - 1): in groups of 32 this is the form of
// llama.cpp's Q4_0 and Q8_0, but that codes of 8 bits use the whole range. Others' matrices may have them anywhere.
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
  zeroPoints?: tf.Tensor2D; // int32 [N, K / S], each a code; without them all are 2^(bits - 1)
};

/**
 * Rounds a matrix [N, K] or [K, N] to codes: units and scales as in `Blocks`. K is a multiple of the group size.
 *
 * @param what begins the messages of errors
 */
export function toBlocks(
  { values, shape }: MatrixData,
  bits: CodeBits,
  layout: MatrixLayout,
  groupSize: GroupSize = MIN_GROUP_SIZE,
  what = `toBlocks: the matrix [${shape}]`,
): { units: Int32Array; scales: Float32Array } {
  const [outputs, inputs] = layout === "out-in" ? shape : [shape[1], shape[0]];
  const [nextOutput, nextInput] = layout === "out-in" ? [inputs, 1] : [1, outputs];
  if (inputs % groupSize !== 0) {
    throw new Error(`${what} has ${inputs} inputs; expected a multiple of ${groupSize}`);
  }
  const units = new Int32Array((outputs * inputs * bits) / 32);
  const scales = new Float32Array((outputs * inputs) / groupSize);
  const group = new Float64Array(groupSize);
  const codes = new Int8Array(inputs);
  const half = 2 ** (bits - 1);
  for (let n = 0, block = 0; n < outputs; n++) {
    for (let k = 0; k < inputs; k += groupSize, block++) {
      const first = n * nextOutput + k * nextInput;
      let zero = 0;
      for (let i = 0; i < groupSize; i++) {
        group[i] = values[first + i * nextInput]!;
        zero += group[i]! * 0;
      }
      if (zero !== 0) throw new Error(`${what} has weights that are NaN or infinite; expected numbers`);
      const scale = groupScale(group, bits);
      scales[block] = scale;
      const inverse = scale === 0 ? 0 : 1 / scale;
      for (let i = 0; i < groupSize; i++) codes[k + i] = nearestCode(group[i]! * inverse, half);
    }
    packCodes(codes, bits, units, (n * inputs * bits) / 32);
  }
  return { units, scales };
}

/** Writes codes from -2^(bits - 1) as units, from `first` on. */
export function packCodes(codes: Int8Array, bits: CodeBits, units: Int32Array, first: number): void {
  const half = 2 ** (bits - 1);
  for (let unit = first, i = 0; i < codes.length; unit++) {
    let packed = 0;
    for (let place = 0; place < 32; place += bits, i++) packed |= (codes[i]! + half) << place;
    units[unit] = packed;
  }
}

/** The scale of a group of weights; in 4 bits that of a small squared error, in which each weight counts by its importance. */
export function groupScale(group: Float64Array, bits: CodeBits, importance?: Float64Array): number {
  const half = 2 ** (bits - 1);
  return Math.fround(bits === 4 ? closestScale(group, half, importance) : largestOf(group) / -half);
}

/** The weight of the largest magnitude, with its sign: it gets the code 0, which lies furthest from the middle. */
function largestOf(group: Float64Array): number {
  let largest = 0;
  for (const w of group) if (Math.abs(w) > Math.abs(largest)) largest = w;
  return largest;
}

/**
 * A scale s with a small sum of (w - c s)^2, each term times its importance. The largest weight is tried at several places
 * from one step within the codes to two beyond them, where it is cut off and the others get finer steps. For the codes c that
 * each gives, the best scale is sum(w c) / sum(c^2), which explains sum(w c)^2 / sum(c^2) of the sum of squares. (As
 * llama.cpp's make_qx_quants.)
 */
function closestScale(group: Float64Array, half: number, importance?: Float64Array): number {
  const largest = largestOf(group);
  let best = largest / -half;
  if (largest === 0) return best;
  let mostExplained = 0;
  for (const place of [0, -1, -0.5, 0.5, 1, 1.5, 2]) {
    const inverse = -(half + place) / largest;
    let products = 0;
    let squares = 0;
    for (let i = 0; i < group.length; i++) {
      const w = group[i]!;
      const code = nearestCode(w * inverse, half);
      const weighted = importance ? code * importance[i]! : code;
      products += w * weighted;
      squares += code * weighted;
    }
    const explained = (products * products) / squares;
    if (explained > mostExplained) {
      mostExplained = explained;
      best = products / squares;
    }
  }
  return best;
}

/** The nearest whole number from -half to half - 1. Float64 has no fractions beyond 2^52: faster than Math.round. */
export function nearestCode(x: number, half: number): number {
  const whole = x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
  if (whole < -half) return -half;
  return whole < half ? whole : half - 1;
}

/** The matrix [N, K] or [K, N] that codes stand for. */
export function fromBlocks({ units, scales, zeroPoints }: Blocks, bits: CodeBits, layout: MatrixLayout): tf.Tensor2D {
  return fusedOp("GenaiFromBlocks", { units, scales, ...(zeroPoints && { zeroPoints }) }, { bits, layout }, () =>
    tf.tidy(() => {
      const [outputs] = scales.shape;
      const zeros = zeroPoints?.dataSync() as Int32Array | undefined;
      const weights = decode(units.dataSync() as Int32Array, scales.dataSync() as Float32Array, zeros, bits);
      const rows = tf.tensor2d(weights, [outputs, weights.length / outputs]);
      return layout === "out-in" ? rows : rows.transpose<tf.Tensor2D>();
    }),
  ) as tf.Tensor2D;
}

function decode(
  units: Int32Array,
  scales: Float32Array,
  zeroPoints: Int32Array | undefined,
  bits: CodeBits,
): Float32Array {
  const weights = new Float32Array((units.length * 32) / bits);
  const groupSize = weights.length / scales.length;
  const half = 2 ** (bits - 1);
  const mask = 2 * half - 1;
  for (let block = 0, unit = 0, i = 0; block < scales.length; block++) {
    const scale = scales[block]!;
    const zero = zeroPoints ? zeroPoints[block]! : half;
    for (const end = i + groupSize; i < end; unit++) {
      const packed = units[unit]!;
      for (let place = 0; place < 32; place += bits, i++) weights[i] = (((packed >>> place) & mask) - zero) * scale;
    }
  }
  return weights;
}
