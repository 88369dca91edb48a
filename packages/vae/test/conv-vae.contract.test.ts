import { describeModelContract } from "@genai/testing";
import type * as tf from "@tensorflow/tfjs";
import {
  type ConvVaeConfig,
  convVaeLoss,
  createConvVae,
  decodeConvVae,
  encodeConvVae,
  interpolateConvVae,
  reconstructConvVae,
  sampleConvVae,
} from "../src/index.ts";

const config: ConvVaeConfig = {
  imageSize: [8, 12],
  channels: 2,
  hiddenChannels: [3, 5],
  denseDim: 7,
  latentDim: 4,
  encoderKernel: 3,
  decoderKernel: 4,
};

describeModelContract({
  name: "a convolutional VAE",
  create: (rng) => createConvVae(config, rng),
  batch: (rng) => rng.uniform([6, 8, 12, 2]) as tf.Tensor4D,
  loss: (vae, x, rng) => convVaeLoss(vae, x, rng, { beta: 2 }),
  outputs: {
    run: (vae, x, rng) => {
      const { mu, logvar } = encodeConvVae(vae, x);
      return {
        mu,
        logvar,
        logits: decodeConvVae(vae, mu),
        reconstruction: reconstructConvVae(vae, x),
        samples: sampleConvVae(vae, { count: 3, rng }),
        linear: interpolateConvVae(vae, x, x, { steps: 3, path: "linear" }),
        spherical: interpolateConvVae(vae, x, x, { steps: 3, path: "spherical" }),
      };
    },
    shapes: {
      mu: [6, 4],
      logvar: [6, 4],
      logits: [6, 8, 12, 2],
      reconstruction: [6, 8, 12, 2],
      samples: [3, 8, 12, 2],
      linear: [6, 3, 8, 12, 2],
      spherical: [6, 3, 8, 12, 2],
    },
  },
});
