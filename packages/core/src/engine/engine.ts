/** What an engine computes on. `auto` lets `createEngine` choose the fastest that works here. */
export type Device = "auto" | "cpu" | "wasm" | "webgl" | "webgpu" | "cuda" | "coreml" | "dml";

/**
 * A function prepared by an engine. Takes the same arguments as the original and resolves to the same tree; the tensors
 * of the result belong to the caller, who disposes of them. Arguments are disposed of only if they were donated.
 */
export interface Compiled<A extends readonly unknown[], R> {
  (...args: A): Promise<R>;
  /** Frees what was compiled. The engine's `dispose` does this too. */
  dispose(): void;
}

export interface CompileOptions {
  /**
   * Positions of arguments whose tensors the call takes over: it disposes of them, also when it fails, and engines may
   * write results into their memory. So a cache of keys and values grows in place, and a training state is updated where it is.
   * Memory that other tensors share is left alone.
   */
  readonly donated?: readonly number[];
}

/**
 * Runs pure functions over trees of tensors: the seam between the models and the machine.
 *
 * A function given to `compile` is synchronous, written in tfjs ops, and reads nothing but its arguments. Arguments are
 * trees: tensors, records and arrays of them, an `Rng`, and plain JSON values, which are constants of the function (a
 * new value compiles anew on engines that trace). The result is a tree of tensors and plain values.
 */
export interface Engine {
  /** Runtime and device, such as `tfjs:wasm` or `onnx:cpu`. */
  readonly name: string;
  compile<A extends readonly unknown[], R>(fn: (...args: A) => R, options?: CompileOptions): Compiled<A, R>;
  /** Frees everything that the engine holds. Using it afterwards is an error. */
  dispose(): void;
}
