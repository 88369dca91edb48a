import { adamw, decayMatrices, type NormParams, Rng, valueAndGrad } from "@genai/core";
import { textWindows } from "@genai/datasets";
import { createGpt2, type Gpt2, type Gpt2Params, gpt2Loss } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";
import type { EngineBenchJob } from "./job.ts";
import { runTrainingBench } from "./training-job.ts";

interface Preset {
  readonly name: string;
  readonly summary: string;
  readonly blockSize: number;
  readonly batchSize: number;
  readonly nLayer: number;
  readonly nHead: number;
  readonly nEmbd: number;
  readonly steps: number;
  readonly warmup: number;
}

const VOCAB_SIZE = 65; // tiny Shakespeare's characters

/** Ids with the statistics of text: words of a small vocabulary in Zipf's frequencies, with a separator between them. */
function drawIds(count: number, rng: Rng): Int32Array {
  const integers = (size: number, low: number, high: number) =>
    rng.draw({ kind: "integers", size, low, high }) as Int32Array;
  const words = Array.from({ length: 500 }, () => integers(integers(1, 2, 9)[0]!, 1, VOCAB_SIZE));
  const cumulative: number[] = [];
  for (let i = 0; i < words.length; i++) cumulative.push((cumulative[i - 1] ?? 0) + 1 / (i + 1));
  const total = cumulative.at(-1)!;
  const ids = new Int32Array(count);
  for (let at = 0; at < count; ) {
    for (const u of rng.draw({ kind: "uniform", size: 1000, low: 0, high: total })) {
      const word = words[cumulative.findIndex((c) => c > u)] ?? words[0]!;
      ids.set(word.subarray(0, Math.max(0, count - at)), at);
      at += word.length + 1;
      if (at >= count) break;
    }
  }
  return ids;
}

/** The peer's model: nanoGPT's, whose norms have biases where its linear layers have none. */
function createModel({ blockSize, nLayer, nHead, nEmbd }: Preset, rng: Rng): Gpt2 {
  const sizes = { vocabSize: VOCAB_SIZE, blockSize, nLayer, nHead, nEmbd };
  const { config, params } = createGpt2({ ...sizes, bias: false, activation: "gelu" }, rng);
  const withBias = (norm: NormParams): NormParams => ({ ...norm, bias: tf.zeros([nEmbd]) as tf.Tensor1D });
  const h = params.h.map((block) => ({ ...block, ln_1: withBias(block.ln_1), ln_2: withBias(block.ln_2) }));
  return { config, params: { ...params, h, ln_f: withBias(params.ln_f) } };
}

/**
 * Operations of a training step's matrix products: a multiplication and an addition for each weight of the layers and of
 * the head, and for each pair of positions of the attention, whether masked or not; twice as many again for gradients.
 */
function productFlops({ blockSize, batchSize, nLayer, nEmbd }: Preset): number {
  const perToken = nLayer * (12 * nEmbd ** 2 + 2 * blockSize * nEmbd) + VOCAB_SIZE * nEmbd;
  return 3 * 2 * perToken * batchSize * blockSize;
}

function gptJob(preset: Preset): EngineBenchJob {
  const { name, summary, blockSize, batchSize, nLayer, nHead, nEmbd } = preset;
  return {
    name,
    summary,
    async run(engine, request) {
      const rng = new Rng(request.seed);
      const model = createModel(preset, rng);
      const optimizer = adamw({
        learningRate: 1e-3,
        betas: [0.9, 0.99],
        weightDecay: 0.1,
        decayMask: decayMatrices,
        maxGradNorm: 1,
      });
      const data = textWindows(drawIds(400_000, rng), { batchSize, blockSize, rng: rng.fork("windows") });
      type State = { params: Gpt2Params; opt: ReturnType<typeof optimizer.init> };
      type Batch = NonNullable<Awaited<ReturnType<typeof data.next>>["value"]>;
      return runTrainingBench(
        engine,
        {
          name: `gpt_train_${name.slice("gpt_".length)}`,
          unit: "tokens",
          perStep: batchSize * blockSize,
          steps: preset.steps,
          warmup: preset.warmup,
          state: { params: model.params, opt: optimizer.init(model.params) } satisfies State,
          step: function gptStep(state: State, batch: Batch) {
            const { loss, grads } = valueAndGrad(
              (params) => gpt2Loss({ config: model.config, params }, batch.tokens, batch.targets),
              state.params,
            );
            const { params, state: opt } = optimizer.update(grads, state.opt, state.params);
            return { state: { params, opt }, loss };
          },
          nextBatch: async () => (await data.next()).value!,
          rng,
          flops: productFlops(preset),
          config: {
            block: blockSize,
            batch: batchSize,
            n_layer: nLayer,
            n_head: nHead,
            n_embd: nEmbd,
            vocab: VOCAB_SIZE,
            seed: request.seed,
          },
        },
        request,
      );
    },
  };
}

/** nanoGPT's configuration for a laptop's processor. */
export const gptCpu = gptJob({
  name: "gpt_cpu",
  summary: "training step of a character GPT, 4 layers, 128 wide, T 64, batch 12",
  blockSize: 64,
  batchSize: 12,
  nLayer: 4,
  nHead: 4,
  nEmbd: 128,
  steps: 40,
  warmup: 5,
});

/** nanoGPT's "baby GPT" with a batch that fits a laptop. */
export const gptBaby = gptJob({
  name: "gpt_baby",
  summary: "training step of a character GPT, 6 layers, 384 wide, T 256, batch 8",
  blockSize: 256,
  batchSize: 8,
  nLayer: 6,
  nHead: 6,
  nEmbd: 384,
  steps: 4,
  warmup: 1,
});
