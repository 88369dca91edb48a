import {
  type ConvParams,
  conv2d,
  convTranspose2d,
  createConv2d,
  createConvTranspose2d,
  createLinear,
  type Initialiser,
  kaimingUniform,
  type LinearParams,
  linear,
  type Rng,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type InterpolateOptions, interpolate, latentCodec, reconstruct, sampleVae } from "./latent-tasks.ts";
import { createLikelihood, type Likelihood, type LikelihoodConfig } from "./likelihoods.ts";
import { checkCode } from "./mlp.ts";
import { type Prior, standardNormalPrior } from "./priors.ts";
import { type Posterior, type VaeFunctions, type VaeLossOptions, vaeFunctions, vaeLoss } from "./vae-functions.ts";

// A convolutional variational autoencoder: stride-2 convolutions encode an image to a Gaussian over z, transposed
// convolutions decode z to the likelihood's parameters for every pixel (with Bernoulli pixels, their logits).
//
//   D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, arXiv:1312.6114
//   I. Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework", ICLR 2017
//
// Shapes: B batch, H W image size, C channels, h w size after the last convolution, F its channels, D denseDim,
// Z latentDim, P the likelihood's numbers for each pixel. Images are NHWC with values in [0, 1]. Features are flattened in the order
// F, h, w and weights have PyTorch's layouts, so that a checkpoint opens there unchanged.

export interface ConvVaeConfig {
  /** Height and width of the images, in pixels. */
  readonly imageSize: readonly [height: number, width: number];
  readonly channels: number;
  /** Output channels of the encoder's convolutions, each of which halves the image; the decoder mirrors them. */
  readonly hiddenChannels: readonly number[];
  /** Width of the dense layer between the convolutions and z, on both sides; null for none. */
  readonly denseDim: number | null;
  readonly latentDim: number;
  /** Kernel of the encoder's convolutions; at least 3. */
  readonly encoderKernel: number;
  /** Kernel of the decoder's transposed convolutions; at least 3. 4 avoids checkerboards, an odd one fits odd sizes. */
  readonly decoderKernel: number;
  /** Distribution of a pixel; Bernoulli by default. */
  readonly likelihood?: LikelihoodConfig;
}

export type ConvVaeParams = {
  encoder: {
    conv: ConvParams[]; // weight [out, in, k, k], bias [out]
    dense?: LinearParams; // [D, F*h*w]
    mu: LinearParams; // [Z, D or F*h*w]
    logvar: LinearParams; // [Z, D or F*h*w]
  };
  decoder: {
    dense?: LinearParams; // [D, Z]
    project: LinearParams; // [F*h*w, D or Z]
    conv: ConvParams[]; // weight [in, out, k, k], bias [out]; the last gives P channels
  };
};

/** A convolutional VAE; see `createConvVae`. */
export interface ConvVae {
  readonly config: ConvVaeConfig;
  readonly params: ConvVaeParams;
}

/**
 * Creates a convolutional VAE. Weights before a relu start with He's variance, 2 / fan in, and biases at zero: with
 * PyTorch's smaller default the decoder ignores z for the first few hundred steps.
 *
 * @throws if a size is no positive integer, if the likelihood is unknown, or if the decoder's kernel cannot give back a
 *   size that the encoder halved.
 */
export function createConvVae(config: ConvVaeConfig, rng: Rng): ConvVae {
  const { channels, hiddenChannels, denseDim, latentDim, encoderKernel, decoderKernel } = config;
  const sizes = checkedSizes(config);
  const [h, w] = sizes.at(-1)!;
  const flat = hiddenChannels.at(-1)! * h * w;
  const features = denseDim ?? flat;
  const widths = [channels, ...hiddenChannels];
  const forRelu = { init: kaimingUniform() };
  const params: ConvVaeParams = {
    encoder: {
      conv: hiddenChannels.map((out, i) => createConv2d(widths[i]!, out, rng, { kernel: encoderKernel, ...forRelu })),
      ...(denseDim === null ? {} : { dense: createLinear(flat, denseDim, rng, forRelu) }),
      mu: createLinear(features, latentDim, rng),
      logvar: createLinear(features, latentDim, rng),
    },
    decoder: {
      ...(denseDim === null ? {} : { dense: createLinear(latentDim, denseDim, rng, forRelu) }),
      project: createLinear(denseDim ?? latentDim, flat, rng, forRelu),
      conv: hiddenChannels
        .map((from, i) =>
          createConvTranspose2d(from, i === 0 ? likelihoodOf(config).channelsPerPixel : widths[i]!, rng, {
            kernel: decoderKernel,
            init: transposedUniform,
          }),
        )
        .reverse(),
    },
  };
  return { config, params };
}

/**
 * The approximate posterior q(z | x) = N(mu, diag(exp(logvar))).
 *
 * @param x [B, H, W, C] in [0, 1]
 * @returns mu and logvar (the log of the variance), each [B, Z].
 */
export function encodeConvVae(vae: ConvVae, x: tf.Tensor4D): Posterior {
  checkImages("encodeConvVae", vae.config, x);
  return tf.tidy(() => encode(vae, x));
}

/**
 * The parameters of p(x | z), a distribution for every pixel: with Bernoulli pixels their logits, whose sigmoid is the
 * mean image.
 *
 * @param z [B, Z]
 * @returns [B, H, W, P], P = C with Bernoulli pixels
 */
export function decodeConvVae(vae: ConvVae, z: tf.Tensor2D): tf.Tensor4D {
  checkCode("decodeConvVae", vae.config.latentDim, z);
  return tf.tidy(() => decode(vae, z));
}

/** The model as functions, for bounds, estimates and latent tasks. @param prior of the codes; N(0, I) by default */
export function convVaeFunctions(vae: ConvVae, prior?: Prior): VaeFunctions {
  const { config } = vae;
  return vaeFunctions({
    latentDim: config.latentDim,
    encode: (x) => encodeConvVae(vae, x as tf.Tensor4D),
    decode: (z) => decodeConvVae(vae, z),
    likelihood: likelihoodOf(config),
    prior: prior ?? standardNormalPrior(config.latentDim),
  });
}

/**
 * The mean image of p(x | z) at the posterior's mean, z = mu.
 *
 * @param x [B, H, W, C] in [0, 1]
 * @returns [B, H, W, C] in (0, 1), or about there with Gaussian pixels
 */
export function reconstructConvVae(vae: ConvVae, x: tf.Tensor4D): tf.Tensor4D {
  checkImages("reconstructConvVae", vae.config, x);
  return reconstruct(latentCodec(convVaeFunctions(vae)), x) as tf.Tensor4D;
}

/**
 * Draws new images: z from the prior N(0, I), then the mean image of p(x | z). `sampleVae` takes other priors too, and
 * draws pixels.
 *
 * @returns [count, H, W, C] in (0, 1), or about there with Gaussian pixels
 */
export function sampleConvVae(vae: ConvVae, options: { readonly count: number; readonly rng: Rng }): tf.Tensor4D {
  const { count } = options;
  if (!Number.isInteger(count) || count < 1) {
    throw new Error(`sampleConvVae: count (${count}) must be a positive integer`);
  }
  return sampleVae(convVaeFunctions(vae), options) as tf.Tensor4D;
}

/**
 * Walks through latent space from the codes of the images `from` to those of the images `to`; see `interpolate`.
 *
 * @param from [B, H, W, C] in [0, 1]
 * @param to [B, H, W, C] in [0, 1]
 * @returns mean images [B, steps, H, W, C]; the first and last of a row are reconstructions of its ends.
 */
export function interpolateConvVae(
  vae: ConvVae,
  from: tf.Tensor4D,
  to: tf.Tensor4D,
  options: InterpolateOptions,
): tf.Tensor5D {
  checkImages("interpolateConvVae", vae.config, from);
  checkImages("interpolateConvVae", vae.config, to);
  return interpolate(latentCodec(convVaeFunctions(vae)), from, to, options) as tf.Tensor5D;
}

/**
 * The negative evidence lower bound, one draw of z per image (Kingma & Welling, eq. 7), with the KL term times beta; see
 * `vaeLoss`.
 *
 * @param x [B, H, W, C] in [0, 1]; to Bernoulli pixels grey levels are expectations of binary ones. See `binarize`.
 * @param noise an Rng, or eps itself, [B, Z]: z = mu + exp(logvar / 2) * eps.
 * @returns scalars in nats, summed over pixels and averaged over the batch: recon = -log p(x | z), kl, and
 *   loss = recon + beta * kl.
 */
export function convVaeLoss(
  vae: ConvVae,
  x: tf.Tensor4D,
  noise: Rng | tf.Tensor2D,
  options: VaeLossOptions & { readonly prior?: Prior } = {},
): { loss: tf.Scalar; recon: tf.Scalar; kl: tf.Scalar } {
  checkImages("convVaeLoss", vae.config, x);
  return vaeLoss(convVaeFunctions(vae, options.prior), x, noise, options);
}

function encode({ config, params }: ConvVae, x: tf.Tensor4D): Posterior {
  const p = params.encoder;
  const padding = paddingOf(config.encoderKernel);
  let a: tf.Tensor4D = x;
  for (const layer of p.conv) a = tf.relu(conv2d(layer, a, { stride: 2, padding }) as tf.Tensor4D); // [B, h, w, F]
  let features: tf.Tensor = a.transpose([0, 3, 1, 2]).reshape([x.shape[0], -1]); // [B, F*h*w]
  if (p.dense) features = tf.relu(linear(p.dense, features)); // [B, D]
  return { mu: linear(p.mu, features) as tf.Tensor2D, logvar: linear(p.logvar, features) as tf.Tensor2D };
}

function decode({ config, params }: ConvVae, z: tf.Tensor2D): tf.Tensor4D {
  const p = params.decoder;
  const sizes = convSizes(config);
  const layers = p.conv.length;
  const [h, w] = sizes[layers]!;
  const padding = paddingOf(config.decoderKernel);
  const code = p.dense ? tf.relu(linear(p.dense, z)) : z; // [B, D]
  const flat = tf.relu(linear(p.project, code)); // [B, F*h*w]
  let a = flat.reshape([z.shape[0], config.hiddenChannels[layers - 1]!, h, w]).transpose([0, 2, 3, 1]) as tf.Tensor4D;
  for (const [i, layer] of p.conv.entries()) {
    const [inH, inW] = sizes[layers - i]!;
    const [outH, outW] = sizes[layers - i - 1]!;
    const outputPadding: [number, number] = [
      outH - transposedSize(inH, config.decoderKernel),
      outW - transposedSize(inW, config.decoderKernel),
    ];
    a = convTranspose2d(layer, a, { stride: 2, padding, outputPadding }) as tf.Tensor4D;
    if (i < layers - 1) a = tf.relu(a);
  }
  return a; // [B, H, W, P]
}

/** He's uniform initialisation of [in, out, k, k] at stride 2, where in * k * k / 4 weights meet in an output pixel. */
const transposedUniform: Initialiser = (shape, rng) => {
  const [inChannels, , kh, kw] = shape as [number, number, number, number];
  const bound = Math.sqrt(6 / ((inChannels * kh * kw) / 4));
  return rng.uniform(shape, -bound, bound);
};

const likelihoodOf = ({ likelihood, channels }: ConvVaeConfig): Likelihood => createLikelihood(likelihood, channels);

const paddingOf = (kernel: number) => Math.floor((kernel - 1) / 2);
const convolvedSize = (n: number, kernel: number) => Math.floor((n + 2 * paddingOf(kernel) - kernel) / 2) + 1;
const transposedSize = (n: number, kernel: number) => (n - 1) * 2 - 2 * paddingOf(kernel) + kernel;

/** Height and width before each convolution and after the last. */
function convSizes(config: ConvVaeConfig): [number, number][] {
  const sizes: [number, number][] = [[config.imageSize[0], config.imageSize[1]]];
  for (const _ of config.hiddenChannels) {
    const [h, w] = sizes.at(-1)!;
    sizes.push([convolvedSize(h, config.encoderKernel), convolvedSize(w, config.encoderKernel)]);
  }
  return sizes;
}

function checkedSizes(config: ConvVaeConfig): [number, number][] {
  const { imageSize, hiddenChannels, denseDim, encoderKernel, decoderKernel } = config;
  const positive = (name: string, n: number, least = 1) => {
    if (!Number.isInteger(n) || n < least) {
      throw new Error(`createConvVae: ${name} (${n}) must be an integer of at least ${least}`);
    }
  };
  if (imageSize.length !== 2) throw new Error(`createConvVae: imageSize (${imageSize}) must be [height, width]`);
  for (const n of imageSize) positive("imageSize", n);
  positive("channels", config.channels);
  if (hiddenChannels.length === 0)
    throw new Error("createConvVae: hiddenChannels is empty; expected at least one layer");
  for (const n of hiddenChannels) positive("hiddenChannels", n);
  if (denseDim !== null) positive("denseDim", denseDim);
  positive("latentDim", config.latentDim);
  positive("encoderKernel", encoderKernel, 3);
  positive("decoderKernel", decoderKernel, 3);
  const sizes = convSizes(config);
  for (let i = 1; i < sizes.length; i++) {
    for (const axis of [0, 1] as const) {
      const large = sizes[i - 1]![axis];
      const small = sizes[i]![axis];
      const extra = large - transposedSize(small, decoderKernel);
      if (small >= 1 && (extra === 0 || extra === 1)) continue;
      throw new Error(
        `createConvVae: imageSize (${imageSize}) becomes ${small} from ${large} at convolution ${i}, which a transposed ` +
          `convolution with decoderKernel (${decoderKernel}) cannot undo; expected sizes divisible by ` +
          `${2 ** hiddenChannels.length}, or an odd decoderKernel`,
      );
    }
  }
  return sizes;
}

function checkImages(caller: string, config: ConvVaeConfig, x: tf.Tensor): void {
  const want = [...config.imageSize, config.channels];
  if (x.rank === 4 && want.every((n, i) => x.shape[i + 1] === n)) return;
  throw new Error(`${caller}: images have shape [${x.shape}]; expected [batch, ${want.join(", ")}]`);
}

/** Published and customary architectures; spread one to change a field. */
export const convVaePresets = {
  /** 28x28 grey images: the PyTorch examples' layout, 1.67 million parameters. */
  mnist: {
    imageSize: [28, 28],
    channels: 1,
    hiddenChannels: [32, 64],
    denseDim: 256,
    latentDim: 16,
    encoderKernel: 3,
    decoderKernel: 4,
  },
  /** 32x32 colour images. */
  small32: {
    imageSize: [32, 32],
    channels: 3,
    hiddenChannels: [32, 64, 128],
    denseDim: 256,
    latentDim: 64,
    encoderKernel: 3,
    decoderKernel: 4,
  },
  /** 32x32 colour images, every one of the 256 levels of a pixel with a probability. */
  levels32: {
    imageSize: [32, 32],
    channels: 3,
    hiddenChannels: [32, 64, 128],
    denseDim: 256,
    latentDim: 64,
    encoderKernel: 3,
    decoderKernel: 4,
    likelihood: { kind: "discretizedLogisticMixture", mixtures: 5 },
  },
  /** 64x64 colour images: the encoder and decoder of Higgins et al. (2017), table 1. */
  betaVae64: {
    imageSize: [64, 64],
    channels: 3,
    hiddenChannels: [32, 32, 64, 64],
    denseDim: 256,
    latentDim: 32,
    encoderKernel: 4,
    decoderKernel: 4,
  },
} as const satisfies Record<string, ConvVaeConfig>;
