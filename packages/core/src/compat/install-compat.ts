import * as tf from "@tensorflow/tfjs";
import { batchMatMul, maximum, minimum, squaredDifference } from "./gradients/broadcasting.ts";
import { comparisons, logicalNot } from "./gradients/comparisons.ts";
import { conv2d, conv2dBackpropFilter, conv3dBackpropInput } from "./gradients/convolutions.ts";
import { einsum } from "./gradients/einsum.ts";
import { elu, exp, sigmoid, softmax, tanh } from "./gradients/from-output.ts";
import { type GradientOverride, overrideGradient } from "./gradients/gradient-override.ts";
import {
  depthToSpace,
  gatherNd,
  scatterNd,
  stridedSlice,
  tensorScatterUpdate,
  tile,
  topK,
} from "./gradients/indexing.ts";
import { mirrorPad } from "./gradients/mirror-pad.ts";
import { avgPoolGrad, maxPoolGrad } from "./gradients/pooling.ts";
import { resizeBilinear, resizeNearestNeighbor } from "./gradients/resizing.ts";
import { cumprod, cumsum } from "./gradients/scans.ts";
import { repairCpu, repairEveryBackend, repairWebgpu } from "./kernels/every-backend.ts";
import { repairWasmConvolutions } from "./kernels/wasm-convolutions.ts";
import { addWasmDepthwise } from "./kernels/wasm-depthwise.ts";
import { repairWasmMatMul } from "./kernels/wasm-mat-mul.ts";
import { repairWasmPoolAndConv3d } from "./kernels/wasm-pool-and-conv3d.ts";
import { addWasmSegmentSum } from "./kernels/wasm-segment-sum.ts";

const gradients: readonly GradientOverride[] = [
  maximum,
  minimum,
  squaredDifference,
  batchMatMul,
  ...comparisons,
  logicalNot,
  exp,
  tanh,
  sigmoid,
  elu,
  softmax,
  cumsum,
  cumprod,
  gatherNd,
  scatterNd,
  tensorScatterUpdate,
  stridedSlice,
  tile,
  depthToSpace,
  topK as unknown as GradientOverride, // Its dy is a list, as the kernel has two outputs.
  mirrorPad,
  resizeBilinear,
  resizeNearestNeighbor,
  avgPoolGrad,
  maxPoolGrad,
  conv2d,
  conv2dBackpropFilter,
  conv3dBackpropInput,
  einsum,
];

const kernelRepairs: Readonly<Record<string, () => void>> = {
  cpu: repairCpu,
  webgpu: repairWebgpu,
  wasm: () => {
    repairWasmMatMul();
    repairWasmConvolutions();
    addWasmDepthwise();
    addWasmSegmentSum();
    repairWasmPoolAndConv3d();
  },
};

let gradientsInstalled = false;
const repaired = new Set<string>();

/**
 * Repairs tfjs 4.22: replaces gradients that are wrong or missing, registers the kernels that a loaded backend lacks and
 * wraps those that it gets wrong. Engines call it; calling it again repairs backends that were loaded meanwhile.
 */
export function installCompat(): void {
  if (!gradientsInstalled) {
    gradientsInstalled = true;
    for (const gradient of gradients) overrideGradient(gradient);
  }
  for (const backend of ["cpu", "wasm", "webgl", "webgpu", "tensorflow"]) {
    if (repaired.has(backend) || tf.getKernelsForBackend(backend).length === 0) continue;
    repaired.add(backend);
    kernelRepairs[backend]?.();
    repairEveryBackend(backend);
  }
}
