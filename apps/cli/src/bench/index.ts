import { dataMnist } from "./data-mnist.ts";
import { gemm } from "./gemm.ts";
import { generateJobs } from "./generate.ts";
import { gptBaby, gptCpu } from "./gpt.ts";
import type { BenchJob } from "./job.ts";
import { tableVae } from "./table-vae.ts";
import { tokenizerEncode } from "./tokenizer-encode.ts";
import { tokenizerLinear } from "./tokenizer-linear.ts";
import { tokenizerLoad } from "./tokenizer-load.ts";
import { tokenizerTrain, tokenizerTrain100mb, tokenizerTrainUnigram } from "./tokenizer-train.ts";
import { vae } from "./vae.ts";
import { vqVae } from "./vq-vae.ts";

/** Every benchmark. To add one: a file beside this one and its name here. */
export const benchJobs: readonly BenchJob[] = [
  gemm,
  vae,
  vqVae,
  tableVae,
  gptCpu,
  gptBaby,
  ...generateJobs,
  dataMnist,
  tokenizerEncode,
  tokenizerLoad,
  tokenizerLinear,
  tokenizerTrain,
  tokenizerTrain100mb,
  tokenizerTrainUnigram,
];
