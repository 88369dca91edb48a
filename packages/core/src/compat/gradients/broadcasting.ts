import * as tf from "@tensorflow/tfjs";
import type { GradientOverride } from "./gradient-override.ts";

/** Sums a gradient over the axes along which an operand of `shape` was repeated. */
export function unbroadcast(grad: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape as number[], grad.shape);
  return tf.reshape(axes.length > 0 ? tf.sum(grad, axes) : grad, shape as number[]);
}

const mask = (dy: tf.Tensor, condition: tf.Tensor) => tf.mul(dy, tf.cast(condition, "float32"));

/** Stock tfjs forgets to sum over broadcast axes and throws. Ties go to `a`, as in stock tfjs. */
export const maximum: GradientOverride = {
  kernelName: "Maximum",
  inputsToSave: ["a", "b"],
  gradFunc: (dy, [a, b]) => ({
    a: () => unbroadcast(mask(dy, tf.greaterEqual(a!, b!)), a!.shape),
    b: () => unbroadcast(mask(dy, tf.less(a!, b!)), b!.shape),
  }),
};

/** As for maximum. */
export const minimum: GradientOverride = {
  kernelName: "Minimum",
  inputsToSave: ["a", "b"],
  gradFunc: (dy, [a, b]) => ({
    a: () => unbroadcast(mask(dy, tf.lessEqual(a!, b!)), a!.shape),
    b: () => unbroadcast(mask(dy, tf.greater(a!, b!)), b!.shape),
  }),
};

/** As for maximum. */
export const squaredDifference: GradientOverride = {
  kernelName: "SquaredDifference",
  inputsToSave: ["a", "b"],
  gradFunc: (dy, [a, b]) => {
    const half = () => tf.mul(dy, tf.mul(2, tf.sub(a!, b!)));
    return { a: () => unbroadcast(half(), a!.shape), b: () => unbroadcast(tf.neg(half()), b!.shape) };
  },
};

/** Stock tfjs throws when one operand is repeated along a batch axis, as the weights in [B, T, C] x [C, D] are. */
export const batchMatMul: GradientOverride = {
  kernelName: "BatchMatMul",
  inputsToSave: ["a", "b"],
  gradFunc: (dy, [a, b], { transposeA, transposeB }) => ({
    a: () => {
      const grad = transposeA ? tf.matMul(b!, dy, transposeB as boolean, true) : tf.matMul(dy, b!, false, !transposeB);
      return unbroadcast(grad, a!.shape);
    },
    b: () => {
      const [rows, columns] = [a!.shape.at(-1)!, dy.shape.at(-1)!];
      const isMatrix = b!.size === b!.shape.at(-1)! * b!.shape.at(-2)!;
      if (isMatrix && !transposeA && a!.size / rows === dy.size / columns) {
        // One product over all rows instead of one per batch and a sum.
        const x = tf.reshape(a!, [-1, rows]);
        const g = tf.reshape(dy, [-1, columns]);
        return tf.reshape(transposeB ? tf.matMul(g, x, true) : tf.matMul(x, g, true), b!.shape);
      }
      const grad = transposeB ? tf.matMul(dy, a!, true, transposeA as boolean) : tf.matMul(a!, dy, !transposeA, false);
      return unbroadcast(grad, b!.shape);
    },
  }),
};
