import { avgPool2d, maxPool2d, Rng, resizeBilinear, upsampleBilinear, upsampleNearest } from "@genai/core";
import { describeOnEngines, expectClose, expectGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";

const functions: Record<string, (x: tf.Tensor) => tf.Tensor> = {
  upsampleNearest: (x) => upsampleNearest(x, 3),
  upsampleBilinear: (x) => upsampleBilinear(x),
  "resizeBilinear to a smaller image": (x) => resizeBilinear(x, [3, 2]),
  avgPool2d: (x) => avgPool2d(x),
  "avgPool2d with overlap and padding": (x) => avgPool2d(x, { size: 3, stride: 2, padding: 1 }),
  maxPool2d: (x) => maxPool2d(x),
  "maxPool2d with overlap and padding": (x) => maxPool2d(x, { size: 3, stride: 2, padding: 1 }),
};

describe.each(Object.entries(functions))("%s", (_, fn) => {
  beforeAll(async () => {
    await tf.setBackend("cpu");
  });

  it("has the gradient of finite differences, for several images", async () => {
    const x = tf.tensor4d(new Rng(1).permutation(2 * 4 * 5 * 2).dataSync(), [2, 4, 5, 2]).div(20);
    const cotangent = new Rng(2).normal(fn(x).shape);
    await expectGradient((x) => tf.sum(tf.mul(fn(x), cotangent)), x, { tolerance: { atol: 1e-2, rtol: 1e-2 } });
  });
});

describeOnEngines("pooling", (engine) => {
  it("agrees with tfjs where tfjs is right", async () => {
    const x = new Rng(3).normal([2, 6, 7, 3]);
    const run = engine().compile((x: tf.Tensor) => ({
      max: maxPool2d(x, { size: 3, stride: 2 }),
      average: avgPool2d(x, { size: 3, stride: 2 }),
      halved: avgPool2d(x),
    }));
    const got = await run(x);
    const tolerance = { atol: 1e-6, rtol: 1e-6 };
    const image = x as tf.Tensor4D;
    await expectClose(got.max, await copy(tf.maxPool(image, 3, 2, "valid")), tolerance, "max");
    await expectClose(got.average, await copy(tf.avgPool(image, 3, 2, "valid")), tolerance, "average");
    await expectClose(got.halved, await copy(tf.avgPool(image, 2, 2, "valid")), tolerance, "halved");
  });
});

const copy = async (t: tf.Tensor) => tf.tensor(await t.data(), t.shape);

describe("pooling and resizing", () => {
  it("send the gradient of a tie to the first of the equals", async () => {
    const g = tf.grad((x: tf.Tensor) => tf.sum(maxPool2d(x)))(tf.zeros([1, 2, 2, 1]));
    expect([...(await g.data())]).toEqual([1, 0, 0, 0]);
  });

  it("keep constant images constant", async () => {
    const x = tf.fill([1, 4, 6, 2], 3);
    await expectClose(resizeBilinear(x, [7, 5]), tf.fill([1, 7, 5, 2], 3), { atol: 1e-6, rtol: 0 });
  });

  it("say what does not fit", () => {
    expect(() => upsampleNearest(tf.zeros([4, 4, 1]))).toThrow("upsampleNearest: x has shape [4,4,1]; expected images");
    expect(() => maxPool2d(tf.zeros([1, 2, 2, 1]), { size: 3 })).toThrow("smaller than the window (3)");
    expect(() => avgPool2d(tf.zeros([1, 2, 2, 1]), { padding: 2 })).toThrow("avgPool2d: padding (2)");
  });
});
