import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mergePairs } from "../../src/training/merge-pairs.ts";
import { createPacer } from "../../src/training/pacer.ts";
import { SymbolWordsBuilder } from "../../src/training/symbol-words.ts";
import { type NaiveOptions, naiveBpe } from "./naive-bpe.ts";

type Words = readonly (readonly [symbols: readonly string[], count: number])[];

async function incremental(words: Words, symbols: readonly string[], options: NaiveOptions) {
  const builder = new SymbolWordsBuilder();
  for (const [word, count] of words) {
    for (const symbol of word) builder.addSymbol(symbols.indexOf(symbol));
    builder.endWord(count);
  }
  const tokens = [...symbols];
  const ids = await mergePairs(builder.finish(), {
    tokens,
    lengths: symbols.map(() => 1),
    vocabSize: options.vocabSize,
    minFrequency: options.minFrequency ?? 0,
    maxTokenLength: options.maxTokenLength ?? Number.POSITIVE_INFINITY,
    forbidden: options.forbidden ?? new Set(),
    join: options.join ?? ((a, b) => a + b),
    pacer: createPacer(),
  });
  const merges: [string, string][] = [];
  for (let i = 0; i < ids.length; i += 2) merges.push([tokens[ids[i]!]!, tokens[ids[i + 1]!]!]);
  return { tokens, merges };
}

const ofLetters = (words: Readonly<Record<string, number>>): Words =>
  Object.entries(words).map(([word, count]) => [[...word], count]);

/** Whole numbers below n, drawn by a linear recurrence. */
function generator(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

describe("mergePairs", () => {
  it("merges the words of Sennrich et al. 2016", async () => {
    // Algorithm 1 of the paper, with the end of each word as a symbol.
    const words: Words = Object.entries({ low: 5, lower: 2, newest: 6, widest: 3 }).map(([word, count]) => [
      [...word, "</w>"],
      count,
    ]);
    const symbols = ["</w>", ..."deilnorstw"];
    const { merges } = await incremental(words, symbols, { vocabSize: symbols.length + 10 });
    // Counts 9 9 9 7 7 6 6 6 5 3: those of the paper. Among equal ones the paper takes what its dictionary holds first.
    expect(merges.map((pair) => pair.join(" "))).toEqual([
      "e s",
      "t </w>",
      "es t</w>",
      "l o",
      "lo w",
      "e w",
      "n ew",
      "new est</w>",
      "low </w>",
      "d est</w>",
    ]);
  });

  it("merges a run of equal symbols from left to right", async () => {
    expect(await incremental(ofLetters({ aaaaa: 1 }), ["a"], { vocabSize: 10 })).toEqual({
      tokens: ["a", "aa", "aaa", "aaaaa"],
      merges: [
        ["a", "a"],
        // aa aa a: of two pairs that occur once, the one whose right symbol is older.
        ["aa", "a"],
        ["aa", "aaa"],
      ],
    });
  });

  it("prefers smaller ids among pairs of equal count", async () => {
    const { merges } = await incremental(ofLetters({ ab: 3, ba: 3, bb: 3, cd: 2 }), ["b", "a", "c", "d"], {
      vocabSize: 8,
    });
    expect(merges.map((pair) => pair.join(""))).toEqual(["bb", "ba", "ab", "cd"]);
  });

  it("stops at the vocabulary's size, at the least frequency and at the longest token", async () => {
    const words = ofLetters({ abcd: 3, ab: 2, xy: 1 });
    const symbols = [..."abcdxy"];
    expect((await incremental(words, symbols, { vocabSize: 7 })).tokens).toEqual([...symbols, "ab"]);
    expect((await incremental(words, symbols, { vocabSize: 99, minFrequency: 2 })).tokens).toEqual([
      ...symbols,
      "ab",
      "cd",
      "abcd",
    ]);
    expect((await incremental(words, symbols, { vocabSize: 99, maxTokenLength: 2 })).tokens).toEqual([
      ...symbols,
      "ab",
      "cd",
      "xy",
    ]);
  });

  it("never makes a forbidden token", async () => {
    const { tokens } = await incremental(ofLetters({ "<s>x": 9 }), [..."<s>x"], {
      vocabSize: 99,
      forbidden: new Set(["<s>"]),
    });
    expect(tokens).toEqual(["<", "s", ">", "x", "<s", ">x", "<s>x"]);
  });

  const letters = ["a", "b", "c"];
  const word = fc.array(fc.constantFrom(...letters), { minLength: 1, maxLength: 12 });
  const corpus = fc.array(fc.tuple(word, fc.integer({ min: 1, max: 4 })), { minLength: 1, maxLength: 25 });

  it("agrees with counting all pairs anew before each merge, on random corpora", async () => {
    await fc.assert(
      fc.asyncProperty(
        corpus,
        fc.record({
          vocabSize: fc.integer({ min: 3, max: 60 }),
          minFrequency: fc.integer({ min: 0, max: 5 }),
          maxTokenLength: fc.constantFrom(2, 3, 5, 100),
          forbidden: fc.array(fc.constantFrom("ab", "abc", "aa", "cb"), { maxLength: 2 }).map((list) => new Set(list)),
        }),
        async (words, options) => {
          expect(await incremental(words, letters, options)).toEqual(naiveBpe(words, letters, options));
        },
      ),
      { numRuns: 500, seed: 4 },
    );
  });

  it("agrees with it on a corpus large enough for its tables to grow and be cleaned", async () => {
    // 4,000 words over 200 symbols have some 24,000 different pairs.
    const draw = generator(12345);
    const symbols = Array.from({ length: 200 }, (_, i) => String.fromCodePoint(0x4e00 + i));
    const words: Words = Array.from({ length: 4000 }, () => [
      Array.from({ length: 3 + draw(12) }, () => symbols[draw(1 + draw(200))]!),
      1 + draw(3),
    ]);
    const options = { vocabSize: 210 };
    expect(await incremental(words, symbols, options)).toEqual(naiveBpe(words, symbols, options));
  });

  it("does not depend on the order of the words", async () => {
    await fc.assert(
      fc.asyncProperty(corpus, async (words) => {
        const options = { vocabSize: 40 };
        expect(await incremental(words, letters, options)).toEqual(
          await incremental([...words].reverse(), letters, options),
        );
      }),
      { numRuns: 100, seed: 5 },
    );
  });

  it("takes time in proportion to one long word", { timeout: 20_000 }, async () => {
    const draw = generator(7);
    const long = Array.from({ length: 1_000_000 }, () => letters[draw(3)]!);
    const { tokens } = await incremental([[long, 1]], letters, { vocabSize: 2000 });
    expect(tokens).toHaveLength(2000);
  });

  it("rejects with the signal's reason, soon after it is aborted", async () => {
    const controller = new AbortController();
    const builder = new SymbolWordsBuilder();
    const draw = generator(7);
    for (let i = 0; i < 2_000_000; i++) builder.addSymbol(draw(3));
    builder.endWord(1);
    const running = mergePairs(builder.finish(), {
      tokens: [...letters],
      lengths: [1, 1, 1],
      vocabSize: 1e9,
      minFrequency: 0,
      maxTokenLength: 1e9,
      forbidden: new Set(),
      join: (a, b) => a + b,
      pacer: createPacer(controller.signal),
    });
    setTimeout(() => controller.abort(new Error("enough")), 20);
    await expect(running).rejects.toThrow("enough");
  });
});
