import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exactLog } from "../../src/training/exact-math.ts";
import { fitUnigram } from "../../src/training/fit-unigram.ts";
import { createPacer } from "../../src/training/pacer.ts";
import { PieceLattice, type Pieces } from "../../src/training/piece-lattice.ts";
import { mostFrequentWords, seedPieces } from "../../src/training/seed-pieces.ts";
import { commonPrefixes, suffixArray } from "../../src/training/suffix-array.ts";
import { type SymbolWords, SymbolWordsBuilder } from "../../src/training/symbol-words.ts";

const alphabet = "abcdefghijklmnopqrstuvwxyz";

/** Words of letters with counts, as symbols 1 to 26, each ended by a 0. */
function symbolWords(words: Readonly<Record<string, number>>): SymbolWords {
  const builder = new SymbolWordsBuilder();
  for (const [word, count] of Object.entries(words)) {
    for (const letter of word) builder.addSymbol(alphabet.indexOf(letter) + 1);
    builder.addSymbol(0);
    builder.endWord(count);
  }
  return builder.finish();
}

const letters = (symbols: Int32Array, start: number, length: number) =>
  Array.from(symbols.subarray(start, start + length), (symbol) => alphabet[symbol - 1]).join("");

const vocabulary = ({ symbols, starts, lengths, scores }: Pieces) =>
  Array.from(starts, (start, i) => [letters(symbols, start, lengths[i]!), scores[i]!] as const);

function piecesOf(entries: readonly (readonly [string, number])[]): Pieces {
  const starts: number[] = [];
  const symbols: number[] = [];
  for (const [piece] of entries) {
    starts.push(symbols.length);
    for (const letter of piece) symbols.push(alphabet.indexOf(letter) + 1);
  }
  return {
    symbols: Int32Array.from(symbols),
    starts: Int32Array.from(starts),
    lengths: Int32Array.from(entries, ([piece]) => piece.length),
    scores: Float64Array.from(entries, ([, score]) => score),
  };
}

/** Every way to cut a word into pieces. */
function cuts(word: string, pieces: ReadonlyMap<string, number>): string[][] {
  if (word === "") return [[]];
  const all: string[][] = [];
  for (let end = 1; end <= word.length; end++) {
    const first = word.slice(0, end);
    if (pieces.has(first)) for (const rest of cuts(word.slice(end), pieces)) all.push([first, ...rest]);
  }
  return all;
}

describe("suffixArray", () => {
  it("sorts the suffixes as comparing them does, and counts what neighbours have in common", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5 }).chain((top) => fc.array(fc.integer({ min: 0, max: top }), { maxLength: 80 })),
        (list) => {
          const text = Int32Array.from(list);
          const compare = (a: number, b: number) => {
            while (a < list.length && b < list.length && list[a] === list[b]) {
              a++;
              b++;
            }
            return (list[a] ?? -1) - (list[b] ?? -1);
          };
          const expected = [...list.keys()].sort(compare);
          const sorted = suffixArray(text, 5);
          expect([...sorted]).toEqual(expected);
          const common = commonPrefixes(text, sorted);
          for (let i = 1; i < list.length; i++) {
            let n = 0;
            const [a, b] = [expected[i - 1]!, expected[i]!];
            while (Math.max(a, b) + n < list.length && list[a + n] === list[b + n] && list[a + n] !== 0) n++;
            expect(common[i]).toBe(n);
          }
        },
      ),
      { numRuns: 1000, seed: 11 },
    );
  });
});

const randomWords = fc.dictionary(
  fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 8 }),
  fc.integer({ min: 1, max: 4 }),
  { minKeys: 1, maxKeys: 12, noNullPrototype: true },
);

describe("seedPieces", () => {
  const pacer = createPacer();

  it("finds the substrings that occur twice and that no longer one contains as often, with their counts", async () => {
    await fc.assert(
      fc.asyncProperty(randomWords, async (words) => {
        const counts = new Map<string, number>();
        for (const [word, count] of Object.entries(words)) {
          for (let start = 0; start < word.length; start++) {
            for (let end = start + 2; end <= Math.min(word.length, start + 5); end++) {
              const part = word.slice(start, end);
              counts.set(part, (counts.get(part) ?? 0) + count);
            }
          }
        }
        // Right-maximal: every one-letter extension occurs less often.
        const expected = [...counts].filter(
          ([part, count]) =>
            count >= 2 && (part.length === 5 || ![..."abc"].some((c) => counts.get(part + c) === count)),
        );
        const text = symbolWords(words);
        const seed = await seedPieces(text, { maxLength: 5, most: 1e6, pacer });
        const found = Array.from(seed.starts, (start, i) => [
          letters(text.symbols, start, seed.lengths[i]!),
          seed.counts[i]!,
        ]);
        const byName = (a: readonly unknown[], b: readonly unknown[]) => (String(a[0]) < String(b[0]) ? -1 : 1);
        expect(found.sort(byName)).toEqual(expected.sort(byName));

        const most = Math.ceil(found.length / 2);
        const scores = found.map(([part, count]) => (part as string).length * (count as number)).sort((a, b) => b - a);
        const best = await seedPieces(text, { maxLength: 5, most, pacer });
        expect(Array.from(best.counts, (count, i) => count * best.lengths[i]!).sort((a, b) => b - a)).toEqual(
          scores.slice(0, most),
        );
      }),
      { numRuns: 300, seed: 12 },
    );
  });
});

describe("mostFrequentWords", () => {
  it("keeps the most frequent words that fit, in their order", () => {
    const words = symbolWords({ rare: 1, the: 9, of: 7, and: 9, cat: 2 });
    expect(mostFrequentWords(words, 100)).toBe(words);
    const kept = mostFrequentWords(words, 11);
    const starts = [...kept.starts];
    expect(starts.slice(0, -1).map((start, i) => letters(kept.symbols, start, starts[i + 1]! - start - 1))).toEqual([
      "the",
      "of",
      "and",
    ]);
    expect([...kept.counts]).toEqual([9, 7, 9]);
  });
});

describe("PieceLattice", () => {
  const entries: [string, number][] = ["a", "b", "c", "ab", "bc", "abc", "ca", "cab", "aa", "aaa"].map((piece, i) => [
    piece,
    -0.5 - 0.37 * i,
  ]);
  const scores = new Map(entries);
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 9 });

  it.each([
    ["scaled products", -1.5],
    // A scale that makes the products leave their range, so that logarithms are used.
    ["logarithms", -1e5],
  ])("has the expected counts of enumerating all cuts, by %s", (_, logProbPerSymbol) => {
    const lattice = new PieceLattice();
    lattice.setPieces(piecesOf(entries), logProbPerSymbol);
    fc.assert(
      fc.property(
        fc
          .array(word, { maxLength: 3 })
          .map((parts) => parts.join(""))
          .filter((text) => text !== ""),
        (text) => {
          const all = cuts(text, scores).map((pieces) => ({
            pieces,
            p: Math.exp(pieces.reduce((sum, piece) => sum + scores.get(piece)!, 0)),
          }));
          const total = all.reduce((sum, { p }) => sum + p, 0);
          const expected = entries.map(
            ([piece]) =>
              3 * all.reduce((sum, { pieces, p }) => sum + (p / total) * pieces.filter((q) => q === piece).length, 0),
          );
          const found = new Float64Array(entries.length);
          const symbols = Int32Array.from(text, (c) => alphabet.indexOf(c) + 1);
          expect(lattice.addExpected(symbols, 0, symbols.length, 3, found)).toBeCloseTo(Math.log(total), 9);
          for (const [i, count] of found.entries()) expect(count).toBeCloseTo(expected[i]!, 9);
        },
      ),
      { numRuns: 100, seed: 13 },
    );
  });

  it("finds the most probable cut, with and without a piece", () => {
    const lattice = new PieceLattice();
    lattice.setPieces(piecesOf(entries), -1.5);
    fc.assert(
      fc.property(word, fc.integer({ min: -1, max: entries.length - 1 }), (text, without) => {
        const score = (pieces: readonly string[]) => pieces.reduce((sum, piece) => sum + scores.get(piece)!, 0);
        const allowed = new Map(entries.filter((_, i) => i !== without));
        const best = Math.max(...cuts(text, allowed).map(score));
        const path: string[] = [];
        const symbols = Int32Array.from(text, (c) => alphabet.indexOf(c) + 1);
        const tokens = lattice.bestPath(symbols, 0, symbols.length, (id) => path.unshift(entries[id]![0]), without);
        expect(tokens).toBe(path.length);
        if (best === Number.NEGATIVE_INFINITY) return;
        expect(path.join("")).toBe(text);
        expect(score(path)).toBeCloseTo(best, 9);
      }),
      { numRuns: 300, seed: 14 },
    );
  });

  it("adds one word of any length", () => {
    const lattice = new PieceLattice();
    lattice.setPieces(piecesOf(entries), -1.5);
    const expected = new Float64Array(entries.length);
    const symbols = new Int32Array(100_000).fill(1);
    const logProb = lattice.addExpected(symbols, 0, symbols.length, 1, expected);
    expect(Number.isFinite(logProb)).toBe(true);
    const length = expected.reduce((sum, count, i) => sum + count * entries[i]![0].length, 0);
    expect(length / symbols.length).toBeCloseTo(1, 6);
  });
});

describe("fitUnigram", () => {
  const options = {
    size: 30,
    seedSize: 1e6,
    maxPieceLength: 16,
    shrinkingFactor: 0.75,
    subIterations: 2,
  };
  const corpus: Record<string, number> = {};
  for (const stem of ["low", "new", "wide", "fast", "warm", "cold"]) {
    for (const [ending, count] of [
      ["", 9],
      ["er", 5],
      ["est", 7],
      ["ly", 3],
    ] as const) {
      corpus[stem + ending] = count + stem.length;
    }
  }

  it("finds the stems, keeps every letter, and sorts by falling score", async () => {
    const pieces = await fitUnigram(symbolWords(corpus), 26, { ...options, size: 40, pacer: createPacer() });
    const found = vocabulary(pieces);
    const names = found.map(([piece]) => piece);
    expect(names).toHaveLength(40);
    for (const letter of alphabet) expect(names).toContain(letter);
    for (const piece of ["low", "new", "wide", "fast", "warm", "cold"]) expect(names).toContain(piece);
    for (let i = 1; i < found.length; i++) expect(found[i]![1]).toBeLessThanOrEqual(found[i - 1]![1]);
  });

  it("has probabilities that sum to about 1", async () => {
    const pieces = await fitUnigram(symbolWords(corpus), 26, { ...options, size: 200, pacer: createPacer() });
    const sum = vocabulary(pieces).reduce((total, [, score]) => total + Math.exp(score), 0);
    // The digamma of the sparse prior takes a little from each.
    expect(sum).toBeGreaterThan(0.9);
    expect(sum).toBeLessThanOrEqual(1);
    expect(exactLog(sum)).toBeLessThanOrEqual(0);
  });

  it("raises the likelihood from step to step while nothing is pruned", async () => {
    const seen: number[] = [];
    await fitUnigram(symbolWords(corpus), 26, {
      ...options,
      size: 1000,
      subIterations: 6,
      pacer: createPacer(),
      onStep: ({ logProbPerSymbol }) => seen.push(logProbPerSymbol),
    });
    expect(seen).toHaveLength(6);
    expect(seen[1]!).toBeGreaterThan(seen[0]!);
    expect(seen[5]!).toBeGreaterThanOrEqual(seen[1]!);
  });

  it("gives the same model every time", async () => {
    const fit = () => fitUnigram(symbolWords(corpus), 26, { ...options, pacer: createPacer() });
    expect(vocabulary(await fit())).toEqual(vocabulary(await fit()));
  });

  it("gives some model for any words", async () => {
    await fc.assert(
      fc.asyncProperty(randomWords, fc.integer({ min: 1, max: 20 }), async (words, size) => {
        const pieces = await fitUnigram(symbolWords(words), 3, { ...options, size, pacer: createPacer() });
        const found = vocabulary(pieces);
        expect(found.length).toBeLessThanOrEqual(Math.max(3, size));
        expect(new Set(found.map(([piece]) => piece)).size).toBe(found.length);
        for (const [, score] of found) expect(Number.isFinite(score)).toBe(true);
      }),
      { numRuns: 200, seed: 15 },
    );
  });
});
