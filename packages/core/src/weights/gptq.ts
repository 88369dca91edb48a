import * as tf from "@tensorflow/tfjs";
import type { Compiled, Engine } from "../engine/engine.ts";
import { throwIfAborted } from "../errors.ts";
import { treeDispose } from "../tree.ts";
import { type CodeBits, type GroupSize, groupScale, nearestCode, packCodes } from "./blocks.ts";
import type { MatrixData, MatrixLayout } from "./panels.ts";

// GPTQ: matrices are rounded column by column, and each column makes up for what the ones before it have lost.
//
//   E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023,
//   arXiv:2210.17323
//   J. Chee et al., "QuIP: 2-Bit Quantization of Large Language Models With Guarantees", NeurIPS 2023, arXiv:2307.13304,
//   section 3.1: the form below (LDLQ), which gives the same (theorem 6) and needs no inverse
//
// A layer W that reads the inputs x of a text is off by the sum of |(W - W') x|^2 = tr (W - W') H (W - W')^T, where H is the Gram
// matrix of the inputs, the sum of x x^T. With H = U D U^T, D diagonal and U upper triangular with ones on its diagonal, that is
//
//   sum over rows and columns k of D_k (t_k - w'_k)^2,   t_k = w_k + sum over j < k of (w_j - w'_j) U_jk,
//
// so that columns are rounded from the first to the last, each t_k to the code that is nearest. A group's scale is the best for its t,
// in which each column counts by its D.
//
// Shapes: N outputs, K inputs of a linear layer, S group size.

/** Of the mean of H's diagonal, added to all of it: keeps what little text says of rare inputs from being believed. */
const DAMPING = 0.1;
/** Columns that are worked on at once on the host; products with those before are the engine's. */
const WIDTH = 128;
/** Outputs that are worked on at once: what they lack is held in float32. */
const MOST_ROWS = 4096;

/** What a layer reads. */
export interface GptqOptions {
  /** Computes the products. */
  readonly engine: Engine;
  /** [K, K]: the sum of x x^T over the layer's inputs x [K] */
  readonly gram: Float32Array;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Rounds a matrix [N, K] or [K, N] so that a layer's results change little: units and scales as in `Blocks`. K is a multiple
 * of the group size.
 *
 * @param what begins the messages of errors
 * @throws if weights or the Gram matrix are not finite, or shapes do not fit
 */
export async function gptqBlocks(
  { values, shape }: MatrixData,
  bits: CodeBits,
  layout: MatrixLayout,
  groupSize: GroupSize,
  { engine, gram, signal }: GptqOptions,
  what: string,
): Promise<{ units: Int32Array; scales: Float32Array }> {
  const [outputs, inputs] = layout === "out-in" ? shape : [shape[1], shape[0]];
  const [nextOutput, nextInput] = layout === "out-in" ? [inputs, 1] : [1, outputs];
  if (inputs % groupSize !== 0) {
    throw new Error(`${what} has ${inputs} inputs; expected a multiple of ${groupSize}`);
  }
  if (gram.length !== inputs ** 2) {
    throw new Error(`${what} has a Gram matrix of ${gram.length} numbers; expected ${inputs} x ${inputs}`);
  }
  if (!values.every(Number.isFinite)) throw new Error(`${what} has weights that are NaN or infinite; expected numbers`);
  if (!gram.every(Number.isFinite)) {
    throw new Error(
      `${what} has inputs that are NaN or infinite in the text that it is calibrated with; expected numbers`,
    );
  }
  const product = engine.compile((a: tf.Tensor2D, b: tf.Tensor2D) => tf.matMul(a, b) as tf.Tensor2D);
  try {
    const factors = await factorize(product, gram, inputs, what, signal);
    const units = new Int32Array((outputs * inputs * bits) / 32);
    const scales = new Float32Array((outputs * inputs) / groupSize);
    const weights = new Float64Array(WIDTH);
    const targets = new Float64Array(WIDTH);
    // Pieces of equal size, that the engine compiles for once.
    const rows = Math.ceil(outputs / Math.ceil(outputs / MOST_ROWS));
    for (let first = 0; first < outputs; first += rows) {
      const count = Math.min(rows, outputs - first);
      const lost = new Float32Array(rows * inputs); // W - W'
      const codes = new Int8Array(count * inputs);
      for (let start = 0; start < inputs; start += WIDTH) {
        throwIfAborted(what, signal);
        const width = Math.min(WIDTH, inputs - start);
        const before = start > 0 && (await times(product, lost, rows, columnsOf(factors.upper, inputs, start), inputs));
        for (let row = 0; row < count; row++) {
          const from = (first + row) * nextOutput + start * nextInput;
          for (let c = 0; c < width; c++) {
            weights[c] = values[from + c * nextInput]!;
            targets[c] = weights[c]! + (before ? before[row * WIDTH + c]! : 0);
          }
          const at = row * inputs + start;
          const group = (first * inputs + at) / groupSize;
          roundColumns(bits, groupSize, factors, start, {
            weights: weights.subarray(0, width),
            targets: targets.subarray(0, width),
            codes: codes.subarray(at, at + width),
            scales: scales.subarray(group, group + width / groupSize),
            lost: lost.subarray(at, at + width),
          });
        }
      }
      packCodes(codes, bits, units, (first * inputs * bits) / 32);
    }
    return { units, scales };
  } finally {
    product.dispose();
  }
}

/** A row's columns of a block. */
interface Columns {
  readonly weights: Float64Array; // w
  readonly targets: Float64Array; // t, as far as the columns before the block make it
  readonly codes: Int8Array;
  readonly scales: Float32Array; // of each group
  readonly lost: Float32Array; // w - w'
}

/** Rounds the columns from `start` on, each to what the ones before it have made of its target. */
function roundColumns(
  bits: CodeBits,
  groupSize: GroupSize,
  { upper, diagonal }: Factors,
  start: number,
  { weights, targets, codes, scales, lost }: Columns,
): void {
  const half = 2 ** (bits - 1);
  const width = targets.length;
  for (let first = 0; first < width; first += groupSize) {
    const end = first + groupSize;
    const scale = groupScale(targets.subarray(first, end), bits, diagonal.subarray(start + first, start + end));
    scales[first / groupSize] = scale;
    const inverse = scale === 0 ? 0 : 1 / scale;
    for (let c = first; c < end; c++) {
      codes[c] = nearestCode(targets[c]! * inverse, half);
      lost[c] = weights[c]! - codes[c]! * scale;
      const u = (start + c) * diagonal.length + start;
      for (let later = c + 1; later < width; later++) targets[later]! += lost[c]! * upper[u + later]!;
    }
  }
}

type Product = Compiled<[tf.Tensor2D, tf.Tensor2D], tf.Tensor2D>;

interface Factors {
  /** U [K, K], without the ones of its diagonal */
  readonly upper: Float32Array;
  /** D [K] */
  readonly diagonal: Float64Array;
}

/**
 * U and D of H = U D U^T, with H damped. Blocks of columns from the last to the
 * first; each is H's, less what the columns behind it explain.
 */
async function factorize(
  product: Product,
  gram: Float32Array,
  size: number,
  what: string,
  signal: AbortSignal | undefined,
): Promise<Factors> {
  let trace = 0;
  for (let k = 0; k < size; k++) trace += gram[k * size + k]!;
  // Inputs that are always zero say nothing: then all columns count alike.
  const damping = (DAMPING * trace) / size || 1;
  const upper = new Float32Array(size * size);
  const diagonal = new Float64Array(size);
  const panel = new Float64Array(WIDTH * size); // column by column
  for (let start = WIDTH * Math.floor((size - 1) / WIDTH); start >= 0; start -= WIDTH) {
    throwIfAborted(what, signal);
    const end = Math.min(start + WIDTH, size);
    let explained: Float32Array | undefined;
    if (end < size) {
      const right = new Float32Array(size * WIDTH); // D U^T
      for (let k = end; k < size; k++) {
        for (let c = start; c < end; c++) right[k * WIDTH + c - start] = diagonal[k]! * upper[c * size + k]!;
      }
      explained = await times(product, upper, size, right, size);
    }
    for (let i = 0; i < end; i++) {
      for (let c = start; c < end; c++) {
        const rest = gram[i * size + c]! - (explained ? explained[i * WIDTH + c - start]! : 0);
        panel[(c - start) * size + i] = i === c ? rest + damping : rest;
      }
    }
    for (let k = end - 1; k >= start; k--) {
      const column = panel.subarray((k - start) * size, (k - start) * size + k + 1);
      // No D is less than the damping but for rounding.
      const d = Math.max(column[k]!, damping);
      diagonal[k] = d;
      for (let i = 0; i < k; i++) upper[i * size + k] = column[i]! / d;
      for (let c = start; c < k; c++) {
        const share = column[c]! / d;
        const other = panel.subarray((c - start) * size, (c - start) * size + c + 1);
        for (let i = 0; i <= c; i++) other[i]! -= share * column[i]!;
      }
    }
  }
  return { upper, diagonal };
}

/** The columns of a matrix [K, K] from `start` on as one of [K, WIDTH], filled up with zeros. */
function columnsOf(matrix: Float32Array, size: number, start: number): Float32Array {
  const width = Math.min(WIDTH, size - start);
  const columns = new Float32Array(size * WIDTH);
  for (let k = 0; k < size; k++) {
    columns.set(matrix.subarray(k * size + start, k * size + start + width), k * WIDTH);
  }
  return columns;
}

/** The product of a [rows, inner] and b [inner, WIDTH]. */
async function times(
  product: Product,
  a: Float32Array,
  rows: number,
  b: Float32Array,
  inner: number,
): Promise<Float32Array> {
  const tensors = [tf.tensor2d(a, [rows, inner]), tf.tensor2d(b, [inner, WIDTH])] as const;
  let result: tf.Tensor2D | undefined;
  try {
    result = await product(...tensors);
    return (await result.data()) as Float32Array;
  } finally {
    treeDispose([tensors, result]);
  }
}
