import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkBetas, checkNotNegative } from "./option-checks.ts";

export interface AdamaxOptions extends OptimizerOptions {
  /** Decay rates of the average gradient and of its largest magnitude; in [0, 1), [0.9, 0.999] by default. */
  betas?: readonly [number, number] | undefined;
  /** Added to every magnitude of a gradient; not negative, 1e-8 by default. */
  eps?: number | undefined;
}

export interface AdamaxState extends OptimizerState {
  /** Running sum of 1 with decay rate beta1: what m is divided by (see adam.ts). */
  readonly ones: tf.Scalar;
  /** Running sum of the gradient, and its largest magnitude with decay. */
  readonly m: SlotVectors;
  readonly u: SlotVectors;
}

/**
 * Adamax: u = max(beta2 * u, |grad| + eps); param -= learningRate * mHat / u. Weight decay is L2.
 *
 * D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 2.
 *
 * @throws if an option is out of range.
 */
export function adamax(options: AdamaxOptions): Optimizer<AdamaxState> {
  const { betas = [0.9, 0.999], eps = 1e-8 } = options;
  checkBetas("adamax", betas);
  checkNotNegative("adamax", "eps", eps);
  return buildOptimizer<AdamaxState, "ones", "m" | "u", AdamaxCoefficients>(
    {
      name: "adamax",
      decay: "l2",
      scalars: { ones: 0 },
      slots: { m: 0, u: 0 },
      advance: (old, learningRate) => {
        const beta1 = tf.scalar(betas[0]);
        const ones = old.ones.mul(beta1).add(1) as tf.Scalar;
        const rate = learningRate.div(ones) as tf.Scalar;
        return { scalars: { ones }, coefficients: { beta1, beta2: tf.scalar(betas[1]), eps: tf.scalar(eps), rate } };
      },
      step: (grad, old, { beta1, beta2, eps, rate }) => {
        const m = old.m.mul(beta1).add(grad);
        const u = tf.maximum(old.u.mul(beta2), grad.abs().add(eps));
        return { delta: m.mul(rate).div(u), slots: { m, u } };
      },
    },
    options,
  );
}

interface AdamaxCoefficients {
  beta1: tf.Scalar;
  beta2: tf.Scalar;
  eps: tf.Scalar;
  rate: tf.Scalar;
}
