import {
  elu,
  exp,
  gelu,
  glu,
  hardswish,
  leakyRelu,
  logSoftmax,
  logSumExp,
  mish,
  Rng,
  sigmoid,
  silu,
  softmax,
  softplus,
  stopGradient,
  tanh,
} from "@genai/core";
import { expectClose, expectGradient, expectSecondGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const functions: Record<string, (x: tf.Tensor) => tf.Tensor> = {
  sigmoid,
  tanh,
  exp,
  softplus,
  silu,
  mish,
  softmax,
  logSoftmax,
  hardswish,
  leakyRelu: (x) => leakyRelu(x),
  elu: (x) => elu(x),
  logSumExp: (x) => logSumExp(x, 0),
  "gelu with erf": (x) => gelu(x),
  "gelu with tanh": (x) => gelu(x, { approximate: "tanh" }),
};

describe.each(Object.entries(functions))("%s", (_, fn) => {
  // Away from the kinks at 0 and 3; products with fixed numbers make the gradients of softmax not vanish.
  const x = tf.tensor2d([0.5, -1.2, 2.1, -0.4, 1.3, -2.2], [2, 3]);
  const weighted = (x: tf.Tensor) => {
    const y = fn(x);
    return tf.sum(tf.mul(y, new Rng(1).normal(y.shape)));
  };

  it("has the gradient of finite differences", () => expectGradient(weighted, x));

  // tfjs' own tanh, sigmoid, exp and softmax fail this.
  it("has the second derivatives of finite differences", () => expectSecondGradient(weighted, x));
});

describe("activations", () => {
  it("stay finite for large inputs", async () => {
    const x = tf.tensor1d([-1e4, -100, 0, 100, 1e4]);
    for (const fn of [sigmoid, tanh, softplus, silu, (x: tf.Tensor) => gelu(x, { approximate: "tanh" })]) {
      const y = await fn(x).data();
      const g = await tf
        .grad((x: tf.Tensor) => tf.sum(fn(x)))(x)
        .data();
      expect([...y, ...g].every(Number.isFinite)).toBe(true);
    }
    await expectClose(logSumExp(tf.tensor1d([1e4, 1e4])), 1e4 + Math.LN2, { atol: 0, rtol: 1e-6 });
  });

  it("let no gradient through stopGradient", async () => {
    const x = tf.tensor1d([2, 3]);
    const g = tf.grad((x: tf.Tensor) => tf.sum(tf.mul(x, stopGradient(x))))(x);
    await expectClose(g, x, { atol: 0, rtol: 0 });
  });

  it("refuse to halve an odd axis", () => {
    expect(() => glu(tf.zeros([2, 3]))).toThrow("glu: x has shape [2,3]; its last axis must be even");
  });
});
