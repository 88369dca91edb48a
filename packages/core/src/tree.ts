import { dispose as disposeTensor, keep, Tensor } from "@tensorflow/tfjs";

// A tree is a nesting of plain records and arrays whose leaves are tensors. Plain JSON values (numbers, strings,
// booleans, null) may stand among them - a model record `{ config, params }` is a tree - and are passed through untouched.

/** A value made of nested plain records and arrays with tensors (and plain JSON values) at the leaves. */
export type Tree = unknown;

/**
 * Reports whether `value` is a tensor. tfjs' own `instanceof` looks for three methods in turn, which takes most of a walk over
 * parameters.
 */
export function isTensor(value: unknown): value is Tensor {
  if (typeof value !== "object" || value === null) return false;
  const proto = Object.getPrototypeOf(value);
  if (proto === Tensor.prototype) return true;
  return proto !== Object.prototype && proto !== Array.prototype && value instanceof Tensor;
}

/** Reports whether `value` is a record that trees descend into: made by `{}` or `Object.create(null)`, not by a class. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const proto = Object.getPrototypeOf(value);
  return proto === null || proto === Object.prototype || Object.getPrototypeOf(proto) === null;
}

const join = (path: string, key: string | number) => (path === "" ? String(key) : `${path}.${key}`);

/** Calls `visit(leaf, path)` for every leaf, tensors and plain values alike, in a fixed order: arrays by index, records by insertion. */
export function treeVisit(tree: Tree, visit: (leaf: unknown, path: string) => void, path = ""): void {
  if (isTensor(tree)) visit(tree, path);
  else if (Array.isArray(tree)) {
    for (const [i, child] of tree.entries()) treeVisit(child, visit, join(path, i));
  } else if (isRecord(tree)) for (const key of Object.keys(tree)) treeVisit(tree[key], visit, join(path, key));
  else visit(tree, path);
}

/** The tensors of a tree with their dotted paths, such as `["encoder.conv.0.weight", tensor]`. */
export function treeEntries(tree: Tree): [path: string, tensor: Tensor][] {
  const out: [string, Tensor][] = [];
  treeVisit(tree, (leaf, path) => {
    if (isTensor(leaf)) out.push([path, leaf]);
  });
  return out;
}

/** The tensors of a tree, in `treeVisit` order. */
export function treeLeaves(tree: Tree): Tensor[] {
  const out: Tensor[] = [];
  // Without the paths, which take longer than the walk: this is done at every call of a compiled function.
  const walk = (node: unknown): void => {
    if (isTensor(node)) out.push(node);
    else if (Array.isArray(node)) for (const child of node) walk(child);
    else if (isRecord(node)) for (const key of Object.keys(node)) walk(node[key]);
  };
  walk(tree);
  return out;
}

/** A tree of the same structure with every leaf, tensors and plain values alike, replaced by `fn(leaf, path)`, in `treeVisit` order. */
export function treeMapLeaves<T extends Tree>(tree: T, fn: (leaf: unknown, path: string) => unknown, path = ""): T {
  const walk = (node: unknown, at: string): unknown => {
    if (isTensor(node)) return fn(node, at);
    if (Array.isArray(node)) return node.map((child, i) => walk(child, join(at, i)));
    if (isRecord(node))
      return Object.fromEntries(Object.keys(node).map((key) => [key, walk(node[key], join(at, key))]));
    return fn(node, at);
  };
  return walk(tree, path) as T;
}

/** A tree of the same structure with every tensor replaced by `fn(tensor, path)`; plain values are kept as they are. */
export function treeMap<T extends Tree>(tree: T, fn: (tensor: Tensor, path: string) => unknown, path = ""): T {
  return treeMapLeaves(tree, (leaf, at) => (isTensor(leaf) ? fn(leaf, at) : leaf), path);
}

/**
 * Combines trees of equal structure: every tensor of `tree` is replaced by `fn(tensor, tensors of the others, path)`.
 *
 * @throws if another tree lacks a tensor at a path of the first, or has one more.
 */
export function treeZip<T extends Tree>(
  tree: T,
  others: readonly Tree[],
  fn: (tensor: Tensor, others: Tensor[], path: string) => Tensor,
): T {
  const lists = others.map(treeLeaves);
  assertSameStructure("treeZip", tree, ...others);
  let i = 0;
  return treeMap(tree, (tensor, path) => {
    const rest = lists.map((list) => list[i] as Tensor);
    i += 1;
    return fn(tensor, rest, path);
  });
}

/** Replaces the tensors of `template`, in order, by `leaves`. The inverse of `treeLeaves`. */
export function treeUnflatten<T extends Tree>(template: T, leaves: readonly Tensor[]): T {
  let i = 0;
  const out = treeMap(template, () => leaves[i++]);
  if (i !== leaves.length) throw new Error(`treeUnflatten: got ${leaves.length} tensors; the template holds ${i}`);
  return out;
}

/** Throws, naming the first path that differs, unless all trees hold tensors at the same paths. */
export function assertSameStructure(caller: string, first: Tree, ...others: Tree[]): void {
  const paths = treeEntries(first).map(([path]) => path);
  for (const other of others) {
    const got = treeEntries(other).map(([path]) => path);
    const n = Math.max(paths.length, got.length);
    for (let i = 0; i < n; i++) {
      if (paths[i] === got[i]) continue;
      throw new Error(
        `${caller}: trees differ: ${got[i] === undefined ? "nothing" : `a tensor at '${got[i]}'`}; expected ${paths[i] === undefined ? "nothing" : `a tensor at '${paths[i]}'`}`,
      );
    }
  }
}

/** Disposes of every tensor of the tree. Tensors that are already disposed of are skipped. */
export function treeDispose(tree: Tree): void {
  for (const tensor of treeLeaves(tree)) if (!tensor.isDisposed) disposeTensor(tensor);
}

/** Keeps every tensor of the tree when the enclosing `tf.tidy` ends. */
export function treeKeep<T extends Tree>(tree: T): T {
  for (const tensor of treeLeaves(tree)) keep(tensor);
  return tree;
}

/**
 * Freezes the records and arrays of a tree. Its tensors are then the same for ever, and who has seen it before knows it again without a
 * walk: compiled functions do.
 */
export function treeFreeze<T extends Tree>(tree: T): T {
  if (!isTensor(tree) && (Array.isArray(tree) || isRecord(tree))) {
    for (const child of Object.values(tree)) treeFreeze(child);
    Object.freeze(tree);
  }
  return tree;
}

/** The number of elements in all tensors of the tree: for `params`, the parameter count. */
export function countParams(tree: Tree): number {
  return treeLeaves(tree).reduce((n, tensor) => n + tensor.size, 0);
}
