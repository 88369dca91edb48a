import * as tf from "@tensorflow/tfjs";
import { allocate, floats, type WasmBackend } from "./wasm-heap.ts";
import { addKernel } from "./wrap-kernel.ts";

type Shape4 = [number, number, number, number];

interface DepthwiseAttrs {
  readonly strides: [number, number] | number;
  readonly dilations: [number, number] | number;
  readonly pad: "valid" | "same" | number;
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
  readonly inputShape?: Shape4;
  readonly filterShape?: Shape4;
}

/** Calls `visit` with the offsets in x, filter and dy of every product of a depthwise convolution, one call per pixel and tap. */
function visitTaps(info: tf.backend_util.Conv2DInfo, visit: (x: number, filter: number, dy: number) => void): void {
  const { inChannels, inHeight, inWidth, outChannels, outHeight, outWidth, padInfo } = info;
  for (let image = 0; image < info.batchSize; image++) {
    for (let oy = 0; oy < outHeight; oy++) {
      for (let ky = 0; ky < info.filterHeight; ky++) {
        const y = oy * info.strideHeight - padInfo.top + ky * info.dilationHeight;
        if (y < 0 || y >= inHeight) continue;
        for (let ox = 0; ox < outWidth; ox++) {
          const dy = ((image * outHeight + oy) * outWidth + ox) * outChannels;
          for (let kx = 0; kx < info.filterWidth; kx++) {
            const x = ox * info.strideWidth - padInfo.left + kx * info.dilationWidth;
            if (x < 0 || x >= inWidth) continue;
            visit(((image * inHeight + y) * inWidth + x) * inChannels, (ky * info.filterWidth + kx) * outChannels, dy);
          }
        }
      }
    }
  }
}

function geometry(input: Shape4, filter: Shape4, attrs: DepthwiseAttrs): tf.backend_util.Conv2DInfo {
  const { strides, dilations, pad, dimRoundingMode } = attrs;
  return tf.backend_util.computeConv2DInfo(input, filter, strides, dilations, pad, dimRoundingMode, true);
}

const backpropInput: tf.KernelFunc = ({ inputs, attrs, backend: named }) => {
  const backend = named as WasmBackend;
  const { dy, filter } = inputs as Record<string, tf.TensorInfo>;
  const inputShape = (attrs as unknown as DepthwiseAttrs).inputShape!;
  const info = geometry(inputShape, filter!.shape as Shape4, attrs as unknown as DepthwiseAttrs);
  const out = allocate(backend, inputShape);
  const [dx, w, g] = [floats(backend, out).fill(0), floats(backend, filter!), floats(backend, dy!)];
  const multiplier = info.outChannels / info.inChannels;
  visitTaps(info, (atX, atW, atG) => {
    for (let c = 0, o = 0; c < info.inChannels; c++) {
      for (let m = 0; m < multiplier; m++, o++) dx[atX + c]! += g[atG + o]! * w[atW + o]!;
    }
  });
  return out;
};

const backpropFilter: tf.KernelFunc = ({ inputs, attrs, backend: named }) => {
  const backend = named as WasmBackend;
  const { x, dy } = inputs as Record<string, tf.TensorInfo>;
  const filterShape = (attrs as unknown as DepthwiseAttrs).filterShape!;
  const info = geometry(x!.shape as Shape4, filterShape, attrs as unknown as DepthwiseAttrs);
  const out = allocate(backend, filterShape);
  const [dw, v, g] = [floats(backend, out).fill(0), floats(backend, x!), floats(backend, dy!)];
  const multiplier = info.outChannels / info.inChannels;
  visitTaps(info, (atX, atW, atG) => {
    for (let c = 0, o = 0; c < info.inChannels; c++) {
      for (let m = 0; m < multiplier; m++, o++) dw[atW + o]! += g[atG + o]! * v[atX + c]!;
    }
  });
  return out;
};

/** Both gradients of depthwise convolutions, which stock wasm lacks. */
export function addWasmDepthwise(): void {
  addKernel("DepthwiseConv2dNativeBackpropInput", "wasm", backpropInput);
  addKernel("DepthwiseConv2dNativeBackpropFilter", "wasm", backpropFilter);
}
