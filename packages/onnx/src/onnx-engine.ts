import { type Compiled, type Engine, installCompat, type Rng, silenceTfjsBanner } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { Tensor as OrtTensor } from "onnxruntime-common";
import { usedInputs, type Value } from "./graph/graph.ts";
import {
  loadOnnxRuntime,
  ONNX_DEVICES,
  type OnnxDevice,
  type OnnxRuntime,
  type OnnxRuntimeOptions,
} from "./runtime/onnx-runtime.ts";
import { OnnxStorage } from "./runtime/onnx-storage.ts";
import type { Program } from "./runtime/program.ts";
import { shareTensor, tensorInfoOf } from "./tfjs-engine.ts";
import { replay } from "./trace/recording-rng.ts";
import { type FlatArguments, flattenArguments, type ResultLeaf, type Traced, trace } from "./trace/trace.ts";

export interface OnnxEngineOptions extends OnnxRuntimeOptions {
  /** What to compute on; default cpu in Node, wasm in browsers. */
  readonly device?: OnnxDevice;
}

/**
 * An engine that records a function once per set of shapes as one ONNX graph - forward pass, gradients and optimizer
 * together - and has ONNX Runtime execute the graph as a whole.
 *
 * @throws EngineUnavailableError, saying what to install, if the device cannot be had here
 */
export async function createOnnxEngine(options: OnnxEngineOptions = {}): Promise<Engine> {
  const { device = typeof window === "undefined" ? "cpu" : "wasm" } = options;
  if (!ONNX_DEVICES.includes(device)) {
    throw new Error(`createOnnxEngine: device (${device}) is unknown; expected one of ${ONNX_DEVICES.join(", ")}`);
  }
  silenceTfjsBanner();
  const runtime = await loadOnnxRuntime(device, options);
  installCompat();
  return new OnnxEngine(runtime);
}

/** Graphs kept per function. A function called with ever new shapes or plain values drops the oldest. */
const MAX_GRAPHS = 64;

/** A graph ready to run. */
interface Plan {
  readonly traced: Traced;
  /** Which inputs the graph reads. */
  readonly used: ReadonlySet<Value>;
  /** Undefined for a function that only hands its arguments back. */
  readonly program: Promise<Program | undefined>;
}

class OnnxEngine implements Engine {
  readonly name: string;
  readonly #runtime: OnnxRuntime;
  readonly #storage: OnnxStorage;
  readonly #release = new Set<() => void>();
  /** Calls run one after another: sessions are not re-entrant. */
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(runtime: OnnxRuntime) {
    this.name = `onnx:${runtime.device}`;
    this.#runtime = runtime;
    this.#storage = new OnnxStorage(runtime.loader);
  }

  compile<A extends readonly unknown[], R>(fn: (...args: A) => R): Compiled<A, R> {
    this.#assertUsable("compile");
    const what = fn.name || "a compiled function";
    const plans = new Map<string, Plan>();
    let freed = false;
    const free = (plan: Plan) => {
      void plan.program.then((program) => program?.release()).catch(() => {});
    };
    const release = () => {
      freed = true;
      for (const plan of plans.values()) free(plan);
      plans.clear();
    };
    this.#release.add(release);

    const run = async (...args: A): Promise<R> => {
      this.#assertUsable(what);
      if (freed) throw new Error(`${this.name} engine: ${what} was called after its dispose(); compile it again`);
      const flat = flattenArguments(args);
      let plan = plans.get(flat.key);
      if (plan) {
        plans.delete(flat.key);
      } else {
        plan = this.#plan(fn as (...args: never[]) => unknown, args);
        const [oldest] = plans.keys();
        if (plans.size >= MAX_GRAPHS && oldest !== undefined) {
          free(plans.get(oldest)!);
          plans.delete(oldest);
        }
      }
      plans.set(flat.key, plan);
      return (await this.#execute(plan, flat, what)) as R;
    };
    return Object.assign(run, {
      dispose: () => {
        release();
        this.#release.delete(release);
      },
    });
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const release of this.#release) release();
    this.#release.clear();
    // Results still held by the caller stay valid: they are his.
  }

  #assertUsable(what: string): void {
    if (this.#disposed) throw new Error(`${this.name} engine: ${what} was called after dispose(); create a new engine`);
  }

  #plan(fn: (...args: never[]) => unknown, args: readonly unknown[]): Plan {
    const traced = trace(fn, args);
    const used = usedInputs(traced.outputs);
    const inputs = [...traced.arguments, ...traced.draws].filter((value) => used.has(value));
    const program =
      traced.outputs.length === 0
        ? Promise.resolve(undefined)
        : this.#runtime.loader.load({
            inputs: inputs.map((value) => ({ name: value.input!, value })),
            outputs: traced.outputs.map((value, i) => ({ name: `out${i}`, value })),
          });
    program.catch(() => {}); // reported by the call that awaits it
    return { traced, used, program };
  }

  async #execute(plan: Plan, flat: FlatArguments, what: string): Promise<unknown> {
    const { traced } = plan;
    // Everything that depends on the moment of the call happens before the first await: random numbers are drawn in the
    // order of the calls, and the arguments are held, so that the caller may dispose of them meanwhile.
    const draws = this.#draw(traced, flat.rngs);
    const held = flat.tensors.map(shareTensor);
    try {
      const turn = this.#queue.then(() => this.#run(plan, held, draws, what));
      this.#queue = turn.catch(() => {});
      const results = await turn;
      const owned: tf.Tensor[] = [];
      return traced.rebuild((leaf: ResultLeaf) => {
        if ("argument" in leaf) return shareTensor(held[leaf.argument]!);
        const made = owned[leaf.output];
        if (made) return shareTensor(made);
        const tensor = this.#storage.adopt(results[leaf.output]!);
        owned[leaf.output] = tensor;
        return tensor;
      });
    } finally {
      for (const tensor of held) tensor.dispose();
    }
  }

  #draw(traced: Traced, rngs: readonly Rng[]): Map<string, Float32Array | Int32Array> {
    const draws = new Map<string, Float32Array | Int32Array>();
    replay(traced.rngSteps, rngs, (input, values) => draws.set(input, values));
    return draws;
  }

  async #run(
    plan: Plan,
    held: readonly tf.Tensor[],
    draws: ReadonlyMap<string, Float32Array | Int32Array>,
    what: string,
  ): Promise<OrtTensor[]> {
    const { traced, used } = plan;
    const program = await plan.program.catch((error: unknown) => {
      throw new Error(`${this.name} engine: the graph of ${what} was refused by ONNX Runtime: ${messageOf(error)}`, {
        cause: error,
      });
    });
    if (!program) return [];
    const feeds: Record<string, OrtTensor> = {};
    for (const [i, value] of traced.arguments.entries()) {
      if (used.has(value)) feeds[value.input!] = await this.#feed(held[i]!, value);
    }
    for (const value of traced.draws) {
      if (used.has(value)) feeds[value.input!] = this.#tensor(value, draws.get(value.input!)!);
    }
    try {
      return await program.run(feeds);
    } catch (error) {
      throw new Error(`${this.name} engine: running ${what} failed: ${messageOf(error)}`, { cause: error });
    }
  }

  #tensor(value: Value, data: Float32Array | Int32Array | Uint8Array): OrtTensor {
    return new this.#runtime.Tensor(value.type as "float32", data as Float32Array, value.shape);
  }

  /** An argument as ONNX Runtime takes it: results of this engine as they are, others by their numbers. */
  async #feed(tensor: tf.Tensor, value: Value): Promise<OrtTensor> {
    const own = this.#storage.find(tensor.dataId);
    if (own) {
      // The tensor may have been reshaped since.
      return sameDims(own.dims, value.shape) ? own : own.reshape(value.shape);
    }
    const { backend } = tensorInfoOf(tensor.dataId)!;
    const data = isOnGpu(backend) ? await backend.read(tensor.dataId) : backend.readSync(tensor.dataId);
    return this.#tensor(value, asTyped(value, data as Float32Array | Int32Array | Uint8Array));
  }
}

/** tfjs' cast from bool or int32 on its cpu backend changes the type's name alone: the numbers stay in their old array. */
function asTyped(value: Value, data: Float32Array | Int32Array | Uint8Array) {
  if (value.type === "float32" && !(data instanceof Float32Array)) return Float32Array.from(data);
  if (value.type === "int32" && !(data instanceof Int32Array)) return Int32Array.from(data);
  return data;
}

const sameDims = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((n, i) => n === b[i]);

/** GPU backends give their numbers only when awaited; others hand out their memory at once. */
const isOnGpu = (backend: tf.KernelBackend) => ["webgl", "webgpu"].some((name) => tf.findBackend(name) === backend);

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
