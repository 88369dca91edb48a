/** A set of code points, given by a test that is asked once for each page of 256 code points that a text touches. */
export class CodePointSet {
  readonly #contains: (codePoint: number) => boolean;
  readonly #pages: (Uint8Array | undefined)[] = new Array(0x1100);

  constructor(contains: (codePoint: number) => boolean) {
    this.#contains = contains;
  }

  has(codePoint: number): boolean {
    const page = this.#pages[codePoint >> 8] ?? this.#fill(codePoint >> 8);
    return page[codePoint & 0xff] === 1;
  }

  #fill(number: number): Uint8Array {
    const page = new Uint8Array(256);
    for (let i = 0; i < 256; i++) page[i] = this.#contains((number << 8) | i) ? 1 : 0;
    this.#pages[number] = page;
    return page;
  }

  /** The code points that match one character of a JavaScript regular expression, such as `\p{L}`. */
  static matching(source: string): CodePointSet {
    const regex = new RegExp(`^(?:${source})$`, "u");
    return new CodePointSet((codePoint) => regex.test(String.fromCodePoint(codePoint)));
  }
}

// Unicode's White_Space is what Rust and Oniguruma call whitespace. JavaScript's \s differs in U+0085 and U+FEFF.
export const whitespace = CodePointSet.matching("\\p{White_Space}");
export const marks = CodePointSet.matching("\\p{M}");
export const nonspacingMarks = CodePointSet.matching("\\p{Mn}");
export const numeric = CodePointSet.matching("\\p{N}");
/** ASCII punctuation with its symbols, and Unicode's punctuation. */
export const punctuation = CodePointSet.matching("[!-\\/:-@\\[-`\\{-~\\p{P}]");
/** Letters, marks, digits, connectors: what Rust's \w matches. */
export const wordCharacters = CodePointSet.matching("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]");
