import { describe, expect, it } from "vitest";
import {
  createByteTokenizer,
  createTokenizer,
  type Tokenizer,
  trainBpe,
  trainCharacters,
  trainUnigram,
  trainWordLevel,
  trainWordPiece,
} from "../../src/index.ts";
import { randomNumbers, randomText } from "../random-text.ts";
import { inRust, loadRustLibrary } from "./rust-library.ts";

const rust = await loadRustLibrary();

const corpus = Array.from({ length: 80 }, (_, i) => {
  const draw = randomNumbers(1000 + i);
  return `The quick brown fox no. ${i} jumps over the lazy dog's bed; ${randomText(draw, 20, false)}\n`;
});

const makers: [name: string, make: () => Promise<Tokenizer>][] = [
  ["byte-level BPE", () => trainBpe(corpus, { vocabSize: 400, specialTokens: ["<|end|>"] })],
  ["byte-level BPE as GPT-4", () => trainBpe(corpus, { vocabSize: 400, split: "cl100k" })],
  ["byte-level BPE as GPT-4o", () => trainBpe(corpus, { vocabSize: 400, split: "o200k", normalizer: { type: "NFC" } })],
  ["byte-level BPE of whole texts", () => trainBpe(corpus, { vocabSize: 400, split: null, maxTokenLength: 6 })],
  ["character BPE", () => trainBpe(corpus, { alphabet: "characters", vocabSize: 350 })],
  [
    "character BPE with byte fallback",
    () => trainBpe(corpus, { alphabet: "characters", vocabSize: 500, byteFallback: true, limitAlphabet: 40 }),
  ],
  [
    "character BPE with a suffix",
    () => trainBpe(corpus, { alphabet: "characters", vocabSize: 400, endOfWordSuffix: "</w>" }),
  ],
  [
    "character BPE with a prefix",
    () => trainBpe(corpus, { alphabet: "characters", vocabSize: 400, split: "words", continuingSubwordPrefix: "##" }),
  ],
  ["WordPiece", () => trainWordPiece(corpus, { vocabSize: 400 })],
  ["cased WordPiece", () => trainWordPiece(corpus, { vocabSize: 400, lowercase: false, specialTokens: ["[UNK]"] })],
  ["unigram", () => trainUnigram(corpus, { vocabSize: 350 })],
  ["unigram with byte fallback", () => trainUnigram(corpus, { vocabSize: 500, byteFallback: true, limitAlphabet: 40 })],
  ["words", () => trainWordLevel(corpus, { vocabSize: 100 })],
  ["characters", () => trainCharacters(corpus)],
  ["bytes", async () => createByteTokenizer({ specialTokens: ["<|end|>"] })],
];

describe.each(makers)("a trained tokenizer: %s", (name, make) => {
  it("comes back from its file as it was", async () => {
    const tokenizer = await make();
    const again = createTokenizer(JSON.parse(JSON.stringify(tokenizer.toJson())));
    expect(again.toJson()).toEqual(JSON.parse(JSON.stringify(tokenizer.toJson())));
    expect(again.vocabSize).toBe(tokenizer.vocabSize);
    for (const text of corpus.slice(0, 10))
      expect([...again.encode(text).ids]).toEqual([...tokenizer.encode(text).ids]);
  });

  it("decodes exactly what it encodes, where it promises to", async () => {
    if (!name.startsWith("byte")) return;
    const tokenizer = await make();
    const draw = randomNumbers(77);
    for (let i = 0; i < 500; i++) {
      const text = randomText(draw, 30);
      const expected = name.endsWith("GPT-4o") ? text.normalize("NFC") : text;
      expect(tokenizer.decode(tokenizer.encode(text).ids)).toBe(expected);
    }
  });

  it.runIf(rust)("has the Rust library's ids for any text", async () => {
    const tokenizer = await make();
    const theirs = inRust(rust!, tokenizer.toJson());
    const draw = randomNumbers(78);
    for (let i = 0; i < 400; i++) {
      // The library's table of punctuation, which BERT cuts at, is older than JavaScript's: no characters from all of Unicode.
      const text =
        i % 2 === 0 ? randomText(draw, 30, !name.includes("WordPiece")) : corpus[draw(corpus.length)]!.slice(draw(20));
      const encoding = await theirs.encode(text);
      expect([...tokenizer.encode(text, { allowedSpecial: "all" }).ids], JSON.stringify(text)).toEqual(
        encoding.getIds(),
      );
    }
  });
});
