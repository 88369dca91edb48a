import {
  type ConvParams,
  conv2d,
  convTranspose2d,
  createConv2d,
  createConvTranspose2d,
  embedding,
  kaimingUniform,
  type Rng,
  vectorQuantise,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { createLikelihood, type Likelihood, type LikelihoodConfig } from "./likelihoods.ts";

// A vector-quantised autoencoder: the encoder's vector at every place of a small map is replaced by the nearest of K
// learned codes, so that an image becomes a map of ids. A prior over such maps (code-prior.ts) makes it draw images.
//
//   A. van den Oord, O. Vinyals, K. Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017, arXiv:1711.00937
//   A. Razavi et al., "Generating Diverse High-Fidelity Images with VQ-VAE-2", NeurIPS 2019 (averages with smoothed counts)
//   P. Dhariwal et al., "Jukebox: A Generative Model for Music", 2020 (restarts of codes that nothing uses)
//
// Shapes: B batch, H W image size, C channels, h w size of the code map, N = B*h*w, F hiddenChannels,
// R residualChannels, K codes, D codeDim, P the likelihood's numbers for each pixel. Images are NHWC with values in [0, 1]. Weights have PyTorch's layouts.

export interface VqVaeConfig {
  /** Height and width of the images, in pixels; multiples of 2^downsamples. */
  readonly imageSize: readonly [height: number, width: number];
  readonly channels: number;
  /** F: channels inside encoder and decoder; even. */
  readonly hiddenChannels: number;
  /** R: channels inside a residual block. */
  readonly residualChannels: number;
  readonly residualBlocks: number;
  /** Stride-2 convolutions: the code map is H / 2^downsamples by W / 2^downsamples. */
  readonly downsamples: number;
  /** K: entries of the codebook. */
  readonly codes: number;
  /** D: length of an entry. */
  readonly codeDim: number;
  /** How codes learn: by moving averages of the vectors they stand for (appendix A.1), or by gradient (eq. 3). */
  readonly codebook: "ema" | "gradient";
  readonly likelihood: LikelihoodConfig;
}

/** relu, 3x3 convolution, relu, 1x1 convolution, added to the input. */
export type VqResidualParams = { conv1: ConvParams; conv2: ConvParams }; // [R, F, 3, 3], [F, R, 1, 1]

export type VqVaeParams = {
  encoder: {
    down: ConvParams[]; // [F/2 or F, in, 4, 4]
    conv: ConvParams; // [F, F, 3, 3]
    residual: VqResidualParams[];
    project: ConvParams; // [D, F, 1, 1]
  };
  codebook: { weight: tf.Tensor }; // [K, D]
  decoder: {
    conv: ConvParams; // [F, D, 3, 3]
    residual: VqResidualParams[];
    up: ConvParams[]; // [in, F/2 or P, 4, 4]
  };
};

/** A vector-quantised autoencoder; see `createVqVae`. */
export interface VqVae {
  readonly config: VqVaeConfig;
  readonly params: VqVaeParams;
}

/**
 * Creates a VQ-VAE of the paper's architecture (section 4.1): stride-2 4x4 convolutions, residual blocks, the mirror image.
 *
 * @throws if a size is no positive integer, the images cannot be halved as often as asked, or the likelihood is unknown.
 */
export function createVqVae(config: VqVaeConfig, rng: Rng): VqVae {
  checkConfig(config);
  const { channelsPerPixel } = likelihoodOf(config);
  const { channels, hiddenChannels: f, residualChannels, residualBlocks, downsamples, codes, codeDim } = config;
  const forRelu = { init: kaimingUniform() };
  const conv = (from: number, to: number, kernel: number) => createConv2d(from, to, rng, { kernel, ...forRelu });
  const residual = (): VqResidualParams[] =>
    Array.from({ length: residualBlocks }, () => ({
      conv1: conv(f, residualChannels, 3),
      conv2: conv(residualChannels, f, 1),
    }));
  // Half the width at the finest level, as the authors' code has it.
  const widths = Array.from({ length: downsamples }, (_, i) => (i === 0 && downsamples > 1 ? f / 2 : f));
  const params: VqVaeParams = {
    encoder: {
      down: widths.map((to, i) => conv(i === 0 ? channels : widths[i - 1]!, to, 4)),
      conv: conv(f, f, 3),
      residual: residual(),
      project: createConv2d(f, codeDim, rng, { kernel: 1 }),
    },
    codebook: { weight: rng.normal([codes, codeDim]) },
    decoder: {
      conv: conv(codeDim, f, 3),
      residual: residual(),
      up: widths
        .map((from, i) => createConvTranspose2d(from, i === 0 ? channelsPerPixel : widths[i - 1]!, rng, { kernel: 4 }))
        .reverse(),
    },
  };
  return { config, params };
}

/** Height and width of the map of codes. */
export function vqCodeMapSize(config: VqVaeConfig): [height: number, width: number] {
  const factor = 2 ** config.downsamples;
  return [config.imageSize[0] / factor, config.imageSize[1] / factor];
}

/**
 * The ids of the codes nearest to the encoder's vectors (eq. 1).
 *
 * @param x [B, H, W, C] in [0, 1]
 * @returns int32 [B, h, w], ids in [0, K)
 */
export function encodeVqVae(vae: VqVae, x: tf.Tensor4D): tf.Tensor3D {
  checkImages("encodeVqVae", vae.config, x);
  return tf.tidy(() => {
    const { indices } = vectorQuantise(encode(vae, x), vae.params.codebook.weight);
    return indices.reshape([x.shape[0], ...vqCodeMapSize(vae.config)]) as tf.Tensor3D;
  });
}

/**
 * The mean image of p(x | codes).
 *
 * @param ids int32 [B, h, w], ids in [0, K)
 * @returns [B, H, W, C]
 */
export function decodeVqVae(vae: VqVae, ids: tf.Tensor3D): tf.Tensor4D {
  const [h, w] = vqCodeMapSize(vae.config);
  if (ids.rank !== 3 || ids.shape[1] !== h || ids.shape[2] !== w || ids.dtype !== "int32") {
    throw new Error(`decodeVqVae: ids are ${ids.dtype} of shape [${ids.shape}]; expected int32 [batch, ${h}, ${w}]`);
  }
  return tf.tidy(() => {
    const params = decode(vae, embedding(vae.params.codebook, ids) as tf.Tensor4D);
    return likelihoodOf(vae.config).mean(params) as tf.Tensor4D;
  });
}

/** The mean image of p(x | codes of x). x [B, H, W, C] in [0, 1]; returns the same shape. */
export function reconstructVqVae(vae: VqVae, x: tf.Tensor4D): tf.Tensor4D {
  checkImages("reconstructVqVae", vae.config, x);
  return tf.tidy(() => decodeVqVae(vae, encodeVqVae(vae, x)));
}

export interface VqVaeLossOptions {
  /** beta: how strongly the encoder keeps to the codes it chose; 0.25 by default, as in the paper. */
  readonly commitmentCost?: number;
}

export interface VqVaeLoss {
  /** recon per pixel value + codebookLoss (if codes learn by gradient) + commitmentCost * commitmentLoss. */
  readonly loss: tf.Scalar;
  /** -log p(x | codes), in nats, summed over pixels and averaged over the batch. */
  readonly recon: tf.Scalar;
  /** Mean (sg(z) - code)^2. */
  readonly codebookLoss: tf.Scalar;
  /** Mean (z - sg(code))^2. */
  readonly commitmentLoss: tf.Scalar;
  /** exp of the entropy of the codes' use in this batch: 1 to K. */
  readonly perplexity: tf.Scalar;
  /** The encoder's vectors [N, D] and the ids of their codes, int32 [N]: what `updateVqCodebook` learns from. */
  readonly encoded: tf.Tensor2D;
  readonly ids: tf.Tensor1D;
}

/**
 * The training objective (eq. 3), with the reconstruction as a mean over pixels as in the authors' code. Gradients pass
 * straight through the choice of codes from the decoder to the encoder. With `codebook: "ema"` the codebook's gradient is
 * zero: `updateVqCodebook` moves it.
 *
 * @param x [B, H, W, C] in [0, 1]
 */
export function vqVaeLoss(vae: VqVae, x: tf.Tensor4D, options: VqVaeLossOptions = {}): VqVaeLoss {
  checkImages("vqVaeLoss", vae.config, x);
  const { config } = vae;
  const { commitmentCost = 0.25 } = options;
  return tf.tidy(() => {
    const encoded = encode(vae, x);
    const chosen = vectorQuantise(encoded, vae.params.codebook.weight);
    const codes = chosen.quantised.reshape([x.shape[0], ...vqCodeMapSize(config), config.codeDim]) as tf.Tensor4D;
    const recon = likelihoodOf(config).nll(x, decode(vae, codes)).mean() as tf.Scalar;
    const perPixel = recon.div(x.size / x.shape[0]);
    const commitment = chosen.commitmentLoss.mul(commitmentCost);
    const loss = config.codebook === "ema" ? commitment : commitment.add(chosen.codebookLoss);
    return {
      loss: perPixel.add(loss) as tf.Scalar,
      recon,
      codebookLoss: chosen.codebookLoss as tf.Scalar,
      commitmentLoss: chosen.commitmentLoss as tf.Scalar,
      perplexity: chosen.perplexity as tf.Scalar,
      encoded,
      ids: chosen.indices as tf.Tensor1D,
    };
  });
}

/** What the codebook remembers from step to step: a part of the training state that no gradient reaches. */
export type VqCodebookState = {
  /** N_i: moving average of how many vectors chose each code, [K]. */
  usage: tf.Tensor;
  /** m_i: moving average of the sums of those vectors, [K, D]; only if codes learn by moving averages. */
  sums?: tf.Tensor;
};

/** The codebook's state before the first step: every code counts as having been chosen once. */
export function initVqCodebook(vae: VqVae): VqCodebookState {
  const { weight } = vae.params.codebook;
  return tf.tidy(() => ({
    usage: tf.ones([vae.config.codes]),
    ...(vae.config.codebook === "ema" ? { sums: weight.clone() } : {}),
  }));
}

export interface UpdateVqCodebookOptions {
  /** gamma of the moving averages; 0.99 by default. */
  readonly decay?: number;
  /** Laplace smoothing of the counts; 1e-5 by default. */
  readonly eps?: number;
  /** Codes whose usage is below this share of the average usage, N / K, are restarted; 0.03 by default. */
  readonly restartBelow?: number;
}

/**
 * One step of the codebook outside the gradient (appendix A.1, eq. 6-8): N_i and m_i decay towards this batch's counts and
 * sums, and e_i = m_i / N_i with smoothed counts. Given an Rng, codes that nearly nothing has chosen for some hundred
 * steps restart at vectors drawn from the batch. With `codebook: "gradient"` only usage and restarts are left to do.
 *
 * @param weight the codebook, [K, D], after the optimizer's update
 * @param batch `encoded` and `ids` of `vqVaeLoss`
 * @param rng its presence means restarts
 * @returns the new codebook (a part of params), its state, and how many codes were restarted.
 */
export function updateVqCodebook(
  weight: tf.Tensor,
  state: VqCodebookState,
  batch: { readonly encoded: tf.Tensor2D; readonly ids: tf.Tensor1D },
  rng?: Rng,
  options: UpdateVqCodebookOptions = {},
): { codebook: VqVaeParams["codebook"]; state: VqCodebookState; restarted: tf.Scalar } {
  const { decay = 0.99, eps = 1e-5, restartBelow = 0.03 } = options;
  if (!(decay >= 0 && decay < 1)) throw new Error(`updateVqCodebook: decay (${decay}) must be in [0, 1)`);
  const { encoded, ids } = batch;
  const codes = weight.shape[0]!;
  const vectors = encoded.shape[0];
  const fair = vectors / codes;
  return tf.tidy(() => {
    const chosen = assignments(ids, codes); // [N, K]
    const average = (old: tf.Tensor, now: tf.Tensor) => old.mul(decay).add(now.mul(1 - decay));
    let usage = average(state.usage, chosen.sum(0));
    let sums = state.sums && average(state.sums, tf.matMul(chosen.transpose() as tf.Tensor2D, encoded));
    let moved = weight.clone();
    if (sums) {
      const total = usage.sum();
      const smoothed = usage
        .add(eps)
        .div(total.add(codes * eps))
        .mul(total);
      moved = sums.div(smoothed.expandDims(1));
    }
    let restarted = tf.scalar(0);
    if (rng) {
      const dead = usage.less(restartBelow * fair).toFloat(); // [K]
      const fresh = embedding({ weight: encoded }, rng.integers([codes], 0, vectors)); // [K, D]
      const replace = (old: tf.Tensor, by: tf.Tensor) => tf.where(dead.expandDims(1).greater(0), by, old);
      moved = replace(moved, fresh);
      // A restarted code begins with a fair share of usage: time to be chosen before it can be dead again.
      if (sums) sums = replace(sums, fresh.mul(fair));
      usage = tf.where(dead.greater(0), tf.fill([codes], fair), usage);
      restarted = dead.sum() as tf.Scalar;
    }
    return { codebook: { weight: moved }, state: { usage, ...(sums ? { sums } : {}) }, restarted };
  });
}

/**
 * How often each code occurs: for pictures of the codebook's use.
 *
 * @param ids int32 of any shape, in [0, codes)
 * @returns counts [codes]; used, the number of codes that occur; perplexity, exp of the entropy of their use, 1 to codes.
 */
export function vqCodebookUsage(
  ids: tf.Tensor,
  codes: number,
): { counts: tf.Tensor1D; used: tf.Scalar; perplexity: tf.Scalar } {
  return tf.tidy(() => {
    const counts = assignments(ids.reshape([-1]), codes).sum(0) as tf.Tensor1D;
    const share = counts.div(ids.size);
    const entropy = share.mul(share.maximum(1e-10).log()).sum().neg();
    return { counts, used: counts.greater(0).toFloat().sum() as tf.Scalar, perplexity: entropy.exp() as tf.Scalar };
  });
}

/** Float32 [N, K] with a 1 at each id; cast from int32, because wasm writes integers' bits when asked for floats. */
const assignments = (ids: tf.Tensor, codes: number) => tf.oneHot(ids as tf.Tensor1D, codes).toFloat() as tf.Tensor2D;

/** The encoder's vectors z_e(x), [N, D]. */
function encode({ config, params }: VqVae, x: tf.Tensor4D): tf.Tensor2D {
  const p = params.encoder;
  let a: tf.Tensor = x;
  for (const layer of p.down) a = tf.relu(conv2d(layer, a, { stride: 2, padding: 1 })); // [B, h, w, F]
  a = residualStack(p.residual, conv2d(p.conv, a, { padding: 1 }));
  return conv2d(p.project, a).reshape([-1, config.codeDim]) as tf.Tensor2D;
}

/** The likelihood's parameters [B, H, W, P] for codes [B, h, w, D]. */
function decode({ params }: VqVae, codes: tf.Tensor4D): tf.Tensor4D {
  const p = params.decoder;
  let a = residualStack(p.residual, conv2d(p.conv, codes, { padding: 1 }));
  for (const [i, layer] of p.up.entries()) {
    a = convTranspose2d(layer, i === 0 ? a : tf.relu(a), { stride: 2, padding: 1 });
  }
  return a as tf.Tensor4D; // [B, H, W, P]
}

function residualStack(blocks: readonly VqResidualParams[], x: tf.Tensor): tf.Tensor {
  let a = x;
  for (const { conv1, conv2 } of blocks) {
    a = a.add(conv2d(conv2, tf.relu(conv2d(conv1, tf.relu(a), { padding: 1 }))));
  }
  return tf.relu(a);
}

const likelihoodOf = (config: VqVaeConfig): Likelihood => createLikelihood(config.likelihood, config.channels);

function checkConfig(config: VqVaeConfig): void {
  const whole = (name: string, n: number, least: number) => {
    if (!Number.isInteger(n) || n < least) {
      throw new Error(`createVqVae: ${name} (${n}) must be an integer of at least ${least}`);
    }
  };
  whole("channels", config.channels, 1);
  whole("hiddenChannels", config.hiddenChannels, 2);
  whole("residualChannels", config.residualChannels, 1);
  whole("residualBlocks", config.residualBlocks, 0);
  whole("downsamples", config.downsamples, 1);
  whole("codes", config.codes, 2);
  whole("codeDim", config.codeDim, 1);
  if (config.hiddenChannels % 2 !== 0) {
    throw new Error(`createVqVae: hiddenChannels (${config.hiddenChannels}) must be even`);
  }
  const factor = 2 ** config.downsamples;
  for (const n of config.imageSize) {
    if (Number.isInteger(n) && n >= factor && n % factor === 0) continue;
    throw new Error(
      `createVqVae: imageSize (${config.imageSize}) must hold multiples of ${factor}, for ${config.downsamples} downsamples`,
    );
  }
  if (config.codebook !== "ema" && config.codebook !== "gradient") {
    throw new Error(`createVqVae: codebook (${config.codebook}) must be "ema" or "gradient"`);
  }
}

function checkImages(caller: string, config: VqVaeConfig, x: tf.Tensor): void {
  const want = [...config.imageSize, config.channels];
  if (x.rank === 4 && want.every((n, i) => x.shape[i + 1] === n)) return;
  throw new Error(`${caller}: images have shape [${x.shape}]; expected [batch, ${want.join(", ")}]`);
}

/** Customary architectures; spread one to change a field. */
export const vqVaePresets = {
  /** 28x28 grey images: 7x7 codes of 128. */
  mnist: {
    imageSize: [28, 28],
    channels: 1,
    hiddenChannels: 64,
    residualChannels: 32,
    residualBlocks: 2,
    downsamples: 2,
    codes: 128,
    codeDim: 32,
    codebook: "ema",
    likelihood: { kind: "bernoulli" },
  },
  /** 32x32 colour images as in the paper (section 4.1): 8x8 codes of 512. */
  cifar: {
    imageSize: [32, 32],
    channels: 3,
    hiddenChannels: 256,
    residualChannels: 256,
    residualBlocks: 2,
    downsamples: 2,
    codes: 512,
    codeDim: 256,
    codebook: "ema",
    likelihood: { kind: "gaussian", scale: 0.1 },
  },
} as const satisfies Record<string, VqVaeConfig>;
