import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkBetas, checkNotNegative } from "./option-checks.ts";

export interface RadamOptions extends OptimizerOptions {
  /** Decay rates of the averages of the gradient and of its square; in [0, 1), [0.9, 0.999] by default. */
  betas?: readonly [number, number] | undefined;
  /** Added to the root of the second average, before bias correction; not negative, 1e-8 by default. */
  eps?: number | undefined;
  /** Decays as AdamW does instead of through the gradient; false by default. */
  decoupledWeightDecay?: boolean | undefined;
}

export interface RadamState extends OptimizerState {
  /** Running sums of 1 with decay rates beta1 and beta2. */
  readonly ones1: tf.Scalar;
  readonly ones2: tf.Scalar;
  /** rho_t * ones2, where rho_t is the length of the second average after t steps. */
  readonly length: tf.Scalar;
  /** Running sums of the gradient and of its square (see adam.ts). */
  readonly m: SlotVectors;
  readonly v: SlotVectors;
}

/**
 * RAdam: momentum alone while the second average rests on too few steps (rho_t <= 5), then Adam with a rectified rate.
 *
 * r_t = sqrt((rho_t - 4) (rho_t - 2) rhoInf / ((rhoInf - 4) (rhoInf - 2) rho_t)); the step is learningRate * mHat * r_t /
 * sqrt(vHat). Weight decay is L2 unless `decoupledWeightDecay` is set.
 * L. Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020, algorithm 2.
 *
 * @throws if an option is out of range.
 */
export function radam(options: RadamOptions): Optimizer<RadamState> {
  const { betas = [0.9, 0.999], eps = 1e-8, decoupledWeightDecay = false } = options;
  checkBetas("radam", betas);
  checkNotNegative("radam", "eps", eps);
  const rhoInf = 2 / (1 - betas[1]) - 1;
  return buildOptimizer<RadamState, "ones1" | "ones2" | "length", "m" | "v", RadamCoefficients>(
    {
      name: "radam",
      decay: decoupledWeightDecay ? "decoupled" : "l2",
      scalars: { ones1: 0, ones2: 0, length: 0 },
      slots: { m: 0, v: 0 },
      advance: (old, learningRate) => {
        const [beta1, beta2] = [tf.scalar(betas[0]), tf.scalar(betas[1])];
        const ones1 = old.ones1.mul(beta1).add(1) as tf.Scalar;
        const ones2 = old.ones2.mul(beta2).add(1) as tf.Scalar;
        // rho_t = rhoInf - 2 t beta2^t / (1 - beta2^t) is a difference of nearly equal numbers. Multiplied by ones2 it
        // follows this recurrence, whose terms are all positive.
        const length = old.length
          .mul(beta2)
          .add(old.ones2.mul(2 * betas[1]))
          .add(1) as tf.Scalar;
        const rho = length.div(ones2);
        // 1 once the rate can be rectified; rhoInf <= 5 (beta2 below 2/3) never gets there.
        const rectified = tf.where(rho.greater(5), tf.scalar(1), tf.scalar(0));
        const numerator = rho.sub(4).mul(rho.sub(2)).mul(rhoInf);
        const ratio = numerator.div(rho.mul((rhoInf - 4) * (rhoInf - 2)));
        const r = tf.where(rho.greater(5), ratio.abs().mul(ones2).sqrt(), tf.scalar(1));
        const coefficients = {
          beta1,
          beta2,
          rate: learningRate.mul(r).div(ones1) as tf.Scalar,
          // The divisor is sqrt(v) + eps when rectified, and 1 before.
          rootWeight: rectified as tf.Scalar,
          offset: rectified.mul(eps).add(tf.scalar(1).sub(rectified)) as tf.Scalar,
        };
        return { scalars: { ones1, ones2, length }, coefficients };
      },
      step: (grad, old, { beta1, beta2, rate, rootWeight, offset }) => {
        const m = old.m.mul(beta1).add(grad);
        const v = old.v.mul(beta2).add(grad.square());
        const delta = m.mul(rate).div(v.sqrt().mul(rootWeight).add(offset));
        return { delta, slots: { m, v } };
      },
    },
    options,
  );
}

interface RadamCoefficients {
  beta1: tf.Scalar;
  beta2: tf.Scalar;
  rate: tf.Scalar;
  rootWeight: tf.Scalar;
  offset: tf.Scalar;
}
