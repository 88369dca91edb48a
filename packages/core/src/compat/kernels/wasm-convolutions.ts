import * as tf from "@tensorflow/tfjs";
import { allocate, floats, type WasmBackend } from "./wasm-heap.ts";
import { addKernel, composed, wrapKernel } from "./wrap-kernel.ts";

type ConvInfo = tf.backend_util.Conv2DInfo;

interface ConvAttrs {
  readonly strides: [number, number] | number;
  readonly pad: "valid" | "same" | number | tf.backend_util.ExplicitPadding;
  readonly dataFormat?: "NHWC" | "NCHW";
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
}

type Shape4 = [number, number, number, number];

function geometry(kernel: string, input: readonly number[], filter: readonly number[], attrs: ConvAttrs): ConvInfo {
  if (attrs.dataFormat === "NCHW") {
    throw new Error(`${kernel} on wasm: dataFormat (NCHW) is not supported; expected NHWC`);
  }
  const { strides, pad, dimRoundingMode } = attrs;
  return tf.backend_util.computeConv2DInfo(input as Shape4, filter as Shape4, strides, 1, pad, dimRoundingMode);
}

/** Numbers that a buffer of unfolded patches may hold (64 MiB); larger batches are done in pieces. */
const MAX_PATCHES = 2 ** 24;

/** First and one past the last output position whose tap lies inside the input. */
function inside(tap: number, stride: number, before: number, input: number, output: number): [number, number] {
  const first = Math.max(0, Math.ceil((before - tap) / stride));
  const end = Math.min(output, Math.floor((input - 1 + before - tap) / stride) + 1);
  return [first, Math.max(first, end)];
}

/** x [C, n, H, W] to patches [filterHeight * filterWidth * C, n * outHeight * outWidth]. */
function unfold(x: Float32Array, out: Float32Array, n: number, info: ConvInfo): void {
  const { inChannels, inHeight, inWidth, outHeight, outWidth, strideHeight, strideWidth, padInfo } = info;
  let to = 0;
  for (let ky = 0; ky < info.filterHeight; ky++) {
    const [top, bottom] = inside(ky, strideHeight, padInfo.top, inHeight, outHeight);
    for (let kx = 0; kx < info.filterWidth; kx++) {
      const [left, right] = inside(kx, strideWidth, padInfo.left, inWidth, outWidth);
      for (let plane = 0; plane < inChannels * n; plane++) {
        for (let y = 0; y < outHeight; y++, to += outWidth) {
          if (y < top || y >= bottom) {
            out.fill(0, to, to + outWidth);
            continue;
          }
          const from = (plane * inHeight + y * strideHeight - padInfo.top + ky) * inWidth - padInfo.left + kx;
          for (let i = 0; i < left; i++) out[to + i] = 0;
          for (let i = left, at = from + left * strideWidth; i < right; i++, at += strideWidth) out[to + i] = x[at]!;
          for (let i = right; i < outWidth; i++) out[to + i] = 0;
        }
      }
    }
  }
}

/** Adds patches [n * outHeight * outWidth, filterHeight * filterWidth * C] to dx [n, H, W, C]. */
function fold(patches: Float32Array, dx: Float32Array, n: number, at: number, info: ConvInfo): void {
  const { inChannels, inHeight, inWidth, outHeight, outWidth, strideHeight, strideWidth, padInfo } = info;
  let from = 0;
  for (let image = at; image < at + n; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      for (let ox = 0; ox < outWidth; ox++) {
        for (let ky = 0; ky < info.filterHeight; ky++) {
          const y = oy * strideHeight - padInfo.top + ky;
          for (let kx = 0; kx < info.filterWidth; kx++, from += inChannels) {
            const x = ox * strideWidth - padInfo.left + kx;
            if (y < 0 || y >= inHeight || x < 0 || x >= inWidth) continue;
            const to = ((image * inHeight + y) * inWidth + x) * inChannels;
            for (let c = 0; c < inChannels; c++) dx[to + c]! += patches[from + c]!;
          }
        }
      }
    }
  }
}

/** dW = patches(x)^T dy, the patches laid out so that one plain product remains. */
const backpropFilter = composed<ConvAttrs & { filterShape: Shape4 }>(({ x, dy }, attrs, named) => {
  const backend = named as WasmBackend;
  const info = geometry("Conv2DBackpropFilter", x!.shape, attrs.filterShape, attrs);
  const { batchSize, inChannels, inHeight, inWidth, outChannels, outHeight, outWidth, filterHeight, filterWidth } =
    info;
  const perImage = filterHeight * filterWidth * inChannels * outHeight * outWidth;
  const chunk = Math.max(1, Math.min(batchSize, Math.floor(MAX_PATCHES / perImage)));
  let sum: tf.Tensor | undefined;
  for (let at = 0; at < batchSize; at += chunk) {
    const n = Math.min(chunk, batchSize - at);
    sum = tf.tidy(() => {
      const images = tf.slice(x!, [at, 0, 0, 0], [n, inHeight, inWidth, inChannels]);
      const planes = tf.transpose(images, [3, 0, 1, 2]);
      const patches = allocate(backend, [filterHeight * filterWidth * inChannels, n * outHeight * outWidth]);
      unfold(floats(backend, planes), floats(backend, patches), n, info);
      const grads = tf.slice(dy!, [at, 0, 0, 0], [n, outHeight, outWidth, outChannels]);
      const left = tf.engine().makeTensorFromTensorInfo(patches);
      const part = tf.matMul(left, tf.reshape(grads, [n * outHeight * outWidth, outChannels]));
      return sum ? tf.add(sum, part) : part;
    });
  }
  return tf.reshape(sum!, attrs.filterShape);
});

/** dx = the patches dy W^T, added up where they overlap; with stride 1 a convolution of dy with the turned filter. */
const backpropInput = composed<ConvAttrs & { inputShape: Shape4 }>(({ dy, filter }, attrs, named) => {
  const backend = named as WasmBackend;
  const info = geometry("Conv2DBackpropInput", attrs.inputShape, filter!.shape, attrs);
  const { batchSize, inChannels, outChannels, outHeight, outWidth, filterHeight, filterWidth, padInfo } = info;
  if (info.strideHeight === 1 && info.strideWidth === 1) {
    const turned = tf.transpose(tf.reverse(filter!, [0, 1]), [0, 1, 3, 2]) as tf.Tensor4D;
    const top = filterHeight - 1 - padInfo.top;
    const left = filterWidth - 1 - padInfo.left;
    const bottom = info.inHeight - outHeight + filterHeight - 1 - top;
    const right = info.inWidth - outWidth + filterWidth - 1 - left;
    if (Math.min(top, left, bottom, right) >= 0) {
      const pad: tf.backend_util.ExplicitPadding = [
        [0, 0],
        [top, bottom],
        [left, right],
        [0, 0],
      ];
      return tf.conv2d(dy as tf.Tensor4D, turned, 1, pad);
    }
  }
  const size = filterHeight * filterWidth * inChannels;
  const weights = tf.transpose(tf.reshape(filter!, [size, outChannels]));
  const dx = tf.engine().makeTensorFromTensorInfo(allocate(backend, attrs.inputShape));
  floats(backend, dx).fill(0);
  const chunk = Math.max(1, Math.min(batchSize, Math.floor(MAX_PATCHES / (outHeight * outWidth * size))));
  for (let at = 0; at < batchSize; at += chunk) {
    const n = Math.min(chunk, batchSize - at);
    tf.tidy(() => {
      const grads = tf.slice(dy!, [at, 0, 0, 0], [n, outHeight, outWidth, outChannels]);
      const patches = tf.matMul(tf.reshape(grads, [n * outHeight * outWidth, outChannels]), weights);
      fold(floats(backend, patches), floats(backend, dx), n, at, info);
    });
  }
  return dx;
});

/** Registers the filter gradient, which stock wasm lacks, and a fast input gradient in place of its plain loops. */
export function repairWasmConvolutions(): void {
  addKernel("Conv2DBackpropFilter", "wasm", backpropFilter);
  wrapKernel(
    "Conv2DBackpropInput",
    "wasm",
    (stock) => (args) => (args.attrs?.dataFormat === "NCHW" ? stock(args) : backpropInput(args)),
  );
}
