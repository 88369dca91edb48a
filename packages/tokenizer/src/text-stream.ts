import type { DecodeStream } from "./decode-stream.ts";
import type { DecodeOptions, Tokenizer } from "./tokenizer.ts";

export interface TextStreamOptions extends DecodeOptions {
  /** Strings that end the text. They are not shown. */
  readonly stop?: string | readonly string[];
  /** Ids that come before the first, such as a prompt's: vocabularies that write spaces into words need the last of them. */
  readonly after?: ArrayLike<number>;
}

/** Ids before the first that can matter to it: a character's bytes, and a token before them. */
const mostBefore = 16;

/**
 * Text to show while a model writes it. Takes ids as they come and returns what is safe to show: whole characters, and
 * nothing that may turn out to be the beginning of a stop string. However the text is cut into tokens, the result is that
 * of reading it character by character: the stop string that is complete first ends it, the longest of those that are
 * complete at once.
 *
 * Ids that the vocabulary does not have add nothing: models often have more outputs than their vocabulary has tokens.
 */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  readonly #decode: DecodeStream;
  readonly #stops: readonly StopString[];
  #held = "";
  #stopped: string | undefined;

  /** @throws RangeError for a stop string that is empty or holds half a surrogate pair, which no text contains. */
  constructor(tokenizer: Tokenizer, options: TextStreamOptions = {}) {
    const { stop = [], after = [], ...decoding } = options;
    this.#tokenizer = tokenizer;
    this.#stops = [...new Set(typeof stop === "string" ? [stop] : stop)].map((text) => new StopString(text));
    this.#decode = tokenizer.decodeStream(decoding);
    this.#decode.push(this.#known(Array.from(after).slice(-mostBefore)));
  }

  /** The stop string that ended the text, once there was one. From then on `push` and `flush` return "". */
  get stopped(): string | undefined {
    return this.#stopped;
  }

  /** Takes the next id or ids and returns the text that is now safe to show, often "". */
  push(ids: number | Iterable<number>): string {
    if (this.#stopped !== undefined) return "";
    return this.#show(this.#decode.push(this.#known(typeof ids === "number" ? [ids] : [...ids])));
  }

  /** Returns what was held back, at the end of the text; bytes that never became a character show as U+FFFD. */
  flush(): string {
    if (this.#stopped !== undefined) return "";
    const text = this.#show(this.#decode.end()) + this.#held;
    this.#held = "";
    for (const stop of this.#stops) stop.reset();
    return text;
  }

  #known(ids: readonly number[]): number[] {
    return ids.filter((id) => this.#tokenizer.idToToken(id) !== undefined);
  }

  #show(added: string): string {
    const text = this.#held + added;
    for (let i = this.#held.length; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let found = 0;
      for (const stop of this.#stops) {
        if (stop.read(unit) && stop.text.length > found) {
          found = stop.text.length;
          this.#stopped = stop.text;
        }
      }
      if (found === 0) continue;
      this.#held = "";
      return text.slice(0, i + 1 - found);
    }
    const held = this.#stops.reduce((most, { matched }) => Math.max(most, matched), 0);
    this.#held = text.slice(text.length - held);
    return text.slice(0, text.length - held);
  }
}

/** Looks for one string in a text that is read unit by unit, in constant time for each (Knuth, Morris and Pratt). */
class StopString {
  readonly text: string;
  /** How many units at the end of the text are the beginning of the string. */
  matched = 0;
  /** For each length that matched, the next shorter one that matches then too. */
  readonly #shorter: Int32Array;

  constructor(text: string) {
    if (typeof text !== "string" || text === "" || /\p{Surrogate}/u.test(text)) {
      throw new RangeError(
        `TextStream: the stop string ${JSON.stringify(text)} must be text of at least one character`,
      );
    }
    this.text = text;
    this.#shorter = new Int32Array(text.length + 1);
    for (let i = 1; i < text.length; i++) {
      this.#shorter[i + 1] = this.#next(this.#shorter[i]!, text.charCodeAt(i));
    }
  }

  /** Whether the string is complete with this unit. */
  read(unit: number): boolean {
    this.matched = this.#next(this.matched, unit);
    return this.matched === this.text.length;
  }

  reset(): void {
    this.matched = 0;
  }

  #next(matched: number, unit: number): number {
    let length = matched;
    while (length > 0 && this.text.charCodeAt(length) !== unit) length = this.#shorter[length]!;
    return this.text.charCodeAt(length) === unit ? length + 1 : 0;
  }
}
