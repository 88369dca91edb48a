import { join } from "node:path";
import { gptFamily } from "../families/gpt/index.ts";
import { newRunFolder } from "../run/run-folder.ts";
import type { RunOutcome } from "../run/run-outcome.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { type Obtained, type Recipe, trainingRecipe } from "./recipe.ts";

const unit = "nats a character";

const lossOf = (label: string, { results }: RunOutcome, limit: { readonly atMost?: number } = {}): Obtained => ({
  ...{ label, value: results.valLoss!, unit, digits: 4 },
  ...limit,
});

/**
 * The published way of training, and the same with a larger learning rate. What is published is an estimate over 20 batches
 * of 768 characters, whose standard error is 0.014; what is obtained is the mean over all of the validation text.
 */
export const nanogptCpu: Recipe = {
  name: "nanogpt-cpu",
  summary: "nanoGPT's character model of tiny Shakespeare for a CPU, as published and with a larger learning rate",
  duration: "about 4 minutes",
  async run({ seed, seconds, device, out }) {
    const { dir } = newRunFolder("nanogpt-cpu", out);
    const start = (name: string, learningRate: number) =>
      startRun({
        family: gptFamily,
        settings: completeSettings(gptFamily, {
          ...{ preset: "nano-cpu", data: "tiny-shakespeare", seed, seconds, learningRate },
          options: { minLearningRate: 1e-4 },
        }),
        name,
        out: join(dir, name),
        device,
        checkpointEvery: 1000,
      });
    const published = await start("as-published", 1e-3);
    const faster = await start("larger-rate", 3e-3);
    return {
      obtained: [
        lossOf("as published: learning rate 1e-3", published),
        {
          ...{ label: "as published, estimated over 20 batches", unit, digits: 4 },
          value: published.results.bestValLossEstimate!,
        },
        lossOf("learning rate 3e-3", faster, { atMost: 1.88 }),
      ],
      published: [
        {
          what: "learning rate 1e-3, estimated over 20 batches",
          value: `1.88 ${unit}`,
          source: "github.com/karpathy/nanoGPT, README, PyTorch on a CPU, about 3 minutes",
        },
      ],
      runs: [published, faster],
    };
  },
};

export const makemore: Recipe = trainingRecipe({
  name: "makemore",
  summary: "makemore's transformer of names, on 1,000 names that it was not trained on",
  duration: "about 10 minutes; --full: an hour",
  family: gptFamily,
  settings: {
    preset: "makemore",
    data: "names",
    steps: 16_000,
    batchSize: 32,
    learningRate: 3e-3,
    options: {
      ...{ dropout: 0.05, weightDecay: 0.1, maxGradNorm: 1, warmup: 200, minLearningRate: 0, evalBatches: 31 },
      // The weights of the last step are tested: none are chosen by the names that test them.
      evalEvery: 0,
    },
  },
  full: {
    steps: 100_000,
    batchSize: 15,
    learningRate: 5e-4,
    options: {
      ...{ dropout: 0, weightDecay: 0.01, maxGradNorm: 0, warmup: 0, minLearningRate: 5e-4 },
      // As makemore does it: the best of the weights by the test names themselves.
      evalEvery: 500,
    },
  },
  obtained: (run) => [
    lossOf("test loss of 1,000 names", run, { atMost: 1.92 }),
    { label: "bits per character", value: run.results.valBitsPerCharacter!, unit: "bits", digits: 3 },
  ],
  published: [
    {
      what: "the same model: 4 layers, 4 heads, 64 wide; the same 1,000 names",
      value: `about 1.92 ${unit}`,
      source: "github.com/karpathy/makemore, README, PyTorch",
    },
  ],
});
