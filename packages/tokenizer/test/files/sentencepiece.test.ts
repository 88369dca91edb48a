import { createTokenizer, readSentencePiece, TokenizerFormatError } from "@genai/tokenizer";
import { describe, expect, it } from "vitest";
import { BYTE, CONTROL, type TestModel, UNKNOWN, USER, writeSentencePiece } from "./write-sentencepiece.ts";

const tokens = (model: TestModel, text: string, options = {}) => {
  const json = readSentencePiece(writeSentencePiece(model), { source: "test.model" });
  const found = createTokenizer(json).encode(text, options).tokens;
  // What is written as tokenizer.json gives the same.
  expect(createTokenizer(JSON.parse(JSON.stringify(json))).encode(text, options).tokens).toEqual(found);
  return found;
};

const unigram: TestModel = {
  pieces: [
    ["<unk>", 0, UNKNOWN],
    ["<s>", 0, CONTROL],
    ["</s>", 0, CONTROL],
    ["▁", -3],
    ["▁a", -2],
    ["a", -4],
    ["b", -4],
    ["ab", -5],
    ["(", 0, USER],
  ],
};

describe("readSentencePiece", () => {
  it("reads Unigram models: spaces are collapsed and words begin with one", () => {
    expect(tokens(unigram, "  ab   b ")).toEqual(["▁a", "b", "▁", "b"]);
    expect(tokens({ ...unigram, addDummyPrefix: false }, " ab a ")).toEqual(["ab", "▁a"]);
    expect(tokens(unigram, "")).toEqual([]);
  });

  it("keeps user-defined symbols of Unigram models in the text", () => {
    expect(tokens(unigram, "(a")).toEqual(["▁", "(", "a"]);
  });

  it("does not read control symbols out of text", () => {
    expect(tokens(unigram, "</s>")).toEqual(["▁", "<unk>"]);
    expect(tokens(unigram, "a</s>", { allowedSpecial: "all" })).toEqual(["▁a", "</s>"]);
  });

  it("ends texts with </s> where there is no <s> (T5)", () => {
    expect(tokens({ ...unigram, eosId: 2 }, "a")).toEqual(["▁a", "</s>"]);
    expect(tokens({ ...unigram, bosId: 1, eosId: 2 }, "a")).toEqual(["▁a"]);
  });

  const bpe: TestModel = {
    modelType: 2,
    byteFallback: true,
    removeExtraWhitespaces: false,
    bosId: 1,
    pieces: [
      ["<unk>", 0, UNKNOWN],
      ["<s>", 0, CONTROL],
      ...Array.from(
        { length: 256 },
        (_, b) => [`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`, 0, BYTE] as const,
      ),
      ["ab", -1],
      ["▁a", -2],
      ["bb", -1],
      ["▁", -10],
      ["a", -11],
      ["b", -12],
    ],
  };

  it("reads BPE models: scores are ranks, equal ones go from left to right, bytes stand in (Llama 2)", () => {
    expect(tokens(bpe, "ab")).toEqual(["<s>", "▁", "ab"]);
    expect(tokens(bpe, "abb  aé")).toEqual(["<s>", "▁", "ab", "b", "▁", "▁a", "<0xC3>", "<0xA9>"]);
    expect(tokens(bpe, "<0x41>", { addSpecialTokens: false })[1]).toBe("<0x3C>");
    const tokenizer = createTokenizer(readSentencePiece(writeSentencePiece(bpe)));
    expect(tokenizer.decode(tokenizer.encode("ab 😀  b").ids)).toBe("ab 😀  b");
  });

  it("reads models of words and of characters", () => {
    const words: TestModel = {
      modelType: 3,
      pieces: [
        ["<unk>", 0, UNKNOWN],
        ["▁cat", -1],
      ],
    };
    expect(tokens(words, "cat dog")).toEqual(["▁cat", "<unk>"]);
    const characters: TestModel = {
      modelType: 4,
      pieces: [
        ["<unk>", 0, UNKNOWN],
        ["▁", -1],
        ["a", -1],
        ["▁a", -1],
      ],
    };
    expect(tokens(characters, "aa x")).toEqual(["▁", "a", "a", "▁", "<unk>"]);
  });

  it.each<[string, Uint8Array]>([
    ["it has no pieces", new Uint8Array(0)],
    ["field 1 goes beyond the end", writeSentencePiece(unigram).subarray(0, 6)],
    ["wire type", Uint8Array.of(0x4f, 1)],
    ["field 0", Uint8Array.of(0x00, 0x01)],
    ["piece is not UTF-8", Uint8Array.of(0x0a, 3, 0x0a, 1, 0xff)],
    ["pieces[0].type is 9", Uint8Array.of(0x0a, 2, 0x18, 9)],
    ["trainer_spec.model_type is 7", writeSentencePiece({ ...unigram, modelType: 7 })],
    ["treat_whitespace_as_suffix", writeSentencePiece({ ...unigram, suffix: true })],
    [
      'pieces[1] is "a", as is pieces[0]',
      writeSentencePiece({
        pieces: [
          ["a", 0],
          ["a", 0],
        ],
      }),
    ],
    ["pieces[0].score", writeSentencePiece({ pieces: [["a", Number.NaN]] })],
    [
      "pieces[0] and pieces[1] are both the unknown piece",
      writeSentencePiece({
        pieces: [
          ["a", 0, UNKNOWN],
          ["b", 0, UNKNOWN],
        ],
      }),
    ],
    ["no piece is the unknown one", writeSentencePiece({ pieces: [["a", 0]], unkId: 5 })],
  ])("says what is wrong: %s", (message, bytes) => {
    const read = () => readSentencePiece(bytes, { source: "test.model" });
    expect(read).toThrow(TokenizerFormatError);
    expect(read).toThrow("test.model");
    expect(read).toThrow(message);
  });

  it("ends with an error for every shortened or changed file, or reads it", () => {
    const whole = writeSentencePiece(bpe);
    for (let at = 0; at < 400; at++) {
      const changed = Uint8Array.from(whole.subarray(0, whole.length - (at % 7)));
      changed[(at * 97) % changed.length]! ^= 1 << (at % 8);
      try {
        createTokenizer(readSentencePiece(changed)).encode("abb é");
      } catch (error) {
        expect(error).toBeInstanceOf(TokenizerFormatError);
      }
    }
  });
});
