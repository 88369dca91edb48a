import { gelu, quickGelu, relu, silu } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";

/** Activation functions under the names that published configurations give them. */
const ACTIVATIONS = {
  gelu: (x: tf.Tensor) => gelu(x),
  gelu_new: (x: tf.Tensor) => gelu(x, { approximate: "tanh" }),
  gelu_pytorch_tanh: (x: tf.Tensor) => gelu(x, { approximate: "tanh" }),
  quick_gelu: quickGelu,
  relu,
  silu,
};

export type Activation = keyof typeof ACTIVATIONS;

export function checkActivation(caller: string, name: string): asserts name is Activation {
  if (Object.hasOwn(ACTIVATIONS, name)) return;
  throw new Error(`${caller}: activation (${name}) must be one of ${Object.keys(ACTIVATIONS).join(", ")}`);
}

export const activate = (name: Activation, x: tf.Tensor): tf.Tensor => ACTIVATIONS[name](x);
