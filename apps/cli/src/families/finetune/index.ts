import { Option } from "commander";
import { nonNegativeNumber, positiveNumber, share, wholeNumber } from "../../option-parsers.ts";
import { documentKinds } from "../../text/text-corpus.ts";
import type { Family, ModelKind } from "../family.ts";
import { type FinetuneOptions, finetuneJob } from "./finetune-job.ts";
import {
  instructionData,
  preferenceData,
  runningTextData,
  type TuningData,
  type TuningDataRequest,
} from "./tuning-data.ts";

// Fine-tuning as a family: what `genai finetune` makes runs of. Its kinds are the formats of its data.

const names = (text: string): string[] => text.split(",").map((name) => name.trim());

export const finetuneOptions: readonly Option[] = [
  new Option("--method <which>", "what learns: an adapter of low rank (LoRA), or the parameters").choices([
    "lora",
    "full",
  ]),
  new Option("--rank <n>", "LoRA: rank of the adapter").argParser(wholeNumber(1)),
  new Option("--alpha <number>", "LoRA: scale, divided by the rank; twice the rank if not given").argParser(
    positiveNumber,
  ),
  new Option("--targets <names>", "LoRA: layers to adapt, with commas; all linear ones if not given").argParser(names),
  new Option("--lora-dropout <share>", "LoRA: share of the adapter's inputs that is dropped").argParser(share),
  new Option("--rank-stabilised", "LoRA: divide the scale by the root of the rank (rsLoRA)"),
  new Option("--freeze <n>", "full: leave the embeddings and the first n blocks as they are").argParser(wholeNumber(0)),
  new Option("--documents <what>", "text: what is a text of its own, with an end").choices(documentKinds),
  new Option("--beta <number>", "preferences: how much DPO keeps the model near what it was").argParser(positiveNumber),
  new Option("--block-size <n>", "the most tokens of a row; the model's context if not given").argParser(
    wholeNumber(2),
  ),
  new Option(
    "--label-smoothing <share>",
    "share of the target spread over all tokens; of preferences: the share that is wrong",
  ).argParser(share),
  new Option("--recompute", "save memory: compute activations again for the gradients, in a third more time"),
  new Option("--weight-decay <number>", "AdamW's decay, of matrices only").argParser(nonNegativeNumber),
  new Option("--max-grad-norm <number>", "scale gradients down to this norm; 0 does not").argParser(nonNegativeNumber),
  new Option("--warmup <steps>", "steps until the largest learning rate; at most a tenth of all").argParser(
    wholeNumber(0),
  ),
  new Option("--eval-every <steps>", "steps between measurements on what is held out; 0 for the end only").argParser(
    wholeNumber(0),
  ),
  new Option("--sample-tokens <n>", "tokens of a sample, before and after; 0 for none").argParser(wholeNumber(0)),
  new Option("--sample-temperature <number>", "temperature of samples of text; answers are the likeliest").argParser(
    positiveNumber,
  ),
];

const options: Omit<FinetuneOptions, "documents" | "beta"> = {
  method: "lora",
  rank: 8,
  alpha: null,
  targets: [],
  loraDropout: 0,
  rankStabilised: false,
  freeze: 0,
  blockSize: null,
  labelSmoothing: 0,
  recompute: false,
  weightDecay: 0,
  maxGradNorm: 1,
  warmup: 20,
  evalEvery: 50,
  sampleTokens: 100,
  sampleTemperature: 0.8,
};

function kind(
  name: "text" | "instructions" | "preferences",
  summary: string,
  load: (request: TuningDataRequest) => Promise<TuningData>,
  own: Partial<FinetuneOptions> = {},
): ModelKind {
  return {
    name,
    summary,
    data: "text",
    defaults: { data: "", steps: 300, batchSize: 8, learningRate: 1e-3, options: { ...options, ...own } },
    createJob: (request) => finetuneJob(request, load),
  };
}

export const finetuneFamily: Family = {
  name: "finetune",
  command: "genai finetune",
  summary: "fine-tuned language model",
  options: finetuneOptions,
  kinds: [
    kind("text", "a text file, a folder of them, or a named set, learned in whole", runningTextData, {
      documents: "auto",
    }),
    kind(
      "instructions",
      "JSON lines of questions with answers, or conversations; only answers are learned",
      instructionData,
    ),
    kind("preferences", "JSON lines of a better and a worse answer; DPO", preferenceData, { beta: 0.1 }),
  ],
  instead: "; it writes text with: genai generate RUN",
};

/** The learning rate where none is given: all parameters want a tenth of what an adapter wants, DPO a tenth again. */
export const defaultLearningRate = (format: string, method: string): number =>
  1e-3 * (method === "full" ? 0.1 : 1) * (format === "preferences" ? 0.1 : 1);
