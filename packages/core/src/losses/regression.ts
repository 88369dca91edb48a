import * as tf from "@tensorflow/tfjs";
import { softplus } from "../nn/activations.ts";
import { assertSameShape, type Reduction, reduceLoss } from "./reduction.ts";

interface ReductionOption {
  /** Default "mean". */
  readonly reduction?: Reduction;
}

/**
 * Binary cross-entropy of logits, stable at any size: softplus(x) - x t.
 *
 * @param logits any shape, samples first
 * @param targets probabilities in [0, 1], same shape
 */
export function binaryCrossEntropyWithLogits(
  logits: tf.Tensor,
  targets: tf.Tensor,
  options: ReductionOption = {},
): tf.Tensor {
  assertSameShape("binaryCrossEntropyWithLogits", ["logits", logits], ["targets", targets]);
  return tf.tidy(() => reduceLoss(tf.sub(softplus(logits), tf.mul(logits, targets)), options.reduction ?? "mean"));
}

/** Squared error (pred - target)^2. Equal shapes, samples first. */
export function mse(pred: tf.Tensor, target: tf.Tensor, options: ReductionOption = {}): tf.Tensor {
  assertSameShape("mse", ["pred", pred], ["target", target]);
  return tf.tidy(() => reduceLoss(tf.square(tf.sub(pred, target)), options.reduction ?? "mean"));
}

/** Absolute error |pred - target|. Equal shapes, samples first. */
export function l1(pred: tf.Tensor, target: tf.Tensor, options: ReductionOption = {}): tf.Tensor {
  assertSameShape("l1", ["pred", pred], ["target", target]);
  return tf.tidy(() => reduceLoss(tf.abs(tf.sub(pred, target)), options.reduction ?? "mean"));
}

/** Huber loss: e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) elsewhere. Equal shapes, samples first. */
export function huber(
  pred: tf.Tensor,
  target: tf.Tensor,
  options: ReductionOption & { readonly delta?: number } = {},
): tf.Tensor {
  const { delta = 1, reduction = "mean" } = options;
  if (!(delta > 0)) throw new Error(`huber: delta (${delta}) must be positive`);
  assertSameShape("huber", ["pred", pred], ["target", target]);
  return tf.tidy(() => {
    // e^2 / 2 less the square of what exceeds delta is the same function, without a branch.
    const size = tf.abs(tf.sub(pred, target));
    const excess = tf.relu(tf.sub(size, delta));
    return reduceLoss(tf.mul(0.5, tf.sub(tf.square(size), tf.square(excess))), reduction);
  });
}
