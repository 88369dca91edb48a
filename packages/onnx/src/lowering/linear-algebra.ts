import { backend_util } from "@tensorflow/tfjs";
import type { Value } from "../graph/graph.ts";
import { add, matMul, mul, reduce, reshape, transpose } from "../graph/operators.ts";
import { activate } from "./elementwise.ts";
import type { Lowering, LoweringTable } from "./lowering.ts";

/** tfjs multiplies the last two axes and broadcasts the ones before, as ONNX does. */
const batchMatMul: Lowering = ({ graph: g, inputs: { a, b }, attrs }) =>
  matMul(g, a!, b!, attrs.transposeA, attrs.transposeB);

const fusedMatMul: Lowering = ({ graph: g, inputs: { a, b, bias, preluActivationWeights }, attrs }) => {
  const product = matMul(g, a!, b!, attrs.transposeA, attrs.transposeB);
  return activate(g, bias ? add(g, product, bias) : product, attrs, preluActivationWeights);
};

/** Multiplies aligned factors and sums, term by term: the definition of the convention. */
const einsum: Lowering = ({ graph: g, inputs, attrs }) => {
  const tensors = Object.values(inputs);
  const { allDims, summedDims, idDims } = backend_util.decodeEinsumEquation(attrs.equation, tensors.length);
  backend_util.checkEinsumDimSizes(allDims.length, idDims, tensors as never);
  const { path, steps } = backend_util.getEinsumComputePath(summedDims, idDims);
  let out: Value | undefined;
  let rank = allDims.length;
  const summed: number[] = [];
  for (const [i, step] of steps.entries()) {
    for (const term of step) {
      const { permutationIndices, expandDims } = backend_util.getEinsumPermutation(rank, idDims[term]!);
      const shape = permutationIndices.map((axis) => tensors[term]!.shape[axis]!);
      for (const axis of expandDims) shape.splice(axis, 0, 1);
      const factor = reshape(g, transpose(g, tensors[term]!, permutationIndices), shape);
      out = out ? mul(g, factor, out) : factor;
    }
    if (i < path.length) {
      if (path[i]! >= 0) out = reduce(g, "ReduceSum", out!, [path[i]! - (allDims.length - rank)], false);
      summed.push(path[i]!);
      rank -= 1;
    }
  }
  return out!;
};

export const linearAlgebra: LoweringTable = { BatchMatMul: batchMatMul, _FusedMatMul: fusedMatMul, Einsum: einsum };
