import { createLinear, gaussianLogProb, type LinearParams, linear, type Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { checkCode } from "./mlp.ts";
import type { Prior } from "./priors.ts";

// An autoregressive prior: p(z) = prod_i N(z_i; mu_i(z_<i), exp(logvar_i(z_<i))), all conditionals from one masked network.
//
//   M. Germain, K. Gregor, I. Murray, H. Larochelle, "MADE: Masked Autoencoder for Distribution Estimation", ICML 2015
//   X. Chen et al., "Variational Lossy Autoencoder", ICLR 2017, section 3.2 (such a prior for a VAE)
//
// Shapes: N codes, Z latentDim, H hidden width.

export interface MadePriorConfig {
  /** At least 2. */
  readonly latentDim: number;
  readonly hiddenDims: readonly number[];
}

/** An autoregressive prior; see `createMadePrior`. */
export interface MadePrior {
  readonly config: MadePriorConfig;
  readonly params: {
    hidden: LinearParams[]; // [H, Z], then [H, H]; what the mask hides stays as it was created
    output: LinearParams; // [2 Z, H]: mu, then logvar
  };
}

/** Creates an autoregressive prior, to be trained with the VAE. */
export function createMadePrior(config: MadePriorConfig, rng: Rng): MadePrior {
  const { latentDim, hiddenDims } = config;
  if (!Number.isInteger(latentDim) || latentDim < 2) {
    throw new Error(`createMadePrior: latentDim (${latentDim}) must be an integer of at least 2`);
  }
  if (hiddenDims.length === 0 || hiddenDims.some((n) => !Number.isInteger(n) || n < latentDim - 1)) {
    throw new Error(
      `createMadePrior: hiddenDims (${hiddenDims}) must be one or more integers of at least latentDim - 1 ` +
        `(${latentDim - 1}), so that every code reaches those after it`,
    );
  }
  const widths = [latentDim, ...hiddenDims];
  return {
    config,
    params: {
      hidden: hiddenDims.map((width, i) => createLinear(widths[i]!, width, rng)),
      output: createLinear(hiddenDims.at(-1)!, 2 * latentDim, rng),
    },
  };
}

/** The functions of an autoregressive prior. Drawing takes Z passes through the network, logProb one. */
export function madePrior(made: MadePrior): Prior {
  const { latentDim } = made.config;
  return {
    logProb: (z) => {
      checkCode("madePrior", latentDim, z);
      return tf.tidy(() => {
        const { mu, logvar } = conditionals(made, z);
        return tf.sum(gaussianLogProb(z, mu, logvar), -1) as tf.Tensor1D;
      });
    },
    sample: (count, rng) =>
      tf.tidy(() => {
        const eps = rng.normal([count, latentDim]);
        let z: tf.Tensor = tf.zeros([count, latentDim]);
        // Each pass makes one more dimension right: the first depends on nothing, the second on the first, ...
        for (let i = 0; i < latentDim; i++) {
          const { mu, logvar } = conditionals(made, z);
          z = tf.add(mu, tf.mul(tf.exp(tf.mul(0.5, logvar)), eps));
        }
        return z as tf.Tensor2D;
      }),
  };
}

/** mu_i and logvar_i of p(z_i | z_<i), each [N, Z]. */
function conditionals({ config, params }: MadePrior, z: tf.Tensor): { mu: tf.Tensor; logvar: tf.Tensor } {
  const { latentDim, hiddenDims } = config;
  // A unit of degree m sees the first m codes (Germain et al., eq. 8 and 9); output i sees degrees below i.
  const inputs = Array.from({ length: latentDim }, (_, i) => i + 1);
  let degrees = inputs;
  let h = z;
  for (const [i, layer] of params.hidden.entries()) {
    const next = Array.from({ length: hiddenDims[i]! }, (_, unit) => 1 + (unit % (latentDim - 1)));
    h = tf.relu(masked(layer, h, next, degrees, (to, from) => to >= from));
    degrees = next;
  }
  const out = masked(params.output, h, [...inputs, ...inputs], degrees, (to, from) => to > from);
  const [mu, logvar] = tf.split(out, 2, -1) as [tf.Tensor, tf.Tensor];
  return { mu, logvar };
}

/** A linear layer in which unit `to` sees unit `from` only where their degrees allow it. */
function masked(
  { weight, bias }: LinearParams,
  x: tf.Tensor,
  to: readonly number[],
  from: readonly number[],
  sees: (to: number, from: number) => boolean,
): tf.Tensor {
  const mask = tf.tensor2d(Float32Array.from(to.flatMap((t) => from.map((f) => (sees(t, f) ? 1 : 0)))), [
    to.length,
    from.length,
  ]);
  return linear({ weight: tf.mul(weight, mask), ...(bias ? { bias } : {}) }, x);
}
