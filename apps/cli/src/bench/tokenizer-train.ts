import { DataUnavailableError } from "@genai/datasets";
import type { HostBenchJob } from "./job.ts";
import { median, peakRssMib, round } from "./measure.ts";

// Training of vocabularies, beside the Rust library through its Node binding, which trains with the settings that the
// library has by default: 30,000 tokens for BPE, 8,000 for unigram, and the file line by line.

/** 4,096 byte-level tokens on tiny Shakespeare; then as many as there are, as the Rust library makes them. */
export const tokenizerTrain: HostBenchJob = {
  name: "tokenizer_train",
  summary: "training 4,096 byte-level tokens on tiny Shakespeare, beside the Rust library",
  needsEngine: false,
  async run(_, { steps = 5, warmup = 1 }) {
    const { trainBpe } = await import("@genai/tokenizer");
    const text = await readText("tinyshakespeare/input.txt");
    const lines = linesOf(text);
    const ms = await timed(steps, warmup, () => trainBpe([text], { vocabSize: 4096 }));
    const fullMs = await timed(steps, warmup, () => trainBpe(lines));
    const peak = peakRssMib();
    const rust = await withTextFile([text], (file) => timedInRust(steps, file, emptyByteBpe));
    return {
      bench: "tokenizer_train",
      engine: "none",
      steps,
      ms_first: round(ms.first, 1),
      ms_median: round(median(ms.wall), 1),
      all_merges_ms_median: round(median(fullMs.wall), 1),
      rust_all_merges_ms_median: rust && round(median(rust), 1),
      ratio: rust && round(median(rust) / median(fullMs.wall), 2),
      peak_rss_mib: peak,
    };
  },
};

const corpusFiles = [
  "tinyshakespeare/input.txt",
  "botchan/botchan.txt",
  "wikitext-2/test.txt",
  "wikitext-2/valid.txt",
  "mr-polarity/rt-polarity.pos",
  "mr-polarity/rt-polarity.neg",
  "eng-fra/eng-fra.txt",
  "self-instruct/seed_tasks.jsonl",
  "names/names.txt",
];

/** 32,000 byte-level tokens on 100 MB: what text there is, again and again. */
export const tokenizerTrain100mb: HostBenchJob = {
  name: "tokenizer_train_100mb",
  summary: "training 32,000 byte-level tokens on 100 MB of text, beside the Rust library (30,000)",
  needsEngine: false,
  async run() {
    const { trainBpe } = await import("@genai/tokenizer");
    const texts = await Promise.all(corpusFiles.map(readText));
    const corpus = () => repeated(texts, 100_000_000);
    const start = performance.now();
    let readingMs = 0;
    const { vocabSize } = await trainBpe(corpus(), {
      vocabSize: 32_000,
      onProgress: ({ stage }) => {
        if (stage === "reading") readingMs = performance.now() - start;
      },
    });
    const seconds = (performance.now() - start) / 1000;
    const peak = peakRssMib();
    const rust = await withTextFile(corpus(), (file) => timedInRust(1, file, emptyByteBpe));
    return {
      bench: "tokenizer_train_100mb",
      engine: "none",
      seconds: round(seconds, 2),
      reading_seconds: round(readingMs / 1000, 2),
      tokens: vocabSize,
      rust_seconds: rust && round(rust[0]! / 1000, 2),
      ratio: rust && round(rust[0]! / 1000 / seconds, 2),
      peak_rss_mib: peak,
    };
  },
};

/** 8,000 pieces of a unigram model on tiny Shakespeare. */
export const tokenizerTrainUnigram: HostBenchJob = {
  name: "tokenizer_train_unigram",
  summary: "training 8,000 unigram pieces on tiny Shakespeare, beside the Rust library",
  needsEngine: false,
  async run(_, { steps = 3, warmup = 1 }) {
    const { trainUnigram } = await import("@genai/tokenizer");
    const text = await readText("tinyshakespeare/input.txt");
    const lines = linesOf(text);
    const ms = await timed(steps, warmup, () => trainUnigram(lines, { vocabSize: 8000 }));
    const peak = peakRssMib();
    const rust = await withTextFile([text], (file) => timedInRust(steps, file, emptyUnigram));
    return {
      bench: "tokenizer_train_unigram",
      engine: "none",
      steps,
      ms_first: round(ms.first, 1),
      ms_median: round(median(ms.wall), 1),
      rust_ms_median: rust && round(median(rust), 1),
      ratio: rust && round(median(rust) / median(ms.wall), 2),
      peak_rss_mib: peak,
    };
  },
};

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const emptyByteBpe = { pre_tokenizer: byteLevel, decoder: byteLevel, model: { type: "BPE", vocab: {}, merges: [] } };
const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
const emptyUnigram = {
  pre_tokenizer: metaspace,
  decoder: metaspace,
  model: { type: "Unigram", unk_id: null, vocab: [] },
};

async function timed(steps: number, warmup: number, train: () => Promise<unknown>) {
  const all: number[] = [];
  for (let i = 0; i < warmup + steps; i++) {
    const start = performance.now();
    await train();
    all.push(performance.now() - start);
  }
  return { first: all[0]!, wall: all.slice(warmup) };
}

/** How long the Rust library takes to train on a file, in ms; null where its binding cannot be loaded. */
async function timedInRust(steps: number, file: string, json: object): Promise<number[] | null> {
  // Hidden from the bundler: it is there in this repository only.
  const specifier = "tokenizers";
  const module = await import(specifier).catch(() => null);
  if (module === null) return null;
  const { Tokenizer } = (module.default ?? module) as {
    Tokenizer: { fromString(json: string): { train(files: string[]): void } };
  };
  const empty = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    post_processor: null,
  };
  return Array.from({ length: steps }, () => {
    const tokenizer = Tokenizer.fromString(JSON.stringify({ ...empty, ...json }));
    const start = performance.now();
    tokenizer.train([file]);
    return performance.now() - start;
  });
}

async function withTextFile<T>(texts: Iterable<string>, use: (file: string) => Promise<T>): Promise<T> {
  const { mkdtemp, open, rm } = await import("node:fs/promises");
  const { tmpdir } = await import("node:os");
  const { join } = await import("node:path");
  const folder = await mkdtemp(join(tmpdir(), "genai-bench-"));
  try {
    const path = join(folder, "text.txt");
    const file = await open(path, "w");
    for (const text of texts) await file.write(text);
    await file.close();
    return await use(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const linesOf = (text: string): string[] => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];

function* repeated(texts: readonly string[], characters: number): Generator<string> {
  for (let length = 0; length < characters; ) {
    for (const text of texts) {
      if (length >= characters) return;
      yield text;
      length += text.length;
    }
  }
}

async function readText(name: string): Promise<string> {
  const folder = process.env.GENAI_DATA_DIR;
  if (!folder)
    throw new DataUnavailableError(
      "The benchmarks of tokenizers need GENAI_DATA_DIR, with the texts that they train on",
    );
  const { readFile } = await import("node:fs/promises");
  const { join } = await import("node:path");
  return readFile(join(folder, name), "utf8");
}
