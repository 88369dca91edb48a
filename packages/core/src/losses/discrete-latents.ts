import * as tf from "@tensorflow/tfjs";
import { softmax } from "../nn/activations.ts";
import { stopGradient } from "../nn/custom-op.ts";
import { embedding } from "../nn/embedding.ts";
import { oneHot } from "../nn/one-hot.ts";
import { Rng } from "../rng.ts";

/**
 * A relaxed one-hot sample (Jang et al. 2017): softmax((logits + Gumbel noise) / temperature).
 *
 * @param logits [..., K]
 * @param noise an Rng, or standard Gumbel noise of the shape of logits
 * @param options.temperature default 1
 * @param options.hard one-hot forward, the relaxed sample's gradient backward (straight-through; default false)
 */
export function gumbelSoftmax(
  logits: tf.Tensor,
  noise: Rng | tf.Tensor,
  options: { readonly temperature?: number | tf.Scalar; readonly hard?: boolean } = {},
): tf.Tensor {
  return tf.tidy(() => {
    const gumbel = noise instanceof Rng ? noise.gumbel(logits.shape) : noise;
    const soft = softmax(tf.div(tf.add(logits, gumbel), options.temperature ?? 1));
    if (!options.hard) return soft;
    const classes = logits.shape[logits.rank - 1]!;
    const hard = oneHot(tf.reshape(tf.argMax(soft, -1), [-1]), classes);
    return tf.add(soft, stopGradient(tf.sub(tf.reshape(hard, soft.shape), soft)));
  });
}

/** What `vectorQuantise` returns. */
export interface Quantised {
  /** int32 [N]: the nearest code of each vector. */
  readonly indices: tf.Tensor;
  /** [N, D]: the codes; gradients pass straight through to the encoder's vectors. */
  readonly quantised: tf.Tensor;
  /** Moves the codes towards the vectors: mean (sg(z) - code)^2. */
  readonly codebookLoss: tf.Tensor;
  /** Moves the vectors towards the codes: mean (z - sg(code))^2; weigh it with the commitment cost. */
  readonly commitmentLoss: tf.Tensor;
  /** exp of the entropy of the codes' use in this batch: 1 (one code) to K (all alike). */
  readonly perplexity: tf.Tensor;
}

/**
 * Replaces each vector by the nearest code (VQ-VAE, van den Oord et al. 2017).
 *
 * @param z [N, D] the encoder's vectors
 * @param codebook [K, D]
 */
export function vectorQuantise(z: tf.Tensor, codebook: tf.Tensor): Quantised {
  const [codes, dim] = codebook.shape;
  if (z.rank !== 2 || codebook.rank !== 2 || z.shape[1] !== dim) {
    throw new Error(`vectorQuantise: z [${z.shape}] and codebook [${codebook.shape}]; expected [N, D] and [K, D]`);
  }
  return tf.tidy(() => {
    const fixed = stopGradient(z);
    const fixedCodes = stopGradient(codebook);
    const products = tf.matMul(fixed as tf.Tensor2D, fixedCodes as tf.Tensor2D, false, true);
    // |z - c|^2 less |z|^2, which is the same for all codes.
    const distances = tf.sub(tf.sum(tf.mul(fixedCodes, fixedCodes), -1), tf.mul(2, products));
    const indices = tf.cast(tf.argMin(distances, -1), "int32");
    const chosen = embedding({ weight: codebook }, indices);
    const chosenFixed = stopGradient(chosen);
    const use = tf.mean(oneHot(indices, codes!), 0);
    return {
      indices,
      quantised: tf.add(z, stopGradient(tf.sub(chosenFixed, fixed))),
      codebookLoss: tf.mean(tf.square(tf.sub(chosen, fixed))),
      commitmentLoss: tf.mean(tf.square(tf.sub(z, chosenFixed))),
      perplexity: tf.exp(tf.neg(tf.sum(tf.mul(use, tf.log(tf.add(use, 1e-10)))))),
    };
  });
}
