import {
  type Compiled,
  type CompileOptions,
  type Engine,
  installCompat,
  type Rng,
  silenceTfjsBanner,
  treeDispose,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { Tensor as OrtTensor } from "onnxruntime-common";
import type { Value } from "./graph/graph.ts";
import { type Plan, planOf } from "./plan.ts";
import {
  loadOnnxRuntime,
  ONNX_DEVICES,
  type OnnxDevice,
  type OnnxRuntime,
  type OnnxRuntimeOptions,
} from "./runtime/onnx-runtime.ts";
import { OnnxStorage } from "./runtime/onnx-storage.ts";
import { type HeldData, holdData, releaseData, shareTensor, tensorInfoOf, tensorOver } from "./tfjs-engine.ts";
import { type CallPattern, callPattern, matchCall } from "./trace/call-pattern.ts";
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

/** Kinds of calls that are recognised by a walk over the arguments; see `callPattern`. */
const MAX_RECENT = 4;

/** A call to compare others with. */
interface RecentCall {
  readonly pattern: CallPattern;
  readonly key: string;
  readonly plan: Plan;
  /** The tensors that stand where the graph has constants, outside of frozen trees: their numbers, their ids, and their data's. */
  readonly fixed: {
    readonly places: readonly number[];
    readonly ids: readonly number[];
    readonly data: readonly number[];
  };
}

/** A call that has begun. */
interface Call {
  readonly what: string;
  readonly plan: Plan;
  readonly draws: ReadonlyMap<string, Float32Array | Int32Array>;
  /** The arguments' tensors that are needed, at their numbers; with holes. */
  readonly held: HeldData[];
}

interface Results {
  readonly outputs: readonly OrtTensor[];
  /** Outputs that were written where an argument is: they are that argument, with other elements. */
  readonly written: ReadonlyMap<number, number>;
}

class OnnxEngine implements Engine {
  readonly name: string;
  readonly #runtime: OnnxRuntime;
  readonly #storage: OnnxStorage;
  readonly #release = new Set<() => void>();
  /** Arguments from elsewhere as ONNX Runtime takes them: parameters come again with every call. */
  readonly #fed = new WeakMap<object, OrtTensor>();
  /** Calls run one after another: sessions are not re-entrant. */
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(runtime: OnnxRuntime) {
    this.name = `onnx:${runtime.device}`;
    this.#runtime = runtime;
    this.#storage = new OnnxStorage(runtime.loader);
  }

  compile<A extends readonly unknown[], R>(fn: (...args: A) => R, options: CompileOptions = {}): Compiled<A, R> {
    this.#assertUsable("compile");
    const { donated = [] } = options;
    const what = fn.name || "a compiled function";
    const plans = new Map<string, Plan>();
    /** Which tensors became constants of the graph, by what else distinguishes calls. */
    const fixedArguments = new Map<string, readonly number[]>();
    let freed = false;
    const free = (plan: Plan) => {
      void plan.program.then((program) => program?.release()).catch(() => {});
    };
    const release = () => {
      freed = true;
      for (const plan of plans.values()) free(plan);
      plans.clear();
      recent = [];
    };
    this.#release.add(release);

    /** The latest calls of different kinds, the last one first: decoding reads a prompt, and then token after token. */
    let recent: readonly RecentCall[] = [];
    const prepare = (args: A): { plan: Plan; flat: FlatArguments } => {
      for (const call of recent) {
        const flat = matchCall(args, call.pattern);
        if (!flat || !hasFixed(flat, call)) continue;
        // What is wrong with them is told below.
        if (call.plan.needed.some((i) => flat.tensors[i]!.isDisposed)) break;
        if (call !== recent[0]) remember(call);
        return { plan: call.plan, flat };
      }
      const flat = flattenArguments(args);
      const { key, plan } = planFor(flat, args);
      const pattern = callPattern(args, flat);
      const places = plan.traced.fixed.filter((i) => !pattern.frozen.has(i));
      const ids = places.map((i) => flat.tensors[i]!.id);
      remember({ pattern, key, plan, fixed: { places, ids, data: fixedData(flat, places) } });
      return { plan, flat };
    };
    const remember = (call: RecentCall) => {
      recent = [call, ...recent.filter(({ plan }) => plan !== call.plan)].slice(0, MAX_RECENT);
      // The oldest plan stands first.
      plans.delete(call.key);
      plans.set(call.key, call.plan);
    };
    const planFor = (flat: FlatArguments, args: A): { key: string; plan: Plan } => {
      let key = flat.key + fixedData(flat, fixedArguments.get(flat.key) ?? []).join();
      const known = plans.get(key);
      if (known) return { key, plan: known };
      const gifts = new Set(flat.paths.flatMap((path, i) => (donated.includes(Number.parseInt(path, 10)) ? [i] : [])));
      const plan = this.#plan(fn as (...args: never[]) => unknown, args, gifts);
      fixedArguments.set(flat.key, plan.traced.fixed);
      key = flat.key + fixedData(flat, plan.traced.fixed).join();
      const [oldest] = plans.keys();
      if (plans.size >= MAX_GRAPHS && oldest !== undefined) {
        free(plans.get(oldest)!);
        plans.delete(oldest);
      }
      return { key, plan };
    };

    const run = async (...args: A): Promise<R> => {
      // Everything that depends on the moment of the call happens before the first await: random numbers are drawn in the
      // order of the calls, and the arguments are held, so that the caller may dispose of them meanwhile.
      let call: Call;
      try {
        this.#assertUsable(what);
        if (freed) throw new Error(`${this.name} engine: ${what} was called after its dispose(); compile it again`);
        const { plan, flat } = prepare(args);
        call = {
          what,
          plan,
          draws: this.#draw(plan.traced, flat.rngs),
          held: holdAll(flat.tensors, plan.needed),
        };
        for (const i of plan.gifts) if (!flat.tensors[i]!.isDisposed) flat.tensors[i]!.dispose();
      } catch (error) {
        treeDispose(donated.map((position) => args[position]));
        throw error;
      }
      return (await this.#execute(call)) as R;
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

  #plan(fn: (...args: never[]) => unknown, args: readonly unknown[], gifts: ReadonlySet<number>): Plan {
    const recording = trace(fn, args, {
      read: (tensor) => this.#elementsOf(tensor),
      viewable: ({ dataId }) => isInPlace(tensorInfoOf(dataId)!.backend),
    });
    return planOf(recording, gifts, this.#runtime.loader);
  }

  async #execute(call: Call): Promise<unknown> {
    const { plan, held } = call;
    try {
      const turn = this.#queue.then(() => this.#run(call));
      this.#queue = turn.catch(() => {});
      const { outputs, written } = await turn;
      const owned: tf.Tensor[] = [];
      return plan.traced.rebuild((leaf: ResultLeaf) => {
        const argument = "argument" in leaf ? leaf.argument : written.get(leaf.output);
        if (argument !== undefined) return tensorOver(held[argument]!);
        const { output } = leaf as { output: number };
        const made = owned[output];
        if (made) return shareTensor(made);
        const tensor = this.#storage.adopt(outputs[output]!, plan.shapes[output]!);
        owned[output] = tensor;
        return tensor;
      });
    } finally {
      held.forEach(releaseData);
    }
  }

  /** The elements of a tensor as they are at this moment: memory that is used again once the tensor is gone. */
  #elementsOf({ dataId }: tf.Tensor): Float32Array {
    const own = this.#storage.find(dataId);
    return (own?.location === "cpu" ? own.data : tensorInfoOf(dataId)!.backend.readSync(dataId)) as Float32Array;
  }

  #draw(traced: Traced, rngs: readonly Rng[]): Map<string, Float32Array | Int32Array> {
    const draws = new Map<string, Float32Array | Int32Array>();
    replay(traced.rngSteps, rngs, (input, values) => draws.set(input, values));
    return draws;
  }

  async #run({ what, plan, held, draws }: Call): Promise<Results> {
    const program = await plan.program.catch((error: unknown) => {
      throw new Error(`${this.name} engine: the graph of ${what} was refused by ONNX Runtime: ${messageOf(error)}`, {
        cause: error,
      });
    });
    const written = new Map<number, number>();
    if (!program) return { outputs: [], written };
    const feeds: Record<string, OrtTensor> = {};
    for (const { argument, value } of plan.feeds) {
      const { dataId, backend } = held[argument]!;
      const feed = this.#feed(dataId, backend, value);
      feeds[value.input!] = feed instanceof Promise ? await feed : feed;
    }
    for (const value of plan.draws) feeds[value.input!] = this.#tensor(value, draws.get(value.input!)!);
    const places = this.#places(plan, held, feeds);
    try {
      const outputs = await program.run(feeds, places);
      for (const { output, argument } of plan.inPlace) {
        const isOwn = held[argument]?.backend === this.#storage;
        if (isOwn && places.has(output) && outputs[output] === places.get(output)) written.set(output, argument);
      }
      return { outputs, written };
    } catch (error) {
      throw new Error(`${this.name} engine: running ${what} failed: ${messageOf(error)}`, { cause: error });
    }
  }

  /**
   * Where outputs are written, by their numbers: where arguments are, which the call has for itself. What was somebody else's before
   * is copied, fed in the copy, and held no longer.
   */
  #places(plan: Plan, held: HeldData[], feeds: Record<string, OrtTensor>): Map<number, OrtTensor> {
    const places = new Map<number, OrtTensor>();
    for (const { output, argument, shape, ownOnly } of plan.inPlace) {
      const data = held[argument]!;
      const input = plan.traced.arguments[argument]!.input!;
      // What others hold too, they may read later.
      if (data.backend.refCount(data.dataId) !== 1) continue;
      if (ownOnly && data.backend !== this.#storage) {
        feeds[input] = this.#copy(feeds[input]!);
        // At once, so that of many tensors few are there twice; also from under the old tensor, which somebody may still have.
        releaseData(data);
        delete held[argument];
        this.#fed.delete(data.dataId);
      }
      const place = feeds[input]!;
      places.set(output, sameDims(place.dims, shape) ? place : this.#reshape(place, shape));
    }
    return places;
  }

  #copy({ type, data, dims }: OrtTensor): OrtTensor {
    return new this.#runtime.Tensor(type as "float32", (data as Float32Array).slice(), dims);
  }

  #tensor(value: Value, data: Float32Array | Int32Array | Uint8Array): OrtTensor {
    return new this.#runtime.Tensor(value.type as "float32", data as Float32Array, value.shape);
  }

  /** The same memory in another shape. A tensor that owns a GPU's buffer does not let itself be reshaped. */
  #reshape(tensor: OrtTensor, dims: readonly number[]): OrtTensor {
    if (tensor.location !== "gpu-buffer") return tensor.reshape(dims);
    const dataType = tensor.type as OrtTensor.GpuBufferDataTypes;
    return this.#runtime.Tensor.fromGpuBuffer(tensor.gpuBuffer, { dataType, dims });
  }

  /** An argument as ONNX Runtime takes it: results of this engine as they are, others by their numbers. */
  #feed(dataId: object, backend: tf.KernelBackend, value: Value): OrtTensor | Promise<OrtTensor> {
    const own = this.#storage.find(dataId);
    if (own) {
      // The tensor may have been reshaped since, or as it came out of the graph.
      return sameDims(own.dims, value.shape) ? own : this.#reshape(own, value.shape);
    }
    const take = (data: tf.backend_util.BackendValues) => this.#tensor(value, asTyped(value, data as Float32Array));
    if (isOnGpu(backend)) return backend.read(dataId).then(take);
    const known = this.#fed.get(dataId);
    if (known?.type === value.type && sameDims(known.dims, value.shape)) return known;
    const tensor = take(backend.readSync(dataId) as Float32Array);
    // A copy, kept, would be memory twice.
    if (isInPlace(backend)) this.#fed.set(dataId, tensor);
    return tensor;
  }
}

/** A number for each data id, for the keys of plans. */
const numbers = new WeakMap<object, number>();
let nextNumber = 0;
function numberOf(dataId: object): number {
  let number = numbers.get(dataId);
  if (number === undefined) {
    number = nextNumber++;
    numbers.set(dataId, number);
  }
  return number;
}

/** tfjs' cast from bool or int32 on its cpu backend changes the type's name alone: the numbers stay in their old array. */
function asTyped(value: Value, data: Float32Array | Int32Array | Uint8Array) {
  if (value.type === "uint8") return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (value.type === "float32" && !(data instanceof Float32Array)) return Float32Array.from(data);
  if (value.type === "int32" && !(data instanceof Int32Array)) return Int32Array.from(data);
  return data;
}

/** Which tensors stand where a graph has constants. */
const fixedData = ({ tensors }: FlatArguments, fixed: readonly number[]): number[] =>
  fixed.map((i) => numberOf(tensors[i]!.dataId));

/** Whether the same data stands where the call's graph has constants. */
const hasFixed = (flat: FlatArguments, { fixed: { places, ids, data } }: RecentCall): boolean =>
  places.every((place, i) => flat.tensors[place]!.id === ids[i]) || sameDims(fixedData(flat, places), data);

/** Holds the tensors with these numbers. The others leave holes. */
function holdAll(tensors: readonly tf.Tensor[], numbers: readonly number[]): HeldData[] {
  const held: HeldData[] = [];
  for (const i of numbers) held[i] = holdData(tensors[i]!);
  return held;
}

const sameDims = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((n, i) => n === b[i]);

/** GPU backends give their numbers only when awaited; others hand out their memory at once. */
const isOnGpu = (backend: tf.KernelBackend) => ["webgl", "webgpu"].some((name) => tf.findBackend(name) === backend);

/** Whether a backend hands out the memory that it holds, not copies. */
const isInPlace = (backend: tf.KernelBackend) => tf.findBackend("cpu") === backend;

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
