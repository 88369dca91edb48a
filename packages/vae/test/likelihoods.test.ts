import { Rng } from "@genai/core";
import { describeOnEngines, expectClose, expectGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  bernoulliLikelihood,
  binarize,
  createLikelihood,
  discretizedLogisticMixtureLikelihood,
  gaussianLikelihood,
  type Likelihood,
} from "../src/index.ts";

/** -log p of every row of values [V, C], one pixel each, under the same params [P]. */
async function probabilities(likelihood: Likelihood, values: number[][], params: tf.Tensor): Promise<number[]> {
  const x = tf.tensor(values.flat(), [values.length, 1, values[0]!.length]);
  const repeated = tf.tile(tf.reshape(params, [1, 1, -1]), [values.length, 1, 1]);
  return Array.from(await likelihood.nll(x, repeated).data(), (nll) => Math.exp(-nll));
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

/** All combinations of `levels` values in [0, 1] for each of `channels`. */
function grid(levels: number, channels: number): number[][] {
  if (channels === 0) return [[]];
  return grid(levels, channels - 1).flatMap((rest) =>
    Array.from({ length: levels }, (_, level) => [...rest, level / (levels - 1)]),
  );
}

describe("a likelihood", () => {
  it("of Bernoulli pixels sums to one over their values", async () => {
    const likelihood = bernoulliLikelihood(3);
    expect(sum(await probabilities(likelihood, grid(2, 3), tf.tensor([-2, 0.3, 5])))).toBeCloseTo(1, 5);
  });

  it.each([0.2, "learned"] as const)("of Gaussian pixels integrates to one over the line, scale %s", async (scale) => {
    const likelihood = gaussianLikelihood(1, { scale });
    const params = tf.tensor(scale === "learned" ? [0.4, -1.5] : [0.4]);
    const step = 0.01;
    const line = Array.from({ length: 1001 }, (_, i) => [-4.6 + step * i]);
    expect(step * sum(await probabilities(likelihood, line, params))).toBeCloseTo(1, 4);
  });

  it.each([
    [256, 1],
    [16, 2],
    [6, 3],
  ])("of discretised logistics sums to one over %i levels of %i channels", async (levels, channels) => {
    const likelihood = discretizedLogisticMixtureLikelihood(channels, { mixtures: 3, levels });
    const params = new Rng(1).normal([likelihood.channelsPerPixel], 0, 1.5);
    expect(sum(await probabilities(likelihood, grid(levels, channels), params))).toBeCloseTo(1, 4);
  });

  it("of discretised logistics has PixelCNN++'s ten numbers for each component of a colour pixel", () => {
    expect(discretizedLogisticMixtureLikelihood(3, { mixtures: 10 }).channelsPerPixel).toBe(100);
    expect(discretizedLogisticMixtureLikelihood(1, { mixtures: 10 }).channelsPerPixel).toBe(30);
  });

  it("of Gaussian pixels has the textbook density", async () => {
    const likelihood = gaussianLikelihood(2, { scale: 0.5 });
    const nll = likelihood.nll(tf.tensor([[1, 0]]), tf.tensor([[0.5, 0.25]]));
    const want = 2 * Math.log(0.5 * Math.sqrt(2 * Math.PI)) + (0.25 + 0.0625) / (2 * 0.25);
    expect(nll.shape).toEqual([1]);
    expect(nll.dataSync()[0]).toBeCloseTo(want, 5);
  });

  it("never learns a scale below its least, whatever the decoder says", async () => {
    const likelihood = gaussianLikelihood(1, { scale: "learned" });
    const nll = likelihood.nll(tf.tensor([[0.5]]), tf.tensor([[0.5, -1000]]));
    expect(nll.dataSync()[0]).toBeCloseTo(Math.log(0.01 * Math.sqrt(2 * Math.PI)), 4);
  });

  const cases: [string, Likelihood][] = [
    ["Bernoulli", bernoulliLikelihood(2)],
    ["Gaussian", gaussianLikelihood(2, { scale: 0.3 })],
    ["Gaussian with a learned scale", gaussianLikelihood(2, { scale: "learned" })],
    ["discretised logistic mixture", discretizedLogisticMixtureLikelihood(2, { mixtures: 2, levels: 64 })],
  ];

  it.each(cases)("%s: draws have the mean that it states", async (_, likelihood) => {
    const pixels = 20_000;
    // Within the levels, so that what the ends cut off does not move the mean of the logistic mixture.
    const one = new Rng(4).normal([1, 1, likelihood.channelsPerPixel], 0, 0.2);
    const params = tf.tile(one, [1, pixels, 1]);
    const narrow =
      likelihood.channelsPerPixel > 6
        ? tf.concat(
            [params.slice([0, 0, 0], [1, pixels, 6]), tf.fill([1, pixels, 4], -3), params.slice([0, 0, 10])],
            -1,
          )
        : params;
    const draws = likelihood.sample(narrow, new Rng(5));
    expect(draws.shape).toEqual([1, pixels, 2]);
    const got = draws.mean(1);
    const spread = draws.sub(got.expandDims(1)).square().mean().sqrt().dataSync()[0]!;
    await expectClose(got, likelihood.mean(narrow).slice([0, 0, 0], [1, 1, 2]).reshape([1, 2]), {
      atol: (5 * spread) / Math.sqrt(pixels),
      rtol: 0,
    });
    expect(likelihood.sample(narrow, new Rng(5)).dataSync()).toEqual(draws.dataSync());
  });

  it("draws whole levels in [0, 1] where they are discrete", () => {
    const likelihood = discretizedLogisticMixtureLikelihood(3, { mixtures: 2, levels: 5 });
    const draws = likelihood.sample(new Rng(0).normal([4, 5, 5, likelihood.channelsPerPixel]), new Rng(1));
    expect(draws.shape).toEqual([4, 5, 5, 3]);
    for (const x of draws.dataSync()) expect(Math.abs(4 * x - Math.round(4 * x))).toBeLessThan(1e-5);
    expect(new Set(Array.from(draws.dataSync(), (x) => Math.round(4 * x)))).toEqual(new Set([0, 1, 2, 3, 4]));
  });

  it.each(cases)("%s: has the gradient of finite differences", async (_, likelihood) => {
    const x = tf.tensor([[[0, 1]], [[0.25, 0.6]]]);
    const params = new Rng(2).normal([2, 1, likelihood.channelsPerPixel], 0, 0.5);
    await expectGradient((p) => likelihood.nll(x, p).sum(), params, { tolerance: { atol: 2e-2, rtol: 2e-2 } });
  });

  it("leaks no tensors", () => {
    for (const [, likelihood] of cases) {
      const params = new Rng(2).normal([2, 3, likelihood.channelsPerPixel]);
      const x = tf.zeros([2, 3, 2]);
      const before = tf.memory().numTensors;
      tf.dispose([likelihood.nll(x, params), likelihood.mean(params), likelihood.sample(params, new Rng(0))]);
      expect(tf.memory().numTensors).toBe(before);
    }
  });

  it.each([
    [{ kind: "poisson" }, /kind \(poisson\) is unknown/],
    [{ kind: "gaussian", scale: 0 }, /scale \(0\)/],
    [{ kind: "discretizedLogisticMixture", mixtures: 0 }, /mixtures \(0\)/],
    [{ kind: "discretizedLogisticMixture", mixtures: 2, levels: 1 }, /levels \(1\)/],
  ])("refuses %j", (config, message) => {
    expect(() => createLikelihood(config as Parameters<typeof createLikelihood>[0], 1)).toThrow(message);
  });
});

describeOnEngines("likelihoods", (engine) => {
  it("are the same on every engine, noise included", async () => {
    const likelihood = discretizedLogisticMixtureLikelihood(3, { mixtures: 2, levels: 8 });
    const params = new Rng(2).normal([2, 4, likelihood.channelsPerPixel]);
    const x = tf.tidy(() => tf.div(new Rng(3).integers([2, 4, 3], 0, 8).toFloat(), 7));
    const all = (p: tf.Tensor, images: tf.Tensor, rng: Rng) => ({
      nll: likelihood.nll(images, p),
      mean: likelihood.mean(p),
      sample: likelihood.sample(p, rng),
    });
    const got = await engine().compile(all)(params, x, new Rng(4));
    const want = all(params, x, new Rng(4));
    for (const key of ["nll", "mean", "sample"] as const) {
      await expectClose(got[key], want[key], { atol: 1e-5, rtol: 1e-4 }, key);
    }
  });
});

describe("binarize", () => {
  it("keeps what is binary already", () => {
    const bits = tf.tensor([0, 1, 1, 0]);
    expect(binarize(bits, new Rng(0)).dataSync()).toEqual(bits.dataSync());
  });
});
