import { join } from "node:path";
import { iwaeMnistPreset, tableVaePresets } from "@genai/vae";
import { vaeFamily } from "../families/vae/index.ts";
import { newRunFolder } from "../run/run-folder.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings, type GivenSettings } from "../run/train-settings.ts";
import { type Recipe, trainingRecipe } from "./recipe.ts";

const burda = "Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016";

export const vaeMnist = trainingRecipe({
  name: "vae-mnist",
  summary: "test -ELBO of a convolutional VAE on dynamically binarized MNIST",
  duration: "about 5 minutes",
  family: vaeFamily,
  settings: { kind: "conv", data: "mnist", steps: 3500, seconds: 540, batchSize: 128, learningRate: 2e-3 },
  full: { steps: 40_000, seconds: null, options: { nllSamples: 1000 } },
  obtained: ({ results }) => [
    { label: "test -ELBO", value: results.testNegativeElbo!, unit: "nats", atMost: 100 },
    ...(results.testNll === undefined
      ? []
      : [{ label: "test -log p(x)", value: results.testNll, unit: "nats", atMost: 89.9 }]),
  ],
  published: [
    { what: "VAE with one stochastic layer, estimated -log p(x)", value: "86.8 nats", source: `${burda}, table 1` },
    {
      what: "VAE with a diagonal Gaussian posterior, estimated -log p(x)",
      value: "89.9 nats",
      source: "Rezende & Mohamed, Variational Inference with Normalizing Flows, ICML 2015, table 2",
    },
    {
      what: "small mean-field VAE, -ELBO on a fixed binarization",
      value: "103.3 nats",
      source: "github.com/jaanli/variational-autoencoder, PyTorch, 65,000 steps",
    },
  ],
});

export const tableVaeDiamonds = trainingRecipe({
  name: "table-vae-diamonds",
  summary: "held-out likelihood of the diamonds, beside a mixture of Gaussians fitted by EM",
  duration: "about 4 minutes",
  family: vaeFamily,
  settings: {
    kind: "table",
    data: "diamonds",
    steps: tableVaePresets.diamonds.steps,
    options: { hide: 0, nllSamples: 500 },
  },
  full: { steps: 100_000 },
  obtained: ({ results }) => [
    { label: "held-out -log p(row)", value: results.testNll!, unit: "nats", digits: 3, atMost: results.mixtureNll! },
    { label: "held-out -log p(row) of ten Gaussians by EM", value: results.mixtureNll!, unit: "nats", digits: 3 },
    {
      label: "median -log p(row)",
      value: results.testNllMedian!,
      unit: "nats",
      digits: 3,
      atMost: results.mixtureNllMedian!,
    },
    { label: "median -log p(row) of ten Gaussians by EM", value: results.mixtureNllMedian!, unit: "nats", digits: 3 },
  ],
  published: [],
});

export const vqVaeMnist = trainingRecipe({
  name: "vq-vae-mnist",
  summary: "a VQ-VAE of MNIST and a prior over its codes: a bound of -log p(x), and how many codes are in use",
  duration: "about 5 minutes",
  family: vaeFamily,
  settings: { kind: "vq", data: "mnist", steps: 2500, seconds: 540 },
  full: { steps: 60_000, seconds: null, options: { hiddenSize: 64, codes: 128, priorDim: 128, priorLayers: 4 } },
  obtained: ({ results }) => [
    { label: "test -log p(x), upper bound", value: results.testNll!, unit: "nats" },
    { label: "mean squared error", value: results.testMse!, unit: "", digits: 4 },
    { label: "codes in use", value: results.usedCodes!, unit: "", digits: 0, atLeast: 60 },
    { label: "perplexity of the codes", value: results.perplexity!, unit: "", digits: 1 },
  ],
  published: [
    {
      what: "VAE with one stochastic layer, estimated -log p(x); no VQ-VAE of binarized MNIST is published",
      value: "86.8 nats",
      source: `${burda}, table 1`,
    },
  ],
});

/** k = 1 first: fifty draws for each image cost twelve times as much and help once the model is good. */
export const iwaeMnist: Recipe = {
  name: "iwae-mnist",
  summary: "-log p(x) of the importance-weighted autoencoder with 50 draws on dynamically binarized MNIST",
  duration: "about 10 minutes",
  async run({ seed, seconds, device, out, full }) {
    const { dir } = newRunFolder("iwae-mnist", out);
    const { hiddenDims, latentDim, activation } = iwaeMnistPreset.model;
    const options = { hiddenDims, latentDim, activation, betaWarmup: 0 };
    const start = (name: string, given: GivenSettings) =>
      startRun({
        family: vaeFamily,
        settings: completeSettings(vaeFamily, { kind: "mlp", data: "mnist", seed, ...given }),
        name,
        out: join(dir, name),
        device,
        checkpointEvery: 5000,
      });
    const vae = await start("one-draw", {
      steps: full ? 600_000 : 16_000,
      seconds: seconds ?? (full ? null : 270),
      batchSize: 100,
      learningRate: 2e-3,
      options: { ...options, nllSamples: 200 },
    });
    const { samples, batchSize } = iwaeMnistPreset;
    const iwae = await start("fifty-draws", {
      from: vae.dir,
      steps: full ? 1_000_000 : 8000,
      seconds: seconds ?? (full ? null : 270),
      batchSize,
      learningRate: 5e-4,
      options: { ...options, importanceSamples: samples, nllSamples: full ? iwaeMnistPreset.evaluationSamples : 500 },
    });
    return {
      obtained: [
        { label: "test -log p(x) with k = 1, 200 draws", value: vae.results.testNll!, unit: "nats" },
        { label: "test -log p(x) with k = 50", value: iwae.results.testNll!, unit: "nats", atMost: full ? 86 : 95 },
      ],
      published: iwaeMnistPreset.published
        .filter((row) => row.samples !== 5)
        .map(({ objective, samples: k, binarization, nll }) => ({
          what: `${objective} with k = ${k}, ${binarization} binarization`,
          value: `${nll.toFixed(2)} nats`,
          source: `${burda}, ${binarization === "dynamic" ? "table 1" : "appendix D"}`,
        })),
      runs: [vae, iwae],
    };
  },
};
