import { batchNormEval, batchNormTrain, groupNorm, instanceNorm, layerNorm, Rng, rmsNorm } from "@genai/core";
import { expectClose, expectGradient, expectSecondGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const rng = new Rng(1);
const weight = rng.normal([4], 1, 0.3);
const bias = rng.normal([4]);
const cotangent = rng.normal([2, 3, 4]);
const stats = { running_mean: tf.zeros([4]), running_var: tf.ones([4]) };
const norms: Record<string, (x: tf.Tensor) => tf.Tensor> = {
  layerNorm: (x) => layerNorm({ weight, bias }, x),
  rmsNorm: (x) => rmsNorm({ weight }, x),
  groupNorm: (x) => groupNorm({ weight, bias }, x, { groups: 2 }),
  instanceNorm: (x) => instanceNorm({}, x),
  batchNormTrain: (x) => batchNormTrain({ weight }, x, stats).y,
};

describe.each(Object.entries(norms))("%s", (_, norm) => {
  const x = rng.normal([2, 3, 4]);
  const weighted = (x: tf.Tensor) => tf.sum(tf.mul(norm(x), cotangent));

  it("has the gradient of finite differences", () => expectGradient(weighted, x));

  it("has the second derivatives of finite differences", () =>
    expectSecondGradient(weighted, x, { tolerance: { atol: 5e-2, rtol: 2e-2 } }));

  it("does not see the scale of its input", () =>
    expectClose(norm(tf.mul(x, 100)), norm(x), { atol: 2e-3, rtol: 2e-3 }));
});

describe("normalisation", () => {
  it("gives mean 0 and variance 1", async () => {
    const x = rng.normal([64, 16], 5, 3);
    const plain = { weight: tf.ones([16]) };
    const { mean, variance } = tf.moments(layerNorm(plain, x), 1);
    await expectClose(mean, tf.zeros([64]), { atol: 1e-5, rtol: 0 });
    await expectClose(variance, tf.ones([64]), { atol: 1e-3, rtol: 0 });
  });

  it("agrees with itself where kinds coincide", async () => {
    const x = rng.normal([2, 3, 3, 4]);
    await expectClose(instanceNorm({}, x), groupNorm({}, x, { groups: 4 }), { atol: 0, rtol: 0 });
  });

  it("normalises by the running statistics after training", async () => {
    const x = rng.normal([512, 4], 3, 2);
    let running: { running_mean: tf.Tensor; running_var: tf.Tensor } = stats;
    for (let i = 0; i < 100; i++) running = batchNormTrain({}, x, running).stats;
    await expectClose(batchNormEval({}, x, running), batchNormTrain({}, x, running).y, { atol: 1e-2, rtol: 1e-2 });
  });

  it("says what does not fit", () => {
    const x = tf.zeros([2, 3, 6]);
    expect(() => groupNorm({}, x, { groups: 4 })).toThrow("groupNorm: groups (4) must divide the 6 channels of x");
    expect(() => layerNorm({ weight }, x)).toThrow("layerNorm: weight has shape [4]; expected [6], the channels of x");
    expect(() => batchNormTrain({}, tf.zeros([1, 4]), stats)).toThrow("one value per channel");
  });
});
