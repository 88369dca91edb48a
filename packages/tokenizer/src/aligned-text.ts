/**
 * A text with, for each of its UTF-16 units, the range of the original text that it stands for: what normalizers and
 * pre-tokenizers pass on, so that the offsets of a token always slice the text that the user gave.
 */
export interface AlignedText {
  readonly text: string;
  /**
   * Without `alignment`: where the text starts in the original, of which it is an unchanged slice (unit for unit).
   * With it: where the text starts in the arrays of the alignment.
   */
  readonly base: number;
  readonly alignment: Alignment | null;
}

/** Start and end in the original text of each unit of a changed text, which its slices share. */
export interface Alignment {
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly length: number;
  /** Where an empty text lies. */
  readonly origin: number;
}

/** An unchanged text that starts at `base` of the original. */
export function alignedText(text: string, base = 0): AlignedText {
  return { text, base, alignment: null };
}

/** The units [start, end). */
export function sliceAligned(source: AlignedText, start: number, end: number): AlignedText {
  if (start === 0 && end === source.text.length) return source;
  return { text: source.text.slice(start, end), base: source.base + start, alignment: source.alignment };
}

/** Where unit `index` starts in the original text. */
export function originalStart({ base, alignment }: AlignedText, index: number): number {
  const at = base + index;
  if (alignment === null) return at;
  if (at < alignment.length) return alignment.starts[at]!;
  return at === 0 ? alignment.origin : alignment.ends[at - 1]!;
}

/** Where unit `index` ends in the original text. */
export function originalEnd({ base, alignment }: AlignedText, index: number): number {
  return alignment === null ? base + index + 1 : alignment.ends[base + index]!;
}

/** The range of the original text that the units [start, end) stand for, written to `out` as two numbers. */
export function pushOriginalRange(source: AlignedText, start: number, end: number, out: number[]): void {
  if (source.alignment === null) {
    out.push(source.base + start, source.base + end);
  } else if (end <= start) {
    const at = originalStart(source, start);
    out.push(at, at);
  } else {
    out.push(originalStart(source, start), originalEnd(source, end - 1));
  }
}

/** The same text in other letters, unit for unit. */
export function withText(source: AlignedText, text: string): AlignedText {
  return { text, base: source.base, alignment: source.alignment };
}

/** Builds a changed text from left to right out of copied, replaced and left-out parts of a source. */
export class AlignedRewriter {
  readonly #source: AlignedText;
  readonly #parts: string[] = [];
  #starts: Int32Array;
  #ends: Int32Array;
  #length = 0;

  constructor(source: AlignedText) {
    this.#source = source;
    this.#starts = new Int32Array(source.text.length + 16);
    this.#ends = new Int32Array(source.text.length + 16);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#starts.length) return;
    const size = Math.max(this.#length + count, 2 * this.#starts.length);
    for (const old of [this.#starts, this.#ends]) {
      const grown = new Int32Array(size);
      grown.set(old.subarray(0, this.#length));
      if (old === this.#starts) this.#starts = grown;
      else this.#ends = grown;
    }
  }

  /** The units [start, end) of the source as they are. */
  copy(start: number, end: number): void {
    if (end <= start) return;
    const { alignment, base, text } = this.#source;
    this.#reserve(end - start);
    this.#parts.push(start === 0 && end === text.length ? text : text.slice(start, end));
    if (alignment === null) {
      for (let i = start; i < end; i++) {
        this.#starts[this.#length] = base + i;
        this.#ends[this.#length++] = base + i + 1;
      }
    } else {
      for (let i = base + start; i < base + end; i++) {
        this.#starts[this.#length] = alignment.starts[i]!;
        this.#ends[this.#length++] = alignment.ends[i]!;
      }
    }
  }

  /** `text`, each of whose units stands for all of the source's units [start, end). */
  replace(text: string, start: number, end: number): void {
    const from = originalStart(this.#source, start);
    const to = end > start ? originalEnd(this.#source, end - 1) : from;
    this.#reserve(text.length);
    this.#parts.push(text);
    for (let i = 0; i < text.length; i++) {
      this.#starts[this.#length] = from;
      this.#ends[this.#length++] = to;
    }
  }

  finish(): AlignedText {
    const origin = originalStart(this.#source, 0);
    const alignment = { starts: this.#starts, ends: this.#ends, length: this.#length, origin };
    return { text: this.#parts.join(""), base: 0, alignment };
  }
}

/** Parts of a text to be changed, in order: [start, end) becomes `text`. */
export interface TextChange {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A text with some parts changed, each standing for the whole part that it replaces. */
export function changeParts(source: AlignedText, changes: readonly TextChange[]): AlignedText {
  if (changes.length === 0) return source;
  const { text } = source;
  let kept = 0;
  if (changes.every((change) => change.end - change.start === 1 && change.text.length === 1)) {
    // Unit for unit: the alignment stays.
    let changed = "";
    for (const change of changes) {
      changed += text.slice(kept, change.start) + change.text;
      kept = change.end;
    }
    return withText(source, changed + text.slice(kept));
  }
  const rewriter = new AlignedRewriter(source);
  for (const change of changes) {
    rewriter.copy(kept, change.start);
    if (change.text !== "") rewriter.replace(change.text, change.start, change.end);
    kept = change.end;
  }
  rewriter.copy(kept, text.length);
  return rewriter.finish();
}

/**
 * Passes each code point through `change`: null keeps it, a string takes its place ("" removes it). Returns the source
 * itself when nothing changes.
 */
export function mapCodePoints(source: AlignedText, change: (codePoint: number) => string | null): AlignedText {
  const { text } = source;
  const changes: TextChange[] = [];
  for (let i = 0; i < text.length; ) {
    const codePoint = text.codePointAt(i)!;
    const end = i + (codePoint > 0xffff ? 2 : 1);
    const changed = change(codePoint);
    if (changed !== null) changes.push({ start: i, end, text: changed });
    i = end;
  }
  return changeParts(source, changes);
}
