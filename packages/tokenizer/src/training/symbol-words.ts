/** The different words of a corpus as symbols (ids of tokens), one word after another, and how often each occurs. */
export interface SymbolWords {
  readonly symbols: Int32Array;
  /** Word w is symbols[starts[w]] to symbols[starts[w + 1] - 1]. */
  readonly starts: Int32Array;
  readonly counts: Float64Array;
}

/** Collects the words of SymbolWords in arrays that grow. */
export class SymbolWordsBuilder {
  #symbols = new Int32Array(1 << 16);
  #starts = new Int32Array(1 << 12);
  #counts = new Float64Array(1 << 12);
  #length = 0;
  #words = 0;

  addSymbol(id: number): void {
    if (this.#length === this.#symbols.length) this.#symbols = grown(this.#symbols, Int32Array);
    this.#symbols[this.#length++] = id;
  }

  /** Ends the word whose symbols were added last. A word of fewer than two symbols has nothing to merge: it is dropped. */
  endWord(count: number): void {
    const start = this.#words === 0 ? 0 : this.#starts[this.#words]!;
    if (this.#length - start < 2) {
      this.#length = start;
      return;
    }
    if (this.#words + 1 >= this.#counts.length) {
      this.#starts = grown(this.#starts, Int32Array);
      this.#counts = grown(this.#counts, Float64Array);
    }
    this.#counts[this.#words++] = count;
    this.#starts[this.#words] = this.#length;
  }

  finish(): SymbolWords {
    return {
      symbols: this.#symbols.subarray(0, this.#length),
      starts: this.#starts.subarray(0, this.#words + 1),
      counts: this.#counts.subarray(0, this.#words),
    };
  }
}

function grown<A extends Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>>(
  old: A,
  make: new (length: number) => A,
): A {
  const next = new make(old.length * 2);
  next.set(old);
  return next;
}
