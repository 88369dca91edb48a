import * as tf from "@tensorflow/tfjs";
import {
  buildOptimizer,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type SlotVectors,
} from "./optimizer.ts";
import { checkDecayRate } from "./option-checks.ts";

export interface SgdOptions extends OptimizerOptions {
  /** Fraction of the velocity that survives a step; in [0, 1), 0 by default. */
  momentum?: number | undefined;
  /** Part of the gradient withheld from the velocity, but not at the first step; in [0, 1), 0 by default. */
  dampening?: number | undefined;
  /** Looks ahead along the velocity (Nesterov). Needs momentum and no dampening. */
  nesterov?: boolean | undefined;
}

export interface SgdState extends OptimizerState {
  /** There only with momentum. */
  readonly velocity?: SlotVectors;
  /** 0 before the first step, then 1; there only with dampening. */
  readonly started?: tf.Scalar;
}

/**
 * Stochastic gradient descent with momentum: velocity = momentum * velocity + grad; param -= learningRate * velocity.
 *
 * The velocity starts as the first gradient and the learning rate multiplies it (PyTorch's form). Weight decay is L2.
 * I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
 *
 * @throws if an option is out of range, or nesterov is set without momentum or with dampening.
 */
export function sgd(options: SgdOptions): Optimizer<SgdState> {
  const { momentum = 0, dampening = 0, nesterov = false } = options;
  checkDecayRate("sgd", "momentum", momentum);
  checkDecayRate("sgd", "dampening", dampening);
  if (nesterov && (momentum === 0 || dampening !== 0)) {
    throw new Error(
      `sgd: nesterov with momentum (${momentum}) and dampening (${dampening}); expected momentum above 0 and no dampening`,
    );
  }
  const hasMomentum = momentum > 0;
  const dampens = hasMomentum && dampening > 0;
  return buildOptimizer<SgdState, string, string, SgdCoefficients>(
    {
      name: "sgd",
      decay: "l2",
      scalars: dampens ? { started: 0 } : {},
      slots: hasMomentum ? { velocity: 0 } : {},
      advance: ({ started }, learningRate) => ({
        scalars: dampens ? { started: tf.scalar(1) } : {},
        coefficients: {
          learningRate,
          momentum: tf.scalar(momentum),
          inflow: started && (tf.scalar(1).sub(started.mul(dampening)) as tf.Scalar),
        },
      }),
      step: (grad, { velocity: old }, { learningRate, momentum, inflow }) => {
        if (!old) return { delta: grad.mul(learningRate), slots: {} };
        const velocity = old.mul(momentum).add(inflow ? grad.mul(inflow) : grad);
        const direction = nesterov ? grad.add(velocity.mul(momentum)) : velocity;
        return { delta: direction.mul(learningRate), slots: { velocity } };
      },
    },
    options,
  );
}

interface SgdCoefficients {
  learningRate: tf.Scalar;
  momentum: tf.Scalar;
  inflow: tf.Scalar | undefined;
}
