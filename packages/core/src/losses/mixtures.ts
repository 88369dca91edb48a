import * as tf from "@tensorflow/tfjs";
import { exp, logSigmoid, logSoftmax, logSumExp } from "../nn/activations.ts";
import { gaussianLogProb } from "./gaussians.ts";
import { assertSameShape, type Reduction, reduceLoss } from "./reduction.ts";

function checkMixture(
  caller: string,
  logits: tf.Tensor,
  mean: tf.Tensor,
  logScale: tf.Tensor,
  target: tf.Tensor,
): void {
  assertSameShape(caller, ["mixtureLogits", logits], ["mean", mean], ["logScale", logScale]);
  const batch = logits.shape.slice(0, -1);
  if (batch.length !== target.rank || batch.some((n, i) => n !== target.shape[i])) {
    throw new Error(`${caller}: target has shape [${target.shape}]; expected [${batch}]`);
  }
}

/**
 * Negative log-density of numbers under mixtures of K Gaussians.
 *
 * @param mixtureLogits [..., K]
 * @param mean [..., K]
 * @param logScale [..., K], the logarithm of the standard deviation
 * @param target [...]
 * @param options.reduction default "mean"
 */
export function gaussianMixtureNll(
  mixtureLogits: tf.Tensor,
  mean: tf.Tensor,
  logScale: tf.Tensor,
  target: tf.Tensor,
  options: { readonly reduction?: Reduction } = {},
): tf.Tensor {
  checkMixture("gaussianMixtureNll", mixtureLogits, mean, logScale, target);
  return tf.tidy(() => {
    const parts = gaussianLogProb(tf.expandDims(target, -1), mean, tf.mul(2, logScale));
    return reduceLoss(tf.neg(logSumExp(tf.add(logSoftmax(mixtureLogits), parts))), options.reduction ?? "mean");
  });
}

/**
 * Negative log-probability of discrete levels under mixtures of K discretised logistics (PixelCNN++, Salimans et al.
 * 2017). Level l of `levels` lies at 2 l / (levels - 1) - 1; the first and last bins reach to infinity.
 *
 * @param mixtureLogits [..., K]
 * @param mean [..., K]
 * @param logScale [..., K]
 * @param target [...], levels in [-1, 1]
 * @param options.levels default 256
 * @param options.reduction default "mean"
 */
export function discretizedLogisticMixtureNll(
  mixtureLogits: tf.Tensor,
  mean: tf.Tensor,
  logScale: tf.Tensor,
  target: tf.Tensor,
  options: { readonly levels?: number; readonly reduction?: Reduction } = {},
): tf.Tensor {
  const { levels = 256, reduction = "mean" } = options;
  checkMixture("discretizedLogisticMixtureNll", mixtureLogits, mean, logScale, target);
  return tf.tidy(() => {
    const halfBin = 1 / (levels - 1);
    const x = tf.expandDims(target, -1);
    const centred = tf.sub(x, mean);
    const inverseScale = exp(tf.neg(logScale));
    const upper = logSigmoid(tf.mul(inverseScale, tf.add(centred, halfBin)));
    const lower = logSigmoid(tf.neg(tf.mul(inverseScale, tf.sub(centred, halfBin))));
    // sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): stable however far out the bin lies.
    const width = tf.mul(inverseScale, -2 * halfBin);
    const inner = tf.add(tf.add(upper, lower), tf.log(tf.neg(tf.expm1(width))));
    const first = tf.cast(tf.less(x, -1 + halfBin), "float32");
    const last = tf.cast(tf.greater(x, 1 - halfBin), "float32");
    const middle = tf.sub(tf.sub(1, first), last);
    const parts = tf.add(tf.add(tf.mul(first, upper), tf.mul(last, lower)), tf.mul(middle, inner));
    return reduceLoss(tf.neg(logSumExp(tf.add(logSoftmax(mixtureLogits), parts))), reduction);
  });
}
