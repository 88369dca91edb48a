import { reparameterise } from "@genai/core";
import { describeGolden, type GoldenCase, isGoldenTensor } from "@genai/testing";
import type * as tf from "@tensorflow/tfjs";
import { type ConvVae, type ConvVaeConfig, convVaeLoss, decodeConvVae, encodeConvVae } from "../../src/index.ts";

/** The architecture, read off the shapes of the weights and images (channels first in the file). */
function configOf({ inputs }: GoldenCase): ConvVaeConfig {
  const shape = (name: string) => {
    const value = inputs[name];
    if (!isGoldenTensor(value)) throw new Error(`vae_conv has no tensor ${name}`);
    return value.shape;
  };
  const [, channels, height, width] = shape("x");
  const [hidden, , encoderKernel] = shape("enc.weight");
  return {
    imageSize: [height!, width!],
    channels: channels!,
    hiddenChannels: [hidden!],
    denseDim: null,
    latentDim: shape("mu.weight")[0]!,
    encoderKernel: encoderKernel!,
    decoderKernel: shape("dec.weight")[2]!,
  };
}

function modelOf(config: ConvVaeConfig, inputs: Record<string, tf.Tensor>): ConvVae {
  const layer = (name: string) => ({ weight: inputs[`${name}.weight`]!, bias: inputs[`${name}.bias`]! });
  return {
    config,
    params: {
      encoder: { conv: [layer("enc")], mu: layer("mu"), logvar: layer("logvar") },
      decoder: { project: layer("fc"), conv: [layer("dec")] },
    },
  };
}

await describeGolden("vae_conv", (golden) => {
  const config = configOf(golden);
  return {
    images: ["x", "logits"],
    outputs: (inputs) => {
      const vae = modelOf(config, inputs);
      const x = inputs.x as tf.Tensor4D;
      const eps = inputs.eps as tf.Tensor2D;
      const { mu, logvar } = encodeConvVae(vae, x);
      const z = reparameterise(mu, logvar, eps) as tf.Tensor2D;
      const { loss, recon, kl } = convVaeLoss(vae, x, eps);
      return { mu, logvar, z, logits: decodeConvVae(vae, z), reconstruction: recon, kl, loss };
    },
  };
});
