import { createEngine, type Engine, Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createMlpVae,
  drawRound,
  gaussianLikelihood,
  imputeByCode,
  imputeMean,
  imputeMissing,
  type MlpVaeParams,
  mlpVaeFunctions,
  mlpVaeLoss,
  standardNormalPrior,
} from "../src/index.ts";
import { memorise } from "./memorise.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

describe("imputeMissing", () => {
  const x = tf.tensor2d([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  const observed = tf.tensor2d([
    [1, 0, 1],
    [0, 1, 0],
  ]);

  it("samples from the exact conditional when the round is exact Gibbs", async () => {
    // x1, x2 standard normal with correlation r, by way of z | x1, x2 and x' | z: a chain whose stationary mean given
    // x1 is r x1. With x = sqrt(r) z + noise of variance 1 - r: z | x ~ N(s (x1 + x2) / (1 + r), (1 - r) / (1 + r)).
    const r = 0.8;
    const s = Math.sqrt(r);
    const round = (_: object, pair: tf.Tensor, rng: Rng) => {
      const z = pair
        .sum(1, true)
        .mul(s / (1 + r))
        .add(rng.normal([pair.shape[0]!, 1]).mul(Math.sqrt((1 - r) / (1 + r))));
      return z.mul(s).add(rng.normal(pair.shape).mul(Math.sqrt(1 - r)));
    };
    const known = tf.tensor2d([[1.5, 0]]).tile([400, 1]);
    const mask = tf.tensor2d([[1, 0]]).tile([400, 1]);
    const filled = await imputeMissing(engine, {}, round, known, mask, { rng: new Rng(0), iterations: 60, burnIn: 30 });
    const [first, second] = filled.mean(0).dataSync();
    expect(first).toBeCloseTo(1.5, 5);
    expect(Math.abs(second! - r * 1.5)).toBeLessThan(0.1);
  });

  it("begins with the filling given", async () => {
    const round = (_: object, now: tf.Tensor) => now.mul(2);
    const options = { rng: new Rng(0), iterations: 1, burnIn: 0 };
    const filled = await imputeMissing(engine, {}, round, x, observed, { ...options, start: x.add(10) });
    expect(Array.from(await filled.data())).toEqual([1, 24, 3, 28, 5, 32]);
    await expect(
      imputeMissing(engine, {}, round, x, observed, { ...options, start: tf.zeros([2, 2]) }),
    ).rejects.toThrow("imputeMissing: start has shape [2,2]; expected [2,3], as x");
  });

  it("keeps known values, does not look at missing ones, and leaks no tensors", async () => {
    const round = (_: object, now: tf.Tensor) => now.mul(0).add(now.sum(1, true));
    const run = async (values: tf.Tensor) => {
      const filled = await imputeMissing(engine, {}, round, values, observed, {
        rng: new Rng(0),
        iterations: 3,
        burnIn: 2,
      });
      const numbers = Array.from(await filled.data());
      filled.dispose();
      return numbers;
    };
    const noise = tf.where(observed.greater(0), x, tf.fill([2, 3], 77));
    const first = await run(x);
    const before = tf.memory().numTensors;
    expect(await run(noise)).toEqual(first);
    expect(tf.memory().numTensors).toBe(before);
    expect([first[0], first[2], first[4]]).toEqual([1, 3, 5]);
    expect(first[1]).toBe(4 + (4 + (4 + 2))); // begins at the mean, 2, and adds what is known in every round
  });

  it("fills halves of patterns that a VAE has learned better than their mean does", async () => {
    const rng = new Rng(0);
    const kinds = rng.integers([40], 0, 2).toFloat().expandDims(1);
    const patterns = tf.concat([kinds.tile([1, 4]), tf.sub(1, kinds).tile([1, 4])], 1);
    const vae = createMlpVae(
      { inputShape: [8], hiddenDims: [16], latentDim: 2, activation: "relu", likelihood: { kind: "bernoulli" } },
      new Rng(1),
    );
    const { params } = await memorise(
      engine,
      vae.params,
      (p: MlpVaeParams, noise) => mlpVaeLoss({ ...vae, params: p }, patterns, noise),
      { steps: 150 },
    );
    const mask = tf.tensor2d([[1, 0, 0, 0, 0, 0, 0, 1]]).tile([40, 1]);
    const round = (p: MlpVaeParams, now: tf.Tensor, noise: Rng) =>
      drawRound(mlpVaeFunctions({ ...vae, params: p }), now, noise);
    const error = (filled: tf.Tensor) => filled.sub(patterns).square().mean().dataSync()[0]!;
    const filled = await imputeMissing(engine, params, round, patterns, mask, { rng, iterations: 20 });
    expect(error(filled)).toBeLessThan(error(imputeMean(patterns.mul(mask), mask)) / 5);
  });

  it("says which example has nothing to go by", async () => {
    const round = (_: object, now: tf.Tensor) => now;
    const options = { rng: new Rng(0) };
    const none = tf.tensor2d([
      [1, 0, 1],
      [0, 0, 0],
    ]);
    await expect(imputeMissing(engine, {}, round, x, none, options)).rejects.toThrow(
      "imputeMissing: all values of example 1 are missing; expected at least one that is known",
    );
    await expect(imputeMissing(engine, {}, round, x, tf.ones([2, 2]), options)).rejects.toThrow(
      "x has shape [2,3] and observed [2,2]; expected the same shape",
    );
    await expect(
      imputeMissing(engine, {}, round, x, observed, { ...options, iterations: 2, burnIn: 2 }),
    ).rejects.toThrow("burnIn (2) must be a whole number below iterations (2)");
  });
});

describe("imputeMean", () => {
  it("takes the mean of the known values at the same place", () => {
    const x = tf.tensor2d([
      [1, 99],
      [3, 99],
      [99, 99],
    ]);
    const observed = tf.tensor2d([
      [1, 0],
      [1, 0],
      [0, 0],
    ]);
    expect(imputeMean(x, observed).arraySync()).toEqual([
      [1, 0],
      [3, 0],
      [2, 0],
    ]);
  });
});

describe("imputeByCode", () => {
  // x = w z + noise of variance s^2, z standard normal: the likeliest code is the mean of p(z | known), in closed form.
  const w = [2, -1, 0.5];
  const scale = 0.5;
  const linear = (p: { w: tf.Tensor2D }) => ({
    encode: (x: tf.Tensor) => ({
      mu: tf.zeros([x.shape[0]!, 1]) as tf.Tensor2D,
      logvar: tf.zeros([x.shape[0]!, 1]) as tf.Tensor2D,
    }),
    decode: (z: tf.Tensor2D) => z.matMul(p.w),
    likelihood: gaussianLikelihood(3, { scale }),
    prior: standardNormalPrior(1),
  });
  const params = { w: tf.tensor2d([w]) };
  const x = tf.tensor2d([
    [1, 99, 2],
    [99, 3, 99],
  ]);
  const observed = tf.tensor2d([
    [1, 0, 1],
    [0, 1, 0],
  ]);

  it("finds the posterior mean of a linear Gaussian model, and keeps what is known", async () => {
    const before = tf.memory().numTensors;
    const filled = await imputeByCode(engine, params, linear, x, observed, { iterations: 400, learningRate: 0.05 });
    const code = (row: readonly [number, number][]) => {
      const precision = 1 + row.reduce((sum, [at]) => sum + (w[at]! / scale) ** 2, 0);
      return row.reduce((sum, [at, value]) => sum + (w[at]! * value) / scale ** 2, 0) / precision;
    };
    const [a, b] = [
      code([
        [0, 1],
        [2, 2],
      ]),
      code([[1, 3]]),
    ];
    const got = Array.from(await filled.data());
    const want = [1, w[1]! * a, 2, w[0]! * b, 3, w[2]! * b];
    for (const [i, value] of want.entries()) expect(got[i]).toBeCloseTo(value, 3);
    filled.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses shapes, counts and examples that do not fit, and stops at the signal", async () => {
    const run = (o: tf.Tensor, options = {}) => imputeByCode(engine, params, linear, x, o, options);
    await expect(run(tf.ones([2, 2]))).rejects.toThrow("imputeByCode: observed has shape [2,2]; expected [2,3], as x");
    await expect(run(observed, { iterations: 0 })).rejects.toThrow("iterations (0) must be a positive integer");
    await expect(
      run(
        tf.tensor2d([
          [1, 0, 0],
          [0, 0, 0],
        ]),
      ),
    ).rejects.toThrow("all values of example 1 are missing");
    await expect(run(observed, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
  });
});
