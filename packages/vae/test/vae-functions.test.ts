import { createEngine, type Engine, klFreeBits, Rng, treeMap } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  classLabels,
  conditionalVaeFunctions,
  convVaeFunctions,
  createConditionalVae,
  createConvVae,
  createHierarchicalVae,
  createMadePrior,
  createMixturePrior,
  createMlpVae,
  createVampPrior,
  encodeMlpVae,
  estimateLogLikelihood,
  gaussianLikelihood,
  hierarchicalVaeFunctions,
  type ImportanceWeighted,
  iwaeLoss,
  iwaeMnistPreset,
  type MlpVaeConfig,
  madePrior,
  mixturePrior,
  mlpVaeFunctions,
  standardNormalPrior,
  type VaeFunctions,
  vaeElbo,
  vaeFunctions,
  vaeLoss,
  vampPrior,
} from "../src/index.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});

/**
 * x = W z + 0.5 eps with orthogonal columns of W (probabilistic PCA): log p(x) and the posterior are known. `widen`
 * multiplies the posterior's standard deviation, which makes it wrong.
 */
function linearGaussian(widen = 1): { vae: VaeFunctions; logProb: (x: readonly number[]) => number } {
  const columns = [
    [1, 1, 1],
    [1, -1, 0],
  ];
  const variance = 0.25;
  const norms = columns.map((w) => w.reduce((sum, v) => sum + v * v, 0));
  const posterior = norms.map((n) => 1 / (1 + n / variance));
  const vae = vaeFunctions({
    latentDim: 2,
    encode: (x) => {
      const projected = tf.matMul(x as tf.Tensor2D, tf.tensor2d(columns), false, true);
      return {
        mu: tf.mul(projected, tf.tensor1d(posterior.map((v) => v / variance))) as tf.Tensor2D,
        logvar: tf.mul(
          tf.onesLike(projected),
          tf.tensor1d(posterior.map((v) => Math.log(v) + 2 * Math.log(widen))),
        ) as tf.Tensor2D,
      };
    },
    decode: (z) => tf.matMul(z, tf.tensor2d(columns)),
    likelihood: gaussianLikelihood(3, { scale: Math.sqrt(variance) }),
    prior: standardNormalPrior(2),
  });
  // Along each column the variance is norm + 0.25, elsewhere 0.25.
  const logProb = (x: readonly number[]) => {
    const square = (v: readonly number[]) => v.reduce((sum, a) => sum + a * a, 0);
    let [along, logs] = [0, 0];
    let rest = square(x);
    columns.forEach((w, i) => {
      const part = w.reduce((sum, a, j) => sum + a * x[j]!, 0) ** 2 / norms[i]!;
      along += part / (norms[i]! + variance);
      logs += Math.log(norms[i]! + variance);
      rest -= part;
    });
    return -0.5 * (3 * Math.log(2 * Math.PI) + along + rest / variance + logs + Math.log(variance));
  };
  return { vae, logProb };
}

const rows = [
  [0.2, 0.9, 0.4],
  [1, 0, 0.5],
  [0.7, 0.7, 0.1],
];
const x = () => tf.tensor2d(rows);

describe("importance weights", () => {
  it("all are p(x) when the posterior is exact", async () => {
    const { vae, logProb } = linearGaussian();
    const weights = vae.logWeights(x(), new Rng(0), 4);
    const want = tf.tensor2d(Array.from({ length: 4 }, () => rows.map(logProb)));
    await expectClose(weights, want, { atol: 1e-4, rtol: 1e-4 });
    const { loss, negativeElbo } = iwaeLoss(vae, x(), new Rng(1), { samples: 3 });
    const mean = -rows.map(logProb).reduce((a, b) => a + b) / 3;
    expect(loss.dataSync()[0]).toBeCloseTo(mean, 4);
    expect(negativeElbo.dataSync()[0]).toBeCloseTo(mean, 4);
  });

  it("bound log p(x) more closely the more there are", async () => {
    const { vae, logProb } = linearGaussian(2);
    const exact = rows.map(logProb).reduce((a, b) => a + b) / 3;
    const many = tf.tile(x(), [400, 1]);
    const bound = (samples: number) => -iwaeLoss(vae, many, new Rng(1), { samples }).loss.dataSync()[0]!;
    const [one, five, fifty] = [bound(1), bound(5), bound(50)];
    expect(one).toBeLessThan(five - 0.1);
    expect(five).toBeLessThan(fifty - 0.05);
    expect(fifty).toBeLessThan(exact + 0.01);
    expect(fifty).toBeGreaterThan(exact - 0.05);
  });

  it("one of them is the bound of Kingma and Welling with the KL estimated", () => {
    const { vae } = linearGaussian(2);
    const { loss, negativeElbo } = iwaeLoss(vae, x(), new Rng(1), { samples: 1 });
    expect(loss.dataSync()[0]).toBeCloseTo(negativeElbo.dataSync()[0]!, 5);
    const { kl: _, ...withoutKl } = vae.prior;
    const estimated = vaeLoss({ ...vae, prior: withoutKl }, x(), new Rng(1).normal([3, 2]) as tf.Tensor2D);
    expect(estimated.loss.dataSync()[0]).toBeCloseTo(loss.dataSync()[0]!, 4);
  });
});

describe("vaeLoss", () => {
  it("is log p(x) less the KL to the true posterior: exact with the exact one", () => {
    const { vae, logProb } = linearGaussian();
    const many = tf.tile(x(), [3000, 1]);
    const { loss } = vaeLoss(vae, many, new Rng(3));
    expect(loss.dataSync()[0]).toBeCloseTo(-rows.map(logProb).reduce((a, b) => a + b) / 3, 1);
  });

  it("has core's free bits for each dimension, and leaves the reported KL as it is", async () => {
    const { vae } = linearGaussian();
    const eps = new Rng(0).normal([3, 2]) as tf.Tensor2D;
    const { mu, logvar } = vae.encode(x());
    for (const freeBits of [0, 0.5, 2, 100]) {
      const { loss, recon, kl } = vaeLoss(vae, x(), eps, { freeBits });
      const want = klFreeBits(mu, logvar, freeBits);
      await expectClose(tf.sub(loss, recon), want.loss, { atol: 1e-4, rtol: 1e-4 });
      await expectClose(kl, want.klPerDim.sum(), { atol: 1e-5, rtol: 1e-5 });
    }
    expect(() => vaeLoss(vae, x(), eps, { freeBits: -1 })).toThrow("freeBits (-1)");
  });
});

/** Posteriors wider than the prior: their weights are bounded, and a few thousand of them tell p(x) to a percent. */
const wide = <M extends { params: unknown }>(model: M): M => ({
  ...model,
  params: treeMap(model.params, (t, path) => (/^encoder.*logvar\.bias$/.test(path) ? tf.fill(t.shape, 2) : t)),
});

describe("the estimate of log p(x)", () => {
  const pixels = 3;
  const all = tf.tensor2d(
    Array.from({ length: 2 ** pixels }, (_, i) => Array.from({ length: pixels }, (_, bit) => (i >> bit) & 1)),
  );
  const config: MlpVaeConfig = {
    inputShape: [pixels],
    hiddenDims: [5],
    latentDim: 2,
    activation: "tanh",
    likelihood: { kind: "bernoulli" },
  };
  const vae = wide(createMlpVae(config, new Rng(1)));
  const mixture = createMixturePrior({ latentDim: 2, components: 3 }, new Rng(2));
  const vamp = createVampPrior({ inputShape: [pixels], components: 3 }, new Rng(3));
  const made = createMadePrior({ latentDim: 2, hiddenDims: [4] }, new Rng(4));
  const conditional = wide(createConditionalVae({ ...config, classes: 2, prior: "class" }, new Rng(5)));
  conditional.params.prior!.mu.weight = tf.tensor2d([
    [1, 0],
    [-1, 2],
  ]);
  const ladder = wide(createHierarchicalVae({ ...config, hiddenDims: [[5], [4]], latentDims: [3, 2] }, new Rng(6)));
  const label = (id: number) =>
    classLabels(
      Array.from({ length: 8 }, () => id),
      { classes: 2 },
    );

  it.each<[string, unknown, (model: never) => ImportanceWeighted]>([
    ["an MLP VAE", vae, mlpVaeFunctions],
    ["one with a mixture prior", { vae, mixture }, (m: never) => withMixture(m)],
    ["one with a VampPrior", { vae, vamp }, (m: never) => withVamp(m)],
    ["one with an autoregressive prior", { vae, made }, (m: never) => withMade(m)],
    ["a ladder VAE", ladder, hierarchicalVaeFunctions],
  ])("sums to one over all images under %s", async (_, model, functions) => {
    const { perImage } = await estimateLogLikelihood(engine, model as never, all, {
      functions,
      samples: 8000,
      samplesPerCall: 2000,
      batchSize: 8,
      rng: new Rng(7),
    });
    expect(perImage.reduce((sum, logProb) => sum + Math.exp(logProb), 0)).toBeCloseTo(1, 1.5);
  });
  type Both<K extends string, P> = { vae: typeof vae } & Record<K, P>;
  const withMixture = (m: Both<"mixture", typeof mixture>) => mlpVaeFunctions(m.vae, mixturePrior(m.mixture));
  const withMade = (m: Both<"made", typeof made>) => mlpVaeFunctions(m.vae, madePrior(m.made));
  const withVamp = (m: Both<"vamp", typeof vamp>) =>
    mlpVaeFunctions(
      m.vae,
      vampPrior(m.vamp, (x) => encodeMlpVae(m.vae, x)),
    );

  it.each([0, 1])("sums to one over all images of class %i under a conditional VAE", async (id) => {
    const { perImage } = await estimateLogLikelihood(engine, conditional, all, {
      functions: (m, labels) => conditionalVaeFunctions(m, labels!),
      labels: label(id),
      samples: 8000,
      samplesPerCall: 2000,
      batchSize: 3,
      rng: new Rng(7),
    });
    expect(perImage.reduce((sum, logProb) => sum + Math.exp(logProb), 0)).toBeCloseTo(1, 1.5);
  });

  it("does not depend on how it is cut into calls when the posterior is exact", async () => {
    const { vae, logProb } = linearGaussian();
    const functions = () => vae;
    const model = { scale: tf.scalar(1) };
    for (const [samplesPerCall, batchSize] of [
      [1, 1],
      [3, 2],
      [50, 20],
    ] as const) {
      const options = { functions, samples: 5, rng: new Rng(0), samplesPerCall, batchSize };
      const got = await estimateLogLikelihood(engine, model, x(), options);
      got.perImage.forEach((value, i) => {
        expect(value).toBeCloseTo(logProb(rows[i]!), 4);
      });
    }
  });

  it("lies above the evidence lower bound", async () => {
    const images = new Rng(1).uniform([12, 8, 8, 1]) as tf.Tensor4D;
    const conv = createConvVae(
      {
        imageSize: [8, 8],
        channels: 1,
        hiddenChannels: [3],
        denseDim: null,
        latentDim: 4,
        encoderKernel: 3,
        decoderKernel: 4,
      },
      new Rng(0),
    );
    const functions = (m: typeof conv) => convVaeFunctions(m);
    const options = { functions, samples: 64, rng: new Rng(1), binarized: true };
    const { logLikelihood } = await estimateLogLikelihood(engine, conv, images, options);
    const { elbo } = await vaeElbo(engine, conv, images, { functions, rng: new Rng(1), binarized: true });
    expect(logLikelihood).toBeGreaterThan(elbo);
  });

  it("leaks no tensors, stops when its signal fires, and names what is wrong", async () => {
    const options = { functions: (m: typeof vae) => mlpVaeFunctions(m), samples: 5, rng: new Rng(0) };
    await estimateLogLikelihood(engine, vae, all, options);
    const before = tf.memory().numTensors;
    await estimateLogLikelihood(engine, vae, all, { ...options, samplesPerCall: 2, batchSize: 3, binarized: true });
    expect(tf.memory().numTensors).toBe(before);
    const bad = (change: object, images: tf.Tensor = all) =>
      expect(estimateLogLikelihood(engine, vae, images, { ...options, ...change })).rejects;
    await bad({ signal: AbortSignal.abort() }).toThrow("estimateLogLikelihood: aborted");
    await bad({ samples: 0 }).toThrow("samples (0)");
    await bad({ labels: label(0) }, tf.zeros([3, pixels])).toThrow("8 labels for 3 images");
    await bad({}, tf.zeros([0, pixels])).toThrow("got no images");
  });
});

describe("iwaeMnistPreset", () => {
  it("is the schedule and the model of the paper", () => {
    const { learningRates, model } = iwaeMnistPreset;
    expect(learningRates.reduce((sum, { epochs }) => sum + epochs, 0)).toBe(3280);
    expect(learningRates[7]!.learningRate).toBeCloseTo(1e-4, 8);
    const vae = createMlpVae(model, new Rng(0));
    expect(mlpVaeFunctions(vae).logWeights(tf.zeros([1, 28, 28, 1]), new Rng(0), 2).shape).toEqual([2, 1]);
  });
});
