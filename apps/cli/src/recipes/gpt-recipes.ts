import { gptFamily } from "../families/gpt/index.ts";
import type { RunOutcome } from "../run/train-run.ts";
import { type Recipe, trainingRecipe } from "./recipe.ts";

/** nanoGPT's estimate, over some batches at the best of its evaluations, and the loss over all of the validation text. */
const losses = ({ results }: RunOutcome, unit: string, atMost: number) => [
  { label: "validation loss, all of the text", value: results.valLoss!, unit, digits: 4, atMost },
  { label: "validation loss, best estimate", value: results.bestValLossEstimate!, unit, digits: 4 },
  { label: "bits per character", value: results.valBitsPerCharacter!, unit: "bits", digits: 3 },
];

export const nanogptCpu: Recipe = trainingRecipe({
  name: "nanogpt-cpu",
  summary: "nanoGPT's character model of tiny Shakespeare as it trains it on a CPU",
  duration: "about 2 minutes",
  family: gptFamily,
  settings: { preset: "nano-cpu", data: "tiny-shakespeare", options: { evalBatches: 20 } },
  full: {},
  obtained: (run) => losses(run, "nats a character", 1.88),
  published: [
    {
      what: "the same model, data and steps, best estimate over 20 batches",
      value: "1.88 nats a character",
      source: "github.com/karpathy/nanoGPT, README, PyTorch on a CPU, about 3 minutes",
    },
  ],
});

export const makemore: Recipe = trainingRecipe({
  name: "makemore",
  summary: "makemore's transformer of names, on 1,000 names that it was not trained on",
  duration: "about 5 minutes",
  family: gptFamily,
  settings: { preset: "makemore", data: "names", options: { evalBatches: 20 } },
  full: { steps: 100_000 },
  obtained: (run) => losses(run, "nats a character", 1.92),
  published: [
    {
      what: "the same model: 4 layers, 4 heads, 64 wide",
      value: "about 1.92 nats a character",
      source: "github.com/karpathy/makemore, README, PyTorch",
    },
  ],
});
