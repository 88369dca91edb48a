import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkDecayRate, checkPositive } from "./option-checks.ts";

export interface AdadeltaOptions extends OptimizerOptions {
  /** Decay rate of both averages; in [0, 1), 0.9 by default. */
  rho?: number | undefined;
  /** Added to both averages; above 0, or the first step would be 0; 1e-6 by default. */
  eps?: number | undefined;
}

export interface AdadeltaState extends OptimizerState {
  /** Running sums of the squared gradient and of the squared step (see adam.ts). */
  readonly v: SlotVectors;
  readonly steps: SlotVectors;
}

/**
 * Adadelta: param -= learningRate * grad * sqrt((average of step^2 + eps) / (average of grad^2 + eps)).
 *
 * M. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1, where the learning rate is 1. Weight decay
 * is L2.
 *
 * @throws if an option is out of range.
 */
export function adadelta(options: AdadeltaOptions): Optimizer<AdadeltaState> {
  const { rho = 0.9, eps = 1e-6 } = options;
  checkDecayRate("adadelta", "rho", rho);
  checkPositive("adadelta", "eps", eps);
  return buildOptimizer<AdadeltaState, never, "v" | "steps", AdadeltaCoefficients>(
    {
      name: "adadelta",
      decay: "l2",
      scalars: {},
      slots: { v: 0, steps: 0 },
      advance: (_old, learningRate) => ({
        scalars: {},
        // Both sums are averages divided by 1 - rho; so is eps, and the ratio of the roots stays the same.
        coefficients: { rho: tf.scalar(rho), eps: tf.scalar(eps / (1 - rho)), learningRate },
      }),
      step: (grad, old, { rho, eps, learningRate }) => {
        const v = old.v.mul(rho).add(grad.square());
        const step = grad.mul(old.steps.add(eps).div(v.add(eps)).sqrt());
        const steps = old.steps.mul(rho).add(step.square());
        return { delta: step.mul(learningRate), slots: { v, steps } };
      },
    },
    options,
  );
}

interface AdadeltaCoefficients {
  rho: tf.Scalar;
  eps: tf.Scalar;
  learningRate: tf.Scalar;
}
