import { adam, type Engine, Rng, replaceState, type Tree, treeDispose, valueAndGrad } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";

/** Trains on one batch and returns the first and the last value of the loss. */
export async function memorise<P extends Tree>(
  engine: Engine,
  params: P,
  loss: (params: P, rng: Rng) => { loss: tf.Tensor },
  options: { readonly steps?: number; readonly learningRate?: number } = {},
): Promise<{ first: number; last: number; params: P }> {
  const { steps = 200, learningRate = 1e-2 } = options;
  const optimizer = adam({ learningRate });
  let state = { params, opt: optimizer.init(params) };
  const step = engine.compile((s: typeof state, noise: Rng) => {
    const result = valueAndGrad((p: P) => ({ loss: loss(p, noise).loss }), s.params);
    const next = optimizer.update(result.grads, s.opt, s.params);
    return { state: { params: next.params, opt: next.state }, loss: result.loss };
  });
  const rng = new Rng(2);
  let [first, last] = [0, 0];
  for (let i = 0; i < steps; i++) {
    const result = await step(state, rng);
    state = replaceState(state, result.state as typeof state);
    last = (await result.loss.data())[0]!;
    if (i === 0) first = last;
    result.loss.dispose();
  }
  step.dispose();
  treeDispose(state.opt);
  return { first, last, params: state.params };
}
