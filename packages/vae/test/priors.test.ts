import { gaussianLogProb, Rng, treeMap } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  createMadePrior,
  createMixturePrior,
  createVampPrior,
  type MixturePrior,
  madePrior,
  mixturePrior,
  type Posterior,
  type Prior,
  standardNormalPrior,
  vampPrior,
} from "../src/index.ts";

/** Twice the weights, so that priors at their start differ from N(0, I). */
const stronger = <M extends { params: unknown }>(model: M): M => ({
  ...model,
  params: treeMap(model.params, (t) => tf.mul(t, 2)),
});

const encode = (x: tf.Tensor): Posterior => ({
  mu: tf.sub(tf.mul(x, 3), 1) as tf.Tensor2D,
  logvar: tf.sub(x, 1.5) as tf.Tensor2D,
});

const mixture = createMixturePrior({ latentDim: 2, components: 3 }, new Rng(1));
const made = stronger(createMadePrior({ latentDim: 2, hiddenDims: [6, 5] }, new Rng(2)));
const vamp = createVampPrior({ inputShape: [2], components: 3 }, new Rng(3));

const priors: [string, Prior][] = [
  ["the standard normal", standardNormalPrior(2)],
  ["a mixture", mixturePrior(mixture)],
  ["an autoregressive prior", madePrior(made)],
  ["a VampPrior", vampPrior(vamp, encode)],
];

describe("a prior", () => {
  const [step, reach] = [0.1, 9];
  const side = Math.round((2 * reach) / step);
  const line = Array.from({ length: side }, (_, i) => -reach + step * (i + 0.5));
  const points = tf.tensor2d(line.flatMap((a) => line.map((b) => [a, b])));

  it.each(priors)("%s integrates to one, and its draws have its mean and spread", async (_, prior) => {
    const density = tf.mul(tf.exp(prior.logProb(points)), step * step);
    expect(density.sum().dataSync()[0]).toBeCloseTo(1, 3);
    const weights = density.expandDims(1);
    const mean = points.mul(weights).sum(0);
    const second = points.square().mul(weights).sum(0);
    const draws = prior.sample(20_000, new Rng(4));
    expect(draws.shape).toEqual([20_000, 2]);
    await expectClose(draws.mean(0), mean, { atol: 0.06, rtol: 0 }, "mean");
    await expectClose(draws.square().mean(0), second, { atol: 0.12, rtol: 0.03 }, "second moment");
  });

  it.each(priors)("%s leaks no tensors", (_, prior) => {
    const z = tf.zeros([3, 2]) as tf.Tensor2D;
    const before = tf.memory().numTensors;
    tf.dispose([prior.logProb(z), prior.sample(2, new Rng(0))]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("N(0, I) knows its KL: the mean of log q - log p over draws of q", async () => {
    const prior = standardNormalPrior(2);
    const mu = tf.tensor2d([[0.5, -1]]);
    const logvar = tf.tensor2d([[0.3, -0.7]]);
    const z = tf.add(mu, tf.mul(tf.exp(tf.mul(0.5, logvar)), new Rng(1).normal([50_000, 2]))) as tf.Tensor2D;
    const estimate = tf.mean(tf.sub(tf.sum(gaussianLogProb(z, mu, logvar), 1), prior.logProb(z)));
    await expectClose(prior.kl!({ mu, logvar }).sum(), estimate, { atol: 0.02, rtol: 0 });
  });

  it("that mixes one standard Gaussian is the standard normal", async () => {
    const one: MixturePrior = {
      config: { latentDim: 2, components: 1 },
      params: { logits: tf.tensor([3]), mu: tf.zeros([1, 2]), logvar: tf.zeros([1, 2]) },
    };
    const z = new Rng(1).normal([5, 2]) as tf.Tensor2D;
    await expectClose(mixturePrior(one).logProb(z), standardNormalPrior(2).logProb(z), { atol: 1e-5, rtol: 1e-5 });
  });

  it("that is autoregressive sees only the codes before", async () => {
    const deep = stronger(createMadePrior({ latentDim: 4, hiddenDims: [9, 8] }, new Rng(5)));
    // p(z_1..z_i) does not depend on z after i: integrating the last code out leaves the same whatever is drawn there,
    // so the log-density as a function of the last code is a Gaussian, the same quadratic everywhere.
    const prior = madePrior(deep);
    const at = (last: number) => prior.logProb(tf.tensor2d([[0.3, -0.4, 0.8, last]])).dataSync()[0]!;
    const curvature = (x: number) => at(x + 1) - 2 * at(x) + at(x - 1);
    expect(curvature(0)).toBeLessThan(0);
    expect(curvature(5)).toBeCloseTo(curvature(0), 3);
    expect(curvature(-7)).toBeCloseTo(curvature(0), 3);
  });

  it.each([
    [() => createMadePrior({ latentDim: 1, hiddenDims: [4] }, new Rng(0)), /latentDim \(1\)/],
    [() => createMadePrior({ latentDim: 5, hiddenDims: [3] }, new Rng(0)), /hiddenDims \(3\).*at least latentDim - 1/],
    [() => createMixturePrior({ latentDim: 2, components: 0 }, new Rng(0)), /components \(0\)/],
    [() => createVampPrior({ inputShape: [2], components: 1.5 }, new Rng(0)), /components \(1.5\)/],
    [() => mixturePrior(mixture).logProb(tf.zeros([3, 5])), /z has shape \[3,5\]; expected \[batch, 2\]/],
  ])("refuses what it cannot be: case %#", (make, message) => {
    expect(make).toThrow(message);
  });
});
