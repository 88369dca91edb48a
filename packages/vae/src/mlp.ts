import { createLinear, kaimingUniform, type LinearParams, linear, type Rng, relu, silu, tanh } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";

/** What stands between the layers of a multilayer perceptron. */
export type MlpActivation = keyof typeof activations;

const activations = { relu, silu, tanh };

/** The hidden layers of a multilayer perceptron: from widths[0] to widths[1] and so on. */
export function createMlp(widths: readonly number[], activation: MlpActivation, rng: Rng): LinearParams[] {
  const options = activation === "tanh" ? {} : { init: kaimingUniform() };
  return widths.slice(1).map((width, i) => createLinear(widths[i]!, width, rng, options));
}

/** Applies the layers to x [B, in], the activation after each: [B, out]. */
export function mlp(layers: readonly LinearParams[], activation: MlpActivation, x: tf.Tensor): tf.Tensor {
  return layers.reduce((h, layer) => activations[activation](linear(layer, h)), x);
}

/** x [B, ...] as rows [B, D]. */
export const flatten = (x: tf.Tensor): tf.Tensor2D => x.reshape([x.shape[0]!, -1]);

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The checks that every model of fully connected layers makes of its config. */
export function checkMlpConfig(
  caller: string,
  config: { readonly inputShape: readonly number[]; readonly activation: MlpActivation },
  widths: Record<string, number | readonly number[]>,
): void {
  const { inputShape, activation } = config;
  if (inputShape.length === 0) throw new Error(`${caller}: inputShape is empty; expected [..., channels]`);
  for (const [name, value] of Object.entries({ inputShape, ...widths })) {
    for (const n of Array.isArray(value) ? value : [value]) {
      if (!Number.isInteger(n) || n < 1) throw new Error(`${caller}: ${name} (${value}) must be positive integers`);
    }
  }
  if (!(activation in activations)) {
    throw new Error(`${caller}: activation (${activation}) must be one of ${Object.keys(activations).join(", ")}`);
  }
}

/** Throws unless x is a batch of `inputShape`. */
export function checkInput(caller: string, inputShape: readonly number[], x: tf.Tensor): void {
  if (x.rank === inputShape.length + 1 && inputShape.every((n, i) => x.shape[i + 1] === n)) return;
  throw new Error(`${caller}: x has shape [${x.shape}]; expected [batch, ${inputShape.join(", ")}]`);
}

/** Throws unless z is [N, latentDim]. */
export function checkCode(caller: string, latentDim: number, z: tf.Tensor): void {
  if (z.rank === 2 && z.shape[1] === latentDim) return;
  throw new Error(`${caller}: z has shape [${z.shape}]; expected [batch, ${latentDim}]`);
}
