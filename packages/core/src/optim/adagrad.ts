import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkNotNegative } from "./option-checks.ts";

export interface AdagradOptions extends OptimizerOptions {
  /** Added to the root of the sum; not negative, 1e-10 by default. */
  eps?: number | undefined;
  /** Where the sums of squares start; not negative, 0 by default. */
  initialAccumulator?: number | undefined;
}

export interface AdagradState extends OptimizerState {
  /** Sum of all squared gradients. */
  readonly sum: SlotVectors;
}

/**
 * Adagrad: sum += grad^2; param -= learningRate * grad / (sqrt(sum) + eps). Weight decay is L2.
 *
 * J. Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 2011.
 *
 * @throws if an option is out of range.
 */
export function adagrad(options: AdagradOptions): Optimizer<AdagradState> {
  const { eps = 1e-10, initialAccumulator = 0 } = options;
  checkNotNegative("adagrad", "eps", eps);
  checkNotNegative("adagrad", "initialAccumulator", initialAccumulator);
  return buildOptimizer<AdagradState, never, "sum", { learningRate: tf.Scalar; eps: tf.Scalar }>(
    {
      name: "adagrad",
      decay: "l2",
      scalars: {},
      slots: { sum: initialAccumulator },
      advance: (_old, learningRate) => ({ scalars: {}, coefficients: { learningRate, eps: tf.scalar(eps) } }),
      step: (grad, old, { learningRate, eps }) => {
        const sum = old.sum.add(grad.square());
        return { delta: grad.mul(learningRate).div(sum.sqrt().add(eps)), slots: { sum } };
      },
    },
    options,
  );
}
