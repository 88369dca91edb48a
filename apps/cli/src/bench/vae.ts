import { adam, Rng, valueAndGrad } from "@genai/core";
import { batches, drawDigits } from "@genai/datasets";
import { type ConvVae, convVaeLoss, convVaePresets, createConvVae } from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";
import type { EngineBenchJob } from "./job.ts";
import { runTrainingBench } from "./training-job.ts";

/** The convolutional VAE on 28x28 images with its Adam, and one step of its training on images in [0, 1]. */
export function convVaeTraining(rng: Rng) {
  const { config, params } = createConvVae(convVaePresets.mnist, rng);
  const optimizer = adam({ learningRate: 1e-3 });
  type State = { params: ConvVae["params"]; opt: ReturnType<typeof optimizer.init> };
  const state: State = { params, opt: optimizer.init(params) };
  function vaeStep(before: State, x: tf.Tensor4D, noise: Rng): { state: State; loss: tf.Scalar } {
    const { loss, grads } = valueAndGrad((p) => convVaeLoss({ config, params: p }, x, noise), before.params);
    const next = optimizer.update(grads, before.opt, before.params);
    return { state: { params: next.params, opt: next.state }, loss };
  }
  return { config, state, step: vaeStep };
}

/** A training step of the convolutional VAE on 28x28 images: batch 128, Bernoulli likelihood, Adam. */
export const vae: EngineBenchJob = {
  name: "vae",
  summary: "training step of the convolutional VAE, 28x28, batch 128",
  async run(engine, request) {
    const batchSize = 128;
    const rng = new Rng(request.seed);
    const { config, state, step } = convVaeTraining(rng);
    const data = batches(drawDigits({ count: 2048, rng }), { batchSize, rng: rng.fork("batches"), range: [0, 1] });
    const result = await runTrainingBench(
      engine,
      {
        name: "vae_train",
        unit: "samples",
        perStep: batchSize,
        steps: 40,
        warmup: 5,
        state,
        step,
        nextBatch: async () => (await data.next()).value!.images as tf.Tensor4D,
        rng,
        config: { batch: batchSize, latent: config.latentDim, seed: request.seed },
      },
      request,
    );
    await data.return();
    return result;
  },
};
