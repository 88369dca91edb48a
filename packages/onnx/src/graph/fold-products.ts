import { type Graph, isConstant, type Node, sameShape, sizeOf, type Value } from "./graph.ts";
import { add, mul, reshape, transpose, unary } from "./operators.ts";
import { type Rewriting, type Rule, rewrite } from "./rewrite.ts";

// What stands around matrix products and can be part of them: constant factors before and behind them, biases and
// residual connections added to them. Each saves a pass over the activations. It takes the whole graph to know that
// nothing else reads a product, so this runs when the recording has ended.

/** The same outputs, computed in fewer passes over memory. */
export function foldIntoProducts(outputs: readonly Value[]): Value[] {
  return rewrite(rewrite(outputs, [shareGelu]), [addIntoProduct, scaleProduct, scaleOperands, scaleSum]);
}

/**
 * The product that `value` is, but for its shape and for what has been folded into it, if nothing else reads it.
 */
function productBehind(value: Value, { uses, now }: Rewriting, op = "Gemm"): Value | undefined {
  let recorded = value;
  while (uses(recorded) === 1 && recorded.node?.op === "Reshape") recorded = recorded.node.inputs[0]!;
  if (uses(recorded) !== 1) return undefined;
  let product = now(value);
  while (product.node?.op === "Reshape") product = product.node.inputs[0]!;
  return product.node?.op === op ? product : undefined;
}

const floatOf = (node: Node, name: "alpha" | "beta") => {
  const attribute = node.attributes[name];
  return attribute && "float" in attribute ? attribute.float : 1;
};

/** A product with other operands, its factors multiplied. */
function remake(
  g: Graph,
  { node, shape }: Value,
  inputs: readonly (Value | null)[],
  alpha: number,
  beta: number,
): Value {
  return g.node("Gemm", inputs, "float32", shape, {
    ...node!.attributes,
    alpha: { float: floatOf(node!, "alpha") * alpha },
    beta: { float: floatOf(node!, "beta") * beta },
  });
}

/** product + bias, product + residual: the product's third operand. */
const addIntoProduct: Rule = (node, at) => {
  if (node.op !== "Add") return undefined;
  const { g, now } = at;
  const [a, b] = node.inputs as [Value, Value];
  const { shape } = node.outputs[0]!;
  for (const [x, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const product = productBehind(x, at);
    if (!product || product.node!.inputs.length > 2 || !sameShape(x.shape, shape)) continue;
    const added = now(other);
    const isBias = added.shape.length === 1 && added.shape[0] === product.shape[1] && shape.at(-1) === product.shape[1];
    if (!isBias && (isConstant(added) || sizeOf(added.shape) !== sizeOf(shape))) continue;
    const third = isBias ? added : reshape(g, added, product.shape);
    return reshape(g, remake(g, product, [...product.node!.inputs, third], 1, 1), shape);
  }
  return undefined;
};

/** product * constant: the product's factor. Next to a batched product, the runtime makes it one. */
const scaleProduct: Rule = (node, at) => {
  const factor = constantFactor(node);
  if (!factor) return undefined;
  const { g } = at;
  const { by } = factor;
  const { shape } = node.outputs[0]!;
  const batched = productBehind(factor.rest, at, "MatMul");
  if (batched) return reshape(g, mul(g, batched, g.scalar("float32", by)), shape);
  const product = productBehind(factor.rest, at);
  if (!product) return undefined;
  const { inputs } = product.node!;
  return reshape(g, remake(g, product, inputs, by, inputs.length > 2 ? by : 1), shape);
};

/** A product of multiples: the product's factor. A multiple that only products read is not computed any more. */
const scaleOperands: Rule = ({ op, inputs, outputs, attributes }, { g, now }) => {
  if (op !== "Gemm" && op !== "MatMul") return undefined;
  const [a, b] = inputs.slice(0, 2).map((value) => withoutFactor(g, now(value!))) as [Multiple, Multiple];
  if (a.by === 1 && b.by === 1) return undefined;
  const [product] = outputs as [Value];
  if (op === "Gemm") {
    return remake(
      g,
      product,
      [a.value, b.value, ...inputs.slice(2).map((value) => value && now(value))],
      a.by * b.by,
      1,
    );
  }
  // Batched products have no factor: the smaller operand takes it, where the runtime finds it.
  const operands = [a.value, b.value].map((value, i) => {
    const takes = i === Number(sizeOf(a.value.shape) > sizeOf(b.value.shape));
    return takes ? mul(g, value, g.scalar("float32", a.by * b.by)) : value;
  });
  return g.node("MatMul", operands, "float32", product.shape, attributes);
};

/** The sum of a multiple: a multiple of the sum. */
const scaleSum: Rule = (node, { g, now }) => {
  if (node.op !== "ReduceSum" || node.outputs[0]!.type !== "float32") return undefined;
  const { value, by } = withoutFactor(g, now(node.inputs[0]!));
  if (by === 1) return undefined;
  const { shape } = node.outputs[0]!;
  const sum = g.node("ReduceSum", [value, ...node.inputs.slice(1).map((axes) => axes && now(axes))], "float32", shape, {
    ...node.attributes,
  });
  return mul(g, sum, g.scalar("float32", by));
};

interface Multiple {
  readonly value: Value;
  readonly by: number;
}

/** `value` as a constant times another value of its shape. */
function withoutFactor(g: Graph, value: Value): Multiple {
  const { node } = value;
  const factor = node && constantFactor(node);
  if (factor) return { value: factor.rest, by: factor.by };
  if (node?.op === "Reshape" || node?.op === "Transpose") {
    const inner = withoutFactor(g, node.inputs[0]!);
    if (inner.by === 1) return { value, by: 1 };
    const perm = node.attributes.perm;
    const moved = perm && "ints" in perm ? transpose(g, inner.value, perm.ints) : reshape(g, inner.value, value.shape);
    return { value: moved, by: inner.by };
  }
  return { value, by: 1 };
}

/** The operands of x * constant, where the product has the shape of x. */
function constantFactor({ op, inputs, outputs }: Node): { readonly rest: Value; readonly by: number } | undefined {
  if (op !== "Mul" || outputs[0]!.type !== "float32") return undefined;
  const constant = inputs.find((value) => value!.fill !== undefined);
  const rest = inputs.find((value) => value !== constant);
  if (!constant || !rest || !sameShape(rest.shape, outputs[0]!.shape)) return undefined;
  return { rest, by: constant.fill! };
}

/** GELU where its gradient computes erf or tanh in any case: they are what takes the time. */
const shareGelu: Rule = ({ op, inputs, attributes }, { g, nodes, now }) => {
  if (op !== "Gelu") return undefined;
  const x = inputs[0]!;
  const isMultiple = (value: Value | null) => value?.node && constantFactor(value.node)?.rest === x;
  const approximate = attributes.approximate;
  if (approximate && "string" in approximate && approximate.string === "tanh") {
    const isShared = nodes.some((node) => node.op === "Tanh" && node.inputs[0]!.node?.inputs.some(isMultiple));
    if (!isShared) return undefined;
    const { a, onePlusTanh } = tanhOf(g, now(x));
    return mul(g, mul(g, a, onePlusTanh), g.scalar("float32", 0.5 / TANH_SCALE));
  }
  if (!nodes.some((node) => node.op === "Erf" && isMultiple(node.inputs[0]!))) return undefined;
  const { u, twoPhi } = erfOf(g, now(x));
  return mul(g, mul(g, u, twoPhi), g.scalar("float32", Math.SQRT1_2));
};

/** u = x / sqrt 2 and 2 Phi(x) = 1 + erf(u), the form that GELU's gradient has too. */
export function erfOf(g: Graph, x: Value): { u: Value; twoPhi: Value } {
  const u = mul(g, x, g.scalar("float32", Math.fround(Math.SQRT1_2)));
  return { u, twoPhi: add(g, unary(g, "Erf", u), g.scalar("float32", 1)) };
}

/** a = TANH_SCALE x, with which sqrt(2 / pi) (x + 0.044715 x^3) = a (a^2 + TANH_OFFSET). */
const TANH_SCALE = Math.cbrt(0.044715 * Math.sqrt(2 / Math.PI));
export const TANH_OFFSET = Math.sqrt(2 / Math.PI) / TANH_SCALE;

/** a, r = a^2 + TANH_OFFSET and 1 + tanh(a r), of which GELU's tanh form and its gradient consist. */
export function tanhOf(g: Graph, x: Value): { a: Value; r: Value; onePlusTanh: Value } {
  const a = mul(g, x, g.scalar("float32", Math.fround(TANH_SCALE)));
  const r = add(g, mul(g, a, a), g.scalar("float32", Math.fround(TANH_OFFSET)));
  return { a, r, onePlusTanh: add(g, unary(g, "Tanh", mul(g, a, r)), g.scalar("float32", 1)) };
}
