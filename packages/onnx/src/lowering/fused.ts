import { erfOf, TANH_OFFSET, tanhOf } from "../graph/fold-products.ts";
import { type Graph, isConstant, isDraw, sizeOf, type Value } from "../graph/graph.ts";
import {
  add,
  affineRows,
  binary,
  cast,
  iota,
  matMul,
  mul,
  reduce,
  reshape,
  scatterAddRows,
  sub,
  unary,
} from "../graph/operators.ts";
import type { Lowering, LoweringTable } from "./lowering.ts";
import { tokenRows } from "./token-rows.ts";

// The fused operators of @genai/core's layers: kernels of our own names that ONNX Runtime has as one operator, or that
// can be written with fewer passes over memory than their parts. Shapes: N rows, C channels, V classes.

const f = (g: Graph, value: number) => g.scalar("float32", value);

const gelu: Lowering = ({ graph: g, inputs: { x }, attrs }) =>
  g.node("Gelu", [x!], "float32", x!.shape, { approximate: { string: attrs.approximate } });

/**
 * erf form: Phi(x) + x phi(x). tanh form: (1 + t) / 2 + x (1 - t^2) u' / 2 = (1 + t) (1 + x u' (1 - t)) / 2, where t = tanh u
 * and x u' = a (3 r - 2 TANH_OFFSET).
 */
const geluGrad: Lowering = ({ graph: g, inputs: { x, dy }, attrs }) => {
  if (attrs.approximate === "tanh") {
    const { a, r, onePlusTanh } = tanhOf(g, x!);
    const xdu = mul(g, a, sub(g, mul(g, r, f(g, 3)), f(g, 2 * TANH_OFFSET)));
    const slope = add(g, mul(g, xdu, sub(g, f(g, 2), onePlusTanh)), f(g, 1));
    return mul(g, mul(g, dy!, mul(g, onePlusTanh, slope)), f(g, 0.5));
  }
  // Phi(x) = (1 + erf u) / 2, and x phi(x) = u exp(-u^2) / sqrt(pi), whose factor goes into the exponent.
  const { u, twoPhi } = erfOf(g, x!);
  const density = unary(g, "Exp", sub(g, f(g, Math.log(2 / Math.sqrt(Math.PI))), mul(g, u, u)));
  // Halved last, so that the products that read it take the factor.
  return mul(g, mul(g, dy!, add(g, twoPhi, mul(g, u, density))), f(g, 0.5));
};

/** Normalised rows, their scale factors and, for layer norm, the operator's own output; shared by value and gradient. */
function layerNormNodes(g: Graph, x: Value, weight: Value, bias: Value, eps: number) {
  const rows = tokenRows(x);
  const n = [...rows.shape.slice(0, -1), 1];
  const outputs = [rows.shape, n, n].map((shape) => ({ type: "float32" as const, shape }));
  const attributes = { axis: { int: -1 }, epsilon: { float: eps } };
  const [y, mean, rstd] = g.nodes("LayerNormalization", [rows, weight, bias], outputs, attributes) as [
    Value,
    Value,
    Value,
  ];
  const column = [x.shape[0]!, 1];
  return [reshape(g, y, x.shape), reshape(g, mean, column), reshape(g, rstd, column)] as const;
}

/** The statistics that the forward pass of the same graph computed for `x`, so that the gradient need not repeat them. */
const rowStatistics = new WeakMap<Value, { mean: Value; rstd: Value; eps: number }>();

function statistics(g: Graph, x: Value, eps: number): { mean: Value; rstd: Value } {
  const known = rowStatistics.get(x);
  if (known?.eps === eps) return known;
  const c = x.shape[1]!;
  const [, mean, rstd] = layerNormNodes(g, x, g.filled("float32", [c], 1), g.filled("float32", [c], 0), eps);
  return { mean, rstd };
}

const layerNorm: Lowering = ({ graph: g, inputs: { x, weight, bias }, attrs }) => {
  const [y, mean, rstd] = layerNormNodes(g, x!, weight!, bias!, attrs.eps);
  rowStatistics.set(x!, { mean, rstd, eps: attrs.eps });
  return y;
};

/**
 * What the gradients of norms share. With rows c (centred, if the norm centres), their scale factors s, xhat = s c and
 * h = dy * weight: h, dweight, and the factors with which the rows c are s xhat mean(h xhat). Multiplying factors first
 * saves a pass for xhat.
 */
function normGradients(g: Graph, c: Value, scale: Value, weight: Value, dy: Value) {
  const [rows, channels] = c.shape as [number, number];
  const dyC = mul(g, dy, c);
  // The mean of dy * c * weight, whose summands are not needed, as a product with a column.
  const mean = matMul(g, dyC, reshape(g, mul(g, weight, f(g, 1 / channels)), [channels, 1]));
  return {
    h: mul(g, dy, weight),
    along: mul(g, mul(g, scale, scale), mul(g, scale, mean)),
    dWeight: reshape(g, matMul(g, reshape(g, scale, [1, rows]), dyC), [channels]),
  };
}

/** dx = rstd (h - mean(h) - xhat mean(h xhat)) with h = dy * weight; layer norm, Ba et al. 2016. */
const layerNormGrad: Lowering = ({ graph: g, inputs: { x, weight, dy }, attrs }) => {
  const { mean, rstd } = statistics(g, x!, attrs.eps);
  const centred = sub(g, x!, mean);
  const { h, along, dWeight } = normGradients(g, centred, rstd, weight!, dy!);
  const rest = affineRows(g, centred, along, mul(g, reduce(g, "ReduceMean", h, [1], true), rstd));
  return [sub(g, mul(g, h, rstd), rest), dWeight, reduce(g, "ReduceSum", dy!, [0], false)];
};

/** 1 / sqrt(mean(x^2) + eps) per row. */
const rmsScale = (g: Graph, x: Value, eps: number) => {
  const meanSquare = mul(g, reduce(g, "ReduceSumSquare", x, [1], true), f(g, 1 / x.shape[1]!));
  return unary(g, "Reciprocal", unary(g, "Sqrt", add(g, meanSquare, f(g, eps))));
};

/** Node by node in the form that ONNX Runtime makes one operator of. */
const rmsNorm: Lowering = ({ graph: g, inputs: { x, weight }, attrs }) => {
  const rows = tokenRows(x!);
  const { shape } = rows;
  const column = [...shape.slice(0, -1), 1];
  const square = g.node("Pow", [rows, f(g, 2)], "float32", shape);
  const mean = g.node("ReduceMean", [square, g.int64s([-1])], "float32", column, { keepdims: { int: 1 } });
  const rms = g.node("Sqrt", [g.node("Add", [mean, f(g, attrs.eps)], "float32", column)], "float32", column);
  return reshape(g, g.node("Mul", [g.node("Div", [rows, rms], "float32", shape), weight!], "float32", shape), x!.shape);
};

/** dx = r (h - xhat mean(h xhat)) with h = dy * weight, r the scale; root mean square norm, Zhang & Sennrich 2019. */
const rmsNormGrad: Lowering = ({ graph: g, inputs: { x, weight, dy }, attrs }) => {
  const scale = rmsScale(g, x!, attrs.eps);
  const { h, along, dWeight } = normGradients(g, x!, scale, weight!, dy!);
  return [sub(g, mul(g, h, scale), mul(g, x!, along)), dWeight];
};

const logProbs = (g: Graph, logits: Value) =>
  g.node("LogSoftmax", [logits], "float32", logits.shape, { axis: { int: -1 } });

const crossEntropy: Lowering = ({ graph: g, inputs: { logits, targets } }) => {
  const n = logits!.shape[0]!;
  const picked = g.node("GatherElements", [logProbs(g, logits!), reshape(g, targets!, [n, 1])], "float32", [n, 1], {
    axis: { int: 1 },
  });
  return unary(g, "Neg", reshape(g, picked, [n]));
};

/** (softmax(logits) - onehot(targets)) * dy */
const crossEntropyGrad: Lowering = ({ graph: g, inputs: { logits, targets, dy } }) => {
  const [n, v] = logits!.shape as [number, number];
  const probs = unary(g, "Exp", logProbs(g, logits!));
  const hit = binary(g, "Equal", reshape(g, targets!, [n, 1]), reshape(g, iota(g, v), [1, v]), "bool");
  return mul(g, sub(g, probs, cast(g, hit, "float32")), reshape(g, dy!, [n, 1]));
};

/** Few rows are summed faster by a product with the one-hot matrix than by a scatter, which runs on one thread. */
const gatherRowsGrad: Lowering = ({ graph: g, inputs: { ids, dy }, attrs }) => {
  const n = sizeOf(ids!.shape);
  const rows: number = attrs.rows;
  if (rows > 1024) return scatterAddRows(g, ids!, dy!, rows);
  const hit = binary(g, "Equal", reshape(g, ids!, [1, n]), reshape(g, iota(g, rows), [rows, 1]), "bool");
  return matMul(g, cast(g, hit, "float32"), dy!);
};

/**
 * x plus 0, of which neither this package's graphs nor ONNX Runtime's can know that it is 0 before they have the trigger:
 * an element of it, as an integer (a NaN too becomes one), times 0.
 */
const readAfter: Lowering = ({ graph: g, inputs: { x, trigger } }) => {
  // Arguments are kept in any case. What is drawn is too, but what is made of it, such as a mask, need not be.
  if (isConstant(x!) || (x!.input !== undefined && !isDraw(x!))) return x!;
  const flat = reshape(g, trigger!, [sizeOf(trigger!.shape)]);
  const first = g.node("Gather", [flat, g.int64s([0])], trigger!.type, [1], { axis: { int: 0 } });
  const zero = g.node("Mul", [cast(g, first, "int64"), g.int64s([0])], "int64", [1]);
  return g.node("Add", [x!, cast(g, zero, x!.type)], x!.type, x!.shape);
};

export const fusedKernels: LoweringTable = {
  GenaiGelu: gelu,
  GenaiGeluGrad: geluGrad,
  GenaiLayerNorm: layerNorm,
  GenaiLayerNormGrad: layerNormGrad,
  GenaiRmsNorm: rmsNorm,
  GenaiRmsNormGrad: rmsNormGrad,
  GenaiSoftmaxCrossEntropy: crossEntropy,
  GenaiSoftmaxCrossEntropyGrad: crossEntropyGrad,
  GenaiGatherRowsGrad: gatherRowsGrad,
  GenaiReadAfter: readAfter,
};
