// What waits while a long piece is merged, in the order of ranks.

/** Heads of lists by rank, with a set of bits in which the next list that is not empty is found quickly. */
export class RankBuckets {
  #heads = new Int32Array(1024).fill(-1);
  #occupied = new Uint32Array(32);

  head(rank: number): number {
    return rank < this.#heads.length ? this.#heads[rank]! : -1;
  }

  setHead(rank: number, position: number): void {
    if (rank >= this.#heads.length) this.#grow(rank);
    this.#heads[rank] = position;
    if (position >= 0) this.#occupied[rank >>> 5]! |= 1 << (rank & 31);
    else this.#occupied[rank >>> 5]! &= ~(1 << (rank & 31));
  }

  /** The smallest rank >= from whose list is not empty, or -1. */
  nextRank(from: number): number {
    const words = this.#occupied;
    let word = from >>> 5;
    if (word >= words.length) return -1;
    let bits = words[word]! & (-1 << (from & 31));
    while (bits === 0) {
      if (++word === words.length) return -1;
      bits = words[word]!;
    }
    return word * 32 + (31 - Math.clz32(bits & -bits));
  }

  #grow(rank: number): void {
    let length = this.#heads.length;
    while (length <= rank) length *= 2;
    const heads = new Int32Array(length).fill(-1);
    heads.set(this.#heads);
    const occupied = new Uint32Array(length >>> 5);
    occupied.set(this.#occupied);
    this.#heads = heads;
    this.#occupied = occupied;
  }
}

const POSITIONS = 2 ** 29;

/** A binary heap of (rank, position), smallest first, as the numbers rank * 2^29 + position. */
export class LateHeap {
  readonly #keys: number[] = [];

  /** Whether the first key comes before (rank, position). */
  isBefore(rank: number, position: number): boolean {
    return this.#keys.length > 0 && this.#keys[0]! < rank * POSITIONS + position;
  }

  push(rank: number, position: number): void {
    const keys = this.#keys;
    const key = rank * POSITIONS + position;
    let at = keys.length;
    keys.push(key);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  /** Takes the first out: its rank and position. */
  pop(): [rank: number, position: number] {
    const keys = this.#keys;
    const first = keys[0]!;
    const rank = Math.floor(first / POSITIONS);
    const found: [number, number] = [rank, first - rank * POSITIONS];
    const last = keys.pop()!;
    const n = keys.length;
    if (n === 0) return found;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= n) break;
      if (child + 1 < n && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= last) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = last;
    return found;
  }
}
