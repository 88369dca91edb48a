import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cachedAttention, createLinear, gelu, linear, Rng, splitHeads } from "@genai/core";
import { encodeOnnxModel, exportOnnx } from "@genai/onnx";
import * as tf from "@tensorflow/tfjs";
import ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

let dir: string;
beforeAll(async () => {
  await tf.setBackend("cpu");
  dir = await mkdtemp(join(tmpdir(), "genai-onnx-"));
});
afterAll(() => rm(dir, { recursive: true }));

describe("exportOnnx", () => {
  it("writes a file that ONNX Runtime opens on its own, with the names given and equal results", async () => {
    const layer = createLinear(3, 4, new Rng(1));
    const model = (x: tf.Tensor) => ({ hidden: linear(layer, x), out: gelu(linear(layer, x)) });
    const file = join(dir, "model.onnx");
    const x = new Rng(2).normal([5, 3]);
    const names = await exportOnnx(model, [x], file, {
      inputNames: ["x"],
      outputNames: ["hidden", "out"],
      metadata: { author: "test" },
    });
    expect(names).toMatchObject({ inputs: ["x"], outputs: ["hidden", "out"] });
    const session = await ort.InferenceSession.create(file);
    expect([session.inputNames, session.outputNames]).toEqual([["x"], ["hidden", "out"]]);
    const got = await session.run({ x: new ort.Tensor("float32", (await x.data()) as Float32Array, [5, 3]) });
    const want = model(x);
    for (const [key, tensor] of Object.entries(want)) {
      const b = await tensor.data();
      (got[key]!.data as Float32Array).forEach((v, i) => {
        expect(v).toBeCloseTo(b[i]!, 5);
      });
    }
    expect(await readdir(dir)).toEqual(["model.onnx"]);
  });

  it("makes inputs of random draws, and names inputs by their paths", () => {
    const exported = encodeOnnxModel(
      (m: { scale: tf.Tensor }, rng: Rng) => tf.mul(rng.normal([2]), m.scale),
      [{ scale: tf.scalar(2) }, new Rng(0)],
    );
    expect(exported.inputs).toEqual(["0.scale", "noise0"]);
    expect(exported.outputs).toEqual(["output0"]);
  });

  it("writes operators of the standard alone", () => {
    const { bytes } = encodeOnnxModel((x: tf.Tensor) => gelu(x), [tf.zeros([2])]);
    expect(Buffer.from(bytes).includes("com.microsoft")).toBe(false);
  });

  it.each([1, 5])("gives attention what queries, keys and values were split from, of %i tokens", (t) => {
    const cache = tf.zeros([1, 2, 8, 16]) as tf.Tensor4D;
    const { bytes } = encodeOnnxModel(
      (x: tf.Tensor, k: tf.Tensor4D, v: tf.Tensor4D, lengths: tf.Tensor1D) => {
        const [q, newK, newV] = tf.split(splitHeads(x, 6), 3, 1) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
        return cachedAttention(q, newK, newV, { k, v }, lengths).mixed;
      },
      [tf.zeros([1, t, 96]), cache, cache.clone(), tf.zeros<tf.Rank.R1>([1], "int32")],
    );
    expect(Buffer.from(bytes).includes("GroupQueryAttention")).toBe(true);
    expect(Buffer.from(bytes).includes("Split")).toBe(false);
  });

  it("can return an argument, a constant, and one value twice", async () => {
    const { bytes } = encodeOnnxModel(
      (x: tf.Tensor) => {
        const y = tf.add(x, 1);
        return [x, tf.tensor([7]), y, y];
      },
      [tf.zeros([2])],
      { inputNames: ["x"] },
    );
    const session = await ort.InferenceSession.create(bytes);
    const got = await session.run({ x: new ort.Tensor("float32", Float32Array.of(1, 2), [2]) });
    expect(Object.values(got).map((t) => Array.from(t.data as Float32Array))).toEqual([[1, 2], [7], [2, 3], [2, 3]]);
  });

  it("refuses wrong names and says how many are expected", () => {
    const fn = (x: tf.Tensor) => x.add(1);
    expect(() => encodeOnnxModel(fn, [tf.zeros([1])], { inputNames: [] })).toThrow(
      "inputNames has 0 names; expected 1",
    );
    expect(() => encodeOnnxModel(fn, [tf.zeros([1])], { outputNames: ["a", "b"] })).toThrow(
      "outputNames has 2 names; expected 1",
    );
    expect(() => encodeOnnxModel(fn, [tf.zeros([1])], { inputNames: ["a"], outputNames: ["a"] })).toThrow(
      "'a' is given twice",
    );
    expect(() => encodeOnnxModel(fn, [tf.zeros([1])], { inputNames: [""] })).toThrow("inputNames[0] is empty");
    expect(() => encodeOnnxModel(() => 3, [])).toThrow("holds no tensor");
  });

  it("leaves the old file as it was when the new one cannot be written", async () => {
    await expect(exportOnnx((x: tf.Tensor) => x.add(1), [tf.zeros([1])], join(dir, "no", "such.onnx"))).rejects.toThrow(
      "exportOnnx: cannot write",
    );
  });
});
