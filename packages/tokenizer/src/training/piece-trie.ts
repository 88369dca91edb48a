/** A trie over sequences of symbols greater than or equal to 0, in one open-addressing table of typed arrays. */
export class PieceTrie {
  /** The piece that ends at each node, or -1. Node 0 is the root. */
  pieces = new Int32Array(1 << 12).fill(-1);
  #nodes = 1;
  // Four numbers a slot: node, symbol, child (0 for an empty slot), unused; at most half full.
  #slots = new Int32Array(4 << 13);

  /** Removes everything, and keeps the room. */
  clear(): void {
    this.pieces.fill(-1, 0, this.#nodes);
    this.#nodes = 1;
    this.#slots.fill(0);
  }

  /** Enters a piece: symbols[start] to symbols[end - 1]. */
  add(symbols: Int32Array, start: number, end: number, piece: number): void {
    let node = 0;
    for (let i = start; i < end; i++) node = this.#childOrNew(node, symbols[i]!);
    this.pieces[node] = piece;
  }

  /** The child of a node by a symbol, or 0. */
  child(node: number, symbol: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = (hash(node, symbol) << 2) & mask;
    for (;;) {
      const child = slots[slot + 2]!;
      if (child === 0 || (slots[slot] === node && slots[slot + 1] === symbol)) return child;
      slot = (slot + 4) & mask;
    }
  }

  #childOrNew(node: number, symbol: number): number {
    const found = this.child(node, symbol);
    if (found !== 0) return found;
    if (this.#nodes === this.pieces.length) this.#grow();
    const child = this.#nodes++;
    this.pieces[child] = -1;
    this.#enter(node, symbol, child);
    return child;
  }

  #enter(node: number, symbol: number, child: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = (hash(node, symbol) << 2) & mask;
    while (slots[slot + 2] !== 0) slot = (slot + 4) & mask;
    slots[slot] = node;
    slots[slot + 1] = symbol;
    slots[slot + 2] = child;
  }

  #grow(): void {
    const pieces = new Int32Array(this.pieces.length * 2).fill(-1);
    pieces.set(this.pieces);
    this.pieces = pieces;
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    for (let slot = 0; slot < old.length; slot += 4) {
      if (old[slot + 2] !== 0) this.#enter(old[slot]!, old[slot + 1]!, old[slot + 2]!);
    }
  }
}

function hash(node: number, symbol: number): number {
  const h = Math.imul(node, 0x9e3779b1) ^ Math.imul(symbol, 0x85ebca77);
  return h ^ (h >>> 15);
}
