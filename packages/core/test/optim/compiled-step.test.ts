import { describeOnEngines } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { createEngine } from "../../src/engine/create-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { accumulateGradients } from "../../src/optim/accumulate.ts";
import { adamw } from "../../src/optim/adam.ts";
import { emaInit, emaUpdate } from "../../src/optim/ema.ts";
import { decayMatrices } from "../../src/optim/optimizer.ts";
import { emaDecayWarmup, linearWarmup } from "../../src/optim/schedules.ts";
import { valueAndGrad } from "../../src/train/value-and-grad.ts";
import { treeLeaves } from "../../src/tree.ts";

type Params = { w: tf.Tensor; b: tf.Tensor; frozen: tf.Tensor };

/** Six updates (three steps) of a small regression with everything switched on; all numbers of the last state. */
async function train(compile: Engine["compile"]): Promise<number[]> {
  const inner = adamw({
    learningRate: 0,
    weightDecay: 0.1,
    decayMask: decayMatrices,
    maxGradNorm: 0.5,
    trainable: (path) => path !== "frozen",
  });
  const optimizer = accumulateGradients(inner, 2);
  const x = tf.tensor2d([0.5, -1, 2, 0.25, 1, -0.75], [3, 2]);
  const y = tf.tensor2d([1, -1, 0.5], [3, 1]);
  const params: Params = {
    w: tf.tensor2d([[0.5], [-0.25]]),
    b: tf.tensor1d([0.1]),
    frozen: tf.scalar(2),
  };
  let state = { params, opt: optimizer.init(params), ema: emaInit(params), emaDecay: tf.scalar(0) };
  const step = compile((s: typeof state, input: tf.Tensor) => {
    const { loss, grads } = valueAndGrad(
      (p) => input.matMul(p.w).add(p.b).mul(p.frozen).sub(y).square().mean(),
      s.params,
      { trainable: (path) => path !== "frozen" },
    );
    const next = optimizer.update(grads, s.opt, s.params);
    const ema = emaUpdate(s.ema, next.params, s.emaDecay);
    return { params: next.params, opt: next.state, ema, emaDecay: s.emaDecay.clone(), loss, gradNorm: next.gradNorm! };
  });
  const learningRate = linearWarmup({ to: 0.1, steps: 4 });
  const emaDecay = emaDecayWarmup(0.9);
  for (let k = 0; k < 6; k++) {
    state = {
      ...state,
      emaDecay: tf.scalar(emaDecay(k)),
      opt: { ...state.opt, learningRate: tf.scalar(learningRate(k)) },
    };
    state = await step(state, x.mul(k + 1));
  }
  const numbers: number[] = [];
  for (const leaf of treeLeaves(state)) numbers.push(...(await leaf.data()));
  return numbers;
}

describeOnEngines("a training step", (engine) => {
  it("with accumulation, clipping, frozen parameters, schedules and EMA equals the plain function on cpu", async () => {
    const got = await train((fn) => engine().compile(fn));
    const cpu = await createEngine("tfjs:cpu");
    const want = await train((fn) => cpu.compile(fn));
    cpu.dispose();
    expect(got.length).toBe(want.length);
    for (const [i, value] of got.entries()) expect(value).toBeCloseTo(want[i]!, 4);
    expect(want.some((value) => value !== 0)).toBe(true);
  });
});
