import { createEngine, Rng } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  bernoulliLikelihood,
  createMlpVae,
  encodeMlpVae,
  interpolate,
  interpolateCodes,
  type LatentCodec,
  latentRepresentation,
  latentTraversal,
  mlpVaeFunctions,
  reconstruct,
  sampleVae,
} from "../src/index.ts";

/** Codes are halves of the numbers, so that what tasks do to codes can be read off the images. */
const codec: LatentCodec = {
  encode: (x) => tf.mul(x, 0.5) as tf.Tensor2D,
  decode: (z) => tf.mul(z, 2),
};
const close = { atol: 1e-5, rtol: 1e-5 };

describe("interpolate", () => {
  const a = tf.tensor2d([
    [2, 0],
    [1, 1],
  ]);
  const b = tf.tensor2d([
    [0, 2],
    [3, -1],
  ]);

  it("takes the chord on a linear path", async () => {
    const walk = interpolate(codec, a, b, { steps: 3, path: "linear" });
    await expectClose(walk, tf.tensor3d([2, 0, 1, 1, 0, 2, 1, 1, 2, 0, 3, -1], [2, 3, 2]), close);
  });

  it("turns on a spherical path and keeps the length", async () => {
    const walk = interpolate(codec, a.slice([0, 0], [1, 2]), b.slice([0, 0], [1, 2]), { steps: 5 });
    const angles = [0, 1, 2, 3, 4].map((i) => (i * Math.PI) / 8);
    await expectClose(
      walk,
      tf.tensor3d(
        angles.flatMap((t) => [2 * Math.cos(t), 2 * Math.sin(t)]),
        [1, 5, 2],
      ),
      close,
    );
  });

  it("keeps images of more axes in their shape", () => {
    const images = { encode: codec.encode, decode: (z: tf.Tensor2D) => z.reshape([z.shape[0], 1, 2, 1]) };
    expect(interpolate(images, a, b, { steps: 4 }).shape).toEqual([2, 4, 1, 2, 1]);
  });

  it.each([
    [() => interpolate(codec, a, b.slice([0, 0], [1, 2]), { steps: 3 }), /2 images to start from and 1 to end at/],
    [() => interpolateCodes(a, b, { steps: 1 }), /steps \(1\)/],
    [() => interpolate(codec, a, b, { steps: 3, path: "round" as "linear" }), /path \(round\)/],
  ])("refuses case %#", (walk, message) => {
    expect(walk).toThrow(message);
  });
});

describe("latentTraversal", () => {
  it("moves one dimension over the range and leaves the others", async () => {
    const z = tf.tensor2d([
      [5, 6, 7],
      [8, 9, 1],
    ]);
    const identity = { decode: (codes: tf.Tensor2D) => codes };
    const got = latentTraversal(identity, z, { dimensions: [2, 0], steps: 3, range: [-1, 1] });
    const want = [
      [
        [5, 6, -1],
        [5, 6, 0],
        [5, 6, 1],
        [-1, 6, 7],
        [0, 6, 7],
        [1, 6, 7],
      ],
      [
        [8, 9, -1],
        [8, 9, 0],
        [8, 9, 1],
        [-1, 9, 1],
        [0, 9, 1],
        [1, 9, 1],
      ],
    ];
    await expectClose(got, tf.tensor(want.flat(2), [2, 2, 3, 3]), close);
    expect(latentTraversal(identity, z).shape).toEqual([2, 3, 7, 3]);
    expect(() => latentTraversal(identity, z, { dimensions: [3] })).toThrow("dimension 3 does not exist");
    expect(() => latentTraversal(identity, z, { steps: 1 })).toThrow("steps (1)");
  });
});

describe("sampleVae", () => {
  const vae = {
    decode: (z: tf.Tensor2D) => z,
    likelihood: bernoulliLikelihood(2),
    prior: {
      logProb: () => tf.zeros([1]) as tf.Tensor1D,
      sample: (count: number) => tf.zeros([count, 2]) as tf.Tensor2D,
    },
  };

  it("shows means, or draws pixels", () => {
    const rng = () => new Rng(0);
    expect(Array.from(sampleVae(vae, { count: 2, rng: rng() }).dataSync())).toEqual([0.5, 0.5, 0.5, 0.5]);
    const drawn = sampleVae(vae, { count: 50, rng: rng(), pixels: "drawn" }).dataSync();
    expect(new Set(drawn)).toEqual(new Set([0, 1]));
    expect(() => sampleVae(vae, { count: 1.5, rng: rng() })).toThrow("count (1.5)");
  });
});

describe("latentRepresentation", () => {
  it.each(["tfjs:cpu", "onnx:cpu"])("codes a data set in batches of any size on %s", async (name) => {
    const engine = await createEngine(name);
    const vae = createMlpVae(
      { inputShape: [4, 1], hiddenDims: [5], latentDim: 2, activation: "relu", likelihood: { kind: "bernoulli" } },
      new Rng(0),
    );
    const x = new Rng(1).uniform([7, 4, 1]);
    const encode = (m: typeof vae, images: tf.Tensor) => encodeMlpVae(m, images).mu;
    const want = encode(vae, x);
    await latentRepresentation(engine, vae, x, { encode, batchSize: 3 });
    const before = tf.memory().numTensors;
    for (const batchSize of [1, 3, 100]) {
      const { codes, shape } = await latentRepresentation(engine, vae, x, { encode, batchSize });
      expect(shape).toEqual([7, 2]);
      await expectClose({ shape, dtype: "float32", data: Array.from(codes) }, want, close);
    }
    expect(tf.memory().numTensors).toBe(before);
    await expect(latentRepresentation(engine, vae, x, { encode, signal: AbortSignal.abort() })).rejects.toThrow(
      "latentRepresentation: aborted",
    );
    await expect(latentRepresentation(engine, vae, tf.zeros([0, 4, 1]), { encode })).rejects.toThrow("got no images");
    engine.dispose();
  });
});

describe("tasks", () => {
  it("leak no tensors", () => {
    const vae = createMlpVae(
      { inputShape: [3], hiddenDims: [], latentDim: 2, activation: "relu", likelihood: { kind: "bernoulli" } },
      new Rng(0),
    );
    const x = tf.zeros([2, 2]) as tf.Tensor2D;
    const functions = mlpVaeFunctions(vae);
    const before = tf.memory().numTensors;
    tf.dispose([
      interpolate(codec, x, x, { steps: 3 }),
      interpolateCodes(x, x, { steps: 2 }),
      latentTraversal(codec, x),
      reconstruct(codec, x),
      sampleVae(functions, { count: 2, rng: new Rng(0), pixels: "drawn" }),
    ]);
    expect(tf.memory().numTensors).toBe(before);
  });
});
