/** The pairs of neighbouring symbols that occur, each with an index, in an open-addressing table of typed arrays. */
export class PairTable {
  left = new Int32Array(1 << 14);
  right = new Int32Array(1 << 14);
  /** How often the pair occurs in the corpus. */
  counts = new Float64Array(1 << 14);
  /** First position of the pair's list of positions, or -1. */
  heads = new Int32Array(1 << 14);
  /** The count with which the pair waits in the heap, 0 for none, Infinity for one that must never be merged. */
  heapKeys = new Float64Array(1 << 14);
  size = 0;
  // Index + 1 of the pair in each slot, 0 for an empty one; at most half full.
  #slots = new Int32Array(1 << 15);

  /** Whether a new pair needs more room than there is. */
  get full(): boolean {
    return this.size === this.left.length;
  }

  /** The index of the pair, new with count 0 if it was not there. There must be room. */
  indexOf(left: number, right: number): number {
    const mask = this.#slots.length - 1;
    let slot = hash(left, right) & mask;
    for (;;) {
      const index = this.#slots[slot]! - 1;
      if (index < 0) break;
      if (this.left[index] === left && this.right[index] === right) return index;
      slot = (slot + 1) & mask;
    }
    const index = this.size++;
    this.left[index] = left;
    this.right[index] = right;
    this.counts[index] = 0;
    this.heads[index] = -1;
    this.heapKeys[index] = 0;
    this.#slots[slot] = index + 1;
    return index;
  }

  /**
   * Makes room: forgets the pairs that do not occur any more, and doubles the arrays if that leaves more than half of
   * them in use. Returns the new index of each old one (-1 for a forgotten one).
   */
  makeRoom(): Int32Array {
    const moved = new Int32Array(this.size).fill(-1);
    let live = 0;
    for (let i = 0; i < this.size; i++) {
      if (this.counts[i] === 0 && this.heapKeys[i] !== Number.POSITIVE_INFINITY) continue;
      this.left[live] = this.left[i]!;
      this.right[live] = this.right[i]!;
      this.counts[live] = this.counts[i]!;
      this.heads[live] = this.heads[i]!;
      this.heapKeys[live] = this.heapKeys[i]!;
      moved[i] = live++;
    }
    this.size = live;
    if (live * 2 > this.left.length) {
      const length = this.left.length * 2;
      this.left = copied(this.left, new Int32Array(length));
      this.right = copied(this.right, new Int32Array(length));
      this.counts = copied(this.counts, new Float64Array(length));
      this.heads = copied(this.heads, new Int32Array(length));
      this.heapKeys = copied(this.heapKeys, new Float64Array(length));
      this.#slots = new Int32Array(length * 2);
    } else {
      this.#slots.fill(0);
    }
    const mask = this.#slots.length - 1;
    for (let i = 0; i < live; i++) {
      let slot = hash(this.left[i]!, this.right[i]!) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = i + 1;
    }
    return moved;
  }
}

function copied<A extends Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>>(from: A, to: A): A {
  to.set(from);
  return to;
}

function hash(left: number, right: number): number {
  let h = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca77);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 13);
}
