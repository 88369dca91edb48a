import { type Engine, layerNorm, linear, Rng, treeDispose, valueAndGrad } from "@genai/core";
import { createOnnxEngine } from "@genai/onnx";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

// The same engine on onnxruntime-web, in a real Chromium: WebAssembly with threads, and WebGPU by SwiftShader.

describe.each(["wasm", "webgpu"] as const)("onnx:%s in the browser", (device) => {
  let engine: Engine;
  beforeAll(async () => {
    await tf.setBackend("cpu");
    engine = await createOnnxEngine({ device });
  });
  afterAll(() => engine.dispose());

  it("computes values and gradients as eager tfjs does", async () => {
    const rng = new Rng(1);
    const params = {
      fc: { weight: rng.normal([4, 3]), bias: rng.normal([4]) },
      ln: { weight: rng.normal([4]), bias: rng.normal([4]) },
    };
    const x = rng.normal([5, 3]);
    const f = (p: typeof params, input: tf.Tensor) =>
      valueAndGrad((q) => tf.mean(tf.square(tf.tanh(layerNorm(q.ln, linear(q.fc, input))))) as tf.Scalar, p);
    const want = tf.tidy(() => f(params, x));
    const got = await engine.compile(f)(params, x);
    expect((await got.loss.data())[0]).toBeCloseTo((await want.loss.data())[0]!, 5);
    const [a, b] = [await got.grads.fc.weight.data(), await want.grads.fc.weight.data()];
    a.forEach((v, i) => {
      expect(v).toBeCloseTo(b[i]!, 4);
    });
    treeDispose([got, want, params, x]);
  });

  it("passes results back, hands arguments through, and frees everything", async () => {
    const step = engine.compile((s: { n: tf.Tensor; kept: tf.Tensor }) => ({ n: tf.mul(s.n, 2), kept: s.kept }));
    let state = { n: tf.tensor([1, 2]), kept: tf.tensor([5]) };
    const before = tf.memory().numTensors;
    for (let i = 0; i < 4; i++) {
      const next = await step(state);
      treeDispose(state);
      state = next;
    }
    expect(Array.from(await state.n.data())).toEqual([16, 32]);
    expect(Array.from(await state.kept.data())).toEqual([5]);
    expect(tf.memory().numTensors).toBe(before);
    treeDispose(state);
  });

  it("joins and parts more tensors than a shader has buffers for", async () => {
    const parts = Array.from({ length: 12 }, (_, i) => tf.fill([1 + (i % 3)], i));
    const sizes = parts.map(({ size }) => size);
    const doubled = engine.compile((list: tf.Tensor[]) => tf.split(tf.mul(tf.concat(list), 2), sizes));
    const got = await doubled(parts);
    const values = await Promise.all(got.map(async (part) => Array.from(await part.data())));
    expect(values).toEqual(sizes.map((size, i) => new Array(size).fill(2 * i)));
    treeDispose([got, parts]);
  });

  it("takes results back that were computed in another shape", async () => {
    const double = engine.compile((x: tf.Tensor) => tf.reshape(tf.mul(tf.reshape(x, [3, 2]), 2), [6]));
    const once = await double(tf.tensor([1, 2, 3, 4, 5, 6]));
    const twice = await double(once);
    expect([once.shape, twice.shape]).toEqual([[6], [6]]);
    expect(Array.from(await twice.data())).toEqual([4, 8, 12, 16, 20, 24]);
    expect(Array.from(await once.data())).toEqual([2, 4, 6, 8, 10, 12]);
    treeDispose([once, twice]);
  });

  it("leaves results to their holder when what computed them is disposed of", async () => {
    const before = tf.memory().numTensors;
    const triple = engine.compile((x: tf.Tensor) => ({ a: tf.mul(x, 3), b: tf.mul(x, 4) }));
    const x = tf.tensor([1, 2]);
    const { a, b } = await triple(x);
    triple.dispose();
    // Another program, which reads one of them.
    const sum = engine.compile((x: tf.Tensor, y: tf.Tensor) => tf.add(x, y));
    const total = await sum(a, b);
    a.dispose();
    expect(Array.from(await b.data())).toEqual([4, 8]);
    expect(Array.from(await total.data())).toEqual([7, 14]);
    sum.dispose();
    const other = await createOnnxEngine({ device });
    const last = await other.compile((x: tf.Tensor) => tf.mul(x, 5))(x);
    other.dispose();
    expect(Array.from(await last.data())).toEqual([5, 10]);
    treeDispose([b, total, last, x]);
    expect(tf.memory().numTensors).toBe(before);
  });

  if (device === "webgpu") {
    it("keeps results on the GPU, and says so when they are read synchronously", async () => {
      const y = await engine.compile((x: tf.Tensor) => tf.mul(x, 3))(tf.tensor([1, 2]));
      expect(() => y.dataSync()).toThrow("await tensor.data()");
      expect(Array.from(await y.data())).toEqual([3, 6]);
      y.dispose();
    });
  }

  it("names what cannot be had in a browser", async () => {
    await expect(createOnnxEngine({ device: "cuda" })).rejects.toThrow("browsers have webgpu and wasm only");
  });
});
