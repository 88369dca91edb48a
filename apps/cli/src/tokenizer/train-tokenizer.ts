import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomic } from "@genai/core";
import {
  type ByteSplit,
  type Corpus,
  createByteTokenizer,
  type StageJson,
  type Tokenizer,
  type TrainOptions,
  trainBpe,
  trainCharacters,
  trainUnigram,
  trainWordLevel,
  trainWordPiece,
  type WordSplit,
} from "@genai/tokenizer";
import { UsageError } from "../exit-code.ts";

export const algorithms = ["bpe", "character-bpe", "wordpiece", "unigram", "words", "characters", "bytes"] as const;
export const splits = [
  "gpt2",
  "cl100k",
  "llama3",
  "o200k",
  "qwen2",
  "metaspace",
  "whitespace",
  "words",
  "none",
] as const;
export const normalizers = ["none", "nfc", "nfkc", "lowercase"] as const;

export interface TokenizerTrainOptions {
  readonly algorithm: (typeof algorithms)[number];
  readonly vocabSize?: number;
  readonly minFrequency?: number;
  readonly maxTokenLength?: number;
  readonly limitAlphabet?: number;
  readonly special?: readonly string[];
  readonly split?: (typeof splits)[number];
  readonly pattern?: string;
  readonly normalizer: (typeof normalizers)[number];
  readonly byteFallback?: boolean;
  readonly cased?: boolean;
  readonly suffix?: string;
}

const byteSplits: readonly string[] = ["gpt2", "cl100k", "llama3", "o200k", "qwen2"];

/** Which options each algorithm takes besides --special and --normalizer. */
const takes: Readonly<Record<(typeof algorithms)[number], readonly (keyof TokenizerTrainOptions)[]>> = {
  bpe: ["vocabSize", "minFrequency", "maxTokenLength", "split", "pattern"],
  "character-bpe": ["vocabSize", "minFrequency", "maxTokenLength", "limitAlphabet", "split", "byteFallback", "suffix"],
  wordpiece: ["vocabSize", "minFrequency", "maxTokenLength", "limitAlphabet", "split", "cased"],
  unigram: ["vocabSize", "maxTokenLength", "limitAlphabet", "split", "byteFallback"],
  words: ["vocabSize", "minFrequency", "split"],
  characters: ["limitAlphabet"],
  bytes: [],
};

const flags: Partial<Record<keyof TokenizerTrainOptions, string>> = {
  vocabSize: "--vocab-size",
  minFrequency: "--min-frequency",
  maxTokenLength: "--max-token-length",
  limitAlphabet: "--limit-alphabet",
  split: "--split",
  pattern: "--pattern",
  byteFallback: "--byte-fallback",
  cased: "--cased",
  suffix: "--suffix",
};

/** Throws a UsageError if the options do not fit the algorithm. */
export function checkTrainOptions(options: TokenizerTrainOptions): void {
  const { algorithm, split, pattern } = options;
  const ignored = Object.entries(flags).filter(
    ([name]) =>
      options[name as keyof TokenizerTrainOptions] !== undefined &&
      !takes[algorithm].includes(name as keyof TokenizerTrainOptions),
  );
  if (ignored.length > 0) {
    throw new UsageError(`${ignored.map(([, flag]) => flag).join(", ")} does nothing with --algorithm ${algorithm}`);
  }
  if (split !== undefined && pattern !== undefined) throw new UsageError("--split and --pattern exclude each other");
  if (split === undefined || split === "none") return;
  if ((algorithm === "bpe") === byteSplits.includes(split)) return;
  const fitting = splits.filter((name) => name === "none" || (algorithm === "bpe") === byteSplits.includes(name));
  throw new UsageError(`--split ${split} does not go with --algorithm ${algorithm}; there is ${fitting.join(", ")}`);
}

/** Trains a tokenizer as the command line's options say. */
export async function trainTokenizer(
  texts: Corpus,
  options: TokenizerTrainOptions,
  control: Pick<TrainOptions, "onProgress" | "signal">,
): Promise<Tokenizer> {
  const { algorithm, normalizer, cased } = options;
  const split = options.split === "none" ? null : options.split;
  const wordSplit = split === undefined ? {} : { split: split as WordSplit };
  const shared = {
    ...control,
    ...pick(options, ["vocabSize", "minFrequency", "maxTokenLength", "limitAlphabet", "byteFallback"]),
    ...(options.special === undefined ? {} : { specialTokens: options.special }),
    ...(normalizer === "none" ? {} : { normalizer: stages[normalizer] }),
  };
  switch (algorithm) {
    case "bpe": {
      const byteSplit = options.pattern === undefined ? split : { pattern: options.pattern };
      return trainBpe(texts, { ...shared, ...(byteSplit === undefined ? {} : { split: byteSplit as ByteSplit }) });
    }
    case "character-bpe": {
      const suffix = options.suffix === undefined ? {} : { endOfWordSuffix: options.suffix };
      return trainBpe(texts, { ...shared, ...wordSplit, ...suffix, alphabet: "characters" });
    }
    case "wordpiece":
      return trainWordPiece(texts, { ...shared, ...wordSplit, ...(cased ? { lowercase: false } : {}) });
    case "unigram": {
      const { maxTokenLength, ...rest } = shared;
      const length = maxTokenLength === undefined ? {} : { maxPieceLength: maxTokenLength };
      return trainUnigram(texts, { ...rest, ...wordSplit, ...length });
    }
    case "words":
      return trainWordLevel(texts, { ...shared, ...wordSplit });
    case "characters":
      return trainCharacters(texts, shared);
    case "bytes":
      return createByteTokenizer(shared);
  }
}

const stages: Readonly<Record<"nfc" | "nfkc" | "lowercase", StageJson>> = {
  nfc: { type: "NFC" },
  nfkc: { type: "NFKC" },
  lowercase: { type: "Lowercase" },
};

function pick<T extends object, K extends keyof T>(
  from: T,
  names: readonly K[],
): { [N in K]?: Exclude<T[N], undefined> } {
  return Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]])) as {
    [N in K]?: Exclude<T[N], undefined>;
  };
}

/** Writes a tokenizer.json so that no half of it is ever seen under its name. */
export async function saveTokenizer(tokenizer: Tokenizer, file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFileAtomic(file, `${JSON.stringify(tokenizer.toJson(), null, 2)}\n`, "genai tokenizer train");
}
