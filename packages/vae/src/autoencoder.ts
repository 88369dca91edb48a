import { createLinear, type LinearParams, linear, type Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { LatentCodec } from "./latent-tasks.ts";
import { createLikelihood, type LikelihoodConfig } from "./likelihoods.ts";
import { checkCode, checkInput, checkMlpConfig, createMlp, flatten, type MlpActivation, mlp, sizeOf } from "./mlp.ts";

// A plain autoencoder of fully connected layers: x to a code and back. Denoising: it sees a corrupted x and is asked for
// the clean one, so that it learns what images look like and not to copy them.
//
//   P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol, "Extracting and Composing Robust Features with Denoising
//   Autoencoders", ICML 2008
//
// Shapes: B batch, D numbers in an input, C channels, P the likelihood's numbers for each pixel, H hidden width, Z
// latentDim. Inputs are [B, ...inputShape] in [0, 1].

export interface AutoencoderConfig {
  /** Shape of one input, channels last: [28, 28, 1] for grey images, [D] for vectors. */
  readonly inputShape: readonly number[];
  /** Widths of the encoder's hidden layers; the decoder mirrors them. */
  readonly hiddenDims: readonly number[];
  readonly latentDim: number;
  readonly activation: MlpActivation;
  /** How outputs are compared with x: Bernoulli is cross-entropy; Gaussian is squared error over 2 scale^2, and a constant. */
  readonly likelihood: LikelihoodConfig;
}

export type AutoencoderParams = {
  encoder: {
    hidden: LinearParams[]; // [H, D], then [H, H]
    code: LinearParams; // [Z, H]
  };
  decoder: {
    hidden: LinearParams[]; // [H, Z], then [H, H]
    output: LinearParams; // [D / C * P, H]
  };
};

/** An autoencoder; see `createAutoencoder`. */
export interface Autoencoder {
  readonly config: AutoencoderConfig;
  readonly params: AutoencoderParams;
}

/**
 * Creates an autoencoder of fully connected layers.
 *
 * @throws if a size is no positive integer, or the activation or likelihood is unknown.
 */
export function createAutoencoder(config: AutoencoderConfig, rng: Rng): Autoencoder {
  const { inputShape, hiddenDims, latentDim, activation } = config;
  checkMlpConfig("createAutoencoder", config, { hiddenDims, latentDim });
  const size = sizeOf(inputShape);
  const channels = inputShape.at(-1)!;
  const outputs = (size / channels) * createLikelihood(config.likelihood, channels).channelsPerPixel;
  const params: AutoencoderParams = {
    encoder: {
      hidden: createMlp([size, ...hiddenDims], activation, rng),
      code: createLinear(hiddenDims.at(-1) ?? size, latentDim, rng),
    },
    decoder: {
      hidden: createMlp([latentDim, ...[...hiddenDims].reverse()], activation, rng),
      output: createLinear(hiddenDims[0] ?? latentDim, outputs, rng),
    },
  };
  return { config, params };
}

/** The codes [B, Z] of x [B, ...inputShape] in [0, 1]. */
export function encodeAutoencoder(ae: Autoencoder, x: tf.Tensor): tf.Tensor2D {
  const { config, params } = ae;
  checkInput("encodeAutoencoder", config.inputShape, x);
  return tf.tidy(
    () => linear(params.encoder.code, mlp(params.encoder.hidden, config.activation, flatten(x))) as tf.Tensor2D,
  );
}

/** The output for codes z [B, Z], as parameters of the likelihood (logits, for Bernoulli): [B, ..., P]. */
export function decodeAutoencoder(ae: Autoencoder, z: tf.Tensor2D): tf.Tensor {
  const { config, params } = ae;
  checkCode("decodeAutoencoder", config.latentDim, z);
  return tf.tidy(() => {
    const out = linear(params.decoder.output, mlp(params.decoder.hidden, config.activation, z));
    return out.reshape([z.shape[0], ...config.inputShape.slice(0, -1), likelihoodOf(config).channelsPerPixel]);
  });
}

/** The model as functions between images and codes, for latent tasks. */
export function autoencoderCodec(ae: Autoencoder): LatentCodec {
  return {
    encode: (x) => encodeAutoencoder(ae, x),
    decode: (z) => tf.tidy(() => likelihoodOf(ae.config).mean(decodeAutoencoder(ae, z))),
  };
}

/** A way to spoil inputs: same shape back. */
export type Corruption = (x: tf.Tensor, rng: Rng) => tf.Tensor;

/**
 * The error of the reconstruction: -log p(x | decode(encode(x))), with x corrupted on its way in if asked for (Vincent et
 * al., eq. 5).
 *
 * @param x [B, ...inputShape] in [0, 1]
 * @param options.corrupt what the encoder sees in the place of x, drawn with `rng`; nothing by default.
 * @returns a scalar in nats, summed over pixels and averaged over the batch.
 */
export function autoencoderLoss(
  ae: Autoencoder,
  x: tf.Tensor,
  options: { readonly corrupt: Corruption; readonly rng: Rng } | { readonly corrupt?: undefined } = {},
): { loss: tf.Scalar } {
  checkInput("autoencoderLoss", ae.config.inputShape, x);
  return tf.tidy(() => {
    const seen = options.corrupt ? options.corrupt(x, options.rng) : x;
    const params = decodeAutoencoder(ae, encodeAutoencoder(ae, seen));
    return { loss: tf.mean(likelihoodOf(ae.config).nll(x, params)) as tf.Scalar };
  });
}

/** Sets a fraction of the values to 0 (Vincent et al. 2008, section 2.3). */
export function maskingCorruption(fraction: number): Corruption {
  checkFraction("maskingCorruption", fraction);
  return (x, rng) => tf.tidy(() => tf.mul(x, tf.cast(tf.greaterEqual(rng.uniform(x.shape), fraction), "float32")));
}

/** Sets a fraction of the values to 0 or 1, as a coin falls (Vincent et al., JMLR 2010, section 3.3). */
export function saltAndPepperCorruption(fraction: number): Corruption {
  checkFraction("saltAndPepperCorruption", fraction);
  return (x, rng) =>
    tf.tidy(() => {
      const u = rng.uniform(x.shape);
      const kept = tf.cast(tf.greaterEqual(u, fraction), "float32");
      const salt = tf.cast(tf.less(u, fraction / 2), "float32");
      return tf.add(tf.mul(x, kept), salt);
    });
}

/** Adds Gaussian noise of a standard deviation (Vincent et al., JMLR 2010, section 3.3). */
export function gaussianCorruption(std: number): Corruption {
  if (!(std >= 0)) throw new Error(`gaussianCorruption: std (${std}) must not be negative`);
  return (x, rng) => tf.tidy(() => tf.add(x, rng.normal(x.shape, 0, std)));
}

function checkFraction(caller: string, fraction: number): void {
  if (!(fraction >= 0 && fraction <= 1)) throw new Error(`${caller}: fraction (${fraction}) must be in [0, 1]`);
}

const likelihoodOf = ({ likelihood, inputShape }: AutoencoderConfig) =>
  createLikelihood(likelihood, inputShape.at(-1)!);
