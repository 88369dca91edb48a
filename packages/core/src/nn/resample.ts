import * as tf from "@tensorflow/tfjs";
import { conv2dOp } from "./conv-ops.ts";
import { customOp } from "./custom-op.ts";
import { oneHot } from "./one-hot.ts";

// tfjs' own resizing and pooling have wrong gradients here and there (half-pixel bilinear, nearest for several images,
// "same" average pooling, max pooling on wasm). These are made of reshapes, products and convolutions, which do not.

function images(caller: string, x: tf.Tensor): [number, number, number, number] {
  if (x.rank !== 4) throw new Error(`${caller}: x has shape [${x.shape}]; expected images [N, H, W, C]`);
  return x.shape as [number, number, number, number];
}

function wholeNumber(caller: string, name: string, n: number, least: number): void {
  if (!Number.isInteger(n) || n < least) {
    throw new Error(`${caller}: ${name} (${n}) must be a whole number of at least ${least}`);
  }
}

function repeatPixels(x: tf.Tensor, factor: number): tf.Tensor {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  return customOp({
    inputs: { x },
    forward: () => {
      const wide = tf.tile(tf.reshape(x, [n * h * w, 1, c]), [1, factor, 1]);
      const tall = tf.tile(tf.reshape(wide, [n * h, 1, w * factor * c]), [1, factor, 1]);
      return tf.reshape(tall, [n, h * factor, w * factor, c]);
    },
    backward: (dy) => ({ x: () => sumBlocks(dy, factor) }),
  });
}

/** Sums over blocks of factor x factor pixels; height and width must be multiples of it. */
function sumBlocks(x: tf.Tensor, factor: number): tf.Tensor {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  return customOp({
    inputs: { x },
    forward: () => {
      const rows = tf.sum(tf.reshape(x, [(n * h) / factor, factor, w * c]), 1);
      const sums = tf.sum(tf.reshape(rows, [(n * h * w) / (factor * factor), factor, c]), 1);
      return tf.reshape(sums, [n, h / factor, w / factor, c]);
    },
    backward: (dy) => ({ x: () => repeatPixels(dy, factor) }),
  });
}

/** Repeats every pixel factor x factor times. [N, H, W, C] to [N, H factor, W factor, C]. */
export function upsampleNearest(x: tf.Tensor, factor = 2): tf.Tensor {
  images("upsampleNearest", x);
  wholeNumber("upsampleNearest", "factor", factor, 1);
  return tf.tidy(() => repeatPixels(x, factor));
}

/** The matrix [to, from] of linear interpolation with half-pixel centres and clamped borders. */
function interpolationMatrix(from: number, to: number): tf.Tensor2D {
  const out = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    const at = Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
    const low = Math.floor(at);
    const high = Math.min(low + 1, from - 1);
    out[i * from + low]! += 1 - (at - low);
    out[i * from + high]! += at - low;
  }
  return tf.tensor2d(out, [to, from]);
}

/**
 * Bilinear resizing with half-pixel centres (PyTorch's `align_corners: false`), without antialiasing.
 *
 * @param x [N, H, W, C]
 * @param size [height, width] of the result
 */
export function resizeBilinear(x: tf.Tensor, size: readonly [number, number]): tf.Tensor {
  const [n, h, w, c] = images("resizeBilinear", x);
  const [height, width] = size;
  wholeNumber("resizeBilinear", "height", height, 1);
  wholeNumber("resizeBilinear", "width", width, 1);
  return tf.tidy(() => {
    // Separable: one matrix product over the height, one over the width, each with its axis in front.
    const byHeight = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [h, w * n * c]) as tf.Tensor2D;
    const tall = tf.reshape(tf.matMul(interpolationMatrix(h, height), byHeight), [height, w, n * c]);
    const byWidth = tf.reshape(tf.transpose(tall, [1, 0, 2]), [w, height * n * c]) as tf.Tensor2D;
    const wide = tf.reshape(tf.matMul(interpolationMatrix(w, width), byWidth), [width, height, n, c]);
    return tf.transpose(wide, [2, 1, 0, 3]);
  });
}

/** Bilinear upsampling by a whole factor, half-pixel centres. [N, H, W, C] to [N, H factor, W factor, C]. */
export function upsampleBilinear(x: tf.Tensor, factor = 2): tf.Tensor {
  const [, h, w] = images("upsampleBilinear", x);
  wholeNumber("upsampleBilinear", "factor", factor, 1);
  return resizeBilinear(x, [h * factor, w * factor]);
}

export interface PoolOptions {
  /** Height and width of the window (default 2). */
  readonly size?: number;
  /** Default: the size. */
  readonly stride?: number;
  /** Rows and columns added on every side (default 0): zeros, which count, for the average; minus infinity for the maximum. */
  readonly padding?: number;
}

function poolWindow(caller: string, options: PoolOptions): Required<PoolOptions> {
  const size = options.size ?? 2;
  const { stride = size, padding = 0 } = options;
  wholeNumber(caller, "size", size, 1);
  wholeNumber(caller, "stride", stride, 1);
  wholeNumber(caller, "padding", padding, 0);
  if (padding * 2 > size) throw new Error(`${caller}: padding (${padding}) must be at most half the size (${size})`);
  return { size, stride, padding };
}

/** Average over windows. [N, H, W, C] to [N, H', W', C], H' = floor((H + 2 padding - size) / stride) + 1. */
export function avgPool2d(x: tf.Tensor, options: PoolOptions = {}): tf.Tensor {
  const [, h, w, c] = images("avgPool2d", x);
  const { size, stride, padding } = poolWindow("avgPool2d", options);
  return tf.tidy(() => {
    if (stride === size && padding === 0 && h % size === 0 && w % size === 0) {
      return tf.mul(sumBlocks(x, size), 1 / (size * size));
    }
    const weight = tf.fill([c, 1, size, size], 1 / (size * size));
    return conv2dOp(x, weight, {
      strides: [stride, stride],
      pads: [padding, padding, padding, padding],
      dilations: [1, 1],
      groups: c,
    });
  });
}

/** Rows and columns start, start + stride ... of x, `count` of each. Made of ops that have gradients. */
function everyNth(x: tf.Tensor4D, start: [number, number], stride: number, count: [number, number]): tf.Tensor4D {
  const [n, , , c] = x.shape;
  const [h, w] = [count[0] * stride, count[1] * stride];
  const part = tf.slice(x, [0, start[0], start[1], 0], [n, h, w, c]);
  if (stride === 1) return part;
  const rows = tf.slice(tf.reshape(part, [n * count[0], stride, w * c]) as tf.Tensor3D, [0, 0, 0], [-1, 1, -1]);
  const pixels = tf.reshape(rows, [n * count[0] * count[1], stride, c]) as tf.Tensor3D;
  return tf.reshape(tf.slice(pixels, [0, 0, 0], [-1, 1, -1]), [n, count[0], count[1], c]) as tf.Tensor4D;
}

/** Maximum over windows; the gradient goes to the first of equal maxima. [N, H, W, C] to [N, H', W', C]. */
export function maxPool2d(x: tf.Tensor, options: PoolOptions = {}): tf.Tensor {
  const [n, h, w, c] = images("maxPool2d", x);
  const { size, stride, padding } = poolWindow("maxPool2d", options);
  const out = [h, w].map((length) => Math.floor((length + 2 * padding - size) / stride) + 1) as [number, number];
  if (out[0] < 1 || out[1] < 1)
    throw new Error(`maxPool2d: x has shape [${x.shape}], smaller than the window (${size})`);
  return tf.tidy(() => {
    // Enough columns that every tap can take whole strides; what is added beyond the last window is never read.
    const after = [0, 1].map((d) => Math.max(size - 1 + out[d]! * stride - (d === 0 ? h : w) - padding, padding));
    const pads: [number, number][] = [
      [0, 0],
      [padding, after[0]!],
      [padding, after[1]!],
      [0, 0],
    ];
    const padded = tf.pad(x as tf.Tensor4D, pads, -3e38) as tf.Tensor4D;
    const taps: tf.Tensor[] = [];
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) taps.push(tf.reshape(everyNth(padded, [i, j], stride, out), [-1]));
    }
    const windows = tf.stack(taps, 1);
    const best = oneHot(tf.argMax(windows, 1), size * size);
    return tf.reshape(tf.sum(tf.mul(windows, best), 1), [n, out[0], out[1], c]);
  });
}
