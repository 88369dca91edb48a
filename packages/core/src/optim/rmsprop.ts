import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkDecayRate, checkNotNegative } from "./option-checks.ts";

export interface RmspropOptions extends OptimizerOptions {
  /** Decay rate of the average of the squared gradient; in [0, 1), 0.99 by default. */
  alpha?: number | undefined;
  /** Added to the root of the average; not negative, 1e-8 by default. */
  eps?: number | undefined;
  /** Fraction of the velocity that survives a step; in [0, 1), 0 by default. */
  momentum?: number | undefined;
  /** Divides by the gradient's deviation from its average instead of its magnitude; false by default. */
  centered?: boolean | undefined;
}

export interface RmspropState extends OptimizerState {
  /** Running sum of the squared gradient, or of its squared deviation when centered. */
  readonly v: SlotVectors;
  /** Running average of the gradient; there only when centered. */
  readonly mean?: SlotVectors;
  /** There only with momentum. */
  readonly velocity?: SlotVectors;
}

/**
 * RMSprop: param -= learningRate * grad / (sqrt(average of grad^2) + eps), optionally centered and with momentum.
 *
 * T. Tieleman and G. Hinton, lecture 6.5 of "Neural networks for machine learning", 2012; centered: A. Graves,
 * "Generating sequences with recurrent neural networks", 2013, equations 38 to 45. Averages start at 0 without bias
 * correction, eps stands outside the root, and weight decay is L2, all as in PyTorch.
 *
 * @throws if an option is out of range.
 */
export function rmsprop(options: RmspropOptions): Optimizer<RmspropState> {
  const { alpha = 0.99, eps = 1e-8, momentum = 0, centered = false } = options;
  checkDecayRate("rmsprop", "alpha", alpha);
  checkDecayRate("rmsprop", "momentum", momentum);
  checkNotNegative("rmsprop", "eps", eps);
  const slots = { v: 0, ...(centered && { mean: 0 }), ...(momentum > 0 && { velocity: 0 }) };
  // v is a sum, as in adam.ts: PyTorch's average is root^2 * v, and its velocity is that of here divided by root.
  const root = Math.sqrt(centered ? alpha * (1 - alpha) : 1 - alpha);
  if (root === 0) throw new Error(`rmsprop: alpha (${alpha}) must be above 0 when centered`);
  return buildOptimizer<RmspropState, never, "v" | "mean" | "velocity", RmspropCoefficients>(
    {
      name: "rmsprop",
      decay: "l2",
      scalars: {},
      slots: slots as { v: 0; mean: 0; velocity: 0 },
      advance: (_old, learningRate) => ({
        scalars: {},
        coefficients: {
          alpha: tf.scalar(alpha),
          inflow: tf.scalar(1 - alpha),
          momentum: tf.scalar(momentum),
          eps: tf.scalar(eps / root),
          rate: learningRate.div(root) as tf.Scalar,
        },
      }),
      step: (grad, old, { alpha, inflow, momentum, eps, rate }) => {
        let { mean } = old;
        let deviation = grad;
        if (centered) {
          // The average of grad^2 less the squared mean, as a recurrence that cannot cancel to below zero.
          deviation = grad.sub(mean);
          mean = mean.add(deviation.mul(inflow));
        }
        const v = old.v.mul(alpha).add(deviation.square());
        const scaled = grad.div(v.sqrt().add(eps));
        const velocity = old.velocity ? old.velocity.mul(momentum).add(scaled) : scaled;
        return { delta: velocity.mul(rate), slots: { v, mean, velocity } };
      },
    },
    options,
  );
}

interface RmspropCoefficients {
  alpha: tf.Scalar;
  inflow: tf.Scalar;
  momentum: tf.Scalar;
  eps: tf.Scalar;
  rate: tf.Scalar;
}
