import { embedding, gelu, layerNorm, Rng } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterEach, beforeAll, describe, expect, it } from "vitest";

const calls: { name: string; inputs: string[]; attrs: unknown }[] = [];
const registered: string[] = [];

/** Registers a kernel of a fused op on the cpu backend that gives `result`, and notes its calls. */
function fake(kernelName: string, result: (inputs: tf.NamedTensorInfoMap) => tf.TensorInfo | tf.TensorInfo[]): void {
  tf.registerKernel({
    kernelName,
    backendName: "cpu",
    kernelFunc: ({ inputs, attrs }) => {
      calls.push({ name: kernelName, inputs: Object.keys(inputs), attrs });
      return result(inputs);
    },
  });
  registered.push(kernelName);
}

const like = (info: tf.TensorInfo, value: number) => tf.fill(info.shape, value, "float32");

describe("fused ops", () => {
  beforeAll(async () => {
    await tf.setBackend("cpu");
  });
  afterEach(() => {
    for (const name of registered.splice(0)) tf.unregisterKernel(name, "cpu");
    calls.length = 0;
  });

  it("run the backend's kernel where it has one, forward and backward", async () => {
    fake("GenaiGelu", ({ x }) => like(x!, 7));
    fake("GenaiGeluGrad", ({ x }) => like(x!, 5));
    const { value, grads } = tf.valueAndGrads((x: tf.Tensor) => tf.sum(gelu(x, { approximate: "tanh" })))([
      tf.zeros([2, 2]),
    ]);
    await expectClose(value, 28, { atol: 0, rtol: 0 });
    expect([...(await grads[0]!.data())]).toEqual([5, 5, 5, 5]);
    expect(calls).toEqual([
      { name: "GenaiGelu", inputs: ["x"], attrs: { approximate: "tanh" } },
      { name: "GenaiGeluGrad", inputs: ["x", "dy"], attrs: { approximate: "tanh" } },
    ]);
  });

  it("hand kernels with several results one gradient for each input", async () => {
    fake("GenaiLayerNormGrad", ({ x, weight }) => [like(x!, 1), like(weight!, 2), like(weight!, 3)]);
    const x = new Rng(1).normal([2, 3]);
    const run = (x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) =>
      tf.sum(layerNorm({ weight, bias }, x, { eps: 0.5 }));
    const [dx, dweight, dbias] = tf.grads(run)([x, tf.ones([3]), tf.zeros([3])]);
    expect([await dx!.data(), await dweight!.data(), await dbias!.data()].map((a) => [...a])).toEqual([
      [1, 1, 1, 1, 1, 1],
      [2, 2, 2],
      [3, 3, 3],
    ]);
    expect(calls).toEqual([{ name: "GenaiLayerNormGrad", inputs: ["x", "weight", "dy"], attrs: { eps: 0.5 } }]);
  });

  it("compose a gradient that is differentiated again, because kernels have no derivative", () => {
    fake("GenaiGeluGrad", ({ x }) => like(x!, 5));
    const penalty = (x: tf.Tensor) => tf.sum(tf.square(tf.grad((x: tf.Tensor) => tf.sum(gelu(x)))(x)));
    tf.grad(penalty)(tf.tensor1d([0.5]));
    expect(calls).toEqual([]);
  });

  it("pass embedding's ids and table size to the gradient's kernel", async () => {
    fake("GenaiGatherRowsGrad", () => tf.fill([4, 2], 9, "float32"));
    const ids = tf.tensor1d([1, 3], "int32");
    const g = tf.grad((weight: tf.Tensor) => tf.sum(embedding({ weight }, ids)))(tf.zeros([4, 2]));
    expect([...(await g.data())]).toEqual(Array(8).fill(9));
    expect(calls).toEqual([{ name: "GenaiGatherRowsGrad", inputs: ["ids", "dy"], attrs: { rows: 4 } }]);
  });
});
