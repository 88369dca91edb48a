/** A binary heap of (key, item) in typed arrays: the largest key first, and of equal keys what `precedes` says. */
export class MaxHeap {
  #keys = new Float64Array(1024);
  #items = new Int32Array(1024);
  #size = 0;
  readonly #precedes: (a: number, b: number) => boolean;

  /** `precedes(a, b)`: of two items of equal key, whether a comes before b. */
  constructor(precedes: (a: number, b: number) => boolean) {
    this.#precedes = precedes;
  }

  get size(): number {
    return this.#size;
  }

  /** The largest key, or -Infinity. */
  get topKey(): number {
    return this.#size === 0 ? Number.NEGATIVE_INFINITY : this.#keys[0]!;
  }

  /** The item of the largest key, or -1. */
  get top(): number {
    return this.#size === 0 ? -1 : this.#items[0]!;
  }

  clear(): void {
    this.#size = 0;
  }

  push(key: number, item: number): void {
    if (this.#size === this.#items.length) this.#grow();
    let hole = this.#size++;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (!this.#isBefore(key, item, parent)) break;
      this.#keys[hole] = this.#keys[parent]!;
      this.#items[hole] = this.#items[parent]!;
      hole = parent;
    }
    this.#keys[hole] = key;
    this.#items[hole] = item;
  }

  /** Removes the top. */
  pop(): void {
    const last = --this.#size;
    if (last > 0) this.#sink(this.#keys[last]!, this.#items[last]!);
  }

  /** Gives the top a key that is smaller, and moves it to its place. */
  lowerTop(key: number): void {
    this.#sink(key, this.#items[0]!);
  }

  #sink(key: number, item: number): void {
    const size = this.#size;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#isBefore(this.#keys[child + 1]!, this.#items[child + 1]!, child)) child++;
      if (this.#isBefore(key, item, child)) break;
      this.#keys[hole] = this.#keys[child]!;
      this.#items[hole] = this.#items[child]!;
      hole = child;
    }
    this.#keys[hole] = key;
    this.#items[hole] = item;
  }

  #isBefore(key: number, item: number, place: number): boolean {
    const other = this.#keys[place]!;
    return key > other || (key === other && this.#precedes(item, this.#items[place]!));
  }

  #grow(): void {
    const keys = new Float64Array(this.#keys.length * 2);
    keys.set(this.#keys);
    this.#keys = keys;
    const items = new Int32Array(this.#items.length * 2);
    items.set(this.#items);
    this.#items = items;
  }
}
