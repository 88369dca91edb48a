import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkBetas } from "./option-checks.ts";

export interface LionOptions extends OptimizerOptions {
  /** Weights of the momentum in the step and in the new momentum; in [0, 1), [0.9, 0.99] by default. */
  betas?: readonly [number, number] | undefined;
}

export interface LionState extends OptimizerState {
  /** Running average of the gradient. */
  readonly momentum: SlotVectors;
}

/**
 * Lion: param -= learningRate * sign(beta1 * momentum + (1 - beta1) * grad), with decoupled weight decay.
 *
 * Every element moves by exactly the learning rate: use a third to a tenth of AdamW's, and as much more weight decay.
 * X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, algorithm 2.
 *
 * @throws if an option is out of range.
 */
export function lion(options: LionOptions): Optimizer<LionState> {
  const { betas = [0.9, 0.99] } = options;
  checkBetas("lion", betas);
  return buildOptimizer<LionState, never, "momentum", LionCoefficients>(
    {
      name: "lion",
      decay: "decoupled",
      scalars: {},
      slots: { momentum: 0 },
      advance: (_old, learningRate) => ({
        scalars: {},
        coefficients: {
          // Only the sign is used, so one factor, on the momentum, is enough.
          weight: tf.scalar(betas[0] / (1 - betas[0])),
          inflow: tf.scalar(1 - betas[1]),
          learningRate,
        },
      }),
      step: (grad, old, { weight, inflow, learningRate }) => ({
        delta: old.momentum.mul(weight).add(grad).sign().mul(learningRate),
        slots: { momentum: old.momentum.add(grad.sub(old.momentum).mul(inflow)) },
      }),
    },
    options,
  );
}

interface LionCoefficients {
  weight: tf.Scalar;
  inflow: tf.Scalar;
  learningRate: tf.Scalar;
}
