import type { Rng } from "@genai/core";
import {
  createMadePrior,
  createMixturePrior,
  createVampPrior,
  type MadePrior,
  type MixturePrior,
  madePrior,
  mixturePrior,
  type Posterior,
  type Prior,
  type VampPrior,
  vampPrior,
} from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";

// A VAE and a prior that is trained with it, in one model: { config: { vae, prior }, params: { vae, prior } }. A VAE with
// the standard prior is stored as it is.

export type PriorName = "standard" | "mixture" | "vamp" | "autoregressive";

type LearnedPrior =
  | { readonly kind: "mixture"; readonly config: MixturePrior["config"] }
  | { readonly kind: "vamp"; readonly config: VampPrior["config"] }
  | { readonly kind: "autoregressive"; readonly config: MadePrior["config"] };

interface WithPrior {
  readonly vae: unknown;
  readonly prior: LearnedPrior;
}

interface Model {
  readonly config: unknown;
  readonly params: unknown;
}

/** Mixture components and pseudo-inputs. */
const components = { mixture: 50, vamp: 50 };

export const hasPrior = (config: unknown): config is WithPrior => typeof config === "object" && "vae" in config!;

/** Joins a VAE with a new prior of that name. */
export function createPrior(
  name: PriorName,
  vae: Model,
  sizes: { readonly latentDim: number; readonly inputShape: readonly number[] },
  rng: Rng,
): Model {
  if (name === "standard") return vae;
  const { latentDim, inputShape } = sizes;
  const prior =
    name === "mixture"
      ? createMixturePrior({ latentDim, components: components.mixture }, rng)
      : name === "vamp"
        ? createVampPrior({ inputShape, components: components.vamp }, rng)
        : createMadePrior({ latentDim, hiddenDims: [128, 128] }, rng);
  return {
    config: { vae: vae.config, prior: { kind: name, config: prior.config } },
    params: { vae: vae.params, prior: prior.params },
  };
}

/** The VAE of a model, and its prior if that was trained; a VampPrior needs the VAE's encoder. */
export function priorOf<V extends Model>(
  model: Model,
  encoderOf: (vae: V) => (x: tf.Tensor) => Posterior,
): { vae: V; prior: Prior | undefined } {
  const { config, params } = model;
  if (!hasPrior(config)) return { vae: model as V, prior: undefined };
  const parts = params as { vae: unknown; prior: never };
  const vae = { config: config.vae, params: parts.vae } as V;
  const { prior: learned } = config;
  switch (learned.kind) {
    case "mixture":
      return { vae, prior: mixturePrior({ config: learned.config, params: parts.prior }) };
    case "vamp":
      return { vae, prior: vampPrior({ config: learned.config, params: parts.prior }, encoderOf(vae)) };
    case "autoregressive":
      return { vae, prior: madePrior({ config: learned.config, params: parts.prior }) };
  }
}
