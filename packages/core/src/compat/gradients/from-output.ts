import * as tf from "@tensorflow/tfjs";
import type { GradientOverride } from "./gradient-override.ts";

// These derivatives are functions of the op's own output y. tfjs saves y before it records the op, so that a second
// derivative sees y as a constant and is wrong without a word. While an outer gradient is being recorded, y is therefore
// computed again from x; a first derivative uses the saved one.

const isRecorded = () => tf.engine().state.gradientDepth > 0;

function fromOutput(
  kernelName: string,
  input: string,
  forward: (x: tf.Tensor, attrs: tf.NamedAttrMap) => tf.Tensor,
  gradient: (dy: tf.Tensor, y: tf.Tensor, attrs: tf.NamedAttrMap) => tf.Tensor,
): GradientOverride {
  return {
    kernelName,
    inputsToSave: [input],
    outputsToSave: [true],
    gradFunc: (dy, [x, y], attrs) => ({ [input]: () => gradient(dy, isRecorded() ? forward(x!, attrs) : y!, attrs) }),
  };
}

export const exp = fromOutput("Exp", "x", tf.exp, (dy, y) => tf.mul(dy, y));

export const tanh = fromOutput("Tanh", "x", tf.tanh, (dy, y) => tf.mul(dy, tf.sub(1, tf.square(y))));

export const sigmoid = fromOutput("Sigmoid", "x", tf.sigmoid, (dy, y) => tf.mul(dy, tf.mul(y, tf.sub(1, y))));

/** elu'(x) = 1 where x > 0, else elu(x) + 1. Stock tfjs calls a kernel that has no gradient of its own. */
export const elu = fromOutput("Elu", "x", tf.elu, (dy, y) =>
  tf.mul(dy, tf.where(tf.greater(y, 0), tf.onesLike(y), tf.add(y, 1))),
);

export const softmax = fromOutput(
  "Softmax",
  "logits",
  (x, { dim }) => tf.softmax(x, dim as number),
  (dy, y, { dim }) => {
    const product = tf.mul(dy, y);
    return tf.sub(product, tf.mul(tf.sum(product, dim as number, true), y));
  },
);
