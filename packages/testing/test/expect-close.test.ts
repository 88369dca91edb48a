import { expectClose, expectGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";

const tolerance = { atol: 1e-3, rtol: 0 };

describe("expectClose", () => {
  it("accepts what lies within the tolerance", () => expectClose(tf.tensor1d([1, 2.0005]), [1, 2], tolerance));

  it("names the worst element", async () => {
    const got = tf.tensor2d([1, 2.01, 3, 5], [2, 2]);
    await expect(expectClose(got, tf.tensor2d([1, 2, 3, 4], [2, 2]), tolerance, "y")).rejects.toThrow(
      "y: element [1,1] is 5; expected 4 within 0.001",
    );
  });

  it("fails on NaN, on infinities and on other shapes", async () => {
    await expect(expectClose(tf.tensor1d([Number.NaN]), [1], tolerance)).rejects.toThrow("is NaN");
    await expect(expectClose(tf.tensor1d([Infinity]), [1], tolerance)).rejects.toThrow("is Infinity");
    await expect(expectClose(tf.zeros([2, 1]), tf.zeros([2]), tolerance)).rejects.toThrow("shape");
    await expectClose(tf.tensor1d([-Infinity]), { shape: [1], dtype: "float32", data: [null] }, tolerance);
  });

  it("wants integers to be equal", async () => {
    const want = { shape: [1], dtype: "int32" as const, data: [3] };
    await expect(expectClose(tf.tensor1d([4], "int32"), want, { atol: 10, rtol: 0 })).rejects.toThrow("expected 3");
  });
});

describe("expectGradient", () => {
  it("accepts a right gradient and refuses a wrong one", async () => {
    await expectGradient((x) => tf.sum(tf.square(x)), tf.tensor1d([1, -2]));
    const wrong = tf.customGrad((x) => ({
      value: tf.sum(tf.square(x as tf.Tensor)),
      gradFunc: () => tf.onesLike(x as tf.Tensor),
    }));
    await expect(expectGradient((x) => wrong(x), tf.tensor1d([1, -2]))).rejects.toThrow("gradient: element");
  });
});
