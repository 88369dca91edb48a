import { backend_util } from "@tensorflow/tfjs";
import type { Graph, Value } from "../graph/graph.ts";
import { add, matMul, reduce, reshape, transpose } from "../graph/operators.ts";
import { activate } from "./elementwise.ts";
import type { Lowering, LoweringTable } from "./lowering.ts";
import { multiplyForm } from "./weights.ts";

/** tfjs multiplies the last two axes and broadcasts the ones before, as ONNX does. */
const batchMatMul: Lowering = ({ graph: g, inputs: { a, b }, attrs: { transposeA, transposeB } }) =>
  multiplyForm(g, a!, b!, transposeA, transposeB) ?? matMul(g, a!, b!, transposeA, transposeB);

const fusedMatMul: Lowering = ({ graph: g, inputs: { a, b, bias, preluActivationWeights }, attrs }) => {
  const product = matMul(g, a!, b!, attrs.transposeA, attrs.transposeB);
  return activate(g, bias ? add(g, product, bias) : product, attrs, preluActivationWeights);
};

/** A value whose axes are named by letters, as in the equation. */
interface Labelled {
  readonly value: Value;
  readonly labels: string;
}

/** Sums over the axes that `keep` lacks. */
function sumOthers(g: Graph, { value, labels }: Labelled, keep: string): Labelled {
  const axes = [...labels].flatMap((label, axis) => (keep.includes(label) ? [] : [axis]));
  if (axes.length === 0) return { value, labels };
  const kept = [...labels].filter((label) => keep.includes(label)).join("");
  return { value: reduce(g, "ReduceSum", value, axes, false), labels: kept };
}

/** Brings the axes into the given order. */
function permute(g: Graph, { value, labels }: Labelled, order: string): Value {
  const axes = [...order].map((label) => labels.indexOf(label));
  return labels === order ? value : transpose(g, value, axes);
}

/** One operand is summed and permuted; two become one batched matrix product, as in core's repair of tfjs' own kernel. */
const einsum: Lowering = ({ graph: g, inputs, attrs }) => {
  const tensors = Object.values(inputs) as Value[];
  backend_util.decodeEinsumEquation(attrs.equation, tensors.length); // Throws what is wrong with it.
  const [left, output] = attrs.equation.replace(/\s/g, "").split("->") as [string, string];
  const [first, second] = left.split(",").map((labels, i): Labelled => ({ value: tensors[i]!, labels }));
  if (!second) return permute(g, sumOthers(g, first!, output), output);
  const a = sumOthers(g, first!, second.labels + output);
  const b = sumOthers(g, second, first!.labels + output);
  const shared = [...a.labels].filter((label) => b.labels.includes(label));
  const batch = shared.filter((label) => output.includes(label)).join("");
  const inner = shared.filter((label) => !output.includes(label)).join("");
  const rows = [...a.labels].filter((label) => !b.labels.includes(label)).join("");
  const columns = [...b.labels].filter((label) => !a.labels.includes(label)).join("");
  const sizeOf = (label: string) =>
    a.labels.includes(label) ? a.value.shape[a.labels.indexOf(label)]! : b.value.shape[b.labels.indexOf(label)]!;
  const count = (labels: string) => [...labels].reduce((n, label) => n * sizeOf(label), 1);
  const x = reshape(g, permute(g, a, batch + rows + inner), [count(batch), count(rows), count(inner)]);
  const y = reshape(g, permute(g, b, batch + inner + columns), [count(batch), count(inner), count(columns)]);
  const labels = batch + rows + columns;
  return permute(g, { value: reshape(g, matMul(g, x, y, false, false), [...labels].map(sizeOf)), labels }, output);
};

export const linearAlgebra: LoweringTable = { BatchMatMul: batchMatMul, _FusedMatMul: fusedMatMul, Einsum: einsum };
