import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { adamw } from "../../src/optim/adam.ts";
import { sgd } from "../../src/optim/sgd.ts";
import { Rng } from "../../src/rng.ts";
import { fit } from "../../src/train/fit.ts";
import { gradientStep, type LossScalars } from "../../src/train/gradient-step.ts";
import { type ToyBatch, type ToyState, ToyStream, toyState, toyStep } from "./toy-training.ts";

type Params = { w: tf.Tensor1D };
type Batch = { x: tf.Tensor1D };

/** (weight * w . x), whose gradient is weight * x. */
const product = ({ w }: Params, { x }: Batch, _rng: Rng, { weight }: LossScalars<"weight">) => {
  const loss = w.mul(x).sum().mul(weight) as tf.Scalar;
  return { loss, twice: loss.mul(2) as tf.Scalar };
};

describeOnEngines("gradientStep", (engine) => {
  it("does one update, with the scalars that the loss reads, and reports what the loss returns", async () => {
    const { init, step } = gradientStep(sgd({ learningRate: 0.5, maxGradNorm: 1e9 }), product);
    const compiled = engine().compile(step);
    const { state, metrics } = await compiled(
      init({ w: tf.tensor1d([1, 2]) }, { weight: 3 }),
      { x: tf.tensor1d([10, 20]) },
      new Rng(0),
    );
    await expectClose(state.params.w, [1 - 0.5 * 30, 2 - 0.5 * 60], { atol: 1e-4, rtol: 1e-5 });
    await expectClose(state.weight, 3, { atol: 1e-4, rtol: 1e-5 });
    await expectClose(metrics.loss, 150, { atol: 1e-4, rtol: 1e-5 });
    await expectClose(metrics.twice!, 300, { atol: 1e-4, rtol: 1e-5 });
    await expectClose(metrics.gradNorm!, Math.hypot(30, 60), { atol: 1e-4, rtol: 1e-5 });
    compiled.dispose();
  });

  it("trains like the same step written by hand, schedules of scalars included", async () => {
    const { init, step } = gradientStep(
      adamw({ learningRate: 0.01, weightDecay: 0.1 }),
      (p: ToyState["params"], { x, y }: ToyBatch, rng: Rng, { strength }: LossScalars<"strength">) => {
        const noisy = x.add(rng.normal(x.shape, 0, 0.1)) as tf.Tensor2D;
        const error = noisy.matMul(p.hidden).tanh().matMul(p.out).sub(y).square().mean();
        const penalty = p.out.square().sum().mul(strength) as tf.Scalar;
        return { loss: error.add(penalty) as tf.Scalar, penalty };
      },
    );
    const options = () => ({ engine: engine(), steps: 6, data: new ToyStream(2), rng: new Rng(3) });
    const { params } = toyState();
    const byHand = await fit({ ...options(), step: toyStep, state: toyState() });
    const made = await fit({
      ...options(),
      step,
      state: init(params, { strength: 0 }),
      schedules: { strength: () => 1e-3 },
    });
    for (const [i, { metrics }] of made.history.entries()) {
      for (const name of ["loss", "penalty"]) {
        expect(metrics[name]).toBeCloseTo(byHand.history[i]!.metrics[name]!, 5);
      }
    }
  });
});

it("gradientStep refuses scalars that would hide the parameters", () => {
  const { init } = gradientStep(
    sgd({ learningRate: 1 }),
    (p: Params, _: Batch, __: Rng, ___: LossScalars<"opt">) => p.w.sum() as tf.Scalar,
  );
  expect(() => init({ w: tf.tensor1d([1]) }, { opt: 1 })).toThrow(/a scalar is called opt; expected a name other/);
});
