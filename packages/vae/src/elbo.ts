import { type Engine, type Rng, throwIfAborted, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type ConvVae, convVaeFunctions } from "./conv-vae.ts";
import { binarize } from "./likelihoods.ts";
import { type VaeFunctions, vaeLoss } from "./vae-functions.ts";

export interface ElboOptions {
  readonly rng: Rng;
  /** Whether pixels are drawn from their grey levels first, as for published figures; false by default. */
  readonly binarized?: boolean;
  /** Images in one call of the engine; 500 by default. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
}

/** Means over a set of images, in nats per image; elbo = -(recon + kl). */
export interface Elbo {
  readonly elbo: number;
  readonly recon: number;
  readonly kl: number;
}

/** The evidence lower bound of a set of images under a convolutional VAE; see `vaeElbo`. */
export async function convVaeElbo(
  engine: Engine,
  vae: ConvVae,
  images: tf.Tensor4D,
  options: ElboOptions,
): Promise<Elbo> {
  return meanBound("convVaeElbo", engine, vae, images, { ...options, functions: (m) => convVaeFunctions(m) });
}

export interface VaeElboOptions<M> extends ElboOptions {
  /** The model as functions: `mlpVaeFunctions`, or a function that adds a prior. */
  readonly functions: (model: M, labels?: tf.Tensor1D) => VaeFunctions;
  /** int32 [N]: what `functions` gets the labels of a batch from. */
  readonly labels?: tf.Tensor1D;
}

/**
 * The evidence lower bound of a set of images with beta = 1 and one draw of z per image (Kingma & Welling, 2014, eq. 7).
 *
 * @param images [N, ...] in [0, 1]
 * @throws AbortError when the signal fires between two batches.
 */
export async function vaeElbo<M>(
  engine: Engine,
  model: M,
  images: tf.Tensor,
  options: VaeElboOptions<M>,
): Promise<Elbo> {
  return meanBound("vaeElbo", engine, model, images, options);
}

async function meanBound<M>(
  caller: string,
  engine: Engine,
  model: M,
  images: tf.Tensor,
  options: VaeElboOptions<M>,
): Promise<Elbo> {
  const { functions, rng, binarized = false, batchSize = 500, labels, signal } = options;
  const total = images.shape[0] ?? 0;
  if (total === 0) throw new Error(`${caller}: got no images; expected at least one`);
  if (labels && labels.size !== total) {
    throw new Error(`${caller}: ${labels.size} labels for ${total} images; expected as many`);
  }
  const terms = engine.compile((m: M, batch: { x: tf.Tensor; labels?: tf.Tensor1D }, noise: Rng) =>
    vaeLoss(functions(m, batch.labels), binarized ? binarize(batch.x, noise) : batch.x, noise),
  );
  let recon = 0;
  let kl = 0;
  try {
    for (let start = 0; start < total; start += batchSize) {
      throwIfAborted(caller, signal);
      const count = Math.min(batchSize, total - start);
      const batch = {
        x: tf.slice(images, start, count),
        ...(labels ? { labels: tf.slice(labels, start, count) } : {}),
      };
      const out = await terms(model, batch, rng);
      recon += count * (await out.recon.data())[0]!;
      kl += count * (await out.kl.data())[0]!;
      treeDispose([batch, out]);
    }
  } finally {
    terms.dispose();
  }
  return { elbo: -(recon + kl) / total, recon: recon / total, kl: kl / total };
}
