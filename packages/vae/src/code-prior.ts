import {
  attention,
  createLinear,
  crossEntropy,
  type Engine,
  embedding,
  gelu,
  type LinearParams,
  layerNorm,
  linear,
  mergeHeads,
  type NormParams,
  normalInit,
  type Rng,
  splitHeads,
  treeDispose,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { decodeVqVae, type VqVae, type VqVaeLoss, vqVaeLoss } from "./vq-vae.ts";

// A prior over maps of codes: a small causal transformer that reads a map row by row and gives each code's distribution
// from the codes before it. With it a VQ-VAE draws images and bounds their likelihood.
//
//   A. van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, section 3.3 (a PixelCNN there)
//   A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (the layers' arrangement)
//
// Shapes: B batch, h w size of the map, T = h*w codes in raster order, K codes, C nEmbd.

export interface CodePriorConfig {
  /** K: entries of the codebook. */
  readonly codes: number;
  /** Height and width of the map of codes. */
  readonly mapSize: readonly [height: number, width: number];
  readonly nEmbd: number;
  readonly nHead: number;
  readonly nLayer: number;
}

export type CodePriorBlock = {
  ln_1: NormParams; // [C]
  attn: { qkv: LinearParams; proj: LinearParams }; // [3 C, C], [C, C]
  ln_2: NormParams; // [C]
  mlp: { fc: LinearParams; proj: LinearParams }; // [4 C, C], [C, 4 C]
};

export type CodePriorParams = {
  codes: { weight: tf.Tensor }; // [K + 1, C]; row K stands before the first code
  positions: { weight: tf.Tensor }; // [T, C]
  blocks: CodePriorBlock[];
  ln_f: NormParams; // [C]
  head: LinearParams; // [K, C]
};

/** A prior over maps of codes; see `createCodePrior`. */
export interface CodePrior {
  readonly config: CodePriorConfig;
  readonly params: CodePriorParams;
}

/**
 * Creates a causal transformer over maps of codes.
 *
 * @throws if a size is no positive integer or nHead does not divide nEmbd.
 */
export function createCodePrior(config: CodePriorConfig, rng: Rng): CodePrior {
  const { codes, mapSize, nEmbd, nHead, nLayer } = config;
  for (const [name, n] of Object.entries({ codes, height: mapSize[0], width: mapSize[1], nEmbd, nHead, nLayer })) {
    if (!Number.isInteger(n) || n < 1) throw new Error(`createCodePrior: ${name} (${n}) must be a positive integer`);
  }
  if (nEmbd % nHead !== 0) {
    throw new Error(`createCodePrior: nEmbd (${nEmbd}) must be a multiple of nHead (${nHead})`);
  }
  const init = normalInit(0.02);
  const residualInit = normalInit(0.02 / Math.sqrt(2 * nLayer));
  const norm = () => ({ weight: tf.ones([nEmbd]), bias: tf.zeros([nEmbd]) });
  const params: CodePriorParams = {
    codes: { weight: init([codes + 1, nEmbd], rng) },
    positions: { weight: init([mapSize[0] * mapSize[1], nEmbd], rng) },
    blocks: Array.from({ length: nLayer }, () => ({
      ln_1: norm(),
      attn: {
        // Without a bias of the keys, which would move all scores of a query alike.
        qkv: createLinear(nEmbd, 3 * nEmbd, rng, { init, bias: false }),
        proj: createLinear(nEmbd, nEmbd, rng, { init: residualInit }),
      },
      ln_2: norm(),
      mlp: {
        fc: createLinear(nEmbd, 4 * nEmbd, rng, { init }),
        proj: createLinear(4 * nEmbd, nEmbd, rng, { init: residualInit }),
      },
    })),
    ln_f: norm(),
    head: createLinear(nEmbd, codes, rng, { init }),
  };
  return { config, params };
}

/**
 * The logits of every code given the codes before it in raster order.
 *
 * @param ids int32 [B, h, w], ids in [0, K)
 * @returns [B, h, w, K]
 */
export function codePriorLogits(prior: CodePrior, ids: tf.Tensor3D): tf.Tensor4D {
  checkMap("codePriorLogits", prior.config, ids);
  return tf.tidy(() => logits(prior, ids.reshape([ids.shape[0], -1])).reshape([...ids.shape, -1]) as tf.Tensor4D);
}

/**
 * The negative log-probability of maps of codes.
 *
 * @param ids int32 [B, h, w]
 * @returns scalars: loss, nats per code, and nll, nats per map, both averaged over the batch.
 */
export function codePriorLoss(prior: CodePrior, ids: tf.Tensor3D): { loss: tf.Scalar; nll: tf.Scalar } {
  checkMap("codePriorLoss", prior.config, ids);
  return tf.tidy(() => {
    const flat = ids.reshape([ids.shape[0], -1]);
    const loss = crossEntropy(logits(prior, flat), flat) as tf.Scalar;
    return { loss, nll: loss.mul(flat.shape[1]!) as tf.Scalar };
  });
}

export interface SampleCodesOptions {
  readonly count: number;
  readonly rng: Rng;
  /** Below 1 likelier codes are preferred; 1 by default. */
  readonly temperature?: number;
}

/**
 * Draws maps of codes, one code after the other.
 *
 * @returns int32 [count, h, w]
 */
export async function sampleCodePrior(
  engine: Engine,
  prior: CodePrior,
  options: SampleCodesOptions,
): Promise<tf.Tensor3D> {
  const { count, rng, temperature = 1 } = options;
  if (!Number.isInteger(count) || count < 1) {
    throw new Error(`sampleCodePrior: count (${count}) must be a positive integer`);
  }
  if (!(temperature > 0)) throw new Error(`sampleCodePrior: temperature (${temperature}) must be positive`);
  const { config } = prior;
  const [h, w] = config.mapSize;
  const places = h * w;
  // One graph serves all places: the place is a mask, and what later places hold has no effect on it.
  const place = engine.compile((params: CodePriorParams, ids: tf.Tensor2D, at: tf.Tensor2D, noise: Rng) => {
    const here = logits({ config, params }, ids)
      .mul(at.toFloat().expandDims(2)) // at [1, T]
      .sum(1); // [B, K]
    const drawn = noise.categorical(here.div(temperature)).toInt().expandDims(1); // [B, 1]
    return ids.mul(tf.sub(tf.scalar(1, "int32"), at)).add(drawn.mul(at)) as tf.Tensor2D;
  });
  let ids = tf.zeros([count, places], "int32") as tf.Tensor2D;
  try {
    for (let t = 0; t < places; t++) {
      const at = tf.tensor2d(
        Int32Array.from({ length: places }, (_, i) => (i === t ? 1 : 0)),
        [1, places],
        "int32",
      );
      const next = await place(prior.params, ids, at, rng);
      treeDispose([ids, at]);
      ids = next;
    }
    return ids.reshape([count, h, w]) as tf.Tensor3D;
  } finally {
    ids.dispose();
    place.dispose();
  }
}

/**
 * Draws images: codes from the prior, then the mean image of p(x | codes).
 *
 * @returns [count, H, W, C]
 */
export async function sampleVqVae(
  engine: Engine,
  vae: VqVae,
  prior: CodePrior,
  options: SampleCodesOptions,
): Promise<tf.Tensor4D> {
  checkPair("sampleVqVae", vae, prior);
  const { config } = vae;
  const decode = engine.compile((params: VqVae["params"], ids: tf.Tensor3D) => decodeVqVae({ config, params }, ids));
  const ids = await sampleCodePrior(engine, prior, options);
  try {
    return await decode(vae.params, ids);
  } finally {
    ids.dispose();
    decode.dispose();
  }
}

/**
 * An upper bound of -log p(x): the nats of the pixels given the codes of x and those of the codes under the prior.
 *
 * @param x [B, H, W, C] in [0, 1]
 * @returns scalars in nats per image: nll = recon + codes
 */
export function vqVaeNll(
  vae: VqVae,
  prior: CodePrior,
  x: tf.Tensor4D,
): { nll: tf.Scalar; recon: VqVaeLoss["recon"]; codes: tf.Scalar } {
  checkPair("vqVaeNll", vae, prior);
  return tf.tidy(() => {
    const { recon, ids } = vqVaeLoss(vae, x);
    const codes = codePriorLoss(prior, ids.reshape([x.shape[0], ...prior.config.mapSize]) as tf.Tensor3D).nll;
    return { nll: recon.add(codes) as tf.Scalar, recon, codes };
  });
}

/** Logits [B, T, K] for ids [B, T]: position t sees the ids before it. */
function logits({ config, params }: CodePrior, ids: tf.Tensor): tf.Tensor {
  const [b, t] = ids.shape as [number, number];
  const start = tf.fill([b, 1], config.codes, "int32");
  const before = tf.concat([start, ids.slice([0, 0], [b, t - 1])], 1);
  let x = embedding(params.codes, before).add(params.positions.weight); // [B, T, C]
  for (const p of params.blocks) {
    const [q, k, v] = tf.split(splitHeads(linear(p.attn.qkv, layerNorm(p.ln_1, x)), 3 * config.nHead), 3, 1);
    x = x.add(linear(p.attn.proj, mergeHeads(attention(q!, k!, v!, { causal: true }))));
    x = x.add(linear(p.mlp.proj, gelu(linear(p.mlp.fc, layerNorm(p.ln_2, x)))));
  }
  return linear(params.head, layerNorm(params.ln_f, x));
}

function checkMap(caller: string, config: CodePriorConfig, ids: tf.Tensor): void {
  const [h, w] = config.mapSize;
  if (ids.rank === 3 && ids.shape[1] === h && ids.shape[2] === w && ids.dtype === "int32") return;
  throw new Error(`${caller}: ids are ${ids.dtype} of shape [${ids.shape}]; expected int32 [batch, ${h}, ${w}]`);
}

function checkPair(caller: string, vae: VqVae, prior: CodePrior): void {
  const factor = 2 ** vae.config.downsamples;
  const [height, width] = vae.config.imageSize;
  const [h, w] = prior.config.mapSize;
  if (prior.config.codes === vae.config.codes && h * factor === height && w * factor === width) return;
  throw new Error(
    `${caller}: the prior is over ${h}x${w} maps of ${prior.config.codes} codes; expected ` +
      `${height / factor}x${width / factor} maps of ${vae.config.codes}, as the VQ-VAE has them`,
  );
}
