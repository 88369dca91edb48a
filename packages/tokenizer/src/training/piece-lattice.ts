import { exactExp, exactLog, powerOfTwo } from "./exact-math.ts";
import { PieceTrie } from "./piece-trie.ts";

/** The pieces of a unigram model while it is trained: sequences of symbols with log probabilities. */
export interface Pieces {
  readonly symbols: Int32Array;
  /** Piece i is symbols[starts[i]] to symbols[starts[i] + lengths[i] - 1]. */
  readonly starts: Int32Array;
  readonly lengths: Int32Array;
  readonly scores: Float64Array;
}

const smallest = 1e-200;
const largest = 1e200;

/** All ways to cut a word into pieces. Every symbol of a word must be a piece. */
export class PieceLattice {
  #pieces!: Pieces;
  readonly #trie = new PieceTrie();
  // Each piece's probability times scale^length, where the scale keeps the products of ordinary words near 1.
  #weights = new Float64Array(0);
  #logScale = 0;
  // The edges of the word at hand, by their begin: begin, end and piece.
  #begins = new Int32Array(1024);
  #ends = new Int32Array(1024);
  #ids = new Int32Array(1024);
  #edges = 0;
  #forward = new Float64Array(256);
  #backward = new Float64Array(256);
  #bestEdge = new Int32Array(256);

  /** Takes other pieces. Their mean log probability a symbol, of `tokens` with the given counts, sets the scale. */
  setPieces(pieces: Pieces, logProbPerSymbol: number): void {
    this.#pieces = pieces;
    this.#trie.clear();
    const { symbols, starts, lengths, scores } = pieces;
    for (let i = 0; i < starts.length; i++) this.#trie.add(symbols, starts[i]!, starts[i]! + lengths[i]!, i);
    // A power of two, so that scaling rounds nothing.
    const shift = Math.min(60, Math.max(0, Math.round(-logProbPerSymbol / Math.LN2)));
    this.#logScale = shift * Math.LN2;
    this.#weights = new Float64Array(scores.length);
    const powers = Array.from({ length: 16 }, (_, n) => powerOfTwo(shift * n));
    for (let i = 0; i < scores.length; i++) {
      const length = lengths[i]!;
      this.#weights[i] =
        exactExp(scores[i]!) * (length < 16 ? powers[length]! : powerOfTwo(Math.min(1000, shift * length)));
    }
  }

  /**
   * Adds to `expected`, for each piece, how often it occurs on average over all ways to cut the word, times `count`.
   * Returns the log probability of the word.
   */
  addExpected(text: Int32Array, start: number, end: number, count: number, expected: Float64Array): number {
    this.#build(text, start, end);
    return this.#addScaled(end - start, count, expected) ?? this.#addInLogs(end - start, count, expected);
  }

  /** Calls `visit` with the pieces of the most probable way to cut the word, last first; returns their number. */
  bestPath(text: Int32Array, start: number, end: number, visit: (piece: number) => void, without = -1): number {
    this.#build(text, start, end);
    const length = end - start;
    const { scores } = this.#pieces;
    const best = this.#forward;
    best.fill(Number.NEGATIVE_INFINITY, 0, length + 1);
    best[0] = 0;
    for (let e = 0; e < this.#edges; e++) {
      const id = this.#ids[e]!;
      const to = this.#ends[e]!;
      const score = best[this.#begins[e]!]! + scores[id]!;
      if (score > best[to]! && id !== without) {
        best[to] = score;
        this.#bestEdge[to] = e;
      }
    }
    if (best[length] === Number.NEGATIVE_INFINITY) return 0;
    let tokens = 0;
    for (let at = length; at > 0; tokens++) {
      const e = this.#bestEdge[at]!;
      visit(this.#ids[e]!);
      at = this.#begins[e]!;
    }
    return tokens;
  }

  #build(text: Int32Array, start: number, end: number): void {
    const length = end - start;
    if (length + 1 > this.#forward.length) {
      this.#forward = new Float64Array(length * 2);
      this.#backward = new Float64Array(length * 2);
      this.#bestEdge = new Int32Array(length * 2);
    }
    const trie = this.#trie;
    let edges = 0;
    for (let begin = 0; begin < length; begin++) {
      let node = 0;
      for (let at = begin; at < length; at++) {
        node = trie.child(node, text[start + at]!);
        if (node === 0) break;
        const id = trie.pieces[node]!;
        if (id < 0) continue;
        if (edges === this.#ids.length) this.#growEdges();
        this.#begins[edges] = begin;
        this.#ends[edges] = at + 1;
        this.#ids[edges++] = id;
      }
    }
    this.#edges = edges;
  }

  /** Forward and backward sums of products; null if one of them leaves the range where doubles are exact enough. */
  #addScaled(length: number, count: number, expected: Float64Array): number | null {
    const begins = this.#begins;
    const ends = this.#ends;
    const ids = this.#ids;
    const weights = this.#weights;
    const forward = this.#forward;
    const backward = this.#backward;
    forward.fill(0, 0, length + 1);
    backward.fill(0, 0, length + 1);
    forward[0] = 1;
    backward[length] = 1;
    for (let e = 0; e < this.#edges; e++) forward[ends[e]!]! += forward[begins[e]!]! * weights[ids[e]!]!;
    for (let e = this.#edges - 1; e >= 0; e--) backward[begins[e]!]! += backward[ends[e]!]! * weights[ids[e]!]!;
    for (let at = 0; at <= length; at++) {
      if (!(forward[at]! > smallest && forward[at]! < largest)) return null;
      if (!(backward[at]! > smallest && backward[at]! < largest)) return null;
    }
    const total = forward[length]!;
    const share = count / total;
    for (let e = 0; e < this.#edges; e++) {
      const id = ids[e]!;
      expected[id]! += share * forward[begins[e]!]! * weights[id]! * backward[ends[e]!]!;
    }
    return exactLog(total) - length * this.#logScale;
  }

  /** The same with logarithms: slower, for words that are very long or very improbable. */
  #addInLogs(length: number, count: number, expected: Float64Array): number {
    const { scores } = this.#pieces;
    const forward = this.#forward;
    const backward = this.#backward;
    forward.fill(Number.NEGATIVE_INFINITY, 0, length + 1);
    backward.fill(Number.NEGATIVE_INFINITY, 0, length + 1);
    forward[0] = 0;
    backward[length] = 0;
    for (let e = 0; e < this.#edges; e++) {
      const to = this.#ends[e]!;
      forward[to] = logOfSum(forward[to]!, forward[this.#begins[e]!]! + scores[this.#ids[e]!]!);
    }
    for (let e = this.#edges - 1; e >= 0; e--) {
      const from = this.#begins[e]!;
      backward[from] = logOfSum(backward[from]!, backward[this.#ends[e]!]! + scores[this.#ids[e]!]!);
    }
    const total = forward[length]!;
    for (let e = 0; e < this.#edges; e++) {
      const id = this.#ids[e]!;
      const logProb = forward[this.#begins[e]!]! + scores[id]! + backward[this.#ends[e]!]! - total;
      expected[id]! += count * exactExp(logProb);
    }
    return total;
  }

  #growEdges(): void {
    for (const name of ["begins", "ends", "ids"] as const) {
      const old = name === "begins" ? this.#begins : name === "ends" ? this.#ends : this.#ids;
      const larger = new Int32Array(old.length * 2);
      larger.set(old);
      if (name === "begins") this.#begins = larger;
      else if (name === "ends") this.#ends = larger;
      else this.#ids = larger;
    }
  }
}

function logOfSum(a: number, b: number): number {
  if (a === Number.NEGATIVE_INFINITY) return b;
  if (b === Number.NEGATIVE_INFINITY) return a;
  const high = Math.max(a, b);
  return high + exactLog(1 + exactExp(Math.min(a, b) - high));
}
