import * as tf from "@tensorflow/tfjs";
import { exp, logSoftmax, logSumExp, softmax } from "../nn/activations.ts";
import { customOp, isGradientRecorded } from "../nn/custom-op.ts";
import { fusedOp } from "../nn/fused.ts";
import { oneHot } from "../nn/one-hot.ts";
import { assertSameShape, type Reduction, reduceLoss } from "./reduction.ts";

/** -log softmax(logits)[target] for each row of logits [N, V], targets int32 [N]. */
function softmaxCrossEntropy(logits: tf.Tensor, targets: tf.Tensor): tf.Tensor {
  const classes = logits.shape[1]!;
  return customOp({
    inputs: { logits },
    constants: { targets },
    forward: () =>
      fusedOp("GenaiSoftmaxCrossEntropy", { logits, targets }, {}, () => {
        const rows = tf.tensor1d(
          Int32Array.from({ length: logits.shape[0]! }, (_, i) => i),
          "int32",
        );
        return tf.sub(tf.logSumExp(logits, -1), tf.gatherND(logits, tf.stack([rows, targets], 1)));
      }),
    backward: (dy, { logits, targets }) => ({
      logits: () => {
        const composed = () => {
          const probs = isGradientRecorded() ? softmax(logits) : tf.softmax(logits);
          return tf.mul(tf.sub(probs, oneHot(targets, classes)), tf.expandDims(dy, 1));
        };
        if (isGradientRecorded()) return composed();
        return fusedOp("GenaiSoftmaxCrossEntropyGrad", { logits, targets, dy }, {}, composed);
      },
    }),
  });
}

export interface CrossEntropyOptions {
  /** "mean" (default) is over the targets that are not ignored. */
  readonly reduction?: Reduction;
  /** Targets of this value count for nothing (default -100). */
  readonly ignoreIndex?: number;
  /** s: the target distribution is (1 - s) one-hot + s / classes. Default 0. */
  readonly labelSmoothing?: number;
  /** Adds coefficient * logsumexp(logits)^2, which keeps logits from drifting (PaLM). Default 0. */
  readonly zLoss?: number;
}

/**
 * Cross-entropy of classes given by id.
 *
 * @param logits [..., V]
 * @param targets int32 [...], ids in [0, V) or ignoreIndex. Not checked: that would mean reading them from the device.
 * @returns a scalar; with reduction "none" [...], in nats
 */
export function crossEntropy(logits: tf.Tensor, targets: tf.Tensor, options: CrossEntropyOptions = {}): tf.Tensor {
  const { reduction = "mean", ignoreIndex = -100, labelSmoothing = 0, zLoss = 0 } = options;
  const classes = logits.shape[logits.rank - 1];
  const batch = logits.shape.slice(0, -1);
  if (classes === undefined || batch.length !== targets.rank || batch.some((n, i) => n !== targets.shape[i])) {
    throw new Error(
      `crossEntropy: logits [${logits.shape}] and targets [${targets.shape}]; expected [..., V] and [...]`,
    );
  }
  if (targets.dtype !== "int32") throw new Error(`crossEntropy: targets have dtype ${targets.dtype}; expected int32`);
  if (!(labelSmoothing >= 0 && labelSmoothing < 1)) {
    throw new Error(`crossEntropy: labelSmoothing (${labelSmoothing}) must be in [0, 1)`);
  }
  return tf.tidy(() => {
    const flat = tf.reshape(logits, [-1, classes]);
    const ids = tf.reshape(targets, [-1]);
    const counted = tf.cast(tf.notEqual(ids, tf.scalar(ignoreIndex, "int32")), "int32");
    const safeIds = tf.mul(ids, counted);
    let losses = softmaxCrossEntropy(flat, safeIds);
    if (labelSmoothing > 0) {
      const spread = tf.neg(tf.mean(logSoftmax(flat), -1));
      losses = tf.add(tf.mul(losses, 1 - labelSmoothing), tf.mul(spread, labelSmoothing));
    }
    if (zLoss > 0) losses = tf.add(losses, tf.mul(zLoss, tf.square(logSumExp(flat))));
    const weights = tf.cast(counted, "float32");
    losses = tf.mul(losses, weights);
    if (reduction === "mean") return tf.div(tf.sum(losses), tf.maximum(tf.sum(weights), tf.scalar(1)));
    return reduceLoss(tf.reshape(losses, targets.shape), reduction);
  });
}

/**
 * Kullback-Leibler divergence KL(teacher || student) of categorical distributions at a temperature, times its square
 * (knowledge distillation, Hinton et al. 2015).
 *
 * @param studentLogits [..., V]
 * @param teacherLogits [..., V]
 * @param options.reduction default "batchMean"
 */
export function klCategorical(
  teacherLogits: tf.Tensor,
  studentLogits: tf.Tensor,
  options: { readonly temperature?: number; readonly reduction?: Reduction } = {},
): tf.Tensor {
  const { temperature = 1, reduction = "batchMean" } = options;
  if (!(temperature > 0)) throw new Error(`klCategorical: temperature (${temperature}) must be positive`);
  assertSameShape("klCategorical", ["teacherLogits", teacherLogits], ["studentLogits", studentLogits]);
  return tf.tidy(() => {
    const teacher = logSoftmax(tf.div(teacherLogits, temperature));
    const student = logSoftmax(tf.div(studentLogits, temperature));
    const kl = tf.sum(tf.mul(exp(teacher), tf.sub(teacher, student)), -1);
    return reduceLoss(tf.mul(kl, temperature * temperature), reduction);
  });
}

/**
 * InfoNCE (van den Oord et al. 2018): row i of `a` should be closer to row i of `b` than to all other rows.
 *
 * @param a [N, D], normalised to unit length here
 * @param b [N, D]
 * @param options.temperature default 0.07
 * @param options.symmetric average with the loss of finding a from b, as CLIP does (default true)
 */
export function infoNce(
  a: tf.Tensor,
  b: tf.Tensor,
  options: { readonly temperature?: number; readonly symmetric?: boolean } = {},
): tf.Tensor {
  const { temperature = 0.07, symmetric = true } = options;
  assertSameShape("infoNce", ["a", a], ["b", b]);
  if (a.rank !== 2) throw new Error(`infoNce: a has shape [${a.shape}]; expected [N, D]`);
  return tf.tidy(() => {
    const unit = (x: tf.Tensor) => tf.mul(x, tf.rsqrt(tf.add(tf.sum(tf.mul(x, x), -1, true), 1e-12)));
    const logits = tf.div(tf.matMul(unit(a) as tf.Tensor2D, unit(b) as tf.Tensor2D, false, true), temperature);
    const targets = tf.tensor1d(Int32Array.from({ length: a.shape[0]! }, (_, i) => i));
    const forward = crossEntropy(logits, targets);
    return symmetric ? tf.mul(0.5, tf.add(forward, crossEntropy(tf.transpose(logits), targets))) : forward;
  });
}
