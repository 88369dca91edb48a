import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { BpeJson, TokenizerFiles, TokenizerJson } from "../src/index.ts";
import { loadTokenizer, TokenizerFormatError } from "../src/index.ts";
import { trainBpeJson } from "../src/training/train-bpe.ts";
import { trainUnigramJson } from "../src/training/train-unigram.ts";
import { trainWordLevelJson } from "../src/training/train-word-level.ts";
import { trainWordPieceJson } from "../src/training/train-word-piece.ts";
import { type Draw, mutateBytes, mutateJson, mutateLines } from "./mutate.ts";
import { randomNumbers, randomText } from "./random-text.ts";

// Broken files: loading one either fails with a TokenizerFormatError that names the file, or gives a tokenizer that
// encodes and decodes anything in bounded time. Longer runs: GENAI_FUZZ_ROUNDS=100.

const rounds = Number(process.env.GENAI_FUZZ_ROUNDS ?? 1);
const dataDir = process.env.GENAI_DATA_DIR;
/** No file and no string may take longer, on a busy machine. */
const longestMs = 5000;

const corpus = Array.from(
  { length: 60 },
  (_, i) => `the quick brown fox ${i} jumps over the lazy dog's bed, 漢字 é 😉\n`,
);

/** Loads what may be broken and uses it. Returns whether it loaded. */
async function survive(files: TokenizerFiles, names: readonly string[], draw: Draw, what: string): Promise<boolean> {
  const start = performance.now();
  try {
    const tokenizer = await loadTokenizer(files, {
      encoding: { pattern: "\\s+|\\S+", specialTokens: { "<|end|>": 500 } },
    });
    for (let i = 0; i < 3; i++) {
      const text = i === 2 ? "a".repeat(2000) : randomText(draw, 30) + (draw(4) === 0 ? "\udc00x\ud800" : "");
      const encoding = tokenizer.encode(text, { allowedSpecial: draw(2) === 0 ? "all" : "none" });
      const outside = encoding.offsets.find(([from, to]) => !(from >= 0 && from <= to && to <= text.length));
      expect(outside, `${what}: offsets outside of the text`).toBe(undefined);
      expect(typeof tokenizer.decode(encoding.ids), what).toBe("string");
    }
    JSON.stringify(tokenizer.toJson());
    return true;
  } catch (error) {
    // What the file says about truncation may not fit the text that is encoded, and then the request is wrong.
    if (error instanceof RangeError && /^encode: (stride|maxLength|truncation) /.test(error.message)) return true;
    if (!(error instanceof TokenizerFormatError)) throw new Error(`${what}: ${(error as Error)?.stack}`);
    expect(
      names.some((name) => error.message.includes(name)),
      `${what}: "${error.message}" names no file`,
    ).toBe(true);
    expect(error.message.length, `${what}: ${error.message.slice(0, 500)}`).toBeLessThan(1000);
    return false;
  } finally {
    expect(performance.now() - start, `${what}: took too long`).toBeLessThan(longestMs);
  }
}

async function fuzz(name: string, seed: number, count: number, make: (draw: Draw) => TokenizerFiles): Promise<void> {
  let loaded = 0;
  for (let i = 0; i < count * rounds; i++) {
    const draw = randomNumbers(seed * 1_000_000 + i);
    const files = make(draw);
    if (await survive(files, Object.keys(files), draw, `${name}, seed ${seed}, case ${i}`)) loaded++;
  }
  // Both outcomes occur, so that both are tested.
  expect(loaded).toBeGreaterThan(0);
  expect(loaded).toBeLessThan(count * rounds);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const trained: Record<string, TokenizerJson> = {};
beforeAll(async () => {
  trained.bpe = await trainBpeJson(corpus, {
    vocabSize: 300,
    specialTokens: ["<s>"],
    split: "cl100k",
    normalizer: { type: "NFC" },
  });
  trained.fallback = await trainBpeJson(corpus, { alphabet: "characters", vocabSize: 330, byteFallback: true });
  trained.suffix = await trainBpeJson(corpus, { alphabet: "characters", vocabSize: 80, endOfWordSuffix: "</w>" });
  trained.wordPiece = await trainWordPieceJson(corpus, { vocabSize: 90 });
  trained.unigram = await trainUnigramJson(corpus, { vocabSize: 80, byteFallback: false });
  trained.words = await trainWordLevelJson(corpus, { vocabSize: 30 });
  // Every kind of stage that has fields of its own.
  trained.stages = {
    ...trained.wordPiece,
    truncation: { direction: "Right", max_length: 8, strategy: "LongestFirst", stride: 2 },
    padding: {
      strategy: { Fixed: 12 },
      direction: "Right",
      pad_to_multiple_of: 4,
      pad_id: 0,
      pad_type_id: 0,
      pad_token: "[PAD]",
    },
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Replace", pattern: { Regex: " {2,}" }, content: " " },
        { type: "Prepend", prepend: "▁" },
        { type: "Strip", strip_left: true, strip_right: false },
        { type: "StripAccents" },
        { type: "Lowercase" },
        { type: "NFKC" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: { Regex: "(?i:'s)|\\p{L}++|\\p{N}{1,3}|[^\\s\\p{L}]+?" },
          behavior: "MergedWithNext",
          invert: false,
        },
        { type: "Digits", individual_digits: true },
        { type: "Punctuation", behavior: "Contiguous" },
        { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true },
        { type: "WhitespaceSplit" },
      ],
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
  };
});

describe("broken files of tokenizers", { timeout: 120_000 * Math.max(1, rounds) }, () => {
  it.each(["bpe", "fallback", "suffix", "wordPiece", "unigram", "words", "stages"])(
    "tokenizer.json of %s, with changed values",
    async (kind) => {
      await fuzz(kind, 100 + kind.length, 250, (draw) => ({
        "tokenizer.json": JSON.stringify(mutateJson(draw, trained[kind])),
      }));
    },
  );

  it.each(["bpe", "unigram", "stages"])("tokenizer.json of %s, with changed bytes", async (kind) => {
    const bytes = encoder.encode(JSON.stringify(trained[kind]));
    await fuzz(kind, 200 + kind.length, 150, (draw) => ({ "tokenizer.json": mutateBytes(draw, bytes) }));
  });

  it("vocab.json and merges.txt", async () => {
    const { vocab, merges } = trained.bpe!.model as BpeJson;
    const lines = [
      "#version: 0.2",
      ...merges.map((pair) => (typeof pair === "string" ? pair : pair.join(" "))),
      "",
    ].join("\n");
    await fuzz("gpt2", 300, 300, (draw) =>
      draw(2) === 0
        ? { "vocab.json": JSON.stringify(vocab), "merges.txt": mutateLines(draw, lines) }
        : { "vocab.json": JSON.stringify(mutateJson(draw, vocab)), "merges.txt": lines },
    );
  });

  it("ranks of tiktoken", async () => {
    // The bytes of the trained tokens in base64.
    const { vocab } = trained.bpe!.model as BpeJson;
    const prints = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !prints(byte));
    const lines = Object.keys(vocab)
      .filter((token) => token !== "<s>")
      .map((token) => {
        const bytes = [...token].map((c) => (c.charCodeAt(0) < 256 ? c.charCodeAt(0) : others[c.charCodeAt(0) - 256]!));
        return btoa(String.fromCharCode(...bytes));
      })
      .map((token, rank) => `${token} ${rank}`)
      .join("\n");
    await fuzz("tiktoken", 400, 300, (draw) => ({
      "some.tiktoken": draw(2) === 0 ? mutateLines(draw, lines) : mutateBytes(draw, encoder.encode(lines)),
    }));
  });

  it("vocab.txt", async () => {
    const lines = Object.keys(trained.wordPiece!.model.vocab).join("\n");
    await fuzz("vocab.txt", 500, 300, (draw) => ({
      "vocab.txt": draw(2) === 0 ? mutateLines(draw, lines) : mutateBytes(draw, encoder.encode(lines)),
    }));
  });

  it("models of SentencePiece", async () => {
    const unigram = sentencePieceModel(trained.unigram!, 1);
    expect(await survive({ "spiece.model": unigram }, ["spiece.model"], randomNumbers(1), "the model itself")).toBe(
      true,
    );
    await fuzz("spiece.model", 600, 400, (draw) => ({ "spiece.model": mutateBytes(draw, unigram) }));
  });

  it.runIf(dataDir)("real models of SentencePiece", async () => {
    for (const [i, name] of ["spm_test_model.model", "seqio_sentencepiece.model"].entries()) {
      const file = join(dataDir!, "tokenizers/sentencepiece-1k", name);
      if (!existsSync(file)) continue;
      const bytes = new Uint8Array(readFileSync(file));
      await fuzz(name, 700 + i, 40, (draw) => ({ "tokenizer.model": mutateBytes(draw, bytes) }));
    }
  });

  it("tokenizer_config.json and special_tokens_map.json beside a good file", async () => {
    const config = {
      add_bos_token: true,
      bos_token: "<s>",
      eos_token: { content: "</s>", lstrip: false, special: true },
      model_max_length: 512,
      chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}",
      added_tokens_decoder: { "0": { content: "<s>", special: true }, "310": { content: "<x>", lstrip: true } },
      tokenizer_class: "GPT2Tokenizer",
    };
    const json = JSON.stringify(trained.bpe);
    const specials = { bos_token: "<s>", additional_special_tokens: ["<s>"] };
    await fuzz("config", 800, 250, (draw) => ({
      "tokenizer.json": json,
      "tokenizer_config.json":
        draw(4) === 0
          ? decoder.decode(mutateBytes(draw, encoder.encode(JSON.stringify(config))))
          : JSON.stringify(mutateJson(draw, config)),
      "special_tokens_map.json": JSON.stringify(mutateJson(draw, specials)),
    }));
  });

  it("bytes that are nothing at all", async () => {
    for (const name of ["tokenizer.json", "vocab.txt", "a.tiktoken", "spiece.model", "bpe_simple_vocab_16e6.txt.gz"]) {
      for (let i = 0; i < 40 * rounds; i++) {
        const draw = randomNumbers(900_000 + i);
        const bytes = Uint8Array.from({ length: draw(200) }, () => draw(256));
        await survive({ [name]: bytes }, [name], draw, `${name}, case ${i}`);
      }
    }
  });
});

describe("any string", () => {
  it("is encoded by every kind, in time in proportion, and decoded exactly by the byte-level ones", {
    timeout: 120_000,
  }, async () => {
    const draw = randomNumbers(31);
    for (const [kind, json] of Object.entries(trained)) {
      const tokenizer = await loadTokenizer({ "tokenizer.json": JSON.stringify(json) });
      for (let i = 0; i < 300 * rounds; i++) {
        const text = randomText(draw, 40);
        const { ids } = tokenizer.encode(text, { addSpecialTokens: false, truncation: false, padding: false });
        const decoded = tokenizer.decode(ids);
        if (kind === "bpe") expect(decoded).toBe(text.normalize("NFC"));
        // Metaspace puts a space before a text unless it has one.
        if (kind === "fallback") expect(decoded).toBe(text.replace(/^[ ▁]/, "").replaceAll("▁", " "));
      }
      for (const unit of ["a", " ", "\n", "🙂", "é", "漢", "1", "'", "ab ", "\u0301"]) {
        const start = performance.now();
        tokenizer.encode(unit.repeat(50_000));
        expect(performance.now() - start, `${kind}: ${JSON.stringify(unit)}`).toBeLessThan(longestMs);
      }
    }
  });
});

/** A ModelProto: pieces with score and type, and a trainer's and a normalizer's settings. */
function sentencePieceModel(json: TokenizerJson, modelType: number): Uint8Array {
  const out: number[] = [];
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
  const bytes = (field: number, content: ArrayLike<number>) => [
    ...varint(field * 8 + 2),
    ...varint(content.length),
    ...Array.from(content),
  ];
  const float = (field: number, value: number) => [field * 8 + 5, ...new Uint8Array(Float32Array.of(value).buffer)];
  const vocab = json.model.type === "Unigram" ? json.model.vocab : [];
  for (const [i, [piece, score]] of vocab.entries()) {
    out.push(...bytes(1, [...bytes(1, encoder.encode(piece)), ...float(2, score), 3 * 8, i === 0 ? 2 : 1]));
  }
  out.push(...bytes(2, [3 * 8, modelType, ...varint(40 * 8), 0]));
  out.push(...bytes(3, [...bytes(1, encoder.encode("identity")), 3 * 8, 1, 4 * 8, 0, 5 * 8, 1]));
  return Uint8Array.from(out);
}
