import { createEngine, type Engine, Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  anomalyScore,
  auroc,
  type ConvVaeParams,
  calibrateThreshold,
  convVaeFunctions,
  convVaeLoss,
  createConvVae,
  reconstructionScore,
  relativeAnomalyScore,
  scoreAll,
} from "../src/index.ts";
import { memorise } from "./memorise.ts";

const config = {
  imageSize: [8, 8],
  channels: 1,
  hiddenChannels: [4],
  denseDim: null,
  latentDim: 2,
  encoderKernel: 3,
  decoderKernel: 4,
} as const;

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

describe("calibrateThreshold", () => {
  it("is exceeded by new normal scores as seldom as asked, in the mean over calibrations", () => {
    const rng = new Rng(0);
    const draw = (size: number) => rng.draw({ kind: "normal", size, mean: 0, std: 1 });
    let above = 0;
    for (let i = 0; i < 300; i++) {
      const threshold = calibrateThreshold(draw(99), 0.1);
      above += draw(100).filter((score) => score > threshold).length;
    }
    expect(above / 30_000).toBeLessThan(0.11);
    expect(above / 30_000).toBeGreaterThan(0.09);
  });

  it("takes the order statistic of split conformal prediction", () => {
    const scores = Array.from({ length: 99 }, (_, i) => 99 - i);
    expect(calibrateThreshold(scores, 0.1)).toBe(90);
    expect(calibrateThreshold(scores, 0.01)).toBe(99);
  });

  it("says how many scores a rate needs", () => {
    expect(() => calibrateThreshold([1, 2, 3], 0.1)).toThrow(
      "calibrateThreshold: 3 scores cannot show a falsePositiveRate of 0.1; expected at least 9",
    );
    expect(() => calibrateThreshold([1], 0)).toThrow("falsePositiveRate (0) must be between 0 and 1");
    expect(() => calibrateThreshold([1, Number.NaN], 0.5)).toThrow("score 1 is NaN");
  });
});

describe("auroc", () => {
  it("is the share of pairs in the right order, ties counting half", () => {
    expect(auroc([1, 2], [3, 4])).toBe(1);
    expect(auroc([3, 4], [1, 2])).toBe(0);
    expect(auroc([1, 1], [1, 1])).toBe(0.5);
    const rng = new Rng(1);
    const [normal, odd] = [7, 11].map((size) => rng.draw({ kind: "integers", size, low: 0, high: 6 }));
    let wins = 0;
    for (const a of odd!) for (const n of normal!) wins += a > n ? 1 : a === n ? 0.5 : 0;
    expect(auroc(normal!, odd!)).toBeCloseTo(wins / 77, 12);
    expect(() => auroc([], [1])).toThrow("auroc: got no scores");
  });
});

describe("relativeAnomalyScore", () => {
  it("is zero for an image that the model expects exactly, and the excess for each unit of ink otherwise", () => {
    const grey = [0.25, 0.5, 0.9, 0, 1];
    const costs = (probs: readonly number[]) => ({
      logWeights: (x: tf.Tensor, _: Rng, samples: number) =>
        tf.tidy(() => {
          const p = tf.tensor2d([probs as number[]]).clipByValue(1e-12, 1);
          const q = tf.sub(1, tf.tensor2d([probs as number[]])).clipByValue(1e-12, 1);
          const logProb = x.mul(p.log()).add(tf.sub(1, x).mul(q.log())).sum(1);
          return tf.tile(logProb.expandDims(0), [samples, 1]) as tf.Tensor2D;
        }),
    });
    const score = (model: readonly number[], x: number[]) =>
      relativeAnomalyScore(costs(model), tf.tensor2d([x]), new Rng(0), { samples: 3 }).dataSync()[0]!;
    expect(score(grey, grey)).toBeCloseTo(0, 5);
    // All of the excess is in the first pixel: KL(0.5 | 0.25) over an ink of 0.5 + 0.5 + 0.9 + 1.
    const kl = 0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75);
    expect(score(grey, [0.5, 0.5, 0.9, 0, 1])).toBeCloseTo(kl / 2.9, 5);
    // Twice the image is no stranger than once.
    expect(score([...grey, ...grey], [0.5, 0.5, 0.9, 0, 1, 0.5, 0.5, 0.9, 0, 1])).toBeCloseTo(kl / 2.9, 5);
    const plain = relativeAnomalyScore(costs(grey), tf.tensor2d([[0.5, 0.5, 0.9, 0, 1]]), new Rng(0), { inkPower: 0 });
    expect(plain.dataSync()[0]).toBeCloseTo(kl, 5);
    expect(Number.isFinite(score(grey, [0, 0, 0, 0, 0]))).toBe(true);
  });
});

describe("anomalyScore", () => {
  it("is the negative ELBO of the loss in the mean over draws, and lower with more samples", () => {
    const vae = createConvVae(config, new Rng(0));
    const x = new Rng(1).uniform([4, 8, 8, 1]) as tf.Tensor4D;
    const functions = convVaeFunctions(vae);
    const rng = new Rng(2);
    const mean = (value: () => tf.Tensor) => {
      let total = 0;
      for (let i = 0; i < 200; i++) total += tf.tidy(() => value().mean()).dataSync()[0]! / 200;
      return total;
    };
    const elbo = mean(() => anomalyScore(functions, x, rng));
    expect(elbo).toBeCloseTo(
      mean(() => convVaeLoss(vae, x, rng).loss),
      0,
    );
    expect(mean(() => anomalyScore(functions, x, rng, { samples: 20 }))).toBeLessThan(elbo);
    expect(() => anomalyScore(functions, x, rng, { samples: 0 })).toThrow("samples (0) must be a positive integer");
  });

  it("tells what a VAE was trained on from what it has not seen, in batches of any size", async () => {
    // Upper halves against lower halves.
    const half = (top: boolean, count: number, rng: Rng) =>
      tf.tidy(() => {
        const ink = rng.uniform([count, 4, 8, 1], 0.8, 1);
        const none = tf.zeros([count, 4, 8, 1]);
        return tf.concat(top ? [ink, none] : [none, ink], 1) as tf.Tensor4D;
      });
    const x = half(true, 16, new Rng(0));
    const vae = createConvVae(config, new Rng(1));
    const { params } = await memorise(
      engine,
      vae.params,
      (p: ConvVaeParams, rng) => convVaeLoss({ config, params: p }, x, rng),
      { steps: 60 },
    );
    const score = (p: ConvVaeParams, batch: tf.Tensor4D, rng: Rng) =>
      anomalyScore(convVaeFunctions({ config, params: p }), batch, rng, { samples: 4 });
    const of = (images: tf.Tensor4D, batchSize: number) =>
      scoreAll(engine, params, score, images, { rng: new Rng(3), batchSize });
    const normal = await of(half(true, 20, new Rng(4)), 7);
    const odd = await of(half(false, 20, new Rng(5)), 20);
    expect([normal.length, odd.length]).toEqual([20, 20]);
    expect(auroc(normal, odd)).toBe(1);
    const threshold = calibrateThreshold(await of(half(true, 40, new Rng(6)), 40), 0.05);
    expect(odd.every((s) => s > threshold)).toBe(true);
    const errors = (images: tf.Tensor4D) =>
      reconstructionScore(convVaeFunctions({ config, params }), images).dataSync();
    expect(auroc(errors(half(true, 9, new Rng(7))), errors(half(false, 9, new Rng(8))))).toBe(1);
  });

  it("stops when its signal fires, and refuses an empty set", async () => {
    const score = (_: object, x: tf.Tensor2D) => x.sum(1);
    const options = { rng: new Rng(0), signal: AbortSignal.abort() };
    await expect(scoreAll(engine, {}, score, tf.ones([3, 2]) as tf.Tensor2D, options)).rejects.toThrow(
      "scoreAll: aborted",
    );
    await expect(scoreAll(engine, {}, score, tf.ones([0, 2]) as tf.Tensor2D, { rng: new Rng(0) })).rejects.toThrow(
      "scoreAll: got no examples",
    );
  });
});
