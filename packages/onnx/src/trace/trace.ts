import { isTensor, Rng, treeLeaves, treeMap, treeMapLeaves, treeVisit } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type ConstantData, drawName, Graph, type Value } from "../graph/graph.ts";
import { tensorInfoOf, withActiveBackend } from "../tfjs-engine.ts";
import { elementType, explainMissingKernel, RECORDING_BACKEND, recordingBackend } from "./recording-backend.ts";
import { RecordingRng, type RngStep } from "./recording-rng.ts";

/** The arguments of a call, sorted by kind: tensors are inputs, streams are replayed, the rest is part of the key. */
export interface FlatArguments {
  readonly tensors: readonly tf.Tensor[];
  readonly paths: readonly string[];
  readonly rngs: readonly Rng[];
  /** Equal for calls that one graph serves: structure, shapes, dtypes and plain values. */
  readonly key: string;
}

export function flattenArguments(args: readonly unknown[]): FlatArguments {
  const tensors: tf.Tensor[] = [];
  const paths: string[] = [];
  const rngs: Rng[] = [];
  let key = "";
  treeVisit(args, (leaf, path) => {
    if (isTensor(leaf)) {
      if (leaf.isDisposed)
        throw new Error(`a compiled function was called with a tensor that is disposed of (argument ${path})`);
      key += `${path}:${leaf.dtype}[${leaf.shape}];`;
      tensors.push(leaf);
      paths.push(path);
    } else if (leaf instanceof Rng) {
      // The same stream given twice is one stream.
      const known = rngs.indexOf(leaf);
      key += `${path}:rng${known < 0 ? rngs.length : known};`;
      if (known < 0) rngs.push(leaf);
    } else if (
      leaf === null ||
      leaf === undefined ||
      typeof leaf === "string" ||
      typeof leaf === "number" ||
      typeof leaf === "boolean"
    ) {
      key += `${path}=${typeof leaf === "string" ? JSON.stringify(leaf) : Object.is(leaf, -0) ? "-0" : leaf};`;
    } else {
      throw new Error(
        `a compiled function takes trees of tensors, plain JSON values and Rngs; argument ${path} is ${describe(leaf)}`,
      );
    }
  });
  return { tensors, paths, rngs, key };
}

function describe(value: unknown): string {
  if (typeof value !== "object" || value === null) return `a ${typeof value}`;
  return `an object of class ${value.constructor?.name ?? "unknown"}`;
}

/** A tensor of a result: computed by the graph, or an argument that is handed back as it is. */
export type ResultLeaf = { readonly output: number } | { readonly argument: number };

/** A function recorded as a graph for one set of shapes. */
export interface Recording {
  readonly graph: Graph;
  readonly outputs: readonly Value[];
  readonly traced: Traced;
}

/** What of a recording is needed to call the function; holds no part of the graph, which has the weights as constants. */
export interface Traced {
  /** Inputs of the graph that the arguments' tensors feed, in order; undefined for tensors that the function ignores. */
  readonly arguments: readonly Value[];
  /** Inputs that random draws feed. */
  readonly draws: readonly Value[];
  readonly rngSteps: readonly RngStep[];
  /** Which of the arguments' tensors, by number, became constants of the graph. */
  readonly fixed: readonly number[];
  /** The tensors of the result, in order. */
  readonly leaves: readonly ResultLeaf[];
  /** The result's tree, with the tensors that `make` gives for its leaves. */
  rebuild(make: (leaf: ResultLeaf) => tf.Tensor): unknown;
}

/** What a graph may take of an argument beside its shape. */
export interface ArgumentAccess {
  /** Reads the elements, which are not kept. */
  readonly read: (tensor: tf.Tensor) => ConstantData;
  /** Whether the memory can be fed as of another type, without a copy at every call. */
  readonly viewable: (tensor: tf.Tensor) => boolean;
}

/**
 * Records `fn` on arguments of these shapes. Nothing is computed, and arguments are read only where an operator wants its
 * weights as constants.
 *
 * @throws if the function reads a value, returns a Promise, or uses a kernel that has no lowering
 */
export function trace(
  fn: (...args: never[]) => unknown,
  args: readonly unknown[],
  access: ArgumentAccess = { read: elementsOf, viewable: () => false },
): Recording {
  const what = fn.name === "" ? "the compiled function" : fn.name;
  const backend = recordingBackend();
  const graph = new Graph();
  backend.begin(graph);
  try {
    return withActiveBackend(RECORDING_BACKEND, () => {
      let recording: Recording | undefined;
      tf.tidy(() => {
        recording = record(fn as (...args: unknown[]) => unknown, args, { graph, what, access });
      });
      return recording!;
    });
  } catch (error) {
    throw explainMissingKernel(error);
  } finally {
    backend.end();
  }
}

function record(
  fn: (...args: unknown[]) => unknown,
  args: readonly unknown[],
  { graph, what, access }: { readonly graph: Graph; readonly what: string; readonly access: ArgumentAccess },
): Recording {
  const backend = recordingBackend();
  const inputs: Value[] = [];
  const draws: Value[] = [];
  const rngSteps: RngStep[] = [];
  const streams = { count: 0 };
  const makeInput = (request: { kind: string }, shape: readonly number[]) => {
    const type = request.kind === "integers" || request.kind === "permutation" ? "int32" : "float32";
    const input = drawName(draws.length);
    const value = graph.input(input, type, shape);
    draws.push(value);
    return { input, tensor: () => backend.tensorOf(value) };
  };
  const recorders = new Map<Rng, RecordingRng>();
  const placeholders = treeMapLeaves(args, (leaf) => {
    if (isTensor(leaf)) {
      const type = elementType(leaf.dtype, `${what}: an argument`);
      const read = () => access.read(leaf);
      const value = graph.input(`arg${inputs.length}`, type, leaf.shape, read, access.viewable(leaf));
      inputs.push(value);
      return backend.tensorOf(value);
    }
    if (leaf instanceof Rng) {
      if (!recorders.has(leaf)) recorders.set(leaf, new RecordingRng(rngSteps, streams, makeInput));
      return recorders.get(leaf);
    }
    return leaf;
  });

  const result = fn(...(placeholders as unknown[]));
  if (isThenable(result)) {
    result.then(undefined, () => {});
    throw new Error(`${what} returned a Promise; a compiled function must be synchronous and return a tree of tensors`);
  }

  const outputs: Value[] = [];
  const positions = new Map<Value, ResultLeaf>();
  const leaves: ResultLeaf[] = [];
  const template = treeMap(result, (tensor, path) => {
    if (tensor.isDisposed) throw new Error(`${what} returned a tensor that is disposed of, at '${path}'`);
    const value = backend.graphValue(tensor);
    let leaf = positions.get(value);
    if (!leaf) {
      const argument = inputs.indexOf(value);
      leaf = argument >= 0 ? { argument } : { output: outputs.push(value) - 1 };
      positions.set(value, leaf);
    }
    leaves.push(leaf);
    // Any tensor marks the place; the template holds no data after the trace.
    return tensor;
  });
  // The others go with the tidy that recording runs in.
  for (const tensor of treeLeaves(result)) if (tensor.kept) tensor.dispose();
  const fixed = inputs.flatMap((value, i) => (graph.fixed.has(value) ? [i] : []));
  const traced = { arguments: inputs, draws, rngSteps, fixed, leaves, rebuild: rebuilder(template, leaves) };
  return { graph, outputs, traced };
}

function rebuilder(template: unknown, leaves: readonly ResultLeaf[]): Traced["rebuild"] {
  return (make) => {
    let i = 0;
    return treeMap(template, () => make(leaves[i++]!));
  };
}

const elementsOf = ({ dataId }: tf.Tensor) => tensorInfoOf(dataId)!.backend.readSync(dataId) as Float32Array;

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as PromiseLike<unknown>).then === "function";
}
