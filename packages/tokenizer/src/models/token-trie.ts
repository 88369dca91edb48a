/** A trie over UTF-16 units whose edges lie in one hash table; node 0 is the root. */
export class TokenTrie {
  #parents = new Int32Array(1 << 12);
  #units = new Uint16Array(1 << 12);
  #children = new Int32Array(1 << 12);
  #mask = (1 << 12) - 1;
  #tokens = new Int32Array(1 << 11).fill(-1);
  #nodes = 1;

  /** The node that `unit` leads to, or -1. */
  child(node: number, unit: number): number {
    let slot = hashEdge(node, unit) & this.#mask;
    for (;;) {
      const child = this.#children[slot]!;
      if (child === 0) return -1;
      if (this.#parents[slot] === node && this.#units[slot] === unit) return child;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** The token that ends at a node, or -1. */
  tokenAt(node: number): number {
    return this.#tokens[node]!;
  }

  /** Adds a token; of equal ones the last stays. */
  add(token: string, id: number): void {
    let node = 0;
    for (let i = 0; i < token.length; i++) {
      const unit = token.charCodeAt(i);
      const child = this.child(node, unit);
      node = child < 0 ? this.#addChild(node, unit) : child;
    }
    if (node > 0) this.#tokens[node] = id;
  }

  #addChild(node: number, unit: number): number {
    if (this.#nodes * 2 > this.#mask) this.#grow();
    const child = this.#nodes++;
    this.#insert(node, unit, child);
    return child;
  }

  #insert(node: number, unit: number, child: number): void {
    let slot = hashEdge(node, unit) & this.#mask;
    while (this.#children[slot] !== 0) slot = (slot + 1) & this.#mask;
    this.#parents[slot] = node;
    this.#units[slot] = unit;
    this.#children[slot] = child;
  }

  #grow(): void {
    const [parents, units, children] = [this.#parents, this.#units, this.#children];
    const capacity = children.length * 2;
    this.#parents = new Int32Array(capacity);
    this.#units = new Uint16Array(capacity);
    this.#children = new Int32Array(capacity);
    this.#mask = capacity - 1;
    for (let slot = 0; slot < children.length; slot++)
      if (children[slot] !== 0) this.#insert(parents[slot]!, units[slot]!, children[slot]!);
    const tokens = new Int32Array(capacity / 2 + 1).fill(-1);
    tokens.set(this.#tokens);
    this.#tokens = tokens;
  }
}

function hashEdge(node: number, unit: number): number {
  const mixed = Math.imul(node, 0x9e3779b1) ^ Math.imul(unit, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
