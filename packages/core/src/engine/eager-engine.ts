import * as tf from "@tensorflow/tfjs";
import { installCompat } from "../compat/install-compat.ts";
import { treeDispose, treeMap } from "../tree.ts";
import type { Compiled, CompileOptions, Engine } from "./engine.ts";
import { type LoadBackendOptions, loadTfjsBackend, type TfjsBackend } from "./tfjs-backends.ts";
import { silenceTfjsBanner } from "./tfjs-banner.ts";

/**
 * An engine that runs functions as they are, op by op, on a tfjs backend.
 *
 * Its backend becomes tfjs' active one and stays so, so that tensors made between calls live where the engine computes.
 * When another backend is active at the time of a call, the engine's is active for the duration of the function only.
 *
 * @param backendName one of cpu, wasm, webgl, webgpu, tensorflow
 * @throws EngineUnavailableError, saying what to install, if the backend cannot be had here
 */
export async function createEagerEngine(backendName: TfjsBackend, options: LoadBackendOptions = {}): Promise<Engine> {
  silenceTfjsBanner();
  await loadTfjsBackend(backendName, options);
  installCompat();
  if (tf.getBackend() !== backendName) await tf.setBackend(backendName);
  return new EagerEngine(backendName);
}

class EagerEngine implements Engine {
  readonly name: string;
  #backend: string;
  #disposed = false;

  constructor(backend: string) {
    this.name = `tfjs:${backend}`;
    this.#backend = backend;
  }

  compile<A extends readonly unknown[], R>(fn: (...args: A) => R, options: CompileOptions = {}): Compiled<A, R> {
    this.#assertUsable("compile");
    const { donated = [] } = options;
    let freed = false;
    const run = async (...args: A): Promise<R> => {
      const what = `${this.name} engine: ${fn.name || "the compiled function"}`;
      try {
        this.#assertUsable(fn.name || "a compiled function");
        if (freed) throw new Error(`${what} was called after its dispose(); compile it again`);
        // No await before this point: the function runs to its end before any other code does, so calls never interleave.
        return withBackend(this.#backend, () => runInTidy(what, fn, args));
      } finally {
        treeDispose(donated.map((position) => args[position]));
      }
    };
    return Object.assign(run, {
      dispose: () => {
        freed = true;
      },
    });
  }

  dispose(): void {
    // The tensors belong to the caller and the backend to tfjs, where other engines may share it: nothing is held here.
    this.#disposed = true;
  }

  #assertUsable(what: string): void {
    if (this.#disposed) throw new Error(`${this.name} engine: ${what} was called after dispose(); create a new engine`);
  }
}

/** Runs `fn` with the named tfjs backend active. Initialised backends are switched synchronously. */
function withBackend<R>(name: string, fn: () => R): R {
  const before = tf.engine().backendName;
  // Switching runs every kernel's setup function again, so it is done only when needed.
  if (before === name) return fn();
  // A backend that is ready is active when the call returns; the promise only wraps the result.
  void tf.setBackend(name);
  try {
    return fn();
  } finally {
    if (before && before in tf.engine().registry) void tf.setBackend(before);
  }
}

/** Runs `fn` inside a tidy and makes every tensor of its result one of its own, which the caller may dispose of. */
function runInTidy<A extends readonly unknown[], R>(what: string, fn: (...args: A) => R, args: A): R {
  // Ids grow with time: a tensor with a smaller one was there before, as an argument or a captured constant.
  const firstId = (tf.engine() as unknown as { nextTensorId(): number }).nextTensorId();
  return tf.tidy(() => {
    const result = fn(...args);
    if (isThenable(result)) {
      result.then(undefined, () => {});
      throw new Error(
        `${what} returned a Promise; a compiled function must be synchronous and return a tree of tensors`,
      );
    }
    const seen = new Set<tf.Tensor>();
    return treeMap(result, (tensor, path) => {
      if (tensor.isDisposed) throw new Error(`${what} returned a tensor that is disposed of, at '${path}'`);
      const shared = tensor.id < firstId || seen.has(tensor);
      seen.add(tensor);
      return shared ? tf.clone(tensor) : tensor;
    }) as R & tf.TensorContainer;
  });
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as PromiseLike<unknown>).then === "function";
}
