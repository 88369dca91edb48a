import { LateHeap, RankBuckets } from "./merge-queues.ts";
import type { MergeTable } from "./merge-table.ts";

/** The symbols of a piece while they are merged: their ids and, when `ranged`, the ranges that they stand for. */
export class SymbolList {
  readonly ranged: boolean;
  ids: Int32Array;
  starts: Int32Array;
  ends: Int32Array;
  length = 0;

  constructor(ranged = true, capacity = 256) {
    this.ranged = ranged;
    this.ids = new Int32Array(capacity);
    this.starts = new Int32Array(ranged ? capacity : 0);
    this.ends = new Int32Array(ranged ? capacity : 0);
  }

  /** Makes room for this many symbols. */
  reserve(count: number): void {
    if (count > this.ids.length) this.#resize(Math.max(count, this.ids.length * 2));
  }

  /** Gives back the memory of a long piece. */
  release(): void {
    this.length = 0;
    if (this.ids.length > 1 << 20) this.#resize(256);
  }

  push(id: number, start: number, end: number): void {
    if (this.length === this.ids.length) this.reserve(this.length + 1);
    this.ids[this.length] = id;
    this.starts[this.length] = start;
    this.ends[this.length++] = end;
  }

  #resize(capacity: number): void {
    const copy = (old: Int32Array): Int32Array => {
      const resized = new Int32Array(capacity);
      resized.set(old.subarray(0, this.length));
      return resized;
    };
    this.ids = copy(this.ids);
    if (!this.ranged) return;
    this.starts = copy(this.starts);
    this.ends = copy(this.ends);
  }
}

/** From this many symbols on, the bookkeeping of `mergeLong` costs less than looking through all pairs for each merge. */
const LONG = 64;

/**
 * Byte-pair encoding of one piece (Sennrich et al. 2016): as long as neighbours merge, merges the pair of the smallest
 * rank, the leftmost of equals. Changes `symbols` in place. O(n log n) in the number of symbols, at most.
 */
export function mergeSymbols(symbols: SymbolList, table: MergeTable): void {
  if (symbols.length < LONG) mergeShort(symbols, table);
  else mergeLong(symbols, table);
}

const NONE = 0x7fffffff;
const shortRanks = new Int32Array(LONG);
const shortResults = new Int32Array(LONG);

function mergeShort(symbols: SymbolList, table: MergeTable): void {
  const { ids, starts, ends, ranged } = symbols;
  let n = symbols.length;
  const look = (at: number): void => {
    const entry = table.find(ids[at]!, ids[at + 1]!);
    shortRanks[at] = entry < 0 ? NONE : table.ranks[entry]!;
    if (entry >= 0) shortResults[at] = table.results[entry]!;
  };
  for (let i = 0; i + 1 < n; i++) look(i);
  while (n > 1) {
    let best = NONE;
    let at = -1;
    for (let i = 0; i + 1 < n; i++) {
      if (shortRanks[i]! < best) {
        best = shortRanks[i]!;
        at = i;
      }
    }
    if (at < 0) break;
    ids[at] = shortResults[at]!;
    if (ranged) ends[at] = ends[at + 1]!;
    n--;
    for (let i = at + 1; i < n; i++) {
      ids[i] = ids[i + 1]!;
      if (ranged) {
        starts[i] = starts[i + 1]!;
        ends[i] = ends[i + 1]!;
      }
      shortRanks[i] = shortRanks[i + 1]!;
      shortResults[i] = shortResults[i + 1]!;
    }
    if (at > 0) look(at - 1);
    if (at + 1 < n) look(at);
  }
  symbols.length = n;
}

/** One for all pieces, since every piece leaves it empty. */
const buckets = new RankBuckets();

// Long pieces: each pair of neighbours waits in the bucket of its rank (a doubly linked list through its left symbol),
// and the buckets are emptied in the order of their ranks, each from left to right. In a vocabulary that was trained, a
// merge only makes pairs of higher ranks, so that every bucket is emptied once and the whole is linear but for sorting
// a bucket's positions. Pairs that nevertheless come with a rank that has been passed wait in a heap, which goes first.
function mergeLong(symbols: SymbolList, table: MergeTable): void {
  const { ids, starts, ends, ranged, length: n } = symbols;
  const next = new Int32Array(n);
  const previous = new Int32Array(n);
  const pairRank = new Int32Array(n).fill(-1);
  const pairResult = new Int32Array(n);
  const inBucketNext = new Int32Array(n);
  const inBucketPrevious = new Int32Array(n);
  const late = new LateHeap();
  let level = -1;

  const setPair = (at: number, right: number): void => {
    const old = pairRank[at]!;
    if (old > level) {
      const before = inBucketPrevious[at]!;
      const after = inBucketNext[at]!;
      if (before >= 0) inBucketNext[before] = after;
      else buckets.setHead(old, after);
      if (after >= 0) inBucketPrevious[after] = before;
    }
    const entry = right < n ? table.find(ids[at]!, ids[right]!) : -1;
    if (entry < 0) {
      pairRank[at] = -1;
      return;
    }
    const rank = table.ranks[entry]!;
    pairRank[at] = rank;
    pairResult[at] = table.results[entry]!;
    if (rank <= level) {
      late.push(rank, at);
      return;
    }
    const head = buckets.head(rank);
    inBucketNext[at] = head;
    inBucketPrevious[at] = -1;
    if (head >= 0) inBucketPrevious[head] = at;
    buckets.setHead(rank, at);
  };
  const merge = (at: number): void => {
    const right = next[at]!;
    const after = next[right]!;
    ids[at] = pairResult[at]!;
    // The right symbol is gone, and its pair with it; asking for a pair beyond the end takes it from its bucket.
    setPair(right, n);
    next[at] = after;
    if (after < n) previous[after] = at;
    if (previous[at]! >= 0) setPair(previous[at]!, at);
    setPair(at, after);
  };

  for (let i = 0; i < n; i++) {
    next[i] = i + 1;
    previous[i] = i - 1;
  }
  for (let i = n - 2; i >= 0; i--) setPair(i, i + 1); // backwards, because buckets grow at their heads
  for (;;) {
    level = buckets.nextRank(level + 1);
    if (level < 0) break;
    const batch = ascending(buckets.head(level), inBucketNext);
    buckets.setHead(level, -1);
    for (const at of batch) {
      while (late.isBefore(level, at)) mergeLate(late, pairRank, merge);
      if (pairRank[at] === level) merge(at);
    }
    while (late.isBefore(level, n)) mergeLate(late, pairRank, merge);
  }

  let kept = 0;
  for (let i = 0; i < n; kept++) {
    const after = next[i]!;
    ids[kept] = ids[i]!;
    if (ranged) {
      starts[kept] = starts[i]!;
      ends[kept] = ends[after - 1]!;
    }
    i = after;
  }
  symbols.length = kept;
}

function mergeLate(late: LateHeap, pairRank: Int32Array, merge: (at: number) => void): void {
  const [rank, at] = late.pop();
  if (pairRank[at] === rank) merge(at);
}

/** The positions of a bucket's list in ascending order. */
function ascending(head: number, nextOf: Int32Array): Int32Array {
  let count = 0;
  for (let at = head; at >= 0; at = nextOf[at]!) count++;
  const positions = new Int32Array(count);
  let rising = true;
  let falling = true;
  for (let i = 0, at = head; at >= 0; at = nextOf[at]!, i++) {
    positions[i] = at;
    if (i > 0) {
      if (at > positions[i - 1]!) falling = false;
      else rising = false;
    }
  }
  if (rising) return positions;
  return falling ? positions.reverse() : positions.sort();
}
