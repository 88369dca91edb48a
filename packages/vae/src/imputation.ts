import { type AdamState, adam, type Engine, type Rng, throwIfAborted, treeDispose, valueAndGrad } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { VaeFunctions } from "./vae-functions.ts";

// Missing values filled in by a model that was trained on whole examples.
//
//   D. J. Rezende, S. Mohamed, D. Wierstra, "Stochastic Backpropagation and Approximate Inference in Deep Generative
//   Models", ICML 2014, arXiv:1401.4082, section 5.4 and appendix F (pseudo-Gibbs sampling)
//   A. Bora, A. Jalal, E. Price, A. Dimakis, "Compressed Sensing using Generative Models", ICML 2017, arXiv:1703.03208, eq. 3

export interface ImputeOptions {
  readonly rng: Rng;
  /** Rounds of encoding and decoding; 50 by default. */
  readonly iterations?: number;
  /** Rounds after which the fillings are averaged: half of the iterations by default; iterations - 1 for the last one alone. */
  readonly burnIn?: number;
  /**
   * What missing values begin as, the shape of x: the mean of each example's own known values by default. A good filling,
   * such as that of `imputePca`, saves rounds where much is missing.
   */
  readonly start?: tf.Tensor;
  readonly signal?: AbortSignal;
}

/**
 * Fills in missing values by a Markov chain: draw z from q(z | x), x' from what z decodes to, keep the known values and
 * go on. The fillings of the rounds after `burnIn` are averaged, which estimates the expectation of the missing values.
 *
 * @param round one draw of x' for x of the same shape, such as `drawRound`; a function of its arguments alone
 * @param x [B, ...]; what stands at missing values does not matter
 * @param observed the shape of x: 1 where a value is known, else 0
 * @returns the shape of x; known values are left as they are
 * @throws if all values of an example are missing, or AbortError when the signal fires between two rounds.
 */
export async function imputeMissing<P>(
  engine: Engine,
  params: P,
  round: (params: P, x: tf.Tensor, rng: Rng) => tf.Tensor,
  x: tf.Tensor,
  observed: tf.Tensor,
  options: ImputeOptions,
): Promise<tf.Tensor> {
  const { rng, iterations = 50, burnIn = Math.floor(iterations / 2), start, signal } = options;
  if (!Number.isInteger(iterations) || iterations < 1) {
    throw new Error(`imputeMissing: iterations (${iterations}) must be a positive integer`);
  }
  if (!Number.isInteger(burnIn) || burnIn < 0 || burnIn >= iterations) {
    throw new Error(`imputeMissing: burnIn (${burnIn}) must be a whole number below iterations (${iterations})`);
  }
  if (x.shape.join() !== observed.shape.join()) {
    throw new Error(
      `imputeMissing: x has shape [${x.shape}] and observed [${observed.shape}]; expected the same shape`,
    );
  }
  if (start && start.shape.join() !== x.shape.join()) {
    throw new Error(`imputeMissing: start has shape [${start.shape}]; expected [${x.shape}], as x`);
  }
  await assertSomeObserved("imputeMissing", observed);
  const step = engine.compile(
    (p: P, known: tf.Tensor, mask: tf.Tensor, filling: tf.Tensor, total: tf.Tensor, noise: Rng) => {
      const now = tf.where(mask.greater(0), known, filling);
      const next = round(p, now, noise);
      return { filling: next, total: tf.add(total, next) };
    },
  );
  let chain = { filling: start ? start.clone() : startOf(x, observed), total: tf.zerosLike(observed) };
  try {
    for (let i = 0; i < iterations; i++) {
      throwIfAborted("imputeMissing", signal);
      const next = await step(params, x, observed, chain.filling, chain.total, rng);
      treeDispose(chain);
      chain = next;
      if (i + 1 > burnIn) continue;
      chain.total.dispose();
      chain.total = tf.zerosLike(observed);
    }
    return tf.tidy(() => tf.where(observed.greater(0), x, chain.total.div(iterations - burnIn)));
  } finally {
    treeDispose(chain);
    step.dispose();
  }
}

export interface ImputeByCodeOptions {
  /** Steps of Adam; 50 by default. */
  readonly iterations?: number;
  /** 0.1 by default: codes are of size 1. */
  readonly learningRate?: number;
  /** What the encoder sees in the first place, the shape of x: known values and their mean by default. */
  readonly start?: tf.Tensor;
  readonly signal?: AbortSignal;
}

/**
 * Fills in missing values from the likeliest code given the known ones: the z that maximises log p(known | z) + log p(z)
 * (Bora et al., eq. 3, with the decoder of a VAE), found by gradient ascent from the encoder's code, and the mean of
 * p(x | z) there. Closer than the chain of `imputeMissing` where much is missing, which the encoder has never seen; a
 * single filling, without the spread of the chain.
 *
 * @param functions the model over its parameters, such as `(params) => mlpVaeFunctions({ config, params })`
 * @param x [B, ...]; what stands at missing values does not matter
 * @param observed the shape of x: 1 where a value is known, else 0
 * @returns the shape of x; known values are left as they are
 * @throws if all values of an example are missing, or AbortError when the signal fires between two steps.
 */
export async function imputeByCode<P>(
  engine: Engine,
  params: P,
  functions: (params: P) => Pick<VaeFunctions, "encode" | "decode" | "likelihood" | "prior">,
  x: tf.Tensor,
  observed: tf.Tensor,
  options: ImputeByCodeOptions = {},
): Promise<tf.Tensor> {
  const { iterations = 50, learningRate = 0.1, start, signal } = options;
  if (!Number.isInteger(iterations) || iterations < 1) {
    throw new Error(`imputeByCode: iterations (${iterations}) must be a positive integer`);
  }
  for (const [name, tensor] of Object.entries({ observed, ...(start ? { start } : {}) })) {
    if (tensor.shape.join() === x.shape.join()) continue;
    throw new Error(`imputeByCode: ${name} has shape [${tensor.shape}]; expected [${x.shape}], as x`);
  }
  await assertSomeObserved("imputeByCode", observed);
  const optimizer = adam({ learningRate });
  const encode = engine.compile((p: P, filling: tf.Tensor) => functions(p).encode(filling).mu);
  const improve = engine.compile((p: P, state: CodeState, known: tf.Tensor, mask: tf.Tensor): CodeState => {
    const { decode, likelihood, prior } = functions(p);
    const { grads } = valueAndGrad(({ z }) => {
      const nll = likelihood.nll(known, decode(z), mask);
      return tf.sum(tf.sub(nll, prior.logProb(z)));
    }, state.code);
    const { params: code, state: opt } = optimizer.update(grads, state.opt, state.code);
    return { code, opt };
  });
  const decode = engine.compile((p: P, z: tf.Tensor2D) => {
    const model = functions(p);
    return model.likelihood.mean(model.decode(z));
  });
  const known = tf.tidy(() => tf.where(observed.greater(0), x, tf.zerosLike(x)));
  const first = tf.tidy(() => tf.where(observed.greater(0), x, start ?? startOf(x, observed)));
  try {
    const code = { z: await encode(params, first) };
    let state: CodeState = { code, opt: optimizer.init(code) };
    try {
      for (let i = 0; i < iterations; i++) {
        throwIfAborted("imputeByCode", signal);
        const next: CodeState = await improve(params, state, known, observed);
        treeDispose(state);
        state = next;
      }
      const filling = await decode(params, state.code.z);
      const filled = tf.tidy(() => tf.where(observed.greater(0), x, filling));
      filling.dispose();
      return filled;
    } finally {
      treeDispose(state);
    }
  } finally {
    treeDispose([known, first]);
    for (const compiled of [encode, improve, decode]) compiled.dispose();
  }
}

type CodeState = { code: { z: tf.Tensor2D }; opt: AdamState };

/**
 * One round of the chain for a VAE with one layer of codes: z from q(z | x), then the mean of p(x | z), or a draw of it.
 *
 * The mean leaves out the noise of single pixels: a chain of means settles sooner, a chain of draws is the paper's.
 */
export function drawRound(
  vae: VaeFunctions,
  x: tf.Tensor,
  rng: Rng,
  options: { readonly pixels?: "mean" | "drawn" } = {},
): tf.Tensor {
  return tf.tidy(() => {
    const { mu, logvar } = vae.encode(x);
    const z = tf.add(mu, tf.mul(tf.exp(tf.mul(0.5, logvar)), rng.normal(mu.shape))) as tf.Tensor2D;
    const params = vae.decode(z);
    return options.pixels === "drawn" ? vae.likelihood.sample(params, rng) : vae.likelihood.mean(params);
  });
}

/**
 * Fills missing values with the mean of the known values at the same place, 0 where no example has one: the least that
 * an imputation should beat.
 *
 * @param x [B, ...]
 * @param observed the shape of x, 1 or 0
 */
export function imputeMean(x: tf.Tensor, observed: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const zeroed = tf.where(observed.greater(0), x, tf.zerosLike(x));
    const mean = zeroed.sum(0).div(observed.sum(0).maximum(1));
    return tf.where(observed.greater(0), x, mean.expandDims(0).add(tf.zerosLike(zeroed)));
  });
}

/**
 * Throws, naming the first, if an example has no known value at all: nothing can be imputed from nothing.
 *
 * @param observed [B, ...], 1 where a value is known, else 0
 */
export async function assertSomeObserved(caller: string, observed: tf.Tensor): Promise<void> {
  const counts = tf.tidy(() => observed.reshape([observed.shape[0]!, -1]).sum(1));
  const empty = (await counts.data()).indexOf(0);
  counts.dispose();
  if (empty >= 0) {
    throw new Error(`${caller}: all values of example ${empty} are missing; expected at least one that is known`);
  }
}

/** The chain begins at the mean of each example's own known values. */
function startOf(x: tf.Tensor, observed: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const axes = x.shape.map((_, i) => i).slice(1);
    const zeroed = tf.where(observed.greater(0), x, tf.zerosLike(x));
    return zeroed.sum(axes, true).div(observed.sum(axes, true)).add(tf.zerosLike(zeroed));
  });
}
