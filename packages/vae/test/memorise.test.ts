import { createEngine, type Engine, Rng, treeEntries } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  autoencoderCodec,
  autoencoderLoss,
  type ConvVaeConfig,
  classLabels,
  conditionalVaeLoss,
  convVaeLoss,
  convVaePresets,
  createAutoencoder,
  createConditionalVae,
  createConvVae,
  createHierarchicalVae,
  createMadePrior,
  createMlpVae,
  decodeConvVae,
  decodeMlpVae,
  encodeConvVae,
  encodeMlpVae,
  gaussianCorruption,
  hierarchicalVaeLoss,
  iwaeLoss,
  type LikelihoodConfig,
  type MlpVaeConfig,
  madePrior,
  maskingCorruption,
  mlpVaeFunctions,
  mlpVaeLoss,
  reconstruct,
  saltAndPepperCorruption,
} from "../src/index.ts";
import { memorise } from "./memorise.ts";

const config: MlpVaeConfig = {
  inputShape: [6, 6, 1],
  hiddenDims: [24],
  latentDim: 6,
  activation: "relu",
  likelihood: { kind: "bernoulli" },
};
const bits = (count: number, seed = 1) =>
  tf.tidy(() => new Rng(seed).uniform([count, 6, 6, 1]).less(0.5).toFloat()) as tf.Tensor4D;

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

describe("one batch is memorised by", () => {
  const x = bits(4);
  const beta = 0.01;

  it("an MLP VAE", async () => {
    const { params } = createMlpVae(config, new Rng(1));
    const { first, last } = await memorise(engine, params, (p, rng) =>
      mlpVaeLoss({ config, params: p }, x, rng, { beta }),
    );
    expect(first).toBeGreaterThan(20);
    expect(last).toBeLessThan(first / 8);
  });

  it("an importance-weighted autoencoder, up to the code's own cost of about log 4", async () => {
    const { params } = createMlpVae(config, new Rng(1));
    const { first, last } = await memorise(
      engine,
      params,
      (p, rng) => iwaeLoss(mlpVaeFunctions({ config, params: p }), x, rng, { samples: 10 }),
      { steps: 500 },
    );
    expect(first).toBeGreaterThan(20);
    expect(last).toBeLessThan(4);
    expect(last).toBeGreaterThan(Math.log(4) - 0.3);
  });

  it("a VAE under an autoregressive prior", async () => {
    const made = createMadePrior({ latentDim: 6, hiddenDims: [12] }, new Rng(3));
    const params = { vae: createMlpVae(config, new Rng(1)).params, prior: made.params };
    const { first, last } = await memorise(engine, params, (p, rng) =>
      mlpVaeLoss({ config, params: p.vae }, x, rng, {
        beta,
        prior: madePrior({ config: made.config, params: p.prior }),
      }),
    );
    expect(last).toBeLessThan(first / 4);
  });

  it("a conditional VAE that has nothing but the class: its code is free of charge and empty", async () => {
    const vae = createConditionalVae({ ...config, classes: 4, prior: "class" }, new Rng(1));
    const labels = classLabels([0, 1, 2, 3], vae.config);
    const { first, last } = await memorise(
      engine,
      vae.params,
      (params, rng) => conditionalVaeLoss({ config: vae.config, params }, { x, labels }, rng),
      { steps: 400 },
    );
    expect(first).toBeGreaterThan(20);
    // Below log 4, what a model without classes needs at least.
    expect(last).toBeLessThan(1);
  });

  it("a ladder VAE", async () => {
    const vae = createHierarchicalVae({ ...config, hiddenDims: [[24], [12]], latentDims: [6, 3] }, new Rng(1));
    const { first, last } = await memorise(engine, vae.params, (params, rng) =>
      hierarchicalVaeLoss({ config: vae.config, params }, x, rng, { beta }),
    );
    expect(first).toBeGreaterThan(20);
    expect(last).toBeLessThan(first / 8);
  });

  it("an autoencoder, and a denoising one cleans what it has learned", async () => {
    const plain = createAutoencoder(config, new Rng(1));
    const exact = await memorise(engine, plain.params, (params) => autoencoderLoss({ config, params }, x));
    expect(exact.last).toBeLessThan(exact.first / 50);

    const { params } = createAutoencoder(config, new Rng(1));
    const corrupt = maskingCorruption(0.3);
    const trained = await memorise(engine, params, (p, rng) =>
      autoencoderLoss({ config, params: p }, x, { corrupt, rng }),
    );
    const spoilt = corrupt(x, new Rng(77));
    const error = (y: tf.Tensor) => tf.mean(tf.abs(tf.sub(y, x))).dataSync()[0]!;
    const cleaned = reconstruct(autoencoderCodec({ config, params: trained.params }), spoilt);
    expect(error(spoilt)).toBeGreaterThan(0.1);
    expect(error(cleaned)).toBeLessThan(error(spoilt) / 4);
  });

  it.each<[string, LikelihoodConfig]>([
    ["Gaussian pixels of a learned scale", { kind: "gaussian", scale: "learned" }],
    ["discretised logistics", { kind: "discretizedLogisticMixture", mixtures: 2, levels: 16 }],
  ])("a convolutional VAE of colour images with %s", async (_, likelihood) => {
    const colour: ConvVaeConfig = {
      imageSize: [8, 8],
      channels: 3,
      hiddenChannels: [8, 16],
      denseDim: 24,
      latentDim: 6,
      encoderKernel: 3,
      decoderKernel: 4,
      likelihood,
    };
    const images = tf.tidy(() => new Rng(4).integers([3, 8, 8, 3], 0, 16).toFloat().div(15)) as tf.Tensor4D;
    const { params } = createConvVae(colour, new Rng(1));
    const { first, last } = await memorise(engine, params, (p, rng) =>
      convVaeLoss({ config: colour, params: p }, images, rng, { beta }),
    );
    // 192 numbers of 16 levels cost log 16 each to one who knows nothing of them.
    if (likelihood.kind === "discretizedLogisticMixture") expect(last).toBeLessThan(0.6 * 192 * Math.log(16));
    expect(last).toBeLessThan(first - 100);
  });
});

describe("createMlpVae", () => {
  it("names and lays out parameters as PyTorch does", () => {
    const { params } = createMlpVae({ ...config, hiddenDims: [24, 10] }, new Rng(0));
    expect(Object.fromEntries(treeEntries(params).map(([path, { shape }]) => [path, shape]))).toEqual({
      "encoder.hidden.0.weight": [24, 36],
      "encoder.hidden.0.bias": [24],
      "encoder.hidden.1.weight": [10, 24],
      "encoder.hidden.1.bias": [10],
      "encoder.mu.weight": [6, 10],
      "encoder.mu.bias": [6],
      "encoder.logvar.weight": [6, 10],
      "encoder.logvar.bias": [6],
      "decoder.hidden.0.weight": [10, 6],
      "decoder.hidden.0.bias": [10],
      "decoder.hidden.1.weight": [24, 10],
      "decoder.hidden.1.bias": [24],
      "decoder.output.weight": [36, 24],
      "decoder.output.bias": [36],
    });
  });

  it("works without hidden layers", () => {
    const vae = createMlpVae({ ...config, hiddenDims: [] }, new Rng(0));
    expect(decodeMlpVae(vae, encodeMlpVae(vae, bits(2)).mu).shape).toEqual([2, 6, 6, 1]);
  });

  it.each([
    [{ latentDim: 0 }, /createMlpVae: latentDim \(0\)/],
    [{ hiddenDims: [4, 1.5] }, /hiddenDims \(4,1.5\)/],
    [{ inputShape: [] }, /inputShape is empty/],
    [{ activation: "sine" as "relu" }, /activation \(sine\) must be one of relu, silu, tanh/],
  ])("refuses %j", (change, message) => {
    expect(() => createMlpVae({ ...config, ...change }, new Rng(0))).toThrow(message);
  });

  it("names the function, the shape and what was expected when shapes do not fit", () => {
    const vae = createMlpVae(config, new Rng(0));
    expect(() => encodeMlpVae(vae, tf.zeros([2, 36]))).toThrow(
      "encodeMlpVae: x has shape [2,36]; expected [batch, 6, 6, 1]",
    );
    expect(() => decodeMlpVae(vae, tf.zeros([2, 4]))).toThrow("z has shape [2,4]; expected [batch, 6]");
  });
});

describe("classLabels", () => {
  it("names the first class that does not exist", () => {
    expect(classLabels([0, 2], { classes: 3 }).dtype).toBe("int32");
    expect(() => classLabels([0, 1, 3], { classes: 3 })).toThrow(
      "classLabels: label 2 (3) is unknown; expected a class from 0 to 2",
    );
    expect(() => classLabels([-1], { classes: 3 })).toThrow("label 0 (-1)");
  });
});

describe("corruptions", () => {
  const x = tf.fill([50, 400], 0.5);
  const share = (t: tf.Tensor, value: number) => tf.equal(t, value).mean().dataSync()[0]!;

  it("hide a fraction, throw coins for a fraction, or add noise", () => {
    const masked = maskingCorruption(0.25)(x, new Rng(0));
    expect(share(masked, 0)).toBeCloseTo(0.25, 1.6);
    expect(share(masked, 0.5)).toBeCloseTo(0.75, 1.6);
    const coins = saltAndPepperCorruption(0.4)(x, new Rng(0));
    for (const [value, want] of [
      [0, 0.2],
      [1, 0.2],
      [0.5, 0.6],
    ] as const) {
      expect(share(coins, value)).toBeCloseTo(want, 1.6);
    }
    const noisy = gaussianCorruption(0.1)(x, new Rng(0));
    expect(noisy.sub(x).square().mean().sqrt().dataSync()[0]).toBeCloseTo(0.1, 2);
    expect(() => maskingCorruption(1.2)).toThrow("fraction (1.2)");
  });
});

describe("convolutional VAEs", () => {
  it.each([28, 32, 64].flatMap((size) => [1, 3].map((channels) => [size, channels] as const)))(
    "of %i pixels and %i channels take every likelihood",
    (size, channels) => {
      const likelihoods: LikelihoodConfig[] = [
        { kind: "bernoulli" },
        { kind: "gaussian", scale: 0.1 },
        { kind: "discretizedLogisticMixture", mixtures: 2 },
      ];
      for (const likelihood of likelihoods) {
        const vae = createConvVae(
          {
            imageSize: [size, size],
            channels,
            hiddenChannels: [2, 3],
            denseDim: 4,
            latentDim: 2,
            encoderKernel: 4,
            decoderKernel: 4,
            likelihood,
          },
          new Rng(0),
        );
        const x = new Rng(1).uniform([1, size, size, channels]) as tf.Tensor4D;
        const { mu } = encodeConvVae(vae, x);
        const width = { bernoulli: channels, gaussian: channels, discretizedLogisticMixture: channels === 1 ? 6 : 20 };
        expect(decodeConvVae(vae, mu).shape).toEqual([1, size, size, width[likelihood.kind]]);
        expect(Number.isFinite(convVaeLoss(vae, x, new Rng(2)).loss.dataSync()[0])).toBe(true);
      }
    },
  );

  it("have a preset of 50 numbers for each pixel of 256 levels", () => {
    const { params } = createConvVae(convVaePresets.levels32, new Rng(0));
    expect(params.decoder.conv.at(-1)!.weight.shape).toEqual([32, 50, 4, 4]);
  });
});
