import type { Graph, Value } from "../graph/graph.ts";
import { add, binary, broadcastShape, cast, div, expand, mul, neg, sub, unary, where } from "../graph/operators.ts";
import type { KernelCall, Lowering, LoweringTable } from "./lowering.ts";
import { addToProduct } from "./weights.ts";

/** A kernel that is one ONNX operator on `x`. */
const one =
  (op: string): Lowering =>
  ({ graph: g, inputs: { x } }) =>
    unary(g, op, x!);

const float = (g: Graph, value: number) => g.scalar("float32", value);

/** A kernel on `x` written as an expression. */
const of =
  (build: (g: Graph, x: Value, attrs: KernelCall["attrs"]) => Value): Lowering =>
  ({ graph, inputs: { x }, attrs }) =>
    build(graph, x!, attrs);

/** A kernel on `a` and `b` written as an expression. */
const both =
  (build: (g: Graph, a: Value, b: Value) => Value): Lowering =>
  ({ graph, inputs: { a, b } }) =>
    build(graph, a!, b!);

const compare = (op: "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual"): Lowering =>
  both((g, a, b) => {
    // ONNX orders numbers only.
    const number = (x: Value) => (x.type === "bool" && op !== "Equal" ? cast(g, x, "int32") : x);
    return binary(g, op, number(a), number(b), "bool");
  });

const logical = (op: "And" | "Or" | "Xor"): Lowering =>
  both((g, a, b) => binary(g, op, cast(g, a, "bool"), cast(g, b, "bool"), "bool"));

const not = (g: Graph, x: Value) => unary(g, "Not", cast(g, x, "bool"));

/** x > 0 ? 1 : otherwise */
const step = (g: Graph, x: Value, otherwise: number) =>
  where(
    g,
    binary(g, "Greater", x, g.scalar(x.type, 0), "bool"),
    g.filled(x.type, x.shape, 1),
    g.filled(x.type, x.shape, otherwise),
  );

/** a - floor(a / b) * b, whose sign is the divisor's. */
function modulo(g: Graph, a: Value, b: Value): Value {
  if (a.type === "int32") return g.node("Mod", [a, b], "int32", broadcastShape(a.shape, b.shape));
  return sub(g, a, mul(g, unary(g, "Floor", div(g, a, b)), b));
}

function clip(g: Graph, x: Value, low: number, high: number): Value {
  return g.node("Clip", [x, g.scalar(x.type, low), g.scalar(x.type, high)], x.type, x.shape);
}

const SELU_ALPHA = 1.6732632423543772;
const SELU_SCALE = 1.0507009873554805;

function leakyRelu(g: Graph, x: Value, alpha: number): Value {
  return g.node("LeakyRelu", [x], x.type, x.shape, { alpha: { float: alpha } });
}

function prelu(g: Graph, x: Value, alpha: Value): Value {
  return where(g, binary(g, "Less", x, float(g, 0), "bool"), mul(g, x, alpha), x);
}

/** The activation that a fused kernel applies to its result. */
export function activate(g: Graph, x: Value, attrs: KernelCall["attrs"], weights: Value | undefined): Value {
  switch (attrs.activation ?? "linear") {
    case "linear":
      return x;
    case "relu":
      return unary(g, "Relu", x);
    case "relu6":
      return clip(g, x, 0, 6);
    case "elu":
      return unary(g, "Elu", x);
    case "sigmoid":
      return unary(g, "Sigmoid", x);
    case "leakyrelu":
      return leakyRelu(g, x, attrs.leakyreluAlpha);
    case "prelu":
      return prelu(g, x, weights!);
    default:
      throw new Error(`the fused activation '${attrs.activation}' has no ONNX lowering`);
  }
}

/** atan2 by the quotient's arctangent and a correction per half plane. */
function atan2(g: Graph, y: Value, x: Value): Value {
  const zero = float(g, 0);
  const less = (v: Value) => binary(g, "Less", v, zero, "bool");
  const isZero = binary(g, "Equal", x, zero, "bool");
  const principal = unary(g, "Atan", div(g, y, where(g, isZero, float(g, 1), x)));
  const half = where(g, less(y), float(g, -Math.PI), float(g, Math.PI));
  const onAxis = mul(g, unary(g, "Sign", y), float(g, Math.PI / 2));
  return where(g, isZero, onAxis, where(g, less(x), add(g, principal, half), principal));
}

export const elementwise: LoweringTable = {
  Abs: one("Abs"),
  Acos: one("Acos"),
  Acosh: one("Acosh"),
  Asin: one("Asin"),
  Asinh: one("Asinh"),
  Atan: one("Atan"),
  Atanh: one("Atanh"),
  Ceil: one("Ceil"),
  Cos: one("Cos"),
  Cosh: one("Cosh"),
  Elu: one("Elu"),
  Erf: one("Erf"),
  Exp: one("Exp"),
  Floor: one("Floor"),
  Log: one("Log"),
  Neg: of((g, x) => neg(g, x)),
  Reciprocal: one("Reciprocal"),
  Relu: one("Relu"),
  Round: one("Round"),
  Sigmoid: one("Sigmoid"),
  Sign: one("Sign"),
  Sin: one("Sin"),
  Sinh: one("Sinh"),
  Softplus: one("Softplus"),
  Sqrt: one("Sqrt"),
  Tan: one("Tan"),
  Tanh: one("Tanh"),
  LogicalNot: of(not),
  IsNan: of((g, x) => unary(g, "IsNaN", x, "bool")),
  IsInf: of((g, x) => unary(g, "IsInf", x, "bool")),
  IsFinite: of((g, x) => binary(g, "Less", unary(g, "Abs", x), float(g, Number.POSITIVE_INFINITY), "bool")),
  // e^x - 1 = 2 tanh(x/2) / (1 - tanh(x/2)) keeps the digits that the subtraction loses near 0, and saturates for large x.
  Expm1: of((g, x) => {
    const small = unary(g, "Tanh", mul(g, x, float(g, 0.5)));
    const near = div(g, mul(g, small, float(g, 2)), sub(g, float(g, 1), small));
    const isNear = binary(g, "Less", unary(g, "Abs", x), float(g, 1), "bool");
    return where(g, isNear, near, sub(g, unary(g, "Exp", x), float(g, 1)));
  }),
  // log(1 + x) = x log(u) / (u - 1) with u = 1 + x rounded (W. Kahan), and x where u is 1.
  Log1p: of((g, x) => {
    const u = add(g, x, float(g, 1));
    const d = sub(g, u, float(g, 1));
    const tiny = binary(g, "Equal", d, float(g, 0), "bool");
    const exact = mul(g, unary(g, "Log", u), div(g, x, where(g, tiny, float(g, 1), d)));
    const huge = binary(g, "Greater", x, float(g, 1e7), "bool");
    return where(g, tiny, x, where(g, huge, unary(g, "Log", u), exact));
  }),
  Rsqrt: of((g, x) => unary(g, "Reciprocal", unary(g, "Sqrt", x))),
  Square: of((g, x) => mul(g, x, x)),
  Step: of((g, x, attrs) => step(g, x, attrs.alpha ?? 0)),
  Relu6: of((g, x) => clip(g, x, 0, 6)),
  ClipByValue: of((g, x, attrs) => clip(g, x, attrs.clipValueMin, attrs.clipValueMax)),
  LeakyRelu: of((g, x, attrs) => leakyRelu(g, x, attrs.alpha)),
  Prelu: ({ graph: g, inputs: { x, alpha } }) => prelu(g, x!, alpha!),
  Selu: of((g, x) => {
    const negative = mul(g, unary(g, "Elu", x), float(g, SELU_SCALE * SELU_ALPHA));
    return where(g, binary(g, "Less", x, float(g, 0), "bool"), negative, mul(g, x, float(g, SELU_SCALE)));
  }),
  EluGrad: ({ graph: g, inputs: { dy, y } }) => {
    const slope = add(g, y!, float(g, 1));
    return where(g, binary(g, "GreaterOrEqual", y!, float(g, 0), "bool"), dy!, mul(g, dy!, slope));
  },
  Cast: of((g, x, attrs) => {
    const { dtype } = attrs;
    if (dtype !== "float32" && dtype !== "int32" && dtype !== "bool")
      throw new Error(`a cast to ${dtype} has no ONNX form`);
    return cast(g, x, dtype);
  }),
  Identity: of((_, x) => x),
  ZerosLike: of((g, x) => g.filled(x.type, x.shape, 0)),
  OnesLike: of((g, x) => g.filled(x.type, x.shape, 1)),
  Fill: ({ graph: g, attrs }) =>
    g.filled(
      attrs.dtype === "int32" || attrs.dtype === "bool" ? attrs.dtype : "float32",
      attrs.shape,
      Number(attrs.value),
    ),
  Add: both((g, a, b) => addToProduct(g, a, b) ?? add(g, a, b)),
  AddN: ({ graph: g, inputs }) => Object.values(inputs).reduce((sum, x) => add(g, sum, x)),
  Sub: both(sub),
  Multiply: both(mul),
  RealDiv: both(div),
  FloorDiv: both((g, a, b) =>
    a.type === "int32" ? binary(g, "Div", sub(g, a, modulo(g, a, b)), b) : unary(g, "Floor", div(g, a, b)),
  ),
  Mod: both(modulo),
  Pow: both((g, a, b) =>
    b.fill === 2
      ? mul(g, a, expand(g, a, broadcastShape(a.shape, b.shape)))
      : b.fill === 0.5 && a.type === "float32"
        ? unary(g, "Sqrt", a)
        : binary(g, "Pow", a, b),
  ),
  Maximum: both((g, a, b) => binary(g, "Max", a, b)),
  Minimum: both((g, a, b) => binary(g, "Min", a, b)),
  SquaredDifference: both((g, a, b) => {
    const d = sub(g, a, b);
    return mul(g, d, d);
  }),
  Atan2: both(atan2),
  Equal: compare("Equal"),
  NotEqual: both((g, a, b) => unary(g, "Not", binary(g, "Equal", a, b, "bool"))),
  Greater: compare("Greater"),
  GreaterEqual: compare("GreaterOrEqual"),
  Less: compare("Less"),
  LessEqual: compare("LessOrEqual"),
  LogicalAnd: logical("And"),
  LogicalOr: logical("Or"),
  LogicalXor: logical("Xor"),
  Select: ({ graph: g, inputs: { condition, t, e } }) => {
    // tfjs lets a 1-D condition choose among the rows of a higher-rank tensor.
    const c = cast(g, condition!, "bool");
    const rows = c.shape.length === 1 && t!.shape.length > 1;
    const shaped = rows
      ? g.node("Reshape", [c, g.int64s([c.shape[0]!, ...t!.shape.slice(1).map(() => 1)])], "bool", [
          c.shape[0]!,
          ...t!.shape.slice(1).map(() => 1),
        ])
      : c;
    return where(g, shaped, t!, e!);
  },
};
