import * as tf from "@tensorflow/tfjs";

/** A tensor whose axes are named by letters, as in an einsum equation. */
export interface Labelled {
  readonly tensor: tf.Tensor;
  readonly labels: string;
}

/** Splits "bij,bjk->bik" into the labels of the operands and of the result. */
export function parseEinsum(equation: string): { inputs: string[]; output: string } {
  const [left = "", output = ""] = equation.replace(/\s/g, "").split("->");
  return { inputs: left.split(","), output };
}

/** Sums over the axes that `keep` lacks. */
function sumOthers({ tensor, labels }: Labelled, keep: string): Labelled {
  const axes = [...labels].flatMap((label, axis) => (keep.includes(label) ? [] : [axis]));
  if (axes.length === 0) return { tensor, labels };
  return { tensor: tf.sum(tensor, axes), labels: [...labels].filter((label) => keep.includes(label)).join("") };
}

/** Brings the axes into the given order. */
function permute({ tensor, labels }: Labelled, order: string): tf.Tensor {
  return labels === order
    ? tensor
    : tf.transpose(
        tensor,
        [...order].map((label) => labels.indexOf(label)),
      );
}

/**
 * Einstein summation of one or two operands, as one batched matrix product. Differentiable, and made of kernels that
 * every backend has.
 */
export function contract(operands: readonly Labelled[], output: string): tf.Tensor {
  const [first, second] = operands;
  if (!first || operands.length > 2) {
    throw new Error(`einsum: ${operands.length} operands are not supported; expected one or two`);
  }
  if (!second) return permute(sumOthers(first, output), output);
  const a = sumOthers(first, second.labels + output);
  const b = sumOthers(second, first.labels + output);
  const shared = [...a.labels].filter((label) => b.labels.includes(label));
  const batch = shared.filter((label) => output.includes(label)).join("");
  const inner = shared.filter((label) => !output.includes(label)).join("");
  const rows = [...a.labels].filter((label) => !b.labels.includes(label)).join("");
  const columns = [...b.labels].filter((label) => !a.labels.includes(label)).join("");
  const sizes = (labels: string) =>
    [...labels].map((label) =>
      a.labels.includes(label) ? a.tensor.shape[a.labels.indexOf(label)]! : b.tensor.shape[b.labels.indexOf(label)]!,
    );
  const count = (labels: string) => sizes(labels).reduce((x, y) => x * y, 1);
  const left = tf.reshape(permute(a, batch + rows + inner), [count(batch), count(rows), count(inner)]);
  const right = tf.reshape(permute(b, batch + inner + columns), [count(batch), count(inner), count(columns)]);
  const labels = batch + rows + columns;
  return permute({ tensor: tf.reshape(tf.matMul(left, right), sizes(labels)), labels }, output);
}
