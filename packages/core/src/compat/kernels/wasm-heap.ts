import type * as tf from "@tensorflow/tfjs";

/** What the kernels of this folder use of tfjs' wasm backend. */
export interface WasmBackend {
  readonly wasm: {
    cwrap(name: string, returnType: null, argTypes: readonly string[]): (...args: unknown[]) => void;
    readonly tfjs: {
      registerTensor(id: number, size: number, memoryOffset: number): void;
      disposeData(id: number): void;
    };
  };
  readonly dataIdMap: { get(dataId: object): { id: number; memoryOffset: number } };
  dataIdNextNumber: number;
  makeOutput(shape: readonly number[], dtype: tf.DataType): tf.TensorInfo;
  typedArrayFromHeap(info: tf.TensorInfo): Float32Array | Int32Array | Uint8Array;
}

/** A new tensor on the heap; its memory holds whatever was there before. */
export function allocate(backend: WasmBackend, shape: readonly number[]): tf.TensorInfo {
  return backend.makeOutput(shape, "float32");
}

/** A view of a tensor's memory. Allocating may move the heap: take views after the last allocation. */
export function floats(backend: WasmBackend, info: tf.TensorInfo): Float32Array {
  return backend.typedArrayFromHeap(info) as Float32Array;
}
