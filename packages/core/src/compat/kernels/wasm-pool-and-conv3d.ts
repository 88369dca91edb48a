import * as tf from "@tensorflow/tfjs";
import { allocate, floats, type WasmBackend } from "./wasm-heap.ts";
import { wrapKernel } from "./wrap-kernel.ts";

type Shape4 = [number, number, number, number];
type Shape5 = [number, number, number, number, number];

interface PoolAttrs {
  readonly filterSize: [number, number] | number;
  readonly strides: [number, number] | number;
  readonly pad: "valid" | "same" | number;
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
}

/** Every window gives its gradient to its first maximum. */
const maxPoolGrad: tf.KernelFunc = ({ inputs, attrs, backend: named }) => {
  const backend = named as WasmBackend;
  const { dy, input } = inputs as { dy: tf.TensorInfo; input: tf.TensorInfo };
  const { filterSize, strides, pad, dimRoundingMode } = attrs as unknown as PoolAttrs;
  const info = tf.backend_util.computePool2DInfo(input.shape as Shape4, filterSize, strides, 1, pad, dimRoundingMode);
  const { inChannels: channels, inHeight, inWidth, outHeight, outWidth, padInfo } = info;
  const out = allocate(backend, input.shape);
  const [dx, x, g] = [floats(backend, out).fill(0), floats(backend, input), floats(backend, dy)];
  for (let at = 0; at < info.batchSize * outHeight * outWidth; at++) {
    const image = Math.floor(at / (outHeight * outWidth)) * inHeight;
    const top = (Math.floor(at / outWidth) % outHeight) * info.strideHeight - padInfo.top;
    const left = (at % outWidth) * info.strideWidth - padInfo.left;
    const [yEnd, xEnd] = [Math.min(inHeight, top + info.filterHeight), Math.min(inWidth, left + info.filterWidth)];
    for (let c = 0; c < channels; c++) {
      let best = -1;
      for (let row = Math.max(0, top); row < yEnd; row++) {
        for (let column = Math.max(0, left); column < xEnd; column++) {
          const i = ((image + row) * inWidth + column) * channels + c;
          if (best < 0 || x[i]! > x[best]!) best = i;
        }
      }
      dx[best]! += g[at * channels + c]!;
    }
  }
  return out;
};

/** Calls `visit` with the offsets in x, filter and dy for every output position and filter tap that meets the input. */
function visitTaps(info: tf.backend_util.Conv3DInfo, visit: (x: number, filter: number, dy: number) => void): void {
  const { inDepth, inHeight, inWidth, inChannels, outDepth, outHeight, outWidth, outChannels, padInfo } = info;
  const { filterDepth, filterHeight, filterWidth } = info;
  for (let at = 0; at < info.batchSize * outDepth * outHeight * outWidth; at++) {
    const front = (Math.floor(at / (outWidth * outHeight)) % outDepth) * info.strideDepth - padInfo.front;
    const top = (Math.floor(at / outWidth) % outHeight) * info.strideHeight - padInfo.top;
    const left = (at % outWidth) * info.strideWidth - padInfo.left;
    const image = Math.floor(at / (outWidth * outHeight * outDepth)) * inDepth;
    for (let tap = 0; tap < filterDepth * filterHeight * filterWidth; tap++) {
      const z = front + Math.floor(tap / (filterWidth * filterHeight));
      const y = top + (Math.floor(tap / filterWidth) % filterHeight);
      const x = left + (tap % filterWidth);
      if (z < 0 || z >= inDepth || y < 0 || y >= inHeight || x < 0 || x >= inWidth) continue;
      const atX = (((image + z) * inHeight + y) * inWidth + x) * inChannels;
      visit(atX, tap * inChannels * outChannels, at * outChannels);
    }
  }
}

function conv3d(input: Shape5, filter: Shape5, attrs: tf.NamedAttrMap | undefined): tf.backend_util.Conv3DInfo {
  const { strides, pad } = attrs as unknown as { strides: [number, number, number]; pad: "valid" | "same" };
  return tf.backend_util.computeConv3DInfo(input, filter, strides, 1, pad);
}

const conv3dBackpropInput: tf.KernelFunc = ({ inputs, attrs, backend: named }) => {
  const backend = named as WasmBackend;
  const { dy, filter } = inputs as { dy: tf.TensorInfo; filter: tf.TensorInfo };
  const inputShape = attrs!.inputShape as Shape5;
  const info = conv3d(inputShape, filter.shape as Shape5, attrs);
  const out = allocate(backend, inputShape);
  const [dx, w, g] = [floats(backend, out).fill(0), floats(backend, filter), floats(backend, dy)];
  visitTaps(info, (atX, atW, atG) => {
    for (let i = 0, k = atW; i < info.inChannels; i++) {
      let sum = 0;
      for (let o = 0; o < info.outChannels; o++, k++) sum += w[k]! * g[atG + o]!;
      dx[atX + i]! += sum;
    }
  });
  return out;
};

const conv3dBackpropFilter: tf.KernelFunc = ({ inputs, attrs, backend: named }) => {
  const backend = named as WasmBackend;
  const { x, dy } = inputs as { x: tf.TensorInfo; dy: tf.TensorInfo };
  const filterShape = attrs!.filterShape as Shape5;
  const info = conv3d(x.shape as Shape5, filterShape, attrs);
  const out = allocate(backend, filterShape);
  const [dw, v, g] = [floats(backend, out).fill(0), floats(backend, x), floats(backend, dy)];
  visitTaps(info, (atX, atW, atG) => {
    for (let i = 0, k = atW; i < info.inChannels; i++) {
      for (let o = 0; o < info.outChannels; o++, k++) dw[k]! += v[atX + i]! * g[atG + o]!;
    }
  });
  return out;
};

/** The C++ kernels are wrong with more than one channel. */
export function repairWasmPoolAndConv3d(): void {
  wrapKernel("MaxPoolGrad", "wasm", () => maxPoolGrad);
  wrapKernel("Conv3DBackpropInputV2", "wasm", () => conv3dBackpropInput);
  wrapKernel("Conv3DBackpropFilterV2", "wasm", () => conv3dBackpropFilter);
}
