/**
 * Shows texts that are written at the same time one after another: the first as it comes, what the others have so far
 * when it is their turn.
 */
export class TextsInOrder {
  readonly #waiting: string[];
  readonly #ended: boolean[];
  readonly #write: (text: string) => void;
  readonly #begin: (index: number) => void;
  readonly #end: (index: number) => void;
  #current = 0;

  constructor(
    count: number,
    on: {
      readonly write: (text: string) => void;
      /** Called before the first piece of each text. */
      readonly begin: (index: number) => void;
      readonly end: (index: number) => void;
    },
  ) {
    this.#waiting = new Array(count).fill("");
    this.#ended = new Array(count).fill(false);
    this.#write = on.write;
    this.#begin = on.begin;
    this.#end = on.end;
    if (count > 0) this.#begin(0);
  }

  /** Takes a piece of a text; `ended` with its last one. */
  add(index: number, text: string, ended: boolean): void {
    this.#waiting[index] += text;
    this.#ended[index] = ended;
    while (this.#current < this.#waiting.length) {
      const now = this.#current;
      if (this.#waiting[now] !== "") this.#write(this.#waiting[now]!);
      this.#waiting[now] = "";
      if (!this.#ended[now]) return;
      this.#end(now);
      this.#current += 1;
      if (this.#current < this.#waiting.length) this.#begin(this.#current);
    }
  }
}
