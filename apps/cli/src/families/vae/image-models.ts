import type { Rng } from "@genai/core";
import type { ImageSet } from "@genai/datasets";
import {
  type Autoencoder,
  autoencoderCodec,
  autoencoderLoss,
  type ConditionalVae,
  type ConvVae,
  conditionalVaeFunctions,
  conditionalVaePresets,
  convVaeFunctions,
  convVaePresets,
  createAutoencoder,
  createConditionalVae,
  createConvVae,
  createHierarchicalVae,
  createMlpVae,
  drawRound,
  type HierarchicalVae,
  hierarchicalVaeFunctions,
  hierarchicalVaeLoss,
  type ImportanceWeighted,
  iwaeLoss,
  type LatentCodec,
  type LikelihoodConfig,
  latentCodec,
  type MlpActivation,
  type MlpVae,
  maskingCorruption,
  mlpVaeFunctions,
  reconstruct,
  reconstructHierarchicalVae,
  sampleHierarchicalVae,
  sampleVae,
  type VaeFunctions,
  vaeLoss,
} from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";
import { UsageError } from "../../exit-code.ts";
import { createPrior, hasPrior, type PriorName, priorOf } from "./learned-priors.ts";

/** Options of all kinds of image models; see options.ts. A kind leaves those that mean nothing to it at their defaults. */
export interface ImageOptions {
  readonly latentDim: number;
  readonly hiddenChannels: readonly number[];
  readonly denseDim: number;
  readonly hiddenDims: readonly number[];
  readonly activation: MlpActivation;
  readonly likelihood: "auto" | "bernoulli" | "gaussian" | "logistic-mixture";
  readonly binarize: "auto" | "dynamic" | "none";
  readonly beta: number;
  readonly betaWarmup: number;
  readonly freeBits: number;
  readonly prior: PriorName;
  readonly importanceSamples: number;
  readonly nllSamples: number;
  readonly corrupt: number;
  readonly imageSize: number;
  readonly skipBroken: boolean;
  readonly withoutClass: string | null;
}

/** A model as `model.safetensors` keeps it. */
export interface StoredModel {
  readonly config: unknown;
  readonly params: unknown;
}

export interface LossSettings {
  readonly beta: tf.Scalar | number;
  readonly freeBits: number;
  readonly importanceSamples: number;
  readonly corrupt: number;
}

/** What the commands do with a model of images, over the parameters at hand. x is [B, H, W, C] in [0, 1]. */
export interface ImageModel {
  /** `loss` and its parts, in nats per image. */
  loss(x: tf.Tensor4D, noise: Rng, settings: LossSettings): Record<string, tf.Scalar> & { loss: tf.Scalar };
  readonly codec: LatentCodec;
  reconstruct(x: tf.Tensor4D): tf.Tensor;
  /** One round of filling in what is missing, for models without `functions`. */
  fill(x: tf.Tensor, noise: Rng): tf.Tensor;
  /** Mean images of codes from the prior; plain autoencoders have none. */
  readonly sample?: (count: number, rng: Rng) => tf.Tensor;
  /** The model as functions, if it has one layer of Gaussian codes. */
  readonly functions?: VaeFunctions;
  /** Importance weights, from which come bounds and estimates of log p(x). */
  readonly weights?: ImportanceWeighted;
}

/** One architecture for images. */
export interface ImageArchitecture {
  readonly name: string;
  readonly summary: string;
  readonly defaults: { readonly steps: number; readonly batchSize: number; readonly learningRate: number };
  readonly options: Partial<ImageOptions>;
  /** Whether there is a prior to draw codes from, and with it `sample` and `weights`. */
  readonly isGenerative: boolean;
  /** Whether the model knows the images' classes. */
  readonly usesLabels: boolean;
  /** Names of the parts of the loss. */
  readonly lossParts: readonly string[];
  create(images: ImageSet, options: ImageOptions, rng: Rng): StoredModel;
  latentDim(config: unknown): number;
  /** @param labels int32 [B], for models that know classes */
  open(model: StoredModel, labels?: tf.Tensor1D): ImageModel;
}

/** Options that all kinds for images take. */
const everyImageKind = {
  likelihood: "auto",
  binarize: "auto",
  imageSize: 32,
  skipBroken: false,
  withoutClass: null,
} as const;

const boundOptions = { beta: 1, betaWarmup: 200, importanceSamples: 1, nllSamples: 0 } as const;

const shapeOf = ({ shape }: ImageSet) => shape.slice(1);

/** What `--likelihood` means for these images. */
export function likelihoodOf({ likelihood }: ImageOptions, channels: number): LikelihoodConfig {
  const name = likelihood !== "auto" ? likelihood : channels === 1 ? "bernoulli" : "logistic-mixture";
  if (name === "bernoulli") return { kind: "bernoulli" };
  if (name === "gaussian") return { kind: "gaussian", scale: "learned" };
  return { kind: "discretizedLogisticMixture", mixtures: 5 };
}

/** Whether pixels are drawn anew at every step. */
export function isBinarized({ binarize, ...options }: ImageOptions, channels: number): boolean {
  const bernoulli = likelihoodOf({ binarize, ...options }, channels).kind === "bernoulli";
  if (binarize === "dynamic" && !bernoulli) {
    throw new UsageError("--binarize dynamic makes pixels 0 or 1, which only --likelihood bernoulli is for");
  }
  return binarize !== "none" && bernoulli;
}

/** The model of a VAE with one layer of codes. */
function ofFunctions(vae: VaeFunctions): ImageModel {
  const codec = latentCodec(vae);
  return {
    loss: (x, noise, { beta, freeBits, importanceSamples }) =>
      importanceSamples > 1
        ? iwaeLoss(vae, x, noise, { samples: importanceSamples })
        : vaeLoss(vae, x, noise, { beta, freeBits }),
    codec,
    reconstruct: (x) => reconstruct(codec, x),
    fill: (x, noise) => drawRound(vae, x, noise),
    sample: (count, rng) => sampleVae(vae, { count, rng }),
    functions: vae,
    weights: vae,
  };
}

const conv: ImageArchitecture = {
  name: "conv",
  summary: "convolutional VAE",
  defaults: { steps: 2000, batchSize: 128, learningRate: 2e-3 },
  options: {
    latentDim: convVaePresets.mnist.latentDim,
    hiddenChannels: convVaePresets.mnist.hiddenChannels,
    denseDim: convVaePresets.mnist.denseDim,
    ...everyImageKind,
    ...boundOptions,
    freeBits: 0,
    prior: "standard",
  },
  isGenerative: true,
  usesLabels: false,
  lossParts: ["recon", "kl"],
  create(images, options, rng) {
    const [, height, width, channels] = images.shape;
    const { latentDim, hiddenChannels, denseDim } = options;
    const vae = createConvVae(
      {
        ...convVaePresets.mnist,
        imageSize: [height, width],
        channels,
        latentDim,
        hiddenChannels,
        denseDim,
        likelihood: likelihoodOf(options, channels),
      },
      rng,
    );
    return createPrior(options.prior, vae, { latentDim, inputShape: shapeOf(images) }, rng);
  },
  latentDim: (config) => vaeConfig<ConvVae>(config).latentDim,
  open(model) {
    const { vae, prior } = priorOf<ConvVae>(model, (own) => convVaeFunctions(own).encode);
    return ofFunctions(convVaeFunctions(vae, prior));
  },
};

const mlp: ImageArchitecture = {
  name: "mlp",
  summary: "VAE of fully connected layers",
  defaults: { steps: 2000, batchSize: 128, learningRate: 2e-3 },
  options: {
    latentDim: 2,
    hiddenDims: [500, 500],
    activation: "relu",
    ...everyImageKind,
    ...boundOptions,
    // The few codes are soon spread out; without a pull to the prior they wander off while the plane beside is unused.
    betaWarmup: 0,
    freeBits: 0,
    prior: "standard",
  },
  isGenerative: true,
  usesLabels: false,
  lossParts: ["recon", "kl"],
  create(images, options, rng) {
    const { latentDim, hiddenDims, activation } = options;
    const inputShape = shapeOf(images);
    const likelihood = likelihoodOf(options, inputShape.at(-1)!);
    const vae = createMlpVae({ inputShape, hiddenDims, latentDim, activation, likelihood }, rng);
    return createPrior(options.prior, vae, { latentDim, inputShape }, rng);
  },
  latentDim: (config) => vaeConfig<MlpVae>(config).latentDim,
  open(model) {
    const { vae, prior } = priorOf<MlpVae>(model, (own) => mlpVaeFunctions(own).encode);
    return ofFunctions(mlpVaeFunctions(vae, prior));
  },
};

const conditional: ImageArchitecture = {
  name: "conditional",
  summary: "VAE that knows the class of each image",
  defaults: { steps: 2000, batchSize: 128, learningRate: 1e-3 },
  options: {
    latentDim: conditionalVaePresets.mnist.latentDim,
    hiddenDims: conditionalVaePresets.mnist.hiddenDims,
    activation: "relu",
    ...everyImageKind,
    ...boundOptions,
    freeBits: 0,
  },
  isGenerative: true,
  usesLabels: true,
  lossParts: ["recon", "kl"],
  create(images, options, rng) {
    const { latentDim, hiddenDims, activation } = options;
    const inputShape = shapeOf(images);
    const likelihood = likelihoodOf(options, inputShape.at(-1)!);
    const classes = images.classes.length;
    const base = conditionalVaePresets.mnist;
    return createConditionalVae({ ...base, inputShape, classes, hiddenDims, activation, latentDim, likelihood }, rng);
  },
  latentDim: (config) => (config as ConditionalVae["config"]).latentDim,
  open: (model, labels) => ofFunctions(conditionalVaeFunctions(model as ConditionalVae, labels!)),
};

const ladder: ImageArchitecture = {
  name: "ladder",
  summary: "VAE with two layers of codes",
  defaults: { steps: 2000, batchSize: 128, learningRate: 1e-3 },
  options: { latentDim: 32, hiddenDims: [400, 400], activation: "relu", ...everyImageKind, ...boundOptions },
  isGenerative: true,
  usesLabels: false,
  lossParts: ["recon", "kl", "kl1", "kl2"],
  create(images, options, rng) {
    const { latentDim, hiddenDims, activation } = options;
    const inputShape = shapeOf(images);
    return createHierarchicalVae(
      {
        inputShape,
        hiddenDims: [hiddenDims, hiddenDims.map((width) => Math.ceil(width / 2))],
        latentDims: [latentDim, Math.ceil(latentDim / 2)],
        activation,
        likelihood: likelihoodOf(options, inputShape.at(-1)!),
      },
      rng,
    );
  },
  latentDim: (config) => (config as HierarchicalVae["config"]).latentDims[1],
  open(model) {
    const vae = model as HierarchicalVae;
    const functions = hierarchicalVaeFunctions(vae);
    return {
      loss: (x, noise, { beta, importanceSamples }) =>
        importanceSamples > 1
          ? iwaeLoss(functions, x, noise, { samples: importanceSamples })
          : hierarchicalVaeLoss(vae, x, noise, { beta }),
      codec: functions,
      reconstruct: (x) => reconstructHierarchicalVae(vae, x),
      fill: (x) => reconstructHierarchicalVae(vae, x),
      sample: (count, rng) => sampleHierarchicalVae(vae, { count, rng }),
      weights: functions,
    };
  },
};

const autoencoder: ImageArchitecture = {
  name: "autoencoder",
  summary: "plain or denoising autoencoder, which does not draw images",
  defaults: { steps: 2000, batchSize: 128, learningRate: 1e-3 },
  options: { latentDim: 32, hiddenDims: [400], activation: "relu", ...everyImageKind, binarize: "none", corrupt: 0.3 },
  isGenerative: false,
  usesLabels: false,
  lossParts: [],
  create(images, options, rng) {
    const { latentDim, hiddenDims, activation } = options;
    const inputShape = shapeOf(images);
    const likelihood = likelihoodOf(options, inputShape.at(-1)!);
    return createAutoencoder({ inputShape, hiddenDims, latentDim, activation, likelihood }, rng);
  },
  latentDim: (config) => (config as Autoencoder["config"]).latentDim,
  open(model) {
    const own = model as Autoencoder;
    const codec = autoencoderCodec(own);
    return {
      loss: (x, rng, { corrupt }) =>
        autoencoderLoss(own, x, corrupt > 0 ? { corrupt: maskingCorruption(corrupt), rng } : {}),
      codec,
      reconstruct: (x) => reconstruct(codec, x),
      fill: (x) => reconstruct(codec, x),
    };
  },
};

const vaeConfig = <M extends { readonly config: unknown }>(config: unknown): M["config"] =>
  (hasPrior(config) ? config.vae : config) as M["config"];

/** Every architecture for images, in the order of the help. */
export const imageArchitectures: readonly [ImageArchitecture, ...ImageArchitecture[]] = [
  conv,
  mlp,
  conditional,
  ladder,
  autoencoder,
];

/** Options of a kind that does not take all of them. */
const notTaken = {
  beta: 1,
  betaWarmup: 0,
  freeBits: 0,
  importanceSamples: 1,
  nllSamples: 0,
  corrupt: 0,
};

/** What a run was asked for, complete. */
export const imageOptions = (given: unknown): ImageOptions => ({ ...notTaken, ...(given as ImageOptions) });

/** [H, W, C] of the images that a stored model is of. */
export function imageShapeOf(config: unknown): [height: number, width: number, channels: number] {
  const own = (hasPrior(config) ? config.vae : config) as
    | { inputShape: [number, number, number] }
    | { imageSize: [number, number]; channels: number };
  return "inputShape" in own ? own.inputShape : [...own.imageSize, own.channels];
}

/** The distribution of a pixel under a stored model. */
export function storedLikelihood(config: unknown): LikelihoodConfig {
  const own = (hasPrior(config) ? config.vae : config) as { readonly likelihood?: LikelihoodConfig };
  return own.likelihood ?? { kind: "bernoulli" };
}
