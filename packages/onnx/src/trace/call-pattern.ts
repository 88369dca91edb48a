import { isRecord, isTensor, Rng, treeLeaves } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";
import type { FlatArguments } from "./trace.ts";

// Recognises calls like one before: a walk over the arguments beside a copy of their structure. Calls in a loop are like the
// last one, and writing out what distinguishes them (`flattenArguments`) takes longer than a small graph runs.

/** The structure of arguments without their data. */
type Pattern =
  | { readonly is: "tensor"; readonly id: number; readonly dtype: string; readonly shape: readonly number[] }
  | { readonly is: "rng"; readonly number: number }
  | { readonly is: "frozen"; readonly tree: WeakRef<object> }
  | { readonly is: "array"; readonly children: readonly Pattern[] }
  | { readonly is: "record"; readonly keys: readonly string[]; readonly children: readonly Pattern[] }
  | { readonly is: "plain"; readonly value: unknown };

/** A call to compare others with; it keeps no tensor alive. */
export interface CallPattern {
  readonly key: string;
  readonly paths: readonly string[];
  readonly pattern: Pattern;
  /** Which tensors, by their numbers, are in frozen trees: of calls that match they are the same. */
  readonly frozen: ReadonlySet<number>;
}

export function callPattern(args: readonly unknown[], flat: FlatArguments): CallPattern {
  const frozen = new Set<number>();
  let count = 0;
  const of = (node: unknown): Pattern => {
    if (isTensor(node)) {
      count += 1;
      return { is: "tensor", id: node.id, dtype: node.dtype, shape: [...node.shape] };
    }
    if (node instanceof Rng) return { is: "rng", number: flat.rngs.indexOf(node) };
    const leaves = frozenLeaves(node);
    if (leaves) {
      for (const _ of leaves) frozen.add(count++);
      return { is: "frozen", tree: new WeakRef(node as object) };
    }
    if (Array.isArray(node)) return { is: "array", children: node.map(of) };
    if (!isRecord(node)) return { is: "plain", value: node };
    const keys = Object.keys(node);
    return { is: "record", keys, children: keys.map((key) => of(node[key])) };
  };
  return { key: flat.key, paths: flat.paths, pattern: of(args), frozen };
}

/** The tensors of trees that are frozen all the way down, as far as they were looked at. */
const leavesOfFrozen = new WeakMap<object, readonly tf.Tensor[]>();

function frozenLeaves(node: unknown): readonly tf.Tensor[] | undefined {
  if (typeof node !== "object" || node === null) return undefined;
  let leaves = leavesOfFrozen.get(node);
  if (!leaves && isFrozenTree(node)) {
    leaves = treeLeaves(node);
    leavesOfFrozen.set(node, leaves);
  }
  return leaves;
}

function isFrozenTree(node: unknown): boolean {
  if (isTensor(node) || typeof node !== "object" || node === null) return true;
  return (Array.isArray(node) || isRecord(node)) && Object.isFrozen(node) && Object.values(node).every(isFrozenTree);
}

/**
 * The arguments flattened, if they are of the pattern: what `flattenArguments` gives, but that tensors of frozen trees may have been
 * disposed of one by one.
 */
export function matchCall(args: readonly unknown[], { key, paths, pattern }: CallPattern): FlatArguments | undefined {
  const tensors: tf.Tensor[] = [];
  const rngs: Rng[] = [];
  const matches = (node: unknown, p: Pattern): boolean => {
    switch (p.is) {
      case "tensor":
        if (!isTensor(node) || node.isDisposed) return false;
        tensors.push(node);
        // Parameters are the same tensors call after call: looking at them once more, memory cold, takes most of the walk.
        return node.id === p.id || (node.dtype === p.dtype && sameShape(node.shape, p.shape));
      case "rng":
        if (!(node instanceof Rng)) return false;
        if (p.number === rngs.length) return rngs.push(node) > 0 && rngs.indexOf(node) === p.number;
        return rngs[p.number] === node;
      case "frozen": {
        if (node !== p.tree.deref()) return false;
        const leaves = leavesOfFrozen.get(node as object)!;
        // The first leaf tells of trees disposed of as a whole; to look at every one takes what the pattern saves.
        if (leaves[0]?.isDisposed) return false;
        // One by one, as arguments of a function there may be too many.
        for (const leaf of leaves) tensors.push(leaf);
        return true;
      }
      case "array":
        if (!Array.isArray(node) || node.length !== p.children.length) return false;
        for (let i = 0; i < node.length; i++) if (!matches(node[i], p.children[i]!)) return false;
        return true;
      case "record": {
        if (!isRecord(node)) return false;
        let i = 0;
        // Twice as fast as a list of the keys; plain records inherit none.
        for (const key in node) {
          if (p.keys[i] !== key || !matches(node[key], p.children[i]!)) return false;
          i += 1;
        }
        return i === p.keys.length;
      }
      case "plain":
        return Object.is(node, p.value);
    }
  };
  return matches(args, pattern) ? { key, paths, tensors, rngs } : undefined;
}

const sameShape = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((n, i) => n === b[i]);
