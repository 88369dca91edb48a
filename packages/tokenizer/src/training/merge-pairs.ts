import { MaxHeap } from "./max-heap.ts";
import type { Pacer } from "./pacer.ts";
import { PairTable } from "./pair-table.ts";
import type { SymbolWords } from "./symbol-words.ts";

// Byte-pair encoding (Sennrich et al. 2016, "Neural machine translation of rare words with subword units"), trained
// incrementally. Each position of the corpus' different words is in the list of the pair that begins there, so a merge
// visits only the places that it changes, and all merges together take time in proportion to the corpus' positions.

export interface MergeOptions {
  /** The string of each symbol; the strings of merged pairs are added. */
  readonly tokens: string[];
  /** Length of each symbol, in characters or bytes; those of merged pairs are added. */
  readonly lengths: number[];
  /** Ends when there are so many tokens. */
  readonly vocabSize: number;
  /** Ends when no pair occurs so often. */
  readonly minFrequency: number;
  /** No token longer than this is made. */
  readonly maxTokenLength: number;
  /** Strings that must not come out of a merge. */
  readonly forbidden: ReadonlySet<string>;
  /** The string of a merged pair. */
  readonly join: (left: string, right: string) => string;
  readonly pacer: Pacer;
  readonly onMerge?: (tokens: number) => void;
}

/** Pairs of ids, best first: merges[2 * i] and merges[2 * i + 1]. */
export type Merges = readonly number[];

const none = -1;
const never = Number.POSITIVE_INFINITY;

/**
 * Merges the most frequent pair of neighbouring symbols, again and again; of pairs that occur equally often the one
 * whose left symbol, then whose right symbol, has the smaller id. A pair inside a run of equal symbols (aaa) counts once
 * for each of its places; merging goes from left to right. Adds to `options.tokens`; takes `words.symbols` over.
 */
export async function mergePairs(words: SymbolWords, options: MergeOptions): Promise<Merges> {
  const { tokens, lengths, vocabSize, maxTokenLength, forbidden, join, pacer } = options;
  const minCount = Math.max(1, options.minFrequency);
  const corpus = new PairedCorpus(words, lengths, maxTokenLength, minCount);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: number[] = [];

  await corpus.index(pacer);
  const { table } = corpus;
  const heap = new MaxHeap((a, b) => {
    const difference = table.left[a]! - table.left[b]!;
    return difference < 0 || (difference === 0 && table.right[a]! < table.right[b]!);
  });
  /** Puts a pair in the heap unless it waits there with no smaller a count. */
  const enqueue = (pair: number) => {
    const count = table.counts[pair]!;
    if (count < minCount || count <= table.heapKeys[pair]!) return;
    table.heapKeys[pair] = count;
    heap.push(count, pair);
  };
  for (let pair = 0; pair < table.size; pair++) enqueue(pair);

  const made = new Set<string>();
  while (tokens.length < vocabSize && heap.size > 0) {
    if (pacer.due()) await pacer.pause();
    const pair = heap.top;
    const key = heap.topKey;
    if (key !== table.heapKeys[pair]) {
      // Left behind by an entry with a larger count, or by a pair that was merged.
      heap.pop();
      continue;
    }
    const count = table.counts[pair]!;
    if (count < key) {
      // Counts fall while a pair waits; only the top's is ever looked at again.
      if (count < minCount) {
        table.heapKeys[pair] = 0;
        heap.pop();
      } else {
        table.heapKeys[pair] = count;
        heap.lowerTop(count);
      }
      continue;
    }
    heap.pop();
    const left = table.left[pair]!;
    const right = table.right[pair]!;
    const token = join(tokens[left]!, tokens[right]!);
    if (forbidden.has(token)) {
      table.heapKeys[pair] = never;
      continue;
    }
    let id = ids.get(token);
    if (id === undefined) {
      id = tokens.length;
      tokens.push(token);
      lengths.push(lengths[left]! + lengths[right]!);
      ids.set(token, id);
    }
    // Two ways to the same token make a pair that was merged before possible again: it stays one line of the list.
    const line = `${left} ${right}`;
    if (!made.has(line)) {
      made.add(line);
      merges.push(left, right);
    }
    table.heapKeys[pair] = 0;
    const grew = corpus.merge(pair, id);
    if (corpus.renumbered) {
      heap.clear();
      for (let i = 0; i < table.size; i++) {
        if (table.heapKeys[i] !== never) table.heapKeys[i] = 0;
        enqueue(i);
      }
      corpus.renumbered = false;
    } else {
      for (const grown of grew) enqueue(grown);
    }
    options.onMerge?.(tokens.length);
  }
  return merges;
}

/** The words as linked lists of symbols, with the list of each pair's positions. */
class PairedCorpus {
  readonly table = new PairTable();
  /** Set when pairs have got new indices (and the list that `merge` returned is of no use). */
  renumbered = false;
  readonly #symbols: Int32Array;
  readonly #lengths: readonly number[];
  readonly #maxLength: number;
  readonly #minCount: number;
  readonly #starts: Int32Array;
  readonly #counts: Float64Array;
  readonly #wordOf: Int32Array;
  // Neighbouring positions in the word.
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  // The pair that begins at a position, and its neighbours in that pair's list.
  readonly #pairAt: Int32Array;
  readonly #nextPlace: Int32Array;
  readonly #previousPlace: Int32Array;
  #places = new Int32Array(1024);
  #grew: number[] = [];

  constructor(words: SymbolWords, lengths: readonly number[], maxLength: number, minCount: number) {
    const size = words.symbols.length;
    this.#symbols = words.symbols;
    this.#starts = words.starts;
    this.#counts = words.counts;
    this.#lengths = lengths;
    this.#maxLength = maxLength;
    this.#minCount = minCount;
    this.#wordOf = new Int32Array(size);
    this.#next = new Int32Array(size);
    this.#previous = new Int32Array(size);
    this.#pairAt = new Int32Array(size).fill(none);
    this.#nextPlace = new Int32Array(size);
    this.#previousPlace = new Int32Array(size);
  }

  /** Counts the pairs of all words. */
  async index(pacer: Pacer): Promise<void> {
    for (let word = 0; word + 1 < this.#starts.length; word++) {
      const start = this.#starts[word]!;
      const end = this.#starts[word + 1]!;
      for (let at = start; at < end; at++) {
        this.#wordOf[at] = word;
        this.#previous[at] = at === start ? none : at - 1;
        this.#next[at] = at + 1 === end ? none : at + 1;
      }
      for (let at = start; at + 1 < end; at++) this.#link(at);
      if ((word & 255) === 0 && pacer.due()) await pacer.pause();
    }
    this.#grew = [];
    this.renumbered = false;
  }

  /** Puts `id` in the place of every occurrence of the pair. Returns pairs that occur more often now. */
  merge(pair: number, id: number): readonly number[] {
    const { table } = this;
    const left = table.left[pair]!;
    const right = table.right[pair]!;
    this.#grew = [];
    const places = this.#takePlaces(pair);
    // In aaa both places are the pair's, and the first must win.
    if (left === right) places.sort();
    const symbols = this.#symbols;
    const next = this.#next;
    const previous = this.#previous;
    for (let i = 0; i < places.length; i++) {
      const at = places[i]!;
      const second = next[at]!;
      if (symbols[at] !== left || second === none || symbols[second] !== right) continue;
      const before = previous[at]!;
      const after = next[second]!;
      if (before !== none) this.#unlink(before);
      this.#unlink(second);
      symbols[at] = id;
      symbols[second] = none;
      next[at] = after;
      if (after !== none) previous[after] = at;
      if (before !== none) this.#link(before);
      if (after !== none) this.#link(at);
    }
    return this.#grew;
  }

  /** Empties a pair's list and count, and returns what was in the list. */
  #takePlaces(pair: number): Int32Array {
    let count = 0;
    for (let at = this.table.heads[pair]!; at !== none; at = this.#nextPlace[at]!) {
      if (count === this.#places.length) {
        const larger = new Int32Array(count * 2);
        larger.set(this.#places);
        this.#places = larger;
      }
      this.#places[count++] = at;
      this.#pairAt[at] = none;
    }
    this.table.heads[pair] = none;
    this.table.counts[pair] = 0;
    return this.#places.subarray(0, count);
  }

  /** Enters the pair that begins at a position, unless the token that it would make is too long. */
  #link(at: number): void {
    const { table } = this;
    const left = this.#symbols[at]!;
    const right = this.#symbols[this.#next[at]!]!;
    if (this.#lengths[left]! + this.#lengths[right]! > this.#maxLength) return;
    if (table.full) this.#makeRoom();
    const pair = table.indexOf(left, right);
    const head = table.heads[pair]!;
    this.#pairAt[at] = pair;
    this.#nextPlace[at] = head;
    this.#previousPlace[at] = none;
    if (head !== none) this.#previousPlace[head] = at;
    table.heads[pair] = at;
    const count = table.counts[pair]!;
    // Above both it is in the list already.
    if (count <= table.heapKeys[pair]! || count < this.#minCount) this.#grew.push(pair);
    table.counts[pair] = count + this.#counts[this.#wordOf[at]!]!;
  }

  /** Removes the pair that begins at a position. */
  #unlink(at: number): void {
    const pair = this.#pairAt[at]!;
    if (pair === none) return;
    const { table } = this;
    const after = this.#nextPlace[at]!;
    const before = this.#previousPlace[at]!;
    if (after !== none) this.#previousPlace[after] = before;
    if (before === none) table.heads[pair] = after;
    else this.#nextPlace[before] = after;
    this.#pairAt[at] = none;
    table.counts[pair]! -= this.#counts[this.#wordOf[at]!]!;
  }

  #makeRoom(): void {
    const moved = this.table.makeRoom();
    const pairAt = this.#pairAt;
    for (let at = 0; at < pairAt.length; at++) {
      if (pairAt[at] !== none) pairAt[at] = moved[pairAt[at]!]!;
    }
    this.#grew = [];
    this.renumbered = true;
  }
}
