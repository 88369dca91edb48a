import { gpt2Presets } from "@genai/transformer";
import type { Preset } from "../family.ts";

// Sizes and the ways of training that belong to them.
//
//   A. Karpathy, nanoGPT: config/train_shakespeare_char.py, README ("I only have a macbook"), config/train_gpt2.py
//   A. Karpathy, makemore; llama2.c: the stories models

/** Of a GPT-2 as nanoGPT trains it on web text. */
const published = (name: keyof typeof gpt2Presets, summary: string): Preset => {
  const { nEmbd, nHead, nLayer, blockSize } = { ...gpt2Presets[name] };
  return {
    name,
    summary,
    settings: {
      kind: "gpt2",
      steps: 600_000,
      batchSize: 12,
      learningRate: 6e-4,
      options: {
        ...{ nEmbd, nHead, nLayer, blockSize, bias: true, dropout: 0, tokenizer: "bpe:50257" },
        ...{ accumulate: 40, minLearningRate: 6e-5, warmup: 2000, beta2: 0.95, evalEvery: 1000 },
      },
    },
  };
};

/** Of a Llama as llama2.c trains it on stories. */
const stories = (name: string, summary: string, nEmbd: number, nLayer: number, nHead: number): Preset => ({
  name,
  summary,
  settings: {
    kind: "llama",
    steps: 100_000,
    batchSize: 32,
    learningRate: 5e-4,
    options: {
      ...{ nEmbd, nLayer, nHead, nKvHead: nHead, blockSize: 256, tokenizer: "bpe:4096", accumulate: 4 },
      ...{ minLearningRate: 0, warmup: 1000, beta2: 0.95, evalEvery: 1000 },
    },
  },
});

export const gptPresets: readonly Preset[] = [
  {
    name: "nano-cpu",
    summary: "nanoGPT's character model for a CPU: 4 layers, 128 wide, minutes",
    settings: {
      kind: "gpt2",
      steps: 2000,
      batchSize: 12,
      learningRate: 1e-3,
      options: { nLayer: 4, nHead: 4, nEmbd: 128, blockSize: 64, dropout: 0, warmup: 100, beta2: 0.99 },
    },
  },
  {
    name: "baby",
    summary: "nanoGPT's baby GPT: 6 layers, 384 wide, minutes on a GPU",
    settings: {
      kind: "gpt2",
      steps: 5000,
      batchSize: 64,
      learningRate: 1e-3,
      options: { nLayer: 6, nHead: 6, nEmbd: 384, blockSize: 256, dropout: 0.2, warmup: 100, beta2: 0.99 },
    },
  },
  {
    name: "makemore",
    summary: "makemore's transformer for short strings: 4 layers, 64 wide",
    settings: {
      kind: "gpt2",
      data: "names",
      steps: 12_000,
      // About 32 names, of which two fit into a row.
      batchSize: 15,
      learningRate: 5e-4,
      options: {
        ...{ nLayer: 4, nHead: 4, nEmbd: 64, blockSize: 64, bias: true, untiedHead: true, dropout: 0 },
        tokenizer: "chars",
        ...{ weightDecay: 0.01, beta2: 0.99, maxGradNorm: 0, warmup: 0, minLearningRate: 5e-4, evalEvery: 500 },
      },
    },
  },
  published("gpt2", "GPT-2, 124 million parameters, as nanoGPT trains it"),
  published("gpt2-medium", "GPT-2, 355 million parameters"),
  published("gpt2-large", "GPT-2, 774 million parameters"),
  published("gpt2-xl", "GPT-2, 1,558 million parameters"),
  {
    name: "llama-nano",
    summary: "a Llama of nano-cpu's size",
    settings: {
      kind: "llama",
      steps: 2000,
      batchSize: 12,
      learningRate: 1e-3,
      options: { nLayer: 4, nHead: 4, nKvHead: 2, nEmbd: 128, blockSize: 64, dropout: 0, warmup: 100, beta2: 0.99 },
    },
  },
  stories("llama-260k", "llama2.c's smallest Llama: 5 layers, 64 wide", 64, 5, 8),
  stories("llama-15m", "llama2.c's Llama of 15 million parameters", 288, 6, 6),
  stories("llama-42m", "llama2.c's Llama of 42 million parameters", 512, 8, 8),
];
