import { describeModelContract } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import {
  autoencoderCodec,
  autoencoderLoss,
  type ConvVaeConfig,
  classLabels,
  conditionalVaeFunctions,
  conditionalVaeLoss,
  convVaeFunctions,
  convVaeLoss,
  createAutoencoder,
  createConditionalVae,
  createConvVae,
  createHierarchicalVae,
  createMadePrior,
  createMixturePrior,
  createMlpVae,
  createVampPrior,
  encodeMlpVae,
  hierarchicalVaeFunctions,
  hierarchicalVaeLoss,
  interpolate,
  iwaeLoss,
  latentCodec,
  latentTraversal,
  type MadePrior,
  type MixturePrior,
  type MlpVae,
  type MlpVaeConfig,
  madePrior,
  maskingCorruption,
  mixturePrior,
  mlpVaeFunctions,
  mlpVaeLoss,
  type Prior,
  reconstruct,
  reconstructHierarchicalVae,
  sampleHierarchicalVae,
  sampleVae,
  type VampPrior,
  vampPrior,
} from "../src/index.ts";

const config = {
  inputShape: [4, 3, 2],
  hiddenDims: [7, 6],
  latentDim: 3,
  activation: "tanh",
  likelihood: { kind: "bernoulli" },
} as const satisfies MlpVaeConfig;

describeModelContract({
  name: "an MLP VAE",
  create: (rng) => createMlpVae(config, rng),
  batch: (rng) => rng.uniform([5, 4, 3, 2]),
  loss: (vae, x, rng) => mlpVaeLoss(vae, x, rng, { beta: 2 }),
  outputs: {
    run: (vae, x, rng) => {
      const functions = mlpVaeFunctions(vae);
      const codec = latentCodec(functions);
      return {
        reconstruction: reconstruct(codec, x),
        samples: sampleVae(functions, { count: 3, rng }),
        drawn: sampleVae(functions, { count: 3, rng, pixels: "drawn" }),
        walk: interpolate(codec, x, x, { steps: 4 }),
        traversal: latentTraversal(codec, codec.encode(x), { dimensions: [0, 2], steps: 3 }),
        logWeights: functions.logWeights(x, rng, 6),
      };
    },
    shapes: {
      reconstruction: [5, 4, 3, 2],
      samples: [3, 4, 3, 2],
      drawn: [3, 4, 3, 2],
      walk: [5, 4, 4, 3, 2],
      traversal: [5, 2, 3, 4, 3, 2],
      logWeights: [6, 5],
    },
  },
});

describeModelContract({
  name: "an MLP VAE of vectors with a learned scale and free bits",
  create: (rng) =>
    createMlpVae(
      { ...config, inputShape: [6], activation: "relu", likelihood: { kind: "gaussian", scale: "learned" } },
      rng,
    ),
  batch: (rng) => rng.uniform([5, 6]),
  loss: (vae, x, rng) => mlpVaeLoss(vae, x, rng, { freeBits: 0.01 }),
});

describeModelContract({
  name: "an importance-weighted autoencoder",
  create: (rng) => createMlpVae(config, rng),
  batch: (rng) => rng.uniform([4, 4, 3, 2]),
  loss: (vae, x, rng) => iwaeLoss(mlpVaeFunctions(vae), x, rng, { samples: 5 }),
});

const convConfig: ConvVaeConfig = {
  imageSize: [8, 8],
  channels: 3,
  hiddenChannels: [3, 4],
  denseDim: 6,
  latentDim: 3,
  encoderKernel: 3,
  decoderKernel: 4,
  likelihood: { kind: "discretizedLogisticMixture", mixtures: 2, levels: 16 },
};

describeModelContract({
  name: "a convolutional VAE of colour levels with free bits",
  create: (rng) => createConvVae(convConfig, rng),
  batch: (rng) => tf.tidy(() => tf.div(rng.integers([4, 8, 8, 3], 0, 16).toFloat(), 15)) as tf.Tensor4D,
  loss: (vae, x, rng) => convVaeLoss(vae, x, rng, { freeBits: 0.01 }),
  outputs: {
    run: (vae, x, rng) => ({
      logWeights: convVaeFunctions(vae).logWeights(x, rng, 2),
      drawn: sampleVae(convVaeFunctions(vae), { count: 2, rng, pixels: "drawn" }),
    }),
    shapes: { logWeights: [2, 4], drawn: [2, 8, 8, 3] },
  },
});

for (const prior of ["standard", "class"] as const) {
  describeModelContract({
    name: `a conditional VAE with a ${prior} prior`,
    create: (rng) => createConditionalVae({ ...config, classes: 3, prior }, rng),
    batch: (rng) => ({ x: rng.uniform([6, 4, 3, 2]), labels: classLabels([0, 1, 2, 2, 1, 0], { classes: 3 }) }),
    loss: (vae, batch, rng) => conditionalVaeLoss(vae, batch, rng),
    outputs: {
      run: (vae, { x, labels }, rng) => {
        const functions = conditionalVaeFunctions(vae, labels);
        return {
          samples: sampleVae(functions, { count: 12, rng }),
          walk: interpolate(latentCodec(functions), x, x, { steps: 3 }),
          logWeights: functions.logWeights(x, rng, 4),
        };
      },
      shapes: { samples: [12, 4, 3, 2], walk: [6, 3, 4, 3, 2], logWeights: [4, 6] },
    },
  });
}

type WithPrior<P> = { config: unknown; params: { vae: MlpVae["params"]; prior: P } };

/** A VAE and a learned prior as one model, as a training state holds them. */
function describePrior<P>(
  name: string,
  create: (rng: Parameters<typeof createMlpVae>[1]) => { config: unknown; params: P },
  functionsOf: (prior: { config: unknown; params: P }, vae: MlpVae) => Prior,
): void {
  const functions = (model: WithPrior<P>) => {
    const vae = { config, params: model.params.vae };
    return mlpVaeFunctions(vae, functionsOf({ config: model.config, params: model.params.prior }, vae));
  };
  describeModelContract<WithPrior<P>, tf.Tensor>({
    name: `a VAE with ${name}`,
    create: (rng) => {
      const prior = create(rng);
      return { config: prior.config, params: { vae: createMlpVae(config, rng).params, prior: prior.params } };
    },
    batch: (rng) => rng.uniform([4, 4, 3, 2]),
    loss: (model, x, rng) =>
      mlpVaeLoss({ config, params: model.params.vae }, x, rng, { prior: functions(model).prior }),
    outputs: {
      run: (model, x, rng) => ({
        samples: sampleVae(functions(model), { count: 3, rng }),
        logWeights: functions(model).logWeights(x, rng, 2),
      }),
      shapes: { samples: [3, 4, 3, 2], logWeights: [2, 4] },
    },
  });
}

describePrior(
  "a mixture prior",
  (rng) => createMixturePrior({ latentDim: 3, components: 4 }, rng),
  (prior) => mixturePrior(prior as MixturePrior),
);
describePrior(
  "a VampPrior",
  (rng) => createVampPrior({ inputShape: [4, 3, 2], components: 4 }, rng),
  (prior, vae) => vampPrior(prior as VampPrior, (x) => encodeMlpVae(vae, x)),
);
describePrior(
  "an autoregressive prior",
  (rng) => createMadePrior({ latentDim: 3, hiddenDims: [8, 8] }, rng),
  (prior) => madePrior(prior as MadePrior),
);

describeModelContract({
  name: "a ladder VAE",
  create: (rng) => createHierarchicalVae({ ...config, hiddenDims: [[7], [5, 6]], latentDims: [4, 2] }, rng),
  batch: (rng) => rng.uniform([5, 4, 3, 2]),
  loss: (vae, x, rng) => hierarchicalVaeLoss(vae, x, rng, { beta: 0.5 }),
  outputs: {
    run: (vae, x, rng) => ({
      reconstruction: reconstructHierarchicalVae(vae, x),
      samples: sampleHierarchicalVae(vae, { count: 3, rng }),
      walk: interpolate(hierarchicalVaeFunctions(vae), x, x, { steps: 3 }),
      logWeights: hierarchicalVaeFunctions(vae).logWeights(x, rng, 4),
    }),
    shapes: {
      reconstruction: [5, 4, 3, 2],
      samples: [3, 4, 3, 2],
      walk: [5, 3, 4, 3, 2],
      logWeights: [4, 5],
    },
  },
});

describeModelContract({
  name: "a denoising autoencoder",
  create: (rng) => createAutoencoder(config, rng),
  batch: (rng) => rng.uniform([5, 4, 3, 2]),
  loss: (ae, x, rng) => autoencoderLoss(ae, x, { corrupt: maskingCorruption(0.3), rng }),
  outputs: {
    run: (ae, x) => ({
      reconstruction: reconstruct(autoencoderCodec(ae), x),
      walk: interpolate(autoencoderCodec(ae), x, x, { steps: 2, path: "linear" }),
    }),
    shapes: { reconstruction: [5, 4, 3, 2], walk: [5, 2, 4, 3, 2] },
  },
});
