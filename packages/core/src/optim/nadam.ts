import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkBetas, checkNotNegative } from "./option-checks.ts";

export interface NadamOptions extends OptimizerOptions {
  /** Decay rates of the averages of the gradient and of its square; in [0, 1), [0.9, 0.999] by default. */
  betas?: readonly [number, number] | undefined;
  /** Added to the root of the second average, after bias correction; not negative, 1e-8 by default. */
  eps?: number | undefined;
  /** How fast the momentum rises from about beta1 / 2 to beta1; not negative, 0.004 by default. */
  momentumDecay?: number | undefined;
  /** Decays as AdamW does instead of through the gradient; false by default. */
  decoupledWeightDecay?: boolean | undefined;
  /**
   * Reproduces PyTorch before 2.0, which multiplied mu_t into c_(t+1) twice (pytorch/pytorch#92699); false by default.
   */
  pytorch1Correction?: boolean | undefined;
}

export interface NadamState extends OptimizerState {
  /** 0.96^(t * momentumDecay) after t steps: the distance that the momentum still has to rise. */
  readonly momentumGap: tf.Scalar;
  /** Running average of 1 with the momentum of each step, and running sum of 1 with decay rate beta2. */
  readonly ones1: tf.Scalar;
  readonly ones2: tf.Scalar;
  /** Running sums of the gradient and of its square (see adam.ts). */
  readonly m: SlotVectors;
  readonly v: SlotVectors;
}

/**
 * NAdam: Adam with Nesterov momentum. Weight decay is L2 unless `decoupledWeightDecay` is set.
 *
 * With mu_t = beta1 * (1 - 0.96^(t * momentumDecay) / 2) and c_t = 1 - mu_1 ... mu_t, the step direction is
 * ((1 - mu_t) / c_t * grad + mu_(t+1) / c_(t+1) * m) / (sqrt(vHat) + eps).
 * T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR 2016 workshop.
 *
 * @throws if an option is out of range.
 */
export function nadam(options: NadamOptions): Optimizer<NadamState> {
  const { betas = [0.9, 0.999], eps = 1e-8, momentumDecay = 0.004 } = options;
  const { decoupledWeightDecay = false, pytorch1Correction = false } = options;
  checkBetas("nadam", betas);
  checkNotNegative("nadam", "eps", eps);
  checkNotNegative("nadam", "momentumDecay", momentumDecay);
  return buildOptimizer<NadamState, "momentumGap" | "ones1" | "ones2", "m" | "v", NadamCoefficients>(
    {
      name: "nadam",
      decay: decoupledWeightDecay ? "decoupled" : "l2",
      scalars: { momentumGap: 1, ones1: 0, ones2: 0 },
      slots: { m: 0, v: 0 },
      advance: (old, learningRate) => {
        const [beta1, beta2] = [tf.scalar(betas[0]), tf.scalar(betas[1])];
        const one = tf.scalar(1);
        const shrink = 0.96 ** momentumDecay;
        const momentumGap = old.momentumGap.mul(shrink) as tf.Scalar;
        const mu = beta1.mul(one.sub(momentumGap.mul(0.5)));
        const muNext = beta1.mul(one.sub(momentumGap.mul(0.5 * shrink)));
        // c = 1 - product of all mu, as a running average of 1, which does not cancel.
        const ones1 = mu.mul(old.ones1).add(one.sub(mu)) as tf.Scalar;
        const nextFactor = pytorch1Correction ? muNext.mul(mu) : muNext;
        const ones1Next = nextFactor.mul(ones1).add(one.sub(nextFactor));
        const ones2 = old.ones2.mul(beta2).add(1) as tf.Scalar;
        const root = ones2.sqrt();
        const rate = learningRate.mul(root);
        const coefficients = {
          beta1,
          beta2,
          gradRate: rate.mul(one.sub(mu)).div(ones1) as tf.Scalar,
          mRate: rate.mul(muNext.mul(1 - betas[0])).div(ones1Next) as tf.Scalar,
          epsRoot: root.mul(eps) as tf.Scalar,
        };
        return { scalars: { momentumGap, ones1, ones2 }, coefficients };
      },
      step: (grad, old, { beta1, beta2, gradRate, mRate, epsRoot }) => {
        const m = old.m.mul(beta1).add(grad);
        const v = old.v.mul(beta2).add(grad.square());
        const delta = grad.mul(gradRate).add(m.mul(mRate)).div(v.sqrt().add(epsRoot));
        return { delta, slots: { m, v } };
      },
    },
    options,
  );
}

interface NadamCoefficients {
  beta1: tf.Scalar;
  beta2: tf.Scalar;
  gradRate: tf.Scalar;
  mRate: tf.Scalar;
  epsRoot: tf.Scalar;
}
