import { TokenizerFormatError } from "@genai/tokenizer";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createModel } from "../../src/models/create-model.ts";
import type { ModelJson } from "../../src/tokenizer-json.ts";

function tokensOf(json: ModelJson, text: string, specialTokens: string[] = []): [string, number, number][] {
  const model = createModel(json, { specialTokens });
  const out: [string, number, number][] = [];
  model.tokenize(text, (id, start, end) => out.push([model.idToToken(id)!, start, end]));
  return out;
}

const names = (...given: Parameters<typeof tokensOf>) => tokensOf(...given).map(([token]) => token);
const ids = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]));

describe("WordPiece", () => {
  const json = (more: object = {}): ModelJson => ({
    type: "WordPiece",
    vocab: ids(["[UNK]", "un", "##aff", "##able", "##a", "a", "😀", "##😀", "[CLS]"]),
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 10,
    ...more,
  });

  it("takes the longest token first, and gives ranges", () => {
    expect(tokensOf(json(), "unaffable")).toEqual([
      ["un", 0, 2],
      ["##aff", 2, 5],
      ["##able", 5, 9],
    ]);
    expect(tokensOf(json(), "a😀")).toEqual([
      ["a", 0, 1],
      ["##😀", 1, 3],
    ]);
  });

  it("gives one unknown token for words that cannot be spelled or are too long in code points", () => {
    expect(tokensOf(json(), "unx")).toEqual([["[UNK]", 0, 3]]);
    expect(names(json(), "a".repeat(11))).toEqual(["[UNK]"]);
    expect(names(json(), "😀".repeat(10))).toHaveLength(10);
    expect(names(json(), "😀".repeat(11))).toEqual(["[UNK]"]);
  });

  it("gives the same the second time, from what it remembers", () => {
    const model = createModel(json());
    const run = () => {
      const out: number[] = [];
      model.tokenize("unaffable", (id, start, end) => out.push(id, start, end));
      return out;
    };
    expect(run()).toEqual(run());
  });

  it("does not make special tokens of text", () => {
    expect(names(json(), "[CLS]")).toEqual(["[CLS]"]);
    expect(names(json(), "[CLS]", ["[CLS]"])).toEqual(["[UNK]"]);
  });

  it("takes time in proportion to a long word's length", () => {
    const start = performance.now();
    expect(
      names(json({ max_input_chars_per_word: 1e9, vocab: ids(["[UNK]", "b", "##b"]) }), "b".repeat(300_000)),
    ).toHaveLength(300_000);
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

describe("WordLevel", () => {
  const json: ModelJson = { type: "WordLevel", vocab: ids(["<unk>", "cat", "<s>"]), unk_token: "<unk>" };

  it("has a token a word", () => {
    expect(tokensOf(json, "cat")).toEqual([["cat", 0, 3]]);
    expect(tokensOf(json, "dog")).toEqual([["<unk>", 0, 3]]);
    expect(names(json, "<s>", ["<s>"])).toEqual(["<unk>"]);
    expect(tokensOf(json, "")).toEqual([]);
  });
});

describe("Unigram", () => {
  const pieces: [string, number][] = [
    ["<unk>", 0],
    ["a", -1],
    ["b", -2],
    ["ab", -2.5],
    ["bc", -3],
    ["c", -4],
    ["abc", -9],
    ["😀", -5],
  ];
  const json = (more: object = {}): ModelJson => ({ type: "Unigram", unk_id: 0, vocab: pieces, ...more });

  it("finds the segmentation of the largest score", () => {
    const scores = new Map(pieces.slice(1));
    const best = (text: string): number => {
      if (text === "") return 0;
      let top = Number.NEGATIVE_INFINITY;
      for (let end = 1; end <= text.length; end++) {
        const score = scores.get(text.slice(0, end));
        if (score !== undefined) top = Math.max(top, score + best(text.slice(end)));
      }
      return top;
    };
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 12 }), (text) => {
        const tokens = names(json(), text);
        expect(tokens.join("")).toBe(text);
        expect(tokens.reduce((sum, token) => sum + scores.get(token)!, 0)).toBeCloseTo(best(text), 9);
      }),
    );
  });

  it("joins unknown characters to one token", () => {
    expect(tokensOf(json(), "axyb😀z")).toEqual([
      ["a", 0, 1],
      ["<unk>", 1, 3],
      ["b", 3, 4],
      ["😀", 4, 6],
      ["<unk>", 6, 7],
    ]);
  });

  it("falls back to bytes, each with the range of its character", () => {
    const bytes = Array.from({ length: 256 }, (_, b): [string, number] => [
      `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`,
      0,
    ]);
    const model = json({ vocab: [...pieces, ...bytes], byte_fallback: true });
    expect(tokensOf(model, "aéß")).toEqual([
      ["a", 0, 1],
      ["<0xC3>", 1, 2],
      ["<0xA9>", 1, 2],
      ["<0xC3>", 2, 3],
      ["<0x9F>", 2, 3],
    ]);
    expect(names(model, "<0x41>").join("")).not.toContain("<0x41>"); // a byte's token is not spelled by its name
  });

  it("does not make special tokens of text", () => {
    const vocab = [...pieces, ["abcabc", 0]];
    expect(names(json({ vocab }), "abcabc")).toEqual(["abcabc"]);
    expect(names(json({ vocab }), "abcabc", ["abcabc"])).toEqual(["a", "bc", "a", "bc"]);
  });

  it("says that a character is unknown where no unknown token is", () => {
    expect(names(json({ unk_id: null }), "ab")).toEqual(["ab"]);
    expect(() => names(json({ unk_id: null }), "x")).toThrow("model.unk_id is null");
  });

  it("takes time in proportion to a long text's length", () => {
    const start = performance.now();
    expect(names(json(), "ab".repeat(300_000))).toHaveLength(300_000);
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

describe("createModel", () => {
  it("tells the type from the fields where it is missing", () => {
    expect(createModel({ vocab: { a: 0 }, merges: [] } as unknown as ModelJson).kind).toBe("BPE");
    expect(createModel({ vocab: [["a", 0]] } as unknown as ModelJson).kind).toBe("Unigram");
    expect(
      createModel({ vocab: { a: 0 }, unk_token: "a", max_input_chars_per_word: 9 } as unknown as ModelJson).kind,
    ).toBe("WordPiece");
    expect(createModel({ vocab: { a: 0 }, unk_token: "a" } as unknown as ModelJson).kind).toBe("WordLevel");
  });

  it.each([
    ["model is null", null],
    ['model.type is "Nope"', { type: "Nope" }],
    ["model.type is missing", {}],
    ["model.unk_token is", { type: "WordPiece", vocab: { a: 0 }, unk_token: "[UNK]" }],
    ["model.unk_token is", { type: "WordLevel", vocab: { a: 0 } }],
    [
      "model.max_input_chars_per_word is -1",
      { type: "WordPiece", vocab: { a: 0 }, unk_token: "a", max_input_chars_per_word: -1 },
    ],
    [
      "model.continuing_subword_prefix is 3",
      { type: "WordPiece", vocab: { a: 0 }, unk_token: "a", continuing_subword_prefix: 3 },
    ],
    ["model.vocab is empty", { type: "Unigram", vocab: [] }],
    ["model.vocab is an object", { type: "Unigram", vocab: {} }],
    [
      "model.vocab[1] is",
      {
        type: "Unigram",
        vocab: [
          ["a", 0],
          ["b", null],
        ],
      },
    ],
    ["model.unk_id is 1", { type: "Unigram", vocab: [["a", 0]], unk_id: 1 }],
    ["model.byte_fallback is", { type: "Unigram", vocab: [["a", 0]], byte_fallback: "yes" }],
  ])("says where a description is wrong: %s", (message, json) => {
    const make = () => createModel(json as unknown as ModelJson, { source: "some.json" });
    expect(make).toThrow(TokenizerFormatError);
    expect(make).toThrow(`some.json: ${message}`);
  });
});
