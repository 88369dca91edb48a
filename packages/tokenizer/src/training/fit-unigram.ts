import { digamma, exactLog } from "./exact-math.ts";
import type { Pacer } from "./pacer.ts";
import { PieceLattice, type Pieces } from "./piece-lattice.ts";
import { mostFrequentWords, seedPieces } from "./seed-pieces.ts";
import type { SymbolWords } from "./symbol-words.ts";

// The unigram language model of Kudo 2018 ("Subword regularization"), section 3.2, with the details of SentencePiece: a
// large seed vocabulary, expectation maximisation with a sparse prior (digamma), and pruning of the pieces whose loss
// would lower the likelihood of the corpus least.

export interface UnigramFitOptions {
  /** Pieces wanted, single symbols among them. */
  readonly size: number;
  readonly seedSize: number;
  readonly maxPieceLength: number;
  /** Part of the pieces that a round of pruning keeps. */
  readonly shrinkingFactor: number;
  /** Steps of expectation maximisation between two rounds of pruning. */
  readonly subIterations: number;
  readonly pacer: Pacer;
  readonly onStep?: (step: { pieces: number; seedPieces: number; logProbPerSymbol: number }) => void;
}

/** Seed pieces come from so many symbols of different words at most, so that memory stays below 1 GB. */
const mostSeedSymbols = 1 << 25;
/** A piece with fewer expected occurrences than this is dropped. */
const leastExpected = 0.5;
/** A symbol that no text needs as a piece of its own is this much less probable than the least probable piece. */
const unusedPenalty = 10;

/**
 * Fits a unigram model to words whose symbols are 1 to `alphabetSize`, each word ended by a 0. The result is sorted by
 * falling score, equal scores by their symbols; every symbol of the alphabet is in it.
 */
export async function fitUnigram(
  words: SymbolWords,
  alphabetSize: number,
  options: UnigramFitOptions,
): Promise<Pieces> {
  const { size, shrinkingFactor, subIterations, pacer, onStep } = options;
  const lattice = new PieceLattice();
  let pieces = await startPieces(words, alphabetSize, options);
  const seedCount = pieces.starts.length;
  await pacer.pause();
  // A few more than wanted, so that the last choice is by probability.
  const target = Math.max(alphabetSize, Math.floor(size * 1.1));
  let logProbPerSymbol = -2;
  for (;;) {
    for (let i = 0; i < subIterations; i++) {
      lattice.setPieces(pieces, logProbPerSymbol);
      const { expected, logProb, symbols } = await expectation(words, pieces, lattice, pacer);
      if (symbols > 0) logProbPerSymbol = logProb / symbols;
      pieces = maximisation(pieces, expected, alphabetSize);
      onStep?.({ pieces: pieces.starts.length, seedPieces: seedCount, logProbPerSymbol });
    }
    if (pieces.starts.length <= target) break;
    lattice.setPieces(pieces, logProbPerSymbol);
    const keep = Math.max(target, Math.floor(shrinkingFactor * pieces.starts.length));
    const pruned = await prune(words, pieces, lattice, { keep, alphabetSize, pacer });
    // Every piece that is left is needed by another one's best way to be cut.
    if (pruned.starts.length === pieces.starts.length) break;
    pieces = pruned;
  }
  return mostProbable(pieces, Math.max(size, alphabetSize), alphabetSize);
}

/** The alphabet (piece i is symbol i + 1) and the seed pieces, with scores by frequency. */
async function startPieces(words: SymbolWords, alphabetSize: number, options: UnigramFitOptions): Promise<Pieces> {
  const seedWords = mostFrequentWords(words, mostSeedSymbols);
  const seed = await seedPieces(seedWords, {
    pacer: options.pacer,
    maxLength: options.maxPieceLength,
    most: Math.max(0, options.seedSize - alphabetSize),
  });
  const counts = new Float64Array(alphabetSize + seed.counts.length);
  for (let word = 0; word < words.counts.length; word++) {
    for (let at = words.starts[word]!; at < words.starts[word + 1]!; at++) {
      if (words.symbols[at] !== 0) counts[words.symbols[at]! - 1]! += words.counts[word]!;
    }
  }
  counts.set(seed.counts, alphabetSize);
  // The alphabet lies before the words' symbols.
  const symbols = new Int32Array(alphabetSize + seedWords.symbols.length);
  const starts = new Int32Array(counts.length);
  const lengths = new Int32Array(counts.length).fill(1, 0, alphabetSize);
  for (let i = 0; i < alphabetSize; i++) {
    symbols[i] = i + 1;
    starts[i] = i;
  }
  symbols.set(seedWords.symbols, alphabetSize);
  for (let i = 0; i < seed.starts.length; i++) starts[alphabetSize + i] = seed.starts[i]! + alphabetSize;
  lengths.set(seed.lengths, alphabetSize);
  let total = 0;
  for (let i = 0; i < counts.length; i++) total += counts[i]! * lengths[i]!;
  const logTotal = exactLog(total);
  const scores = new Float64Array(counts.length);
  for (let i = 0; i < counts.length; i++) scores[i] = exactLog(Math.max(1, counts[i]! * lengths[i]!)) - logTotal;
  return { symbols, starts, lengths, scores };
}

async function expectation(words: SymbolWords, pieces: Pieces, lattice: PieceLattice, pacer: Pacer) {
  const expected = new Float64Array(pieces.starts.length);
  let logProb = 0;
  let symbols = 0;
  for (let word = 0; word < words.counts.length; word++) {
    const start = words.starts[word]!;
    const end = words.starts[word + 1]! - 1;
    const count = words.counts[word]!;
    logProb += count * lattice.addExpected(words.symbols, start, end, count, expected);
    symbols += count * (end - start);
    if ((word & 63) === 0 && pacer.due()) await pacer.pause();
  }
  return { expected, logProb, symbols };
}

/** The scores that the expected counts make most probable, without the pieces that hardly occur. */
function maximisation(pieces: Pieces, expected: Float64Array, alphabetSize: number): Pieces {
  const kept = indicesWhere(expected.length, (i) => i < alphabetSize || expected[i]! >= leastExpected);
  let sum = 0;
  for (const i of kept) if (expected[i]! >= leastExpected) sum += expected[i]!;
  const logSum = digamma(Math.max(sum, leastExpected));
  const scores = new Float64Array(kept.length);
  let least = 0;
  for (let k = 0; k < kept.length; k++) {
    if (expected[kept[k]!]! < leastExpected) continue;
    scores[k] = digamma(expected[kept[k]!]!) - logSum;
    least = Math.min(least, scores[k]!);
  }
  for (let k = 0; k < kept.length; k++) {
    if (expected[kept[k]!]! < leastExpected) scores[k] = least - unusedPenalty;
  }
  return { ...selected(pieces, kept), scores };
}

/**
 * Keeps the pieces without which the most probable way to cut the corpus would lose most likelihood. A piece that is
 * better cut itself, or that no word needs, goes; the alphabet stays.
 */
async function prune(
  words: SymbolWords,
  pieces: Pieces,
  lattice: PieceLattice,
  options: { keep: number; alphabetSize: number; pacer: Pacer },
): Promise<Pieces> {
  const { keep, alphabetSize, pacer } = options;
  const size = pieces.starts.length;
  // How often each piece is used, and by how many words of the corpus.
  const used = new Float64Array(size);
  const usingWords = new Float64Array(size);
  const lastWord = new Int32Array(size).fill(-1);
  let allWords = 0;
  let allUsed = 0;
  for (let word = 0; word < words.counts.length; word++) {
    const count = words.counts[word]!;
    allWords += count;
    lattice.bestPath(words.symbols, words.starts[word]!, words.starts[word + 1]! - 1, (piece) => {
      used[piece]! += count;
      allUsed += count;
      if (lastWord[piece] !== word) usingWords[piece]! += count;
      lastWord[piece] = word;
    });
    if ((word & 63) === 0 && pacer.due()) await pacer.pause();
  }
  const logAllUsed = exactLog(allUsed);

  const losses = new Float64Array(size);
  const candidates: number[] = [];
  let instead: number[] = [];
  for (let i = alphabetSize; i < size; i++) {
    if ((i & 63) === 0 && pacer.due()) await pacer.pause();
    if (used[i] === 0) continue;
    const start = pieces.starts[i]!;
    const end = start + pieces.lengths[i]!;
    if (lattice.bestPath(pieces.symbols, start, end, () => {}) > 1) continue;
    instead = [];
    lattice.bestPath(pieces.symbols, start, end, (piece) => instead.push(piece), i);
    const logProb = exactLog(used[i]!) - logAllUsed;
    const logOthers = exactLog(allUsed + used[i]! * (instead.length - 1));
    let logProbInstead = 0;
    for (const other of instead) logProbInstead += exactLog(used[other]! + used[i]!) - logOthers;
    losses[i] = (usingWords[i]! / allWords) * (logProb - logProbInstead);
    candidates.push(i);
  }
  candidates.sort((a, b) => losses[b]! - losses[a]! || a - b);
  const kept = candidates.slice(0, Math.max(0, keep - alphabetSize)).sort((a, b) => a - b);
  const all = Int32Array.from({ length: alphabetSize + kept.length }, (_, k) =>
    k < alphabetSize ? k : kept[k - alphabetSize]!,
  );
  return selected(pieces, all);
}

/** The alphabet and the most probable other pieces, by falling score. */
function mostProbable(pieces: Pieces, size: number, alphabetSize: number): Pieces {
  const { scores } = pieces;
  const byScore = (a: number, b: number) => scores[b]! - scores[a]! || compareSymbols(pieces, a, b);
  const others = Array.from({ length: scores.length - alphabetSize }, (_, k) => alphabetSize + k).sort(byScore);
  const kept = [...Array(alphabetSize).keys(), ...others.slice(0, size - alphabetSize)].sort(byScore);
  return selected(pieces, Int32Array.from(kept));
}

function compareSymbols({ symbols, starts, lengths }: Pieces, a: number, b: number): number {
  const shared = Math.min(lengths[a]!, lengths[b]!);
  for (let i = 0; i < shared; i++) {
    const difference = symbols[starts[a]! + i]! - symbols[starts[b]! + i]!;
    if (difference !== 0) return difference;
  }
  return lengths[a]! - lengths[b]!;
}

function selected({ symbols, starts, lengths, scores }: Pieces, indices: Int32Array): Pieces {
  return {
    symbols,
    starts: indices.map((i) => starts[i]!),
    lengths: indices.map((i) => lengths[i]!),
    scores: Float64Array.from(indices, (i) => scores[i]!),
  };
}

function indicesWhere(size: number, condition: (i: number) => boolean): Int32Array {
  const indices = new Int32Array(size);
  let count = 0;
  for (let i = 0; i < size; i++) if (condition(i)) indices[count++] = i;
  return indices.slice(0, count);
}
