import { Graph, type Node, reachableNodes, type Value } from "./graph.ts";

// Writes a recorded graph anew by rules. It takes the whole graph to know what reads a value.

export interface Rewriting {
  /** The graph that is being written. */
  readonly g: Graph;
  /** The nodes of the graph that was recorded. */
  readonly nodes: readonly Node[];
  /** How many nodes and outputs read a recorded value. */
  readonly uses: (value: Value) => number;
  /** What a recorded value has become. */
  readonly now: (value: Value) => Value;
}

/** Gives what takes the place of the only output of a recorded node, or undefined to leave it. */
export type Rule = (node: Node, at: Rewriting) => Value | undefined;

/** The same outputs, with the nodes that a rule has something better for replaced. The first rule that has counts. */
export function rewrite(outputs: readonly Value[], rules: readonly Rule[]): Value[] {
  const nodes = reachableNodes(outputs);
  const uses = new Map<Value, number>();
  for (const value of [...nodes.flatMap(({ inputs }) => inputs), ...outputs]) {
    if (value) uses.set(value, (uses.get(value) ?? 0) + 1);
  }
  const g = new Graph(
    1 + nodes.reduce((id, node) => Math.max(id, ...node.outputs.map((o) => o.id)), maxId(uses.keys())),
  );
  const replaced = new Map<Value, Value>();
  // Uniform constants are made anew, so that nodes written by rules are shared with recorded ones.
  const now = (value: Value) =>
    replaced.get(value) ?? (value.fill === undefined ? value : g.filled(value.type, value.shape, value.fill));
  const at: Rewriting = { g, nodes, uses: (value) => uses.get(value) ?? 0, now };
  for (const node of nodes) {
    const better = rules.reduce<Value | undefined>((found, rule) => found ?? rule(node, at), undefined);
    const made = better
      ? [better]
      : g.nodes(
          node.op,
          node.inputs.map((value) => value && now(value)),
          node.outputs,
          node.attributes,
          node.domain,
        );
    for (const [i, output] of node.outputs.entries()) replaced.set(output, made[i]!);
  }
  return outputs.map(now);
}

const maxId = (values: Iterable<Value>) => [...values].reduce((id, value) => Math.max(id, value.id), 0);
