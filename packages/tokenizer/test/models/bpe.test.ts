import { TokenizerFormatError } from "@genai/tokenizer";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createBpe } from "../../src/models/bpe.ts";
import { BYTE_CHARACTERS } from "../../src/models/byte-alphabet.ts";
import { ByteLevelBpe } from "../../src/models/byte-level-bpe.ts";
import { IdBuffer } from "../../src/models/id-buffer.ts";
import { rankedBpe } from "../../src/models/ranked-merges.ts";
import type { TokenModel } from "../../src/stages.ts";
import type { BpeJson } from "../../src/tokenizer-json.ts";
import { naiveBpe } from "./naive-merges.ts";

function tokensOf(model: TokenModel, text: string): [string, number, number][] {
  const out: [string, number, number][] = [];
  model.tokenize(text, (id, start, end) => out.push([model.idToToken(id)!, start, end]));
  return out;
}

const names = (model: TokenModel, text: string) => tokensOf(model, text).map(([token]) => token);

const bpe = (tokens: readonly string[], merges: readonly string[], more: Partial<BpeJson> = {}): BpeJson => ({
  type: "BPE",
  vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
  merges,
  ...more,
});

/** Random merges over a few letters: each joins two tokens there are, so that later ones can come before earlier ones. */
function randomMerges(choices: readonly (readonly [number, number])[]): {
  tokens: string[];
  merges: [string, string][];
} {
  const tokens = ["a", "b", "c"];
  const merges: [string, string][] = [];
  for (const [l, r] of choices) {
    const left = tokens[l % tokens.length]!;
    const right = tokens[r % tokens.length]!;
    if ((left + right).length > 9 || merges.some(([a, b]) => a === left && b === right)) continue;
    merges.push([left, right]);
    if (!tokens.includes(left + right)) tokens.push(left + right);
  }
  return { tokens, merges };
}

const choices = fc.array(fc.tuple(fc.nat(30), fc.nat(30)), { minLength: 1, maxLength: 25 });
const letters = (maxLength: number) => fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength });

describe("createBpe", () => {
  it("merges short and long pieces as the definition does, whatever the order of the merges", () => {
    fc.assert(
      fc.property(choices, fc.nat(), letters(300), (picked, shuffle, text) => {
        const { tokens, merges } = randomMerges(picked);
        // Rotated, so that merges are asked for whose parts come later in the list.
        const at = shuffle % merges.length;
        const order = [...merges.slice(at), ...merges.slice(0, at)];
        const model = createBpe(bpe(tokens, [], { merges: order }));
        const ranks = new Map(order.map(([l, r], rank) => [`${l} ${r}`, rank]));
        expect(names(model, text)).toEqual(naiveBpe([...text], (l, r) => ranks.get(`${l} ${r}`)));
      }),
      { numRuns: 400 },
    );
  });

  it("merges by ranks as the definition does, with equal ranks going by position", () => {
    fc.assert(
      fc.property(
        choices,
        fc.array(fc.nat(6), { minLength: 30, maxLength: 30 }),
        letters(200),
        (picked, scores, text) => {
          const { tokens } = randomMerges(picked);
          const ranks = Int32Array.from(tokens, (_, id) => scores[id % scores.length]!);
          const model = createBpe(rankedBpe(bpe(tokens, []), ranks, "smallest ids first"));
          const expected = naiveBpe([...text], (l, r) => {
            const id = tokens.indexOf(l + r);
            return id < 0 ? undefined : ranks[id]!;
          });
          expect(names(model, text)).toEqual(expected);
        },
      ),
      { numRuns: 400 },
    );
  });

  it("lists the merges that ranks imply when asked, each token's splits by their ids", () => {
    const model = rankedBpe(bpe(["a", "b", "ab", "aa", "aab"], []), Int32Array.of(0, 1, 2, 3, 4), "smallest ids first");
    expect(JSON.parse(JSON.stringify(model)).merges).toEqual([
      ["a", "b"],
      ["a", "a"],
      ["a", "ab"],
      ["aa", "b"],
    ]);
  });

  it("gives ranges in UTF-16 units", () => {
    const model = createBpe(bpe(["a", "😉", "a😉", "é"], ["a 😉"]));
    expect(tokensOf(model, "éa😉")).toEqual([
      ["é", 0, 1],
      ["a😉", 1, 4],
    ]);
  });

  it("marks where words go on and where they end", () => {
    const model = createBpe(
      bpe(["a", "##b", "##c</w>", "a##b", "ab", "abc</w>", "a</w>"], ["a ##b", "ab ##c</w>"], {
        continuing_subword_prefix: "##",
        end_of_word_suffix: "</w>",
      }),
    );
    expect(names(model, "abc")).toEqual(["abc</w>"]);
    expect(names(model, "a")).toEqual(["a</w>"]);
  });

  it("has one unknown token for each unknown character, or for a run of them", () => {
    const tokens = ["<unk>", "a"];
    const apart = createBpe(bpe(tokens, [], { unk_token: "<unk>" }));
    expect(tokensOf(apart, "xya")).toEqual([
      ["<unk>", 0, 1],
      ["<unk>", 1, 2],
      ["a", 2, 3],
    ]);
    const fused = createBpe(bpe(tokens, [], { unk_token: "<unk>", fuse_unk: true }));
    expect(tokensOf(fused, "xya😉")).toEqual([
      ["<unk>", 0, 2],
      ["a", 2, 3],
      ["<unk>", 3, 5],
    ]);
    expect(names(createBpe(bpe(tokens, [])), "xay")).toEqual(["a"]);
  });

  it("falls back to bytes where all of them are there", () => {
    const tokens = ["<unk>", "a", "<0xC3>", "<0xA9>", "<0xEF>", "<0xBF>", "<0xBD>"];
    const model = createBpe(bpe(tokens, [], { unk_token: "<unk>", byte_fallback: true }));
    expect(tokensOf(model, "aéß")).toEqual([
      ["a", 0, 1],
      ["<0xC3>", 1, 2],
      ["<0xA9>", 1, 2],
      ["<unk>", 2, 3],
    ]);
    expect(names(model, "\ud800")).toEqual(["<0xEF>", "<0xBF>", "<0xBD>"]);
  });

  it("takes a piece that is a token whole when merges are to be ignored, but for special tokens", () => {
    const tokens = ["a", "b", "ab", "ba", "<s>", "<", "s", ">"];
    const json = bpe(tokens, ["b a"], { ignore_merges: true });
    expect(names(createBpe({ ...json, ignore_merges: false }), "ab")).toEqual(["a", "b"]);
    const model = createBpe(json, "x", new Set(["<s>"]));
    expect(names(model, "ab")).toEqual(["ab"]);
    expect(names(model, "<s>")).toEqual(["<", "s", ">"]);
  });

  it("knows the names that every record inherits only where they are tokens", () => {
    expect(() => createBpe(bpe(["a", "b"], ["constructor b"]))).toThrow('"constructor" is not in model.vocab');
    expect(() => createBpe(bpe(["to", "String"], ["to String"]))).toThrow('"toString" is not in model.vocab');
    const model = createBpe(bpe(["to", "String", "toString"], ["to String"]));
    expect(model.tokenToId("toString")).toBe(2);
    expect(model.tokenToId("valueOf")).toBeUndefined();
  });

  it("keeps its ids when the description is changed later, before many look-ups and after", () => {
    const json = bpe(["a", "b", "ab"], ["a b"]);
    const model = createBpe(json);
    const vocab = json.vocab as Record<string, number>;
    vocab.a = 1;
    vocab.c = 0;
    delete vocab.ab;
    for (let i = 0; i < 2000; i++)
      expect(["a", "b", "ab", "c"].map((token) => model.tokenToId(token))).toEqual([0, 1, 2, undefined]);
  });

  it("takes time in proportion to the length of a piece", () => {
    const tokens = ["a"];
    const merges: [string, string][] = [];
    for (let k = 0; k < 6; k++) {
      merges.push([tokens[k]!, tokens[k]!]);
      tokens.push(tokens[k]! + tokens[k]!);
    }
    const model = createBpe(bpe(tokens, [], { merges }));
    let count = 0;
    const start = performance.now();
    model.tokenize("a".repeat(1_000_001), () => count++);
    expect(count).toBe(15_625 + 1);
    expect(performance.now() - start).toBeLessThan(10_000); // minutes, were it quadratic
  });

  it.each([
    ["model.vocab is missing", { ...bpe(["a"], []), vocab: undefined }],
    ['model.vocab["a"] is -1', { ...bpe(["a"], []), vocab: { a: -1 } }],
    ['model.vocab["a"] is 0.5', { ...bpe(["a"], []), vocab: { a: 0.5 } }],
    ['model.vocab["a"] is 1000000000000', { ...bpe(["a"], []), vocab: { a: 1e12 } }],
    ["the id 0 to both", { ...bpe(["a"], []), vocab: { a: 0, b: 0 } }],
    ["model.merges is missing", { ...bpe(["a"], []), merges: undefined }],
    ["model.merges[0] is", bpe(["a"], ["a"])],
    ["model.merges[1] is", bpe(["a", "aa"], ["a a", "a a a"])],
    ['"ab" is not in model.vocab', bpe(["a", "b"], ["a b"])],
    ["model.unk_token", bpe(["a"], [], { unk_token: "<unk>" })],
    ["model.dropout", bpe(["a"], [], { dropout: 2 })],
    ["model.fuse_unk", bpe(["a"], [], { fuse_unk: 1 as unknown as boolean })],
  ])("says where a description is wrong: %s", (message, json) => {
    expect(() => createBpe(json as BpeJson, "some.json")).toThrow(TokenizerFormatError);
    expect(() => createBpe(json as BpeJson, "some.json")).toThrow(message);
    expect(() => createBpe(json as BpeJson, "some.json")).toThrow("some.json: ");
  });
});

describe("ByteLevelBpe", () => {
  const spell = (text: string) => [...new TextEncoder().encode(text)].map((byte) => BYTE_CHARACTERS[byte]).join("");
  const pairs = ["e l", "l o", "Ġ a", "ð Ł", "ðŁ ĺ", "ðŁĺ ī", "Ã ©", "a a", "aa aa", "b b", "ab b"];
  const byteModel = (more: Partial<BpeJson> = {}) => {
    const merges = pairs.filter((pair) => pair !== "ab b");
    const tokens = new Set([...BYTE_CHARACTERS, ...merges.map((pair) => pair.replace(" ", "")), "whole"]);
    return createBpe(bpe([...tokens], merges, more));
  };

  it.each([false, true])(
    "gives the ids of the model for the piece in GPT-2's alphabet (ignore_merges: %s)",
    (ignore) => {
      const model = byteModel({ ignore_merges: ignore });
      const fast = ByteLevelBpe.from(model)!;
      const unit = fc.oneof(
        fc.constantFrom("a", "b", "l", "o", " ", "é", "😉", "whole"),
        fc.string({ unit: "binary" }),
        fc.constantFrom("\ud800", "\udfff"),
      );
      fc.assert(
        fc.property(
          fc.array(
            fc.array(unit, { maxLength: 60 }).map((parts) => parts.join("")),
            { maxLength: 4 },
          ),
          (texts) => {
            for (const text of [...texts, ...texts]) {
              const ids = new IdBuffer();
              fast.encodeUtf16(`<${text}>`, 1, text.length + 1, ids);
              const expected: number[] = [];
              model.tokenize(spell(text), (id) => expected.push(id));
              expect([...ids.toArray()]).toEqual(expected);
            }
          },
        ),
        { numRuns: 300 },
      );
    },
  );

  it("stays right when it forgets", () => {
    const fast = ByteLevelBpe.from(byteModel())!;
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 150_000; i++) {
        const text = i.toString(36);
        const ids = new IdBuffer();
        fast.encodeUtf16(text, 0, text.length, ids);
        if (ids.length === 0 || ids.length > text.length) expect.unreachable(text);
      }
      const ids = new IdBuffer();
      fast.encodeUtf16("hello", 0, 5, ids);
      expect(ids.length).toBe(3); // h el lo
    }
  });

  it("is not for vocabularies that lack a byte", () => {
    expect(ByteLevelBpe.from(createBpe(bpe(["a"], [])))).toBeUndefined();
  });
});
