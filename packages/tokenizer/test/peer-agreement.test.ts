import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createTokenizer, loadTokenizer, readTiktoken, type Tokenizer } from "@genai/tokenizer";
import { describe, expect, it } from "vitest";
import { cl100kPattern } from "../src/pre-tokenizers/scanners/split-patterns.ts";
import { randomNumbers, randomText } from "./random-text.ts";
import { inRust, loadRustLibrary } from "./training/rust-library.ts";

// The same ids as other libraries, from every format, on random strings out of all of Unicode. The number of strings for
// each pair: GENAI_PEER_STRINGS (100,000 take minutes), by default a few.

const folder = process.env.GENAI_DATA_DIR && join(process.env.GENAI_DATA_DIR, "tokenizers");
const STRINGS = Number(process.env.GENAI_PEER_STRINGS ?? 400);
const require = createRequire(import.meta.url);

type Encode = (text: string) => ArrayLike<number> | Promise<ArrayLike<number>>;

interface CompareOptions {
  /** Makes the strings ones on which the two are meant to agree. */
  readonly change?: (text: string) => string;
  /** Whether strings have code points of all kinds; otherwise those of common scripts. */
  readonly anyCodePoint?: boolean;
  /** Whether a difference is none. */
  readonly allow?: (ours: readonly number[], theirs: readonly number[]) => boolean;
  readonly what?: string;
}

/** Compares two encoders on random strings. */
async function compare(ours: Encode, theirs: Encode, options: CompareOptions = {}): Promise<void> {
  const { change = (text) => text, anyCodePoint = true, allow = () => false, what = "" } = options;
  const next = randomNumbers(20_26);
  for (let i = 0; i < STRINGS; i++) {
    const text = change(randomText(next, i % 50 === 0 ? 60 : 8, anyCodePoint));
    const expected = Array.from(await theirs(text));
    const actual = Array.from(await ours(text));
    if (actual.join() !== expected.join() && !allow(actual, expected))
      expect({ what, text, ids: actual }).toEqual({ what, text, ids: expected });
  }
}

const plain =
  (tokenizer: Tokenizer): Encode =>
  (text) =>
    tokenizer.encode(text, { addSpecialTokens: false }).ids;
const rust = await loadRustLibrary();
const timeout = 60_000 + STRINGS * 20;

describe.skipIf(!folder)("formats agree with one another", () => {
  const load = (path: string) => loadTokenizer(join(folder!, path));

  it(
    "GPT-2 as tokenizer.json, as vocabulary and merges, as ranks",
    async () => {
      const json = plain(await load("gpt2/tokenizer.json"));
      await compare(plain(await load("gpt2/encoder.json")), json);
      await compare(plain(await load("tiktoken/gpt2.tiktoken")), json);
    },
    timeout,
  );

  it(
    "GPT-2's ranks saved as tokenizer.json",
    async () => {
      const ranks = await load("tiktoken/gpt2.tiktoken");
      const saved = createTokenizer(JSON.parse(JSON.stringify(ranks.toJson())));
      await compare(plain(saved), plain(ranks));
    },
    timeout,
  );

  it(
    "BERT as tokenizer.json and as vocab.txt",
    async () => {
      await compare(
        plain(await load("bert-base-uncased/vocab.txt")),
        plain(await load("bert-base-uncased/tokenizer.json")),
      );
    },
    timeout,
  );

  it(
    "Llama 2's model saved as tokenizer.json",
    async () => {
      const model = await load("llama2/tokenizer.model");
      const saved = createTokenizer(JSON.parse(JSON.stringify(model.toJson())));
      await compare(plain(saved), plain(model));
    },
    timeout,
  );
});

describe.skipIf(!folder)("peers give the same ids", () => {
  const load = (path: string) => loadTokenizer(join(folder!, path));
  const bytes = (path: string) => readFile(join(folder!, path));
  /** U+0085 is whitespace in Unicode but not in JavaScript's expressions, and U+FEFF the other way round. */
  const spacesOfJs = (text: string) => text.replace(/[\u0085\ufeff]/g, " ");
  /**
   * Without what the two see differently: the sign for a space itself; and marks, of which the Rust library, which we
   * follow, takes a whole cluster for its shortest prefix that has a replacement.
   */
  const plainText = (text: string) => text.normalize("NFC").replace(/\p{M}|\u200d|\u2581|\0/gu, "");
  /** Segmentations of the same pieces differ by SentencePiece's rounding to single precision only. */
  const isTie = (a: readonly number[], b: readonly number[]) => [...a].sort().join() === [...b].sort().join();
  /** tiktoken's newer pattern keeps whitespace at the end of a text in one piece; older copies of it do not. */
  const withEnd = (text: string) => `${text}.`;

  it(
    "GPT-2 in gpt-tokenizer",
    async () => {
      const { encode } = await import("gpt-tokenizer/encoding/gpt2");
      await compare(plain(await load("gpt2")), (text) => encode(text, { disallowedSpecial: new Set() }), {
        change: spacesOfJs,
      });
    },
    timeout,
  );

  it(
    "GPT-2 in js-tiktoken",
    async () => {
      const { Tiktoken } = await import("js-tiktoken/lite");
      const { default: ranks } = await import("js-tiktoken/ranks/gpt2");
      const theirs = new Tiktoken(ranks);
      await compare(plain(await load("tiktoken/gpt2.tiktoken")), (text) => theirs.encode(text, [], []), {
        change: spacesOfJs,
      });
    },
    timeout,
  );

  it(
    "GPT-2 in @huggingface/tokenizers",
    async () => {
      const { Tokenizer } = await import("@huggingface/tokenizers");
      const json = JSON.parse(await readFile(join(folder!, "gpt2/tokenizer.json"), "utf8"));
      const theirs = new Tokenizer(json, {});
      await compare(plain(await load("gpt2")), (text) => theirs.encode(text, { add_special_tokens: false }).ids, {
        change: spacesOfJs,
      });
    },
    timeout,
  );

  it(
    "cl100k in gpt-tokenizer",
    async () => {
      const { encode } = await import("gpt-tokenizer/encoding/cl100k_base");
      const ours = await load("tiktoken/cl100k_base.tiktoken");
      await compare(plain(ours), (text) => encode(text, { disallowedSpecial: new Set() }), { change: spacesOfJs });
    },
    timeout,
  );

  it(
    "cl100k in tiktoken",
    async () => {
      // Its Unicode is older than Node's: some letters are none.
      const { get_encoding } = require("tiktoken") as typeof import("tiktoken");
      const theirs = get_encoding("cl100k_base");
      const ours = await load("tiktoken/cl100k_base.tiktoken");
      await compare(plain(ours), (text) => theirs.encode(text, [], []), { change: withEnd, anyCodePoint: false });
      const older = createTokenizer(
        readTiktoken(await bytes("tiktoken/cl100k_base.tiktoken"), {
          encoding: { pattern: cl100kPattern, specialTokens: {} },
        }),
      );
      await compare(plain(older), (text) => theirs.encode(text, [], []), { anyCodePoint: false });
      theirs.free();
    },
    timeout,
  );

  it(
    "Llama 2 and Unigram models in SentencePiece",
    async () => {
      const { SentencePieceProcessor } = require("sentencepiece-js");
      for (const path of [
        "llama2/tokenizer.model",
        "albert-unigram/spiece.model",
        "sentencepiece-1k/spm_test_model.model",
        "sentencepiece-1k/spm_test_ja_model.model",
        "sentencepiece-1k/hf_test_sentencepiece.model",
        "sentencepiece-1k/hf_test_sentencepiece_bpe.model",
      ]) {
        const theirs = new SentencePieceProcessor();
        await theirs.load(join(folder!, path));
        await compare(plain(await load(path)), (text) => theirs.encodeIds(text), {
          what: path,
          change: plainText,
          allow: isTie,
        });
      }
    },
    timeout * 6,
  );

  it.skipIf(!rust)(
    "every format in the Rust library",
    async () => {
      for (const path of [
        "gpt2",
        "bert-base-uncased/vocab.txt",
        "clip",
        "llama2/tokenizer.model",
        "albert-unigram/spiece.model",
        "tiktoken/cl100k_base.tiktoken",
      ]) {
        const ours = await load(path);
        const theirs = inRust(rust!, ours.toJson());
        await compare(
          (text) => ours.encode(text, { allowedSpecial: "all" }).ids,
          async (text) => (await theirs.encode(text)).getIds(),
          // Letters, marks and punctuation are those of an older Unicode there.
          { what: path, anyCodePoint: path.startsWith("llama2") },
        );
      }
    },
    timeout * 6,
  );
});

describe.skipIf(!folder)("cl100k", () => {
  it("gives the published ids", async () => {
    const { ids } = (await loadTokenizer(join(folder!, "tiktoken/cl100k_base.tiktoken"))).encode(
      "hello123!!!? (안녕하세요!) 😉",
    );
    expect([...ids]).toEqual([15339, 4513, 12340, 30, 320, 31495, 230, 75265, 243, 92245, 16715, 57037]);
  });
});
