import * as tf from "@tensorflow/tfjs";
import { assertSameStructure, isTensor, type Tree, treeMap, treeZip } from "../tree.ts";
import { checkGrads, checkParams, type Optimizer, type OptimizerState, type OptimizerUpdate } from "./optimizer.ts";
import { checkCount } from "./option-checks.ts";

/** The inner optimizer's state and, beside it, what has been gathered since its last step. */
export type AccumulationState<S extends OptimizerState> = S & {
  /** Micro-batches gathered so far: 0 to every - 1. */
  readonly microBatches: tf.Scalar;
  /** Like params: the sum of their gradients. */
  readonly gradSum: Tree;
};

/**
 * Makes an optimizer step once in every `every` updates, with the average of their gradients: large batches in the memory
 * of small ones. In between, parameters and state stay as they are.
 *
 * The inner step is computed at every update and multiplied by 0 or 1, since a compiled function cannot branch; its cost
 * is small beside a backward pass. `gradNorm` is that of the average so far. A schedule counts updates, not steps.
 *
 * @throws if `every` is not a whole number of at least 1.
 */
export function accumulateGradients<S extends OptimizerState>(
  optimizer: Optimizer<S>,
  every: number,
): Optimizer<AccumulationState<S>> {
  checkCount("accumulateGradients", "every", every, 1);
  const name = `accumulateGradients(${optimizer.name})`;

  function init(params: Tree): AccumulationState<S> {
    checkParams(`${name}.init`, params);
    return tf.tidy(() => {
      const gathered = { microBatches: tf.scalar(0), gradSum: treeMap(params, (param) => tf.zeros(param.shape)) };
      return { ...optimizer.init(params), ...gathered } as unknown as tf.TensorContainerObject;
    }) as unknown as AccumulationState<S>;
  }

  function update<P extends Tree>(grads: P, state: AccumulationState<S>, params: P) {
    const { microBatches, gradSum, ...rest } = state;
    const inner = rest as unknown as S;
    if (!isTensor(microBatches)) {
      throw new Error(`${name}.update: state has no 'microBatches'; expected a state made by init`);
    }
    checkGrads(`${name}.update`, grads, params);
    assertSameStructure(`${name}.update`, params, gradSum);
    return tf.tidy(() => {
      const count = microBatches.add(1);
      const sum = treeZip(grads, [gradSum], (grad, [before]) => grad.add(before!));
      const share = tf.scalar(1).div(count);
      const average = treeMap(sum, (total) => total.mul(share));
      const stepped = optimizer.update(average, inner, params);

      // 1 when the step counts and 0 when it does not. Both products are exact, so nothing is rounded in between.
      const applies = tf.where(count.greater(every - 0.5), tf.scalar(1), tf.scalar(0));
      const waits = tf.scalar(1).sub(applies);
      const choose = <T extends Tree>(next: T, before: T): T =>
        treeZip(next, [before], (a, [b]) => tf.tidy(() => a.mul(applies).add(b!.mul(waits))));
      const result = {
        ...stepped,
        params: choose(stepped.params, params),
        state: {
          ...choose(stepped.state, inner),
          microBatches: count.mul(waits),
          gradSum: treeMap(sum, (total) => total.mul(waits)),
        },
      };
      return result as unknown as tf.TensorContainerObject;
    }) as unknown as OptimizerUpdate<P, AccumulationState<S>>;
  }

  return { name, init, update };
}
