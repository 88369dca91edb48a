import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkBetas, checkNotNegative } from "./option-checks.ts";

// Adam's running averages are stored as running sums: m = beta1 * m + g, and beside it the same sum over ones,
// ones1 = beta1 * ones1 + 1. Then m / ones1 is the bias-corrected average, without 1 - beta^t, which loses its digits in
// float32 when beta is near 1, and with one pass over the model less for each average. PyTorch's exp_avg is
// (1 - beta1) * m and its exp_avg_sq is (1 - beta2) * v.

export interface AdamOptions extends OptimizerOptions {
  /** Decay rates of the averages of the gradient and of its square; in [0, 1), [0.9, 0.999] by default. */
  betas?: readonly [number, number] | undefined;
  /** Added to the root of the second average, after bias correction; not negative, 1e-8 by default. */
  eps?: number | undefined;
  /** Divides by the largest second average so far. S. Reddi et al., "On the convergence of Adam and beyond", ICLR 2018. */
  amsgrad?: boolean | undefined;
}

export interface AdamState extends OptimizerState {
  /** Running sums of 1 with decay rates beta1 and beta2: what m and v are divided by. */
  readonly ones1: tf.Scalar;
  readonly ones2: tf.Scalar;
  /** Running sums of the gradient and of its square. */
  readonly m: SlotVectors;
  readonly v: SlotVectors;
  /** The largest v so far; there only with amsgrad. */
  readonly vMax?: SlotVectors;
}

/**
 * Adam: param -= learningRate * mHat / (sqrt(vHat) + eps), with weight decay as L2, added to the gradient.
 *
 * D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
 *
 * @throws if an option is out of range.
 */
export function adam(options: AdamOptions): Optimizer<AdamState> {
  return adamRule("adam", "l2", options);
}

/**
 * AdamW: Adam whose weight decay does not pass through the averages: param *= 1 - learningRate * weightDecay, then Adam.
 *
 * I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2. weightDecay is 0.01 by
 * default.
 *
 * @throws if an option is out of range.
 */
export function adamw(options: AdamOptions): Optimizer<AdamState> {
  return adamRule("adamw", "decoupled", { ...options, weightDecay: options.weightDecay ?? 0.01 });
}

function adamRule(name: string, decay: "l2" | "decoupled", options: AdamOptions): Optimizer<AdamState> {
  const { betas = [0.9, 0.999], eps = 1e-8, amsgrad = false } = options;
  checkBetas(name, betas);
  checkNotNegative(name, "eps", eps);
  return buildOptimizer<AdamState, "ones1" | "ones2", "m" | "v" | "vMax", AdamCoefficients>(
    {
      name,
      decay,
      scalars: { ones1: 0, ones2: 0 },
      slots: (amsgrad ? { m: 0, v: 0, vMax: 0 } : { m: 0, v: 0 }) as { m: 0; v: 0; vMax: 0 },
      advance: (old, learningRate) => {
        const beta1 = tf.scalar(betas[0]);
        const beta2 = tf.scalar(betas[1]);
        const ones1 = old.ones1.mul(beta1).add(1) as tf.Scalar;
        const ones2 = old.ones2.mul(beta2).add(1) as tf.Scalar;
        // (m / ones1) / (sqrt(v / ones2) + eps) = m * (root / ones1) / (sqrt(v) + eps * root), with root = sqrt(ones2).
        const root = ones2.sqrt();
        const rate = learningRate.mul(root).div(ones1) as tf.Scalar;
        return { scalars: { ones1, ones2 }, coefficients: { beta1, beta2, rate, epsRoot: root.mul(eps) as tf.Scalar } };
      },
      step: (grad, old, { beta1, beta2, rate, epsRoot }) => {
        const m = old.m.mul(beta1).add(grad);
        const v = old.v.mul(beta2).add(grad.square());
        const vMax = amsgrad ? tf.maximum(old.vMax, v) : v;
        const delta = m.mul(rate).div(vMax.sqrt().add(epsRoot));
        return { delta, slots: { m, v, vMax } };
      },
    },
    options,
  );
}

interface AdamCoefficients {
  beta1: tf.Scalar;
  beta2: tf.Scalar;
  rate: tf.Scalar;
  epsRoot: tf.Scalar;
}
