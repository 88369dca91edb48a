import * as tf from "@tensorflow/tfjs";
import { hasKernel } from "./custom-op.ts";
import type { Conv2dAttrs } from "./fused.ts";

// The three convolution ops out of ordinary tfjs ops, for backends without kernels of their own for them. tfjs' own
// convolutions do the work where they can; they know no groups, no asymmetric padding, no stride together with dilation,
// no gradient with dilation, and on wasm no gradient of the filter. What they cannot do becomes slices and matrix products.

type Shape4 = [number, number, number, number];

const shape4 = (t: tf.Tensor) => t.shape as Shape4;

function padImages(x: tf.Tensor, [top, left, bottom, right]: Conv2dAttrs["pads"]): tf.Tensor4D {
  if (top + left + bottom + right === 0) return x as tf.Tensor4D;
  const pads: [number, number][] = [
    [0, 0],
    [top, bottom],
    [left, right],
    [0, 0],
  ];
  return tf.pad(x, pads) as tf.Tensor4D;
}

/** Height and width of the output. */
export function convOutputSize(
  inputShape: readonly number[],
  kernel: readonly [number, number],
  { strides, pads, dilations }: Conv2dAttrs,
): [number, number] {
  const size = (n: number, before: number, after: number, k: number, s: number, d: number) =>
    Math.floor((n + before + after - d * (k - 1) - 1) / s) + 1;
  return [
    size(inputShape[1]!, pads[0], pads[2], kernel[0], strides[0], dilations[0]),
    size(inputShape[2]!, pads[1], pads[3], kernel[1], strides[1], dilations[1]),
  ];
}

/** The part of the padded images that tap (i, j) of the kernel is multiplied with: [N, outH, outW, C]. */
function tapView(padded: tf.Tensor4D, i: number, j: number, out: [number, number], a: Conv2dAttrs): tf.Tensor4D {
  const [n, , , c] = shape4(padded);
  const top = i * a.dilations[0];
  const left = j * a.dilations[1];
  const [sh, sw] = a.strides;
  if (sh === 1 && sw === 1) return tf.slice(padded, [0, top, left, 0], [n, out[0], out[1], c]);
  const bottom = top + (out[0] - 1) * sh + 1;
  const right = left + (out[1] - 1) * sw + 1;
  return tf.stridedSlice(padded, [0, top, left, 0], [n, bottom, right, c], [1, sh, sw, 1]) as tf.Tensor4D;
}

/** The transpose of `tapView`: puts dy where tap (i, j) read, zeros elsewhere. */
function placeTap(dy: tf.Tensor4D, i: number, j: number, padded: [number, number], a: Conv2dAttrs): tf.Tensor4D {
  const spread = spreadPixels(dy, a.strides);
  const [, h, w] = shape4(spread);
  const top = i * a.dilations[0];
  const left = j * a.dilations[1];
  return padImages(spread, [top, left, padded[0] - top - h, padded[1] - left - w]);
}

/** Puts stride - 1 zeros between neighbouring pixels. */
function spreadPixels(x: tf.Tensor4D, [sh, sw]: [number, number]): tf.Tensor4D {
  if (sh === 1 && sw === 1) return x;
  const [n, h, w, c] = shape4(x);
  const tall = tf.pad(tf.reshape(x, [n * h, 1, w * c]), [
    [0, 0],
    [0, sh - 1],
    [0, 0],
  ]);
  const wide = tf.pad(tf.reshape(tall, [n * h * sh * w, 1, c]), [
    [0, 0],
    [0, sw - 1],
    [0, 0],
  ]);
  const size: Shape4 = [n, (h - 1) * sh + 1, (w - 1) * sw + 1, c];
  return tf.slice(tf.reshape(wide, [n, h * sh, w * sw, c]) as tf.Tensor4D, [0, 0, 0, 0], size);
}

const eachTap = <T>(kh: number, kw: number, fn: (i: number, j: number) => T): T[] =>
  Array.from({ length: kh * kw }, (_, tap) => fn(Math.floor(tap / kw), tap % kw));

/** Their sum, two by two: on webgpu addN of many tensors binds more buffers than a shader may have, and gives zeros. */
const sumOf = (parts: tf.Tensor[]): tf.Tensor => parts.reduce((sum, part) => tf.add(sum, part));

/** Patches [N * outH * outW, kh * kw * C]. */
function im2col(padded: tf.Tensor4D, kernel: [number, number], out: [number, number], a: Conv2dAttrs): tf.Tensor2D {
  const [n, , , c] = shape4(padded);
  const rows = n * out[0] * out[1];
  const taps = eachTap(kernel[0], kernel[1], (i, j) => tf.reshape(tapView(padded, i, j, out, a), [rows, c]));
  return (taps.length === 1 ? taps[0]! : tf.concat(taps, 1)) as tf.Tensor2D;
}

const isDilated = (a: Conv2dAttrs) => a.dilations[0] > 1 || a.dilations[1] > 1;
const isStrided = (a: Conv2dAttrs) => a.strides[0] > 1 || a.strides[1] > 1;
const isDepthwise = (inChannels: number, weightShape: readonly number[], a: Conv2dAttrs) =>
  a.groups > 1 && a.groups === inChannels && weightShape[1] === 1;

const splitChannels = (x: tf.Tensor, groups: number) => tf.split(x, groups, 3);
const splitOut = (weight: tf.Tensor, groups: number) => tf.split(weight, groups, 0);

/** `conv2dOp` forward. */
export function composedConv2d(x: tf.Tensor, weight: tf.Tensor, a: Conv2dAttrs): tf.Tensor {
  const [o, , kh, kw] = shape4(weight);
  const [n, , , c] = shape4(x);
  if (isDepthwise(c, weight.shape, a) && !(isDilated(a) && isStrided(a))) {
    const filter = tf.transpose(tf.reshape(weight, [c, o / c, kh, kw]), [2, 3, 0, 1]) as tf.Tensor4D;
    return tf.depthwiseConv2d(padImages(x, a.pads), filter, a.strides, "valid", "NHWC", a.dilations);
  }
  if (a.groups > 1) {
    const one = { ...a, groups: 1 };
    const weights = splitOut(weight, a.groups);
    return tf.concat(
      splitChannels(x, a.groups).map((part, g) => composedConv2d(part, weights[g]!, one)),
      3,
    );
  }
  const padded = padImages(x, a.pads);
  if (isDilated(a) && isStrided(a)) {
    const out = convOutputSize(x.shape, [kh, kw], a);
    const columns = im2col(padded, [kh, kw], out, a);
    const matrix = tf.reshape(tf.transpose(weight, [2, 3, 1, 0]), [kh * kw * c, o]);
    return tf.reshape(tf.matMul(columns, matrix as tf.Tensor2D), [n, out[0], out[1], o]);
  }
  const filter = tf.transpose(weight, [2, 3, 1, 0]) as tf.Tensor4D;
  return tf.conv2d(padded, filter, a.strides, "valid", "NHWC", a.dilations);
}

/** The gradient of a convolution with respect to its images. */
export function composedConv2dInputGrad(
  dy: tf.Tensor,
  weight: tf.Tensor,
  a: Conv2dAttrs,
  inputShape: readonly number[],
): tf.Tensor {
  const [o, , kh, kw] = shape4(weight);
  const [n, h, w, c] = inputShape as Shape4;
  const [top, left, bottom, right] = a.pads;
  const padded: [number, number] = [h + top + bottom, w + left + right];
  const crop = (x: tf.Tensor) => tf.slice(x as tf.Tensor4D, [0, top, left, 0], [n, h, w, c]);
  const [, outH, outW] = shape4(dy);

  if (isDepthwise(c, weight.shape, a)) {
    const m = o / c;
    const filter = tf.transpose(tf.reshape(weight, [c, m, kh, kw]), [2, 3, 0, 1]); // [kh, kw, C, m]
    const taps = eachTap(kh, kw, (i, j) => {
      const tap = tf.reshape(tf.slice(filter, [i, j, 0, 0], [1, 1, c, m]), [c * m]);
      const product = tf.sum(tf.reshape(tf.mul(dy, tap), [n * outH * outW, c, m]), 2);
      return placeTap(tf.reshape(product, [n, outH, outW, c]), i, j, padded, a);
    });
    return crop(sumOf(taps));
  }
  if (a.groups > 1) {
    const one = { ...a, groups: 1 };
    const weights = splitOut(weight, a.groups);
    const partShape = [n, h, w, c / a.groups];
    return tf.concat(
      splitChannels(dy, a.groups).map((part, g) => composedConv2dInputGrad(part, weights[g]!, one, partShape)),
      3,
    );
  }
  if (isDilated(a)) {
    const flat = tf.reshape(dy, [n * outH * outW, o]) as tf.Tensor2D;
    const filter = tf.transpose(weight, [2, 3, 0, 1]); // [kh, kw, O, C]
    const taps = eachTap(kh, kw, (i, j) => {
      const tap = tf.reshape(tf.slice(filter, [i, j, 0, 0], [1, 1, o, c]), [o, c]) as tf.Tensor2D;
      return placeTap(tf.reshape(tf.matMul(flat, tap), [n, outH, outW, c]), i, j, padded, a);
    });
    return crop(sumOf(taps));
  }
  const filter = tf.transpose(weight, [2, 3, 1, 0]) as tf.Tensor4D;
  return crop(tf.conv2dTranspose(dy as tf.Tensor4D, filter, [n, padded[0], padded[1], c], a.strides, "valid"));
}

/** The gradient of a convolution with respect to its filter. */
export function composedConv2dFilterGrad(
  x: tf.Tensor,
  dy: tf.Tensor,
  a: Conv2dAttrs,
  filterShape: readonly number[],
): tf.Tensor {
  const [o, , kh, kw] = filterShape as Shape4;
  const [n, , , c] = shape4(x);
  const [, outH, outW] = shape4(dy);
  const out: [number, number] = [outH, outW];

  if (isDepthwise(c, filterShape, a)) {
    const m = o / c;
    const padded = padImages(x, a.pads);
    const grouped = tf.reshape(dy, [n * outH * outW, c, m]);
    const taps = eachTap(kh, kw, (i, j) => {
      const view = tf.reshape(tapView(padded, i, j, out, a), [n * outH * outW, c, 1]);
      return tf.reshape(tf.sum(tf.mul(grouped, view), 0), [o]);
    });
    return tf.reshape(tf.stack(taps, 1), [o, 1, kh, kw]);
  }
  if (a.groups > 1) {
    const one = { ...a, groups: 1 };
    const partShape = [o / a.groups, c / a.groups, kh, kw];
    const dys = splitChannels(dy, a.groups);
    return tf.concat(
      splitChannels(x, a.groups).map((part, g) => composedConv2dFilterGrad(part, dys[g]!, one, partShape)),
      0,
    );
  }
  const padded = padImages(x, a.pads);
  if (!isDilated(a) && hasKernel("Conv2DBackpropFilter")) {
    const attrs = { strides: a.strides, pad: "valid", dataFormat: "NHWC", filterShape: [kh, kw, c, o] };
    const filter = tf.engine().runKernel("Conv2DBackpropFilter", { x: padded, dy }, attrs) as tf.Tensor4D;
    return tf.transpose(filter, [3, 2, 0, 1]);
  }
  const columns = im2col(padded, [kh, kw], out, a);
  // Transposed explicitly: the wasm backend's matrix product is slow with transposed operands.
  const rows = tf.transpose(tf.reshape(dy, [n * outH * outW, o])) as tf.Tensor2D;
  return tf.transpose(tf.reshape(tf.matMul(rows, columns), [o, kh, kw, c]), [0, 3, 1, 2]);
}
