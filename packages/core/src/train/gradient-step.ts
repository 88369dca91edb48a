import * as tf from "@tensorflow/tfjs";
import type { Optimizer, OptimizerState, ParamFilter } from "../optim/optimizer.ts";
import type { Rng } from "../rng.ts";
import { isTensor, type Tree } from "../tree.ts";
import { valueAndGrad } from "./value-and-grad.ts";

/** Scalars that a loss reads and that schedules of `fit` set, such as beta of a VAE or the temperature of a softmax. */
export type LossScalars<K extends string = string> = { [name in K]: tf.Scalar };

/** The state of `gradientStep`: parameters, the optimizer's state, and the scalars by their names. */
export type GradientState<P extends Tree, S extends OptimizerState, K extends string = never> = {
  params: P;
  opt: S;
} & LossScalars<K>;

/** The usual training step and the state that it begins with: what `fit` takes. */
export interface GradientStep<P extends Tree, B extends Tree, S extends OptimizerState, K extends string> {
  /** The first state. @param scalars values of the loss's scalars, if it has some */
  init(params: P, ...scalars: [K] extends [never] ? [] : [scalars: Record<K, number>]): GradientState<P, S, K>;
  step(
    state: GradientState<P, S, K>,
    batch: B,
    rng: Rng,
  ): { state: GradientState<P, S, K>; metrics: Record<string, tf.Scalar> & { loss: tf.Scalar } };
}

/**
 * The training step that most models need: the gradient of one loss, and one update. Write the step yourself where a
 * model has several losses, or a state of its own.
 *
 * @param loss of the parameters, the batch, a source of randomness and the scalars given to `init`; returns a scalar, or a
 *   record of scalars with `loss` among them, which all become metrics. With `maxGradNorm` there is also `gradNorm`.
 * @param options.trainable parameters for which this is false get no gradient; give the optimizer the same filter
 */
export function gradientStep<P extends Tree, B extends Tree, S extends OptimizerState, K extends string = never>(
  optimizer: Optimizer<S>,
  loss: (
    params: P,
    batch: B,
    rng: Rng,
    scalars: LossScalars<K>,
  ) => tf.Scalar | ({ readonly loss: tf.Scalar } & Readonly<Record<string, tf.Scalar>>),
  options: { readonly trainable?: ParamFilter } = {},
): GradientStep<P, B, S, K> {
  return {
    init(params, ...[scalars]) {
      for (const name of Object.keys(scalars ?? {})) {
        if (name === "params" || name === "opt") {
          throw new Error(`gradientStep: a scalar is called ${name}; expected a name other than params and opt`);
        }
      }
      const values = Object.entries<number>(scalars ?? {}).map(([name, value]) => [name, tf.scalar(value)]);
      return { params, opt: optimizer.init(params), ...Object.fromEntries(values) };
    },
    step({ params, opt, ...rest }, batch, rng) {
      const scalars = rest as unknown as LossScalars<K>;
      const record = (trained: P) => {
        const value = loss(trained, batch, rng, scalars);
        return isTensor(value) ? { loss: value } : value;
      };
      const { grads, ...metrics } = valueAndGrad(record, params, options);
      const next = optimizer.update(grads, opt, params);
      const { gradNorm } = next;
      const kept = Object.entries<tf.Scalar>(scalars).map(([name, value]) => [name, value.clone()]);
      return {
        state: { params: next.params, opt: next.state, ...Object.fromEntries(kept) },
        metrics: { ...metrics, ...(gradNorm ? { gradNorm } : {}) } as Record<string, tf.Scalar> & { loss: tf.Scalar },
      };
    },
  };
}
