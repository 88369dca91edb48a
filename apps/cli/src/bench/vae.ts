import { adam, Rng, valueAndGrad } from "@genai/core";
import { batches, drawDigits } from "@genai/datasets";
import { type ConvVae, convVaeLoss, convVaePresets, createConvVae } from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";
import type { EngineBenchJob } from "./job.ts";
import { runTrainingBench } from "./training-job.ts";

/** A training step of the convolutional VAE on 28x28 images: batch 128, Bernoulli likelihood, Adam. */
export const vae: EngineBenchJob = {
  name: "vae",
  summary: "training step of the convolutional VAE, 28x28, batch 128",
  async run(engine, request) {
    const batchSize = 128;
    const rng = new Rng(request.seed);
    const model = createConvVae(convVaePresets.mnist, rng);
    const optimizer = adam({ learningRate: 1e-3 });
    const data = batches(drawDigits({ count: 2048, rng }), { batchSize, rng: rng.fork("batches"), range: [0, 1] });
    type State = { params: ConvVae["params"]; opt: ReturnType<typeof optimizer.init> };
    const result = await runTrainingBench(
      engine,
      {
        name: "vae_train",
        unit: "samples",
        perStep: batchSize,
        steps: 40,
        warmup: 5,
        state: { params: model.params, opt: optimizer.init(model.params) } satisfies State,
        step: function vaeStep(state: State, x: tf.Tensor4D, noise: Rng) {
          const { loss, grads } = valueAndGrad(
            (params) => convVaeLoss({ config: model.config, params }, x, noise),
            state.params,
          );
          const { params, state: opt } = optimizer.update(grads, state.opt, state.params);
          return { state: { params, opt }, loss };
        },
        nextBatch: async () => (await data.next()).value!.images as tf.Tensor4D,
        rng,
        config: { batch: batchSize, latent: model.config.latentDim, seed: request.seed },
      },
      request,
    );
    await data.return();
    return result;
  },
};
