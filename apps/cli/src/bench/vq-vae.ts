import { adam, Rng, valueAndGrad } from "@genai/core";
import { batches, drawDigits } from "@genai/datasets";
import {
  createVqVae,
  initVqCodebook,
  updateVqCodebook,
  type VqCodebookState,
  type VqVae,
  vqVaeLoss,
  vqVaePresets,
} from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";
import type { EngineBenchJob } from "./job.ts";
import { runTrainingBench } from "./training-job.ts";

/** A training step of the VQ-VAE on 28x28 images: batch 64, 128 codes by moving averages with restarts, Adam. */
export const vqVae: EngineBenchJob = {
  name: "vq_vae",
  summary: "training step of the VQ-VAE, 28x28, batch 64, 128 codes",
  async run(engine, request) {
    const batchSize = 64;
    const rng = new Rng(request.seed);
    const model = createVqVae(vqVaePresets.mnist, rng);
    const optimizer = adam({ learningRate: 1e-3 });
    const data = batches(drawDigits({ count: 2048, rng }), { batchSize, rng: rng.fork("batches"), range: [0, 1] });
    type State = { params: VqVae["params"]; opt: ReturnType<typeof optimizer.init>; codes: VqCodebookState };
    const result = await runTrainingBench(
      engine,
      {
        name: "vq_vae_train",
        unit: "samples",
        perStep: batchSize,
        steps: 20,
        warmup: 3,
        state: {
          params: model.params,
          opt: optimizer.init(model.params),
          codes: initVqCodebook(model),
        } satisfies State,
        step: function vqVaeStep(state: State, x: tf.Tensor4D, noise: Rng) {
          const { loss, grads, encoded, ids } = valueAndGrad(
            (params: VqVae["params"]) => vqVaeLoss({ config: model.config, params }, x),
            state.params,
          );
          const next = optimizer.update(grads, state.opt, state.params);
          const update = updateVqCodebook(next.params.codebook.weight, state.codes, { encoded, ids }, noise);
          const params = { ...next.params, codebook: update.codebook };
          return { state: { params, opt: next.state, codes: update.state }, loss };
        },
        nextBatch: async () => (await data.next()).value!.images as tf.Tensor4D,
        rng,
        config: { batch: batchSize, codes: model.config.codes, codeDim: model.config.codeDim, seed: request.seed },
      },
      request,
    );
    await data.return();
    return result;
  },
};
