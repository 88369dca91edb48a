import {
  binaryCrossEntropyWithLogits,
  discretizedLogisticMixtureNll,
  gaussianNll,
  logSoftmax,
  logSumExp,
  type Rng,
  softplus,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// Distributions of an image (or of any array with a last axis of channels) given what a decoder computes: p(x | z).
//
// Shapes: B batch, C channels of x, P = channelsPerPixel numbers that the decoder gives for each pixel, N = all pixels
// of the batch, K mixture components. x is [B, ..., C] in [0, 1] and params are [B, ..., P]. A vector of D numbers is one
// pixel of D channels.

/** A distribution p(x | params) as functions: a model computes params and leaves the rest to them. */
export interface Likelihood {
  /** P: the size of the last axis of params. */
  readonly channelsPerPixel: number;
  /**
   * -log p(x | params) of each sample in nats, summed over its pixels: [B]. Densities are per unit of x.
   *
   * @param observed the shape of x, 1 where a value counts and else 0; all values count by default. A pixel of a mixture
   *   counts as a whole, by the mean over its channels.
   */
  nll(x: tf.Tensor, params: tf.Tensor, observed?: tf.Tensor): tf.Tensor1D;
  /** The expected x, [B, ..., C]. */
  mean(params: tf.Tensor): tf.Tensor;
  /** A draw of x, [B, ..., C]. */
  sample(params: tf.Tensor, rng: Rng): tf.Tensor;
}

/** A likelihood as plain JSON, for a model's `config`. */
export type LikelihoodConfig =
  | { readonly kind: "bernoulli" }
  | { readonly kind: "gaussian"; readonly scale: number | "learned" }
  | { readonly kind: "discretizedLogisticMixture"; readonly mixtures: number; readonly levels?: number };

/** The functions of a likelihood that a config describes; Bernoulli if it says nothing. */
export function createLikelihood(config: LikelihoodConfig | undefined, channels: number): Likelihood {
  switch (config?.kind) {
    case undefined:
    case "bernoulli":
      return bernoulliLikelihood(channels);
    case "gaussian":
      return gaussianLikelihood(channels, config);
    case "discretizedLogisticMixture":
      return discretizedLogisticMixtureLikelihood(channels, config);
    default:
      throw new Error(
        `createLikelihood: kind (${(config as { kind: unknown }).kind}) is unknown; expected bernoulli, gaussian or ` +
          "discretizedLogisticMixture",
      );
  }
}

/** Binary values by their logits. A value between 0 and 1 counts as the expectation of binary ones. */
export function bernoulliLikelihood(channels: number): Likelihood {
  return {
    channelsPerPixel: channels,
    nll: (x, logits, observed) =>
      tf.tidy(() => sumPerSample(binaryCrossEntropyWithLogits(logits, x, { reduction: "none" }), observed)),
    mean: (logits) => tf.tidy(() => tf.sigmoid(logits)),
    sample: (logits, rng) => tf.tidy(() => binarize(tf.sigmoid(logits), rng)),
  };
}

/** The least standard deviation that a decoder may learn; one level of 256 is 0.004. */
const LEAST_SCALE = 0.01;

/**
 * Real values with independent Gaussian errors, of one standard deviation for all or of one that the decoder gives for
 * each value. Learned ones stay above 0.01, without which a constant pixel has an infinite density.
 */
export function gaussianLikelihood(channels: number, options: { readonly scale: number | "learned" }): Likelihood {
  const { scale } = options;
  if (scale !== "learned" && !(scale > 0)) {
    throw new Error(`gaussianLikelihood: scale (${scale}) must be positive or "learned"`);
  }
  const least = 2 * Math.log(LEAST_SCALE);
  const parts = (params: tf.Tensor): [mean: tf.Tensor, logvar: tf.Tensor] => {
    if (scale !== "learned") return [params, tf.fill(params.shape, 2 * Math.log(scale))];
    const [mean, raw] = tf.split(params, 2, -1) as [tf.Tensor, tf.Tensor];
    return [mean, tf.add(softplus(tf.sub(raw, least)), least)];
  };
  return {
    channelsPerPixel: scale === "learned" ? 2 * channels : channels,
    nll: (x, params, observed) =>
      tf.tidy(() => {
        const [mean, logvar] = parts(params);
        return sumPerSample(gaussianNll(mean, logvar, x, { reduction: "none" }), observed);
      }),
    mean: (params) => tf.tidy(() => tf.clone(parts(params)[0])),
    sample: (params, rng) =>
      tf.tidy(() => {
        const [mean, logvar] = parts(params);
        return tf.add(mean, tf.mul(tf.exp(tf.mul(0.5, logvar)), rng.normal(mean.shape)));
      }),
  };
}

/** Below exp(-7) a logistic is narrower than any level; as in PixelCNN++. */
const LEAST_LOG_SCALE = -7;

/**
 * Whole levels 0 to levels - 1, scaled to [0, 1], by a mixture of discretised logistics over the pixel (Salimans et al.,
 * "PixelCNN++", ICLR 2017, section 2.1 and 2.2): the components are shared by a pixel's channels, and within a component
 * the mean of a channel moves linearly with the channels before it (eq. 3).
 *
 * P = K + 2 C K + K C (C - 1) / 2: logits, means, log-scales and the coefficients between channels.
 */
export function discretizedLogisticMixtureLikelihood(
  channels: number,
  options: { readonly mixtures: number; readonly levels?: number },
): Likelihood {
  const { mixtures: K, levels = 256 } = options;
  const C = channels;
  const pairs = (C * (C - 1)) / 2;
  if (!Number.isInteger(K) || K < 1) {
    throw new Error(`discretizedLogisticMixtureLikelihood: mixtures (${K}) must be a positive integer`);
  }
  if (!Number.isInteger(levels) || levels < 2) {
    throw new Error(`discretizedLogisticMixtureLikelihood: levels (${levels}) must be an integer of at least 2`);
  }
  const channelsPerPixel = K * (1 + 2 * C + pairs);

  /** logits [N, K]; means and logScales a [N, K] for each channel; coefficients [N, K] for each pair of channels. */
  function parts(params: tf.Tensor) {
    const columns = tf.split(tf.reshape(params, [-1, channelsPerPixel]), 1 + 2 * C + pairs, -1);
    return {
      logits: columns[0]!,
      means: columns.slice(1, 1 + C),
      logScales: columns
        .slice(1 + C, 1 + 2 * C)
        .map((s) => tf.add(tf.relu(tf.sub(s, LEAST_LOG_SCALE)), LEAST_LOG_SCALE)),
      coefficients: columns.slice(1 + 2 * C).map((c) => tf.tanh(c)),
    };
  }

  /** The mean of channel c given the channels before it, all in [-1, 1]. */
  function conditionalMean(c: number, means: tf.Tensor[], coefficients: tf.Tensor[], before: tf.Tensor[]): tf.Tensor {
    let mean = means[c]!;
    for (let j = 0; j < c; j++) mean = tf.add(mean, tf.mul(coefficients[(c * (c - 1)) / 2 + j]!, before[j]!));
    return mean;
  }

  const shapeOf = (params: tf.Tensor) => [...params.shape.slice(0, -1), C];
  const toUnit = (y: tf.Tensor) => tf.mul(0.5, tf.add(tf.clipByValue(y, -1, 1), 1));

  return {
    channelsPerPixel,
    nll: (x, params, observed) =>
      tf.tidy(() => {
        const { logits, means, logScales, coefficients } = parts(params);
        const y = tf.split(tf.sub(tf.mul(2, tf.reshape(x, [-1, C])), 1), C, -1); // [N, 1] each
        let logProbs = logSoftmax(logits); // [N, K]
        for (let c = 0; c < C; c++) {
          // Each component by itself: a mixture of one.
          const alone = (t: tf.Tensor) => tf.expandDims(t, -1);
          const mean = alone(conditionalMean(c, means, coefficients, y));
          const target = tf.tile(y[c]!, [1, K]);
          const nll = discretizedLogisticMixtureNll(tf.zerosLike(mean), mean, alone(logScales[c]!), target, {
            levels,
            reduction: "none",
          });
          logProbs = tf.sub(logProbs, nll);
        }
        const counted = observed && tf.reshape(tf.mean(observed, -1), [x.shape[0]!, -1]);
        return sumPerSample(tf.reshape(tf.neg(logSumExp(logProbs)), [x.shape[0]!, -1]), counted);
      }),
    mean: (params) =>
      tf.tidy(() => {
        const { logits, means, coefficients } = parts(params);
        const expected: tf.Tensor[] = []; // of each channel in each component
        for (let c = 0; c < C; c++) expected.push(conditionalMean(c, means, coefficients, expected));
        const weights = tf.softmax(logits);
        const mean = tf.stack(
          expected.map((e) => tf.sum(tf.mul(weights, e), -1)),
          -1,
        );
        return tf.reshape(toUnit(mean), shapeOf(params));
      }),
    sample: (params, rng) =>
      tf.tidy(() => {
        const { logits, means, logScales, coefficients } = parts(params);
        const chosen = tf.cast(tf.oneHot(rng.categorical(logits) as tf.Tensor1D, K), "float32");
        const choose = (t: tf.Tensor) => tf.sum(tf.mul(t, chosen), -1); // [N]
        const [m, s, k] = [means.map(choose), logScales.map(choose), coefficients.map(choose)];
        const drawn: tf.Tensor[] = [];
        for (let c = 0; c < C; c++) {
          const u = rng.uniform([m[c]!.shape[0]!], 1e-5, 1 - 1e-5);
          const logistic = tf.sub(tf.log(u), tf.log(tf.sub(1, u)));
          const y = tf.add(conditionalMean(c, m, k, drawn), tf.mul(tf.exp(s[c]!), logistic));
          const level = tf.round(tf.mul(toUnit(y), levels - 1));
          drawn.push(tf.sub(tf.mul(level, 2 / (levels - 1)), 1));
        }
        return tf.reshape(toUnit(tf.stack(drawn, -1)), shapeOf(params));
      }),
  };
}

/**
 * Draws binary pixels with the grey levels of `x` as probabilities: fresh ones at every call, hence "dynamic
 * binarization", the form of MNIST for which likelihoods are published (Salakhutdinov & Murray, ICML 2008).
 *
 * @param x values in [0, 1]
 * @returns float32 of the same shape, 0 or 1.
 */
export function binarize<T extends tf.Tensor>(x: T, rng: Rng): T {
  return tf.tidy(() => rng.uniform(x.shape).less(x).toFloat() as T);
}

function sumPerSample(losses: tf.Tensor, observed?: tf.Tensor): tf.Tensor1D {
  const counted = observed ? tf.mul(losses, observed) : losses;
  return tf.sum(tf.reshape(counted, [losses.shape[0]!, -1]), 1) as tf.Tensor1D;
}
