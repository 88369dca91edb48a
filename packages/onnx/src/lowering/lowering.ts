import type { Graph, Value } from "../graph/graph.ts";

/** One call of a tfjs kernel during a trace: its inputs as graph values and its attributes as tfjs passes them. */
export interface KernelCall {
  readonly graph: Graph;
  /** Inputs by name. Kernels with a list of inputs (Concat, AddN, Pack) have the keys "0", "1", ... */
  readonly inputs: Readonly<Record<string, Value>>;
  // biome-ignore lint/suspicious/noExplicitAny: each kernel has attributes of its own, typed only by tfjs' documentation.
  readonly attrs: any;
}

/** Writes a tfjs kernel in ONNX operators. */
export type Lowering = (call: KernelCall) => Value | readonly Value[];

export type LoweringTable = Readonly<Record<string, Lowering>>;

/** Axes as tfjs attributes give them - one number, a list or nothing for all - as sorted non-negative numbers. */
export function normaliseAxes(axis: number | readonly number[] | undefined | null, rank: number): number[] {
  const list = axis === undefined || axis === null ? Array.from({ length: rank }, (_, i) => i) : [axis].flat();
  return list.map((a) => (a < 0 ? a + rank : a)).sort((a, b) => a - b);
}
