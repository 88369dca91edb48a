import { scalar, Tensor } from "@tensorflow/tfjs";
import { DivergenceError, FormatError } from "../errors.ts";
import { type Tree, treeDispose, treeEntries, treeLeaves, treeMap, treeVisit } from "../tree.ts";

// What a training loop does with its state between steps.

/**
 * Puts a new state in the place of an old one: disposes of the old tensors, except those that live on in the new tree,
 * and returns the new state. Loops that carry state free it through this function alone.
 */
export function replaceState<S extends Tree>(old: Tree, next: S): S {
  const kept = new Set(treeLeaves(next));
  treeDispose(treeLeaves(old).filter((tensor) => !kept.has(tensor)));
  return next;
}

/** A value for a scalar leaf of the state, as a function of the number of steps done. */
export type ScalarSchedules = Readonly<Record<string, (step: number) => number>>;

/** Throws, listing the scalar leaves there are, unless every schedule's path leads to one. */
export function checkSchedules(caller: string, state: Tree, schedules: ScalarSchedules): void {
  const scalars = treeEntries(state).filter(([, tensor]) => tensor.rank === 0);
  const paths = scalars.map(([path]) => path);
  for (const path of Object.keys(schedules)) {
    if (paths.includes(path)) continue;
    throw new Error(
      `${caller}: schedules has '${path}'; expected the path of a scalar in the state: ${paths.join(", ") || "it has none"}`,
    );
  }
}

/** The state with its scheduled scalars set for the step after `step` steps; the tensors they replace are disposed of. */
export function applySchedules<S extends Tree>(caller: string, state: S, schedules: ScalarSchedules, step: number): S {
  const values = new Map<string, number>();
  for (const [path, schedule] of Object.entries(schedules)) {
    const value = schedule(step);
    if (!Number.isFinite(value)) {
      throw new Error(`${caller}: schedule '${path}' gave ${value} at step ${step}; expected a finite number`);
    }
    values.set(path, value);
  }
  if (values.size === 0) return state;
  const next = treeMap(state, (tensor, path) => {
    const value = values.get(path);
    return value === undefined ? tensor : scalar(value, tensor.dtype as "float32" | "int32");
  });
  return replaceState(state, next);
}

/** Throws, naming the first difference, unless a loaded state has the tensors and the plain values of the one expected. */
export function assertSameState(caller: string, expected: Tree, loaded: Tree, what: string): void {
  const a = describeLeaves(expected);
  const b = describeLeaves(loaded);
  for (const path of new Set([...a.keys(), ...b.keys()])) {
    if (a.get(path) === b.get(path)) continue;
    throw new FormatError(
      `${caller}: ${what} has ${b.get(path) ?? "nothing"} at '${path}'; expected ${a.get(path) ?? "nothing"}, as in the state given`,
    );
  }
}

function describeLeaves(tree: Tree): Map<string, string> {
  const out = new Map<string, string>();
  treeVisit(tree, (leaf, path) => {
    if (leaf instanceof Tensor) out.set(path, `a ${leaf.dtype} tensor of shape [${leaf.shape}]`);
    else if (leaf !== undefined) out.set(path, typeof leaf === "string" ? JSON.stringify(leaf) : String(leaf));
  });
  return out;
}

/** The values of metrics, which are scalar tensors or numbers. Reads all tensors at once; disposes of none. */
export async function readMetrics(
  caller: string,
  metrics: Readonly<Record<string, Tensor | number>>,
): Promise<Record<string, number>> {
  const read = Object.entries(metrics).map(async ([name, value]): Promise<[string, number]> => {
    if (typeof value === "number") return [name, value];
    if (!(value instanceof Tensor) || value.size !== 1) {
      const what = value instanceof Tensor ? `a tensor of shape [${value.shape}]` : typeof value;
      throw new Error(`${caller}: metric '${name}' is ${what}; expected a scalar tensor or a number`);
    }
    return [name, (await value.data())[0]!];
  });
  return Object.fromEntries(await Promise.all(read));
}

/** Throws a DivergenceError that names the metrics which are not finite, if there are any. */
export function assertFiniteMetrics(metrics: Readonly<Record<string, number>>, step: number, kept: string): void {
  const terms = Object.fromEntries(Object.entries(metrics).filter(([, value]) => !Number.isFinite(value)));
  if (Object.keys(terms).length > 0) throw diverged(terms, step, kept);
}

/** Throws a DivergenceError that names the leaves of the state which hold NaN or infinity, if there are any. */
export async function assertFiniteState(state: Tree, step: number, kept: string): Promise<void> {
  const terms: Record<string, number> = {};
  for (const [path, tensor] of treeEntries(state)) {
    if (tensor.dtype !== "float32") continue;
    // One after another: what an engine gives may be a copy, and of a large state all of them would be much.
    const data = await tensor.data();
    for (let i = 0; i < data.length; i++) {
      const value = data[i]!;
      if (value - value === 0) continue;
      terms[`state.${path}`] = value;
      break;
    }
  }
  if (Object.keys(terms).length > 0) throw diverged(terms, step, kept);
}

function diverged(terms: Record<string, number>, step: number, kept: string): DivergenceError {
  const list = Object.entries(terms).map(([name, value]) => `${name} (${value})`);
  const shown = list.length > 8 ? [...list.slice(0, 8), `and ${list.length - 8} more`] : list;
  return new DivergenceError(
    `fit: step ${step} gave ${shown.join(", ")}; expected finite values. ${kept}`,
    step,
    terms,
  );
}
