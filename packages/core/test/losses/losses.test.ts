import {
  binaryCrossEntropyWithLogits,
  crossEntropy,
  discretizedLogisticMixtureNll,
  gaussianMixtureNll,
  gaussianNll,
  gumbelSoftmax,
  huber,
  infoNce,
  iwaeBound,
  klCategorical,
  klDiagonalGaussians,
  klFreeBits,
  klStandardNormal,
  mse,
  Rng,
  reparameterise,
  vectorQuantise,
} from "@genai/core";
import { expectClose, expectGradient, expectSecondGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";

const tolerance = { atol: 1e-5, rtol: 1e-5 };
const rng = new Rng(1);

beforeAll(async () => {
  await tf.setBackend("cpu");
});

describe("cross-entropy", () => {
  const ids = tf.tensor1d([0, 2, 1], "int32");

  it("of equal logits is the logarithm of the number of classes", () =>
    expectClose(crossEntropy(tf.zeros([3, 5]), ids), Math.log(5), tolerance));

  it("ignores targets in value, mean and gradient", async () => {
    const logits = rng.normal([3, 5]);
    const masked = tf.tensor1d([0, -1, 1], "int32");
    const [a, b, c] = (await crossEntropy(logits, ids, { reduction: "none" }).data()) as unknown as number[];
    await expectClose(crossEntropy(logits, masked, { ignoreIndex: -1 }), (a! + c!) / 2, tolerance);
    await expectClose(crossEntropy(logits, masked, { ignoreIndex: -1, reduction: "sum" }), a! + c!, tolerance);
    expect(b).toBeGreaterThan(0);
    const g = tf.grad((x: tf.Tensor) => crossEntropy(x, masked, { ignoreIndex: -1 }))(logits);
    await expectClose(tf.slice(g, [1, 0], [1, 5]), tf.zeros([1, 5]), { atol: 0, rtol: 0 });
  });

  it("is 0, not NaN, when everything is ignored", () =>
    expectClose(crossEntropy(tf.zeros([2, 3]), tf.tensor1d([-100, -100], "int32")), 0, tolerance));

  it("has right first and second derivatives with smoothing and z-loss", async () => {
    const f = (x: tf.Tensor) => crossEntropy(x, ids, { labelSmoothing: 0.1, zLoss: 0.01 });
    await expectGradient(f, rng.normal([3, 5]));
    await expectSecondGradient(f, rng.normal([3, 5]));
  });

  it("stays finite for large logits", () =>
    expectClose(crossEntropy(tf.tensor2d([[1e4, -1e4]]), tf.tensor1d([1], "int32")), 2e4, tolerance));

  it("says what does not fit", () => {
    expect(() => crossEntropy(tf.zeros([2, 3]), ids)).toThrow("crossEntropy: logits [2,3] and targets [3]");
    expect(() => crossEntropy(tf.zeros([3, 3]), tf.zeros([3]))).toThrow("targets have dtype float32; expected int32");
  });
});

describe("reductions", () => {
  it("differ by what they divide by", async () => {
    const [a, b] = [rng.normal([4, 3, 2]), rng.normal([4, 3, 2])];
    const total = (await mse(a, b, { reduction: "sum" }).data())[0]!;
    await expectClose(mse(a, b), total / 24, tolerance);
    await expectClose(mse(a, b, { reduction: "batchMean" }), total / 4, tolerance);
    expect(mse(a, b, { reduction: "none" }).shape).toEqual([4, 3, 2]);
    expect(() => mse(a, tf.zeros([4, 3]))).toThrow(
      "mse: pred has shape [4,3,2] and target [4,3]; expected the same shape",
    );
  });
});

describe("Gaussians", () => {
  const [mu, logvar] = [rng.normal([3, 4]), rng.normal([3, 4])];

  it("have no divergence from themselves", async () => {
    await expectClose(klStandardNormal(tf.zeros([2, 3]), tf.zeros([2, 3])), 0, { atol: 1e-7, rtol: 0 });
    await expectClose(klDiagonalGaussians(mu, logvar, mu, logvar), 0, { atol: 1e-6, rtol: 0 });
  });

  it("diverge from the standard normal as from any other", () =>
    expectClose(
      klStandardNormal(mu, logvar),
      klDiagonalGaussians(mu, logvar, tf.zeros([3, 4]), tf.zeros([3, 4])),
      tolerance,
    ));

  it("charge free bits in full and pass no gradient below them", async () => {
    const small = tf.fill([3, 4], 0.01);
    const { loss } = klFreeBits(small, tf.zeros([3, 4]), 0.5);
    await expectClose(loss, 2, tolerance);
    const g = tf.grad((mu: tf.Tensor) => klFreeBits(mu, tf.zeros([3, 4]), 0.5).loss)(small);
    await expectClose(g, tf.zeros([3, 4]), { atol: 0, rtol: 0 });
  });

  it("are sampled with their mean and variance", async () => {
    const z = reparameterise(tf.fill([20_000], 2), tf.fill([20_000], Math.log(9)), new Rng(2));
    const { mean, variance } = tf.moments(z);
    expect((await mean.data())[0]).toBeCloseTo(2, 0);
    expect((await variance.data())[0]! / 9).toBeCloseTo(1, 1);
  });

  it("cost half log 2 pi per dimension at their mean", () =>
    expectClose(gaussianNll(mu, tf.zeros([3, 4]), mu), 2 * Math.log(2 * Math.PI), tolerance));

  it("bound the likelihood better with more samples of equal weight only by what they differ", async () => {
    await expectClose(iwaeBound(tf.fill([7, 3], -5)), -5, tolerance);
    const weights = rng.normal([6, 3], 0, 2);
    const [iwae, elbo] = [(await iwaeBound(weights).data())[0]!, (await tf.mean(weights).data())[0]!];
    expect(iwae).toBeGreaterThan(elbo);
  });
});

describe("mixtures", () => {
  it("of one Gaussian are that Gaussian", async () => {
    const [mean, target] = [rng.normal([5]), rng.normal([5])];
    const column = (t: tf.Tensor) => tf.expandDims(t, -1);
    const one = gaussianMixtureNll(tf.zeros([5, 1]), column(mean), tf.zeros([5, 1]), target);
    await expectClose(one, gaussianNll(mean, tf.zeros([5]), target, { reduction: "mean" }), tolerance);
  });

  it("of logistics give all levels together the probability one", async () => {
    const levels = 16;
    const target = tf.linspace(-1, 1, levels);
    const repeat = (t: tf.Tensor) => tf.tile(tf.expandDims(t, 0), [levels, 1]);
    const [logits, mean, scale] = [rng.normal([3]), rng.normal([3]), rng.normal([3], -2, 0.5)].map(repeat) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const nll = discretizedLogisticMixtureNll(logits, mean, scale, target, { levels, reduction: "none" });
    await expectClose(tf.sum(tf.exp(tf.neg(nll))), 1, { atol: 1e-4, rtol: 0 });
  });

  it("of logistics stay finite far from every component", async () => {
    const args = [tf.zeros([1, 1]), tf.fill([1, 1], 0.9), tf.fill([1, 1], -7)] as const;
    const target = tf.tensor1d([-0.5]);
    const nll = (mean: tf.Tensor) => discretizedLogisticMixtureNll(args[0], mean, args[2], target);
    expect(Number.isFinite((await nll(args[1]).data())[0])).toBe(true);
    expect(Number.isFinite((await tf.grad(nll)(args[1]).data())[0])).toBe(true);
  });
});

describe("other losses", () => {
  it("binary cross-entropy of zero logits is log 2", () =>
    expectClose(binaryCrossEntropyWithLogits(tf.zeros([3]), tf.tensor1d([0, 1, 0.3])), Math.LN2, tolerance));

  it("huber is quadratic inside delta and linear outside", () =>
    expectClose(
      huber(tf.tensor1d([0.5, 3]), tf.zeros([2]), { delta: 2, reduction: "none" }),
      [0.125, 2 * (3 - 1)],
      tolerance,
    ));

  it("equal distributions have no divergence", () =>
    expectClose(klCategorical(tf.ones([2, 3]), tf.zeros([2, 3]), { temperature: 3 }), 0, tolerance));

  it("infoNce is small when pairs match and large when they are swapped", async () => {
    const a = tf.eye(4);
    const match = (await infoNce(a, a).data())[0]!;
    const swapped = (await infoNce(a, tf.reverse(a, 0)).data())[0]!;
    expect(match).toBeLessThan(1e-4);
    expect(swapped).toBeGreaterThan(10);
  });
});

describe("discrete latents", () => {
  it("hard Gumbel samples are one-hot with the soft sample's gradient", async () => {
    const logits = rng.normal([4, 3]);
    const noise = rng.gumbel([4, 3]);
    const cotangent = rng.normal([4, 3]);
    const hard = await gumbelSoftmax(logits, noise, { hard: true }).data();
    expect(new Set(Array.from(hard, (x) => x.toFixed(3)))).toEqual(new Set(["0.000", "1.000"]));
    const grad = (hard: boolean) =>
      tf.grad((l: tf.Tensor) => tf.sum(tf.mul(gumbelSoftmax(l, noise, { hard, temperature: 0.7 }), cotangent)))(logits);
    await expectClose(grad(true), grad(false), tolerance);
  });

  it("vectors equal to codes are quantised to themselves without loss", async () => {
    const codebook = rng.normal([6, 3]);
    const ids = tf.tensor1d([5, 0, 3], "int32");
    const q = vectorQuantise(tf.gather(codebook, ids), codebook);
    expect(await q.indices.data()).toEqual(await ids.data());
    await expectClose(q.codebookLoss, 0, { atol: 1e-10, rtol: 0 });
    await expectClose(q.perplexity, 3, { atol: 1e-3, rtol: 0 });
  });
});
