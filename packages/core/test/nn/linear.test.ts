import { createLinear, linear, Rng } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";

describeOnEngines("linear", (engine) => {
  it("multiplies the last axis of tensors of any rank, with gradients", async () => {
    const weight = tf.tensor2d([1, 2, 3, 4, 5, 6], [2, 3]);
    const bias = tf.tensor1d([10, 20]);
    const x = tf.tensor4d([1, 0, 0, 0, 1, 0], [1, 2, 1, 3]);
    const run = engine().compile((weight: tf.Tensor, bias: tf.Tensor, x: tf.Tensor) => {
      const f = (weight: tf.Tensor, bias: tf.Tensor, x: tf.Tensor) => tf.sum(linear({ weight, bias }, x));
      return { y: linear({ weight, bias }, x), grads: tf.grads(f)([weight, bias, x]) };
    });
    const { y, grads } = await run(weight, bias, x);
    const exact = { atol: 0, rtol: 0 };
    await expectClose(y, tf.tensor4d([11, 24, 12, 25], [1, 2, 1, 2]), exact);
    await expectClose(grads[0]!, tf.tensor2d([1, 1, 0, 1, 1, 0], [2, 3]), exact);
    await expectClose(grads[1]!, [2, 2], exact);
    await expectClose(grads[2]!, tf.tensor4d([5, 7, 9, 5, 7, 9], [1, 2, 1, 3]), exact);
  });

  it("starts with weights bounded by the inverse root of the fan-in, and no bias when asked", async () => {
    const p = createLinear(16, 32, new Rng(1));
    const values = await p.weight.data();
    expect(p.weight.shape).toEqual([32, 16]);
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.25);
    expect(Math.max(...values.map(Math.abs))).toBeGreaterThan(0.2);
    expect(await p.bias!.data()).toEqual(new Float32Array(32));
    expect(createLinear(2, 2, new Rng(1), { bias: false })).not.toHaveProperty("bias");
  });

  it("says what does not fit", () => {
    const weight = tf.zeros([2, 3]);
    expect(() => linear({ weight }, tf.zeros([4, 2]))).toThrow(
      "linear: x has shape [4,2]; weight [2,3] expects a last axis of 3",
    );
    expect(() => linear({ weight, bias: tf.zeros([3]) }, tf.zeros([4, 3]))).toThrow("linear: bias has shape [3]");
  });
});
