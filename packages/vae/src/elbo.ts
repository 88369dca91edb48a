import { type Engine, type Rng, throwIfAborted, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { binarize, type ConvVae, convVaeLoss } from "./conv-vae.ts";

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

/**
 * The evidence lower bound of a set of images with beta = 1 and one draw of z per image (Kingma & Welling, 2014, eq. 7).
 *
 * @param images [N, H, W, C] in [0, 1]
 * @throws AbortError when the signal fires between two batches.
 */
export async function convVaeElbo(
  engine: Engine,
  vae: ConvVae,
  images: tf.Tensor4D,
  options: ElboOptions,
): Promise<Elbo> {
  const { rng, binarized = false, batchSize = 500, signal } = options;
  const total = images.shape[0];
  if (total === 0) throw new Error("convVaeElbo: got no images; expected at least one");
  const { config } = vae;
  const terms = engine.compile((params: ConvVae["params"], x: tf.Tensor4D, noise: Rng) =>
    convVaeLoss({ config, params }, binarized ? binarize(x, noise) : x, noise),
  );
  let recon = 0;
  let kl = 0;
  try {
    for (let start = 0; start < total; start += batchSize) {
      throwIfAborted("convVaeElbo", signal);
      const count = Math.min(batchSize, total - start);
      const x = tf.slice(images, [start, 0, 0, 0], [count, -1, -1, -1]);
      const out = await terms(vae.params, x, rng);
      recon += count * (await out.recon.data())[0]!;
      kl += count * (await out.kl.data())[0]!;
      treeDispose([x, out]);
    }
  } finally {
    terms.dispose();
  }
  return { elbo: -(recon + kl) / total, recon: recon / total, kl: kl / total };
}
