/**
 * Hands what one side makes to the other, which reads it as an async iterator. Nothing waits for the reader: what it has not
 * read is kept, so whoever pushes bounds how much there is.
 */
export class TokenQueue<T> implements AsyncIterableIterator<T> {
  readonly #items: T[] = [];
  readonly #onReturn: () => void;
  #ended = false;
  #error: { readonly cause: unknown } | undefined;
  #waiting: (() => void)[] = [];

  /** @param onReturn called when the reader leaves before the end */
  constructor(onReturn: () => void) {
    this.#onReturn = onReturn;
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake();
  }

  /** No more items come. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** The reader gets the error instead of what it has not read. */
  fail(cause: unknown): void {
    if (this.#ended) return;
    this.#items.length = 0;
    this.#error = { cause };
    this.end();
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    while (this.#items.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#items.length > 0) return { done: false, value: this.#items.shift()! };
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error.cause;
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    if (!this.#ended) this.#onReturn();
    this.#items.length = 0;
    this.#error = undefined;
    this.end();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
