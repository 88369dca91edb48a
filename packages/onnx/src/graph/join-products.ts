import { type Attribute, isConstant, type Node, reachableNodes, sizeOf, type Value } from "./graph.ts";
import { type Rule, rewrite } from "./rewrite.ts";

// Products of one input with several matrices that are constants, of rounded weights or in panels of float32, as a model's
// queries, keys and values are, or the two halves of a gated layer: one product with the matrices below each other. Of a
// token's small products each costs some microseconds beside its arithmetic.

/** The same outputs, with such products joined. */
export function joinProducts(outputs: readonly Value[]): Value[] {
  const groups = new Map<string, Node[]>();
  for (const node of reachableNodes(outputs)) {
    const key = keyOf(node);
    if (key !== undefined) groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  const parts = new Map<Node, Value>();
  const join: Rule = (node, { g, now }) => {
    const group = groups.get(keyOf(node) ?? "") ?? [];
    if (group.length < 2) return undefined;
    if (!parts.has(node)) {
      const axis = node.op === "MatMul" ? 0 : node.outputs[0]!.shape.length - 1;
      const widths = group.map(({ outputs: [product] }) => product!.shape[axis]!);
      const width = widths.reduce((a, b) => a + b);
      const x = now(node.inputs[0]!);
      const rest = node.inputs.slice(1).map((value, i) => {
        if (!value) return null;
        const data = joined(group.map(({ inputs }) => inputs[i + 1]!));
        return g.constant(value.type, [width, ...value.shape.slice(1)], data);
      });
      const attributes = { ...node.attributes, ...(node.op === "MatMulNBits" && { N: { int: width } }) };
      const shapeOf = (n: number) => node.outputs[0]!.shape.with(axis, n);
      const product = g.node(node.op, [x, ...rest], "float32", shapeOf(width), attributes, node.domain);
      const shapes = widths.map((n) => ({ type: product.type, shape: shapeOf(n) }));
      const split = g.nodes("Split", [product, g.int64s(widths)], shapes, { axis: { int: axis } });
      for (const [i, member] of group.entries()) parts.set(member, split[i]!);
    }
    return parts.get(node);
  };
  return [...groups.values()].some((group) => group.length > 1) ? rewrite(outputs, [join]) : [...outputs];
}

/** What products have in common that can be joined; undefined for other nodes. */
function keyOf({ op, inputs, attributes }: Node): string | undefined {
  const [x, ...rest] = inputs;
  const isPanels = op === "MatMul" && x!.shape.length === 2 && rest[0]!.shape.length === 3;
  if ((op !== "MatMulNBits" && !isPanels) || rest.some((value) => value && !isConstant(value))) return undefined;
  const { N: _, ...shared } = attributes as Record<string, Attribute>;
  const shapes = rest.map((value) => value?.shape.slice(1) ?? null);
  return `${op} ${x!.id} ${JSON.stringify([shapes, shared])}`;
}

/** The elements of constants, one behind the other. */
function joined(values: readonly Value[]): Uint8Array | Float32Array {
  const size = values.reduce((n, { shape }) => n + sizeOf(shape), 0);
  const all = values[0]!.type === "uint8" ? new Uint8Array(size) : new Float32Array(size);
  let at = 0;
  for (const { data, fill, shape } of values) {
    if (data) all.set(data, at);
    else all.fill(fill!, at, at + sizeOf(shape));
    at += sizeOf(shape);
  }
  return all;
}
