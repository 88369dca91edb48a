import * as tf from "@tensorflow/tfjs";
import type { WasmBackend } from "./wasm-heap.ts";
import { addKernel } from "./wrap-kernel.ts";

/** Adds up the rows of x that have the same id; ids outside [0, numSegments) are left out. The gradient of gather. */
const unsortedSegmentSum: tf.KernelFunc = ({ inputs, attrs, backend: named }) => {
  const backend = named as WasmBackend;
  const { x, segmentIds } = inputs as Record<string, tf.TensorInfo>;
  const numSegments = attrs!.numSegments as number;
  const rows = tf.util.sizeFromShape(segmentIds!.shape);
  const shape = [numSegments, ...x!.shape.slice(segmentIds!.shape.length)];
  const out = backend.makeOutput(shape, x!.dtype);
  const width = rows === 0 ? 0 : tf.util.sizeFromShape(x!.shape) / rows;
  const sums = backend.typedArrayFromHeap(out).fill(0);
  const values = backend.typedArrayFromHeap(x!);
  const ids = backend.typedArrayFromHeap(segmentIds!);
  for (let row = 0; row < rows; row++) {
    const id = ids[row]!;
    if (id < 0 || id >= numSegments) continue;
    for (let i = 0; i < width; i++) sums[id * width + i]! += values[row * width + i]!;
  }
  return out;
};

/** The gradient of gather, which stock wasm lacks. */
export function addWasmSegmentSum(): void {
  addKernel("UnsortedSegmentSum", "wasm", unsortedSegmentSum);
}
