import * as tf from "@tensorflow/tfjs";
import { exp, logSumExp } from "../nn/activations.ts";
import { Rng } from "../rng.ts";
import { assertSameShape, type Reduction, reduceLoss } from "./reduction.ts";

// Diagonal Gaussians are pairs (mu, logvar) with logvar = log(sigma^2). All densities are in nats.

const LOG_2PI = Math.log(2 * Math.PI);

/**
 * Draws z = mu + exp(logvar / 2) eps (Kingma and Welling 2014, eq. 10).
 *
 * @param noise an Rng, or eps itself, of the shape of mu
 */
export function reparameterise(mu: tf.Tensor, logvar: tf.Tensor, noise: Rng | tf.Tensor): tf.Tensor {
  assertSameShape("reparameterise", ["mu", mu], ["logvar", logvar]);
  return tf.tidy(() => {
    const eps = noise instanceof Rng ? noise.normal(mu.shape) : noise;
    assertSameShape("reparameterise", ["mu", mu], ["noise", eps]);
    return tf.add(mu, tf.mul(exp(tf.mul(logvar, 0.5)), eps));
  });
}

/** log N(x; mu, exp(logvar)) of each element; the arguments broadcast. Sum over the last axis for a density. */
export function gaussianLogProb(x: tf.Tensor, mu: tf.Tensor, logvar: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const d = tf.sub(x, mu);
    const quadratic = tf.mul(tf.mul(d, d), exp(tf.neg(logvar)));
    return tf.mul(-0.5, tf.add(tf.add(quadratic, logvar), LOG_2PI));
  });
}

/** log N(x; 0, 1) of each element. */
export function standardNormalLogProb(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.mul(-0.5, tf.add(tf.mul(x, x), LOG_2PI)));
}

/** Negative log-density of targets under diagonal Gaussians, including log(2 pi) / 2. Equal shapes, samples first. */
export function gaussianNll(
  mean: tf.Tensor,
  logvar: tf.Tensor,
  target: tf.Tensor,
  options: { readonly reduction?: Reduction } = {},
): tf.Tensor {
  assertSameShape("gaussianNll", ["mean", mean], ["logvar", logvar], ["target", target]);
  return tf.tidy(() => reduceLoss(tf.neg(gaussianLogProb(target, mean, logvar)), options.reduction ?? "batchMean"));
}

/**
 * KL(N(mu, exp(logvar)) || N(0, 1)) of each element: (mu^2 + exp(logvar) - 1 - logvar) / 2, reduced.
 *
 * @param mu [B, D]
 * @param logvar [B, D]
 * @param options.reduction default "batchMean"; for the KL of each sample sum "none" over the last axis
 */
export function klStandardNormal(
  mu: tf.Tensor,
  logvar: tf.Tensor,
  options: { readonly reduction?: Reduction } = {},
): tf.Tensor {
  assertSameShape("klStandardNormal", ["mu", mu], ["logvar", logvar]);
  return tf.tidy(() => {
    const kl = tf.mul(0.5, tf.sub(tf.sub(tf.add(tf.mul(mu, mu), exp(logvar)), 1), logvar));
    return reduceLoss(kl, options.reduction ?? "batchMean");
  });
}

/**
 * KL to the standard normal with free bits (Kingma et al. 2016): the sum over latent dimensions of
 * max(lambda, batch mean of that dimension's KL).
 *
 * @param lambda nats for each dimension
 * @returns the scalar loss, and the batch means `klPerDim` [D]
 */
export function klFreeBits(mu: tf.Tensor, logvar: tf.Tensor, lambda: number): { loss: tf.Tensor; klPerDim: tf.Tensor } {
  return tf.tidy(() => {
    const klPerDim = tf.mean(klStandardNormal(mu, logvar, { reduction: "none" }), 0);
    return { loss: tf.sum(tf.add(tf.relu(tf.sub(klPerDim, lambda)), lambda)), klPerDim };
  });
}

/** KL(N(mu1, exp(logvar1)) || N(mu2, exp(logvar2))) of diagonal Gaussians. Equal shapes, samples first. */
export function klDiagonalGaussians(
  mu1: tf.Tensor,
  logvar1: tf.Tensor,
  mu2: tf.Tensor,
  logvar2: tf.Tensor,
  options: { readonly reduction?: Reduction } = {},
): tf.Tensor {
  assertSameShape("klDiagonalGaussians", ["mu1", mu1], ["logvar1", logvar1], ["mu2", mu2], ["logvar2", logvar2]);
  return tf.tidy(() => {
    const d = tf.sub(mu1, mu2);
    const ratio = exp(tf.sub(logvar1, logvar2));
    const distance = tf.mul(tf.mul(d, d), exp(tf.neg(logvar2)));
    const kl = tf.mul(0.5, tf.sub(tf.add(tf.add(tf.sub(logvar2, logvar1), ratio), distance), 1));
    return reduceLoss(kl, options.reduction ?? "batchMean");
  });
}

/**
 * The bound of importance-weighted autoencoders (Burda et al. 2016): the batch mean of
 * log((1/K) sum_k exp(logWeights[k])), with log-weight log p(x, z_k) - log q(z_k | x).
 *
 * @param logWeights [K, B]
 * @returns a scalar, to be maximised
 */
export function iwaeBound(logWeights: tf.Tensor): tf.Tensor {
  if (logWeights.rank !== 2) throw new Error(`iwaeBound: logWeights have shape [${logWeights.shape}]; expected [K, B]`);
  return tf.tidy(() => tf.sub(tf.mean(logSumExp(logWeights, 0)), Math.log(logWeights.shape[0]!)));
}
