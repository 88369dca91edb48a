import { gaussianLogProb, type Rng, reparameterise } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { Likelihood } from "./likelihoods.ts";
import type { Prior } from "./priors.ts";

// A VAE as functions, and what follows from them alone: the evidence lower bound and importance weights.
//
//   D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014, arXiv:1312.6114
//   Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, arXiv:1509.00519
//
// Shapes: B batch, Z latentDim, K draws of z for each x, N = K * B codes. Where there are K draws, the K-th is the outer
// axis: row k * B + b of [N, ...] belongs to x[b].

/** q(z | x) = N(mu, diag(exp(logvar))), each [B, Z]. */
export type Posterior = { mu: tf.Tensor2D; logvar: tf.Tensor2D };

/** What importance weighting needs of a model. */
export interface ImportanceWeighted {
  /**
   * log p(x, z_k) - log q(z_k | x) for `samples` draws of z from q: [K, B], nats.
   */
  logWeights(x: tf.Tensor, noise: Rng, samples: number): tf.Tensor2D;
}

/** A VAE with one Gaussian layer of codes, as functions over the parameters at hand. */
export interface VaeFunctions extends ImportanceWeighted {
  readonly latentDim: number;
  readonly encode: (x: tf.Tensor) => Posterior;
  /** z [N, Z] to the parameters of the likelihood, [N, ..., P]. */
  readonly decode: (z: tf.Tensor2D) => tf.Tensor;
  readonly likelihood: Likelihood;
  readonly prior: Prior;
}

/** Completes the functions of a VAE by those that follow from them. */
export function vaeFunctions(parts: Omit<VaeFunctions, "logWeights">): VaeFunctions {
  const { latentDim, encode, decode, likelihood, prior } = parts;
  function logWeights(x: tf.Tensor, noise: Rng, samples: number): tf.Tensor2D {
    const batch = x.shape[0]!;
    const { mu, logvar } = encode(x);
    const eps = noise.normal([samples, batch, latentDim]);
    const z = tf.add(mu, tf.mul(tf.exp(tf.mul(0.5, logvar)), eps)); // [K, B, Z]
    const logPosterior = tf.sum(gaussianLogProb(z, mu, logvar), -1); // [K, B]
    const codes = tf.reshape(z, [samples * batch, latentDim]) as tf.Tensor2D;
    const nll = likelihood.nll(repeatBatch(x, samples), decode(codes)); // [N]
    const logJoint = tf.reshape(tf.sub(prior.logProb(codes), nll), [samples, batch]);
    return tf.sub(logJoint, logPosterior) as tf.Tensor2D;
  }
  return { ...parts, logWeights: (x, noise, samples) => tf.tidy(() => logWeights(x, noise, samples)) };
}

/** x [B, ...] K times over: [K * B, ...]. */
export function repeatBatch(x: tf.Tensor, times: number): tf.Tensor {
  if (times === 1) return x;
  return tf.reshape(tf.tile(tf.reshape(x, [1, -1]), [times, 1]), [times * x.shape[0]!, ...x.shape.slice(1)]);
}

export interface VaeLossOptions {
  /** Weight of the KL term: 1 for the evidence lower bound, more for disentangled codes (Higgins et al., 2017, eq. 4). */
  readonly beta?: number | tf.Scalar;
  /**
   * Nats that each dimension of z may carry for free ("free bits", Kingma et al., "Improved Variational Inference with
   * Inverse Autoregressive Flow", NeurIPS 2016): less does not lower the loss. 0 by default. Under a prior whose KL is
   * estimated, all dimensions count as one group with freeBits * Z.
   */
  readonly freeBits?: number;
}

/**
 * The negative evidence lower bound, one draw of z for each x (Kingma & Welling, eq. 7), with the KL term times beta.
 *
 * @param noise an Rng, or eps itself, [B, Z]: z = mu + exp(logvar / 2) * eps.
 * @returns scalars in nats, summed over pixels and averaged over the batch: recon = -log p(x | z), kl, and
 *   loss = recon + beta * kl; with free bits, loss has max(kl, free) for each dimension in the place of kl.
 */
export function vaeLoss(
  vae: VaeFunctions,
  x: tf.Tensor,
  noise: Rng | tf.Tensor2D,
  options: VaeLossOptions = {},
): { loss: tf.Scalar; recon: tf.Scalar; kl: tf.Scalar } {
  const { beta = 1, freeBits = 0 } = options;
  if (!(freeBits >= 0)) throw new Error(`vaeLoss: freeBits (${freeBits}) must not be negative`);
  return tf.tidy(() => {
    const posterior = vae.encode(x);
    const z = reparameterise(posterior.mu, posterior.logvar, noise) as tf.Tensor2D;
    const recon = tf.mean(vae.likelihood.nll(x, vae.decode(z))) as tf.Scalar;
    const groups = klGroups(vae.prior, posterior, z);
    const kl = tf.sum(groups) as tf.Scalar;
    const free = freeBits * (vae.latentDim / groups.size);
    const penalty = free === 0 ? kl : tf.sum(tf.add(tf.relu(tf.sub(groups, free)), free));
    return { loss: tf.add(recon, tf.mul(penalty, beta)) as tf.Scalar, recon, kl };
  });
}

/** Batch means of the KL: of each dimension [Z] where the prior knows it, else of all together [1], from the draw z. */
function klGroups(prior: Prior, { mu, logvar }: Posterior, z: tf.Tensor2D): tf.Tensor {
  if (prior.kl) return tf.mean(prior.kl({ mu, logvar }), 0);
  const logPosterior = tf.sum(gaussianLogProb(z, mu, logvar), -1);
  return tf.reshape(tf.mean(tf.sub(logPosterior, prior.logProb(z))), [1]);
}
