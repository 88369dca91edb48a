import { embedding } from "@genai/core";
import { describeModelContract } from "@genai/testing";
import type * as tf from "@tensorflow/tfjs";
import {
  codePriorLogits,
  codePriorLoss,
  createCodePrior,
  createVqVae,
  decodeVqVae,
  encodeVqVae,
  initVqCodebook,
  reconstructVqVae,
  updateVqCodebook,
  type VqVae,
  type VqVaeConfig,
  vqVaeLoss,
} from "../src/index.ts";

const config: VqVaeConfig = {
  imageSize: [8, 12],
  channels: 2,
  hiddenChannels: 6,
  residualChannels: 3,
  residualBlocks: 1,
  downsamples: 2,
  codes: 5,
  codeDim: 3,
  codebook: "gradient",
  likelihood: { kind: "bernoulli" },
};

const run = (vae: VqVae, x: tf.Tensor4D, rng: Parameters<typeof updateVqCodebook>[3]) => {
  const ids = encodeVqVae(vae, x);
  const { encoded, ids: flat } = vqVaeLoss(vae, x);
  const { codebook, state, restarted } = updateVqCodebook(
    vae.params.codebook.weight,
    initVqCodebook(vae),
    { encoded, ids: flat },
    rng,
    { restartBelow: 0.8 },
  );
  return { ids, images: decodeVqVae(vae, ids), reconstruction: reconstructVqVae(vae, x), codebook, state, restarted };
};

for (const codebook of ["gradient", "ema"] as const) {
  describeModelContract({
    name: `a VQ-VAE whose codes learn by ${codebook}`,
    create: (rng) => createVqVae({ ...config, codebook }, rng),
    batch: (rng) => rng.uniform([4, 8, 12, 2]) as tf.Tensor4D,
    loss: (vae, x) => {
      const { loss, recon } = vqVaeLoss(vae, x);
      return { loss, recon };
    },
    outputs: {
      run,
      shapes: {
        ids: [4, 2, 3],
        images: [4, 8, 12, 2],
        reconstruction: [4, 8, 12, 2],
        "codebook.weight": [5, 3],
        "state.usage": [5],
        restarted: [],
      },
    },
    ...(codebook === "ema" ? { zeroGradients: /^codebook/ } : {}),
  });
}

describeModelContract({
  name: "a prior over codes",
  create: (rng) => createCodePrior({ codes: 5, mapSize: [2, 3], nEmbd: 8, nHead: 2, nLayer: 2 }, rng),
  batch: (rng) => rng.integers([3, 2, 3], 0, 5) as tf.Tensor3D,
  loss: codePriorLoss,
  outputs: {
    run: (prior, ids) => ({
      logits: codePriorLogits(prior, ids),
      embedded: embedding(prior.params.codes, ids),
    }),
    shapes: { logits: [3, 2, 3, 5], embedded: [3, 2, 3, 8] },
  },
});
