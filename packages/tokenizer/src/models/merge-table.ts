/**
 * The pairs of ids that merge: an open-addressing hash table from (left, right) to an entry with the pair's rank and the
 * id that it becomes. With `resolve`, pairs are asked for when they first meet and remembered, absent ones too.
 */
export class MergeTable {
  /** Rank of each entry; the smallest merges first. */
  ranks: Int32Array;
  /** Id that each entry's pair becomes, or -1 where the pair is known not to merge. */
  results: Int32Array;
  #lefts: Int32Array;
  #rights: Int32Array;
  #slots: Int32Array;
  #mask: number;
  #size = 0;
  readonly #resolve: ((left: number, right: number, into: MergeTable) => void) | undefined;

  /** `resolve` adds the entry of a pair that is asked for the first time. */
  constructor(expected: number, resolve?: (left: number, right: number, into: MergeTable) => void) {
    let capacity = 64;
    while (capacity < expected * 2) capacity *= 2;
    this.#mask = capacity - 1;
    this.#slots = new Int32Array(capacity);
    const size = capacity / 2;
    this.ranks = new Int32Array(size);
    this.results = new Int32Array(size);
    this.#lefts = new Int32Array(size);
    this.#rights = new Int32Array(size);
    this.#resolve = resolve;
  }

  /** Entries, those of absent pairs included. */
  get size(): number {
    return this.#size;
  }

  /** The entry of a pair, or -1. */
  find(left: number, right: number): number {
    const lefts = this.#lefts;
    const rights = this.#rights;
    const slots = this.#slots;
    const mask = this.#mask;
    let slot = hashPair(left, right) & mask;
    for (;;) {
      const entry = slots[slot]! - 1;
      if (entry < 0) break;
      if (lefts[entry] === left && rights[entry] === right) return this.results[entry]! < 0 ? -1 : entry;
      slot = (slot + 1) & mask;
    }
    if (this.#resolve === undefined) return -1;
    this.#resolve(left, right, this);
    const entry = this.#size - 1;
    return this.results[entry]! < 0 ? -1 : entry;
  }

  /** Adds a pair, or replaces its rank and result. */
  add(left: number, right: number, rank: number, result: number): void {
    if (this.#size === this.#lefts.length) this.#grow();
    const slots = this.#slots;
    const lefts = this.#lefts;
    const rights = this.#rights;
    const mask = this.#mask;
    let slot = hashPair(left, right) & mask;
    let entry = slots[slot]! - 1;
    while (entry >= 0 && !(lefts[entry] === left && rights[entry] === right)) {
      slot = (slot + 1) & mask;
      entry = slots[slot]! - 1;
    }
    if (entry < 0) {
      entry = this.#size++;
      slots[slot] = entry + 1;
      lefts[entry] = left;
      rights[entry] = right;
    }
    this.ranks[entry] = rank;
    this.results[entry] = result;
  }

  /** Forgets every pair; only for tables that resolve them again. */
  clear(): void {
    this.#slots.fill(0);
    this.#size = 0;
  }

  #grow(): void {
    const size = this.#lefts.length * 2;
    const widen = (old: Int32Array): Int32Array => {
      const wide = new Int32Array(size);
      wide.set(old);
      return wide;
    };
    this.ranks = widen(this.ranks);
    this.results = widen(this.results);
    this.#lefts = widen(this.#lefts);
    this.#rights = widen(this.#rights);
    const slots = new Int32Array(size * 2);
    this.#mask = slots.length - 1;
    for (let entry = 0; entry < this.#size; entry++) {
      let slot = hashPair(this.#lefts[entry]!, this.#rights[entry]!) & this.#mask;
      while (slots[slot] !== 0) slot = (slot + 1) & this.#mask;
      slots[slot] = entry + 1;
    }
    this.#slots = slots;
  }
}

function hashPair(left: number, right: number): number {
  const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
