import type { Graph, Value } from "../graph/graph.ts";
import { cast, reduce, reshape, transpose } from "../graph/operators.ts";
import { type Lowering, type LoweringTable, normaliseAxes } from "./lowering.ts";

type Op = "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd";

const reduction =
  (op: Op): Lowering =>
  ({ graph: g, inputs: { x }, attrs }) => {
    const number = x!.type === "bool" ? cast(g, x!, "int32") : x!;
    const input = op === "ReduceMean" ? cast(g, number, "float32") : number;
    // Max alone calls its axes reductionIndices.
    const axes = normaliseAxes(attrs.axis ?? attrs.reductionIndices, input.shape.length);
    return reduce(g, op, input, axes, attrs.keepDims ?? false);
  };

/** `all` is the minimum of 0/1 values, `any` the maximum. */
const quantifier =
  (op: "ReduceMin" | "ReduceMax"): Lowering =>
  ({ graph: g, inputs: { x }, attrs }) =>
    cast(
      g,
      reduce(g, op, cast(g, x!, "int32"), normaliseAxes(attrs.axis, x!.shape.length), attrs.keepDims ?? false),
      "bool",
    );

const extremum =
  (op: "ArgMax" | "ArgMin"): Lowering =>
  ({ graph: g, inputs: { x }, attrs }) => {
    const [axis] = normaliseAxes(attrs.axis, x!.shape.length);
    const number = x!.type === "bool" ? cast(g, x!, "int32") : x!;
    const shape = x!.shape.filter((_, i) => i !== axis);
    return cast(g, g.node(op, [number], "int64", shape, { axis: { int: axis! }, keepdims: { int: 0 } }), "int32");
  };

/** Runs `build` on `x` with `axis` moved to the end. */
function onLastAxis(g: Graph, x: Value, axis: number, build: (x: Value) => Value): Value {
  const last = x.shape.length - 1;
  if (axis === last) return build(x);
  const swap = x.shape.map((_, i) => (i === axis ? last : i === last ? axis : i));
  return transpose(g, build(transpose(g, x, swap)), swap);
}

const cumulativeSum: Lowering = ({ graph: g, inputs: { x }, attrs }) => {
  const [axis] = normaliseAxes(attrs.axis, x!.shape.length);
  return g.node("CumSum", [x!, g.scalar("int64", axis!)], x!.type, x!.shape, {
    exclusive: { int: Number(attrs.exclusive ?? false) },
    reverse: { int: Number(attrs.reverse ?? false) },
  });
};

/** A running product has no operator: products of the masked square [..., n, n] whose row i keeps the first i elements. */
const cumulativeProduct: Lowering = ({ graph: g, inputs: { x }, attrs }) => {
  const [axis] = normaliseAxes(attrs.axis, x!.shape.length);
  const n = x!.shape[axis!]!;
  const exclusive = attrs.exclusive ?? false;
  const reverse = attrs.reverse ?? false;
  return onLastAxis(g, x!, axis!, (v) => {
    const keep = new Uint8Array(n * n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const distance = reverse ? j - i : i - j;
        keep[i * n + j] = Number(exclusive ? distance > 0 : distance >= 0);
      }
    }
    const lead = v.shape.slice(0, -1);
    const row = reshape(g, v, [...lead, 1, n]);
    const square = g.node("Where", [g.constant("bool", [n, n], keep), row, g.scalar(v.type, 1)], v.type, [
      ...lead,
      n,
      n,
    ]);
    return reduce(g, "ReduceProd", square, [v.shape.length], false);
  });
};

export const reductions: LoweringTable = {
  Sum: reduction("ReduceSum"),
  Mean: reduction("ReduceMean"),
  Max: reduction("ReduceMax"),
  Min: reduction("ReduceMin"),
  Prod: reduction("ReduceProd"),
  All: quantifier("ReduceMin"),
  Any: quantifier("ReduceMax"),
  ArgMax: extremum("ArgMax"),
  ArgMin: extremum("ArgMin"),
  Cumsum: cumulativeSum,
  Cumprod: cumulativeProduct,
  Softmax: ({ graph: g, inputs: { logits }, attrs }) =>
    onLastAxis(g, logits!, normaliseAxes(attrs.dim, logits!.shape.length)[0]!, (x) =>
      g.node("Softmax", [x], "float32", x.shape, { axis: { int: -1 } }),
    ),
  LogSoftmax: ({ graph: g, inputs: { logits }, attrs }) =>
    onLastAxis(g, logits!, normaliseAxes(attrs.axis, logits!.shape.length)[0]!, (x) =>
      g.node("LogSoftmax", [x], "float32", x.shape, { axis: { int: -1 } }),
    ),
  TopK: ({ graph: g, inputs: { x }, attrs }) => {
    const shape = [...x!.shape.slice(0, -1), attrs.k];
    const outputs = [
      { type: x!.type, shape },
      { type: "int64" as const, shape },
    ];
    const [values, indices] = g.nodes("TopK", [x!, g.int64s([attrs.k])], outputs, {
      sorted: { int: Number(attrs.sorted ?? true) },
    });
    return [values!, cast(g, indices!, "int32")];
  },
};
