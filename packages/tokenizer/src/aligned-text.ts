/**
 * A text with, for each of its UTF-16 units, the range of the original text that it stands for: what normalizers and
 * pre-tokenizers pass on, so that the offsets of a token always slice the text that the user gave.
 */
export interface AlignedText {
  readonly text: string;
  /** Where the text starts in the original while it is an unchanged slice of it; then `starts` and `ends` are null. */
  readonly base: number;
  /** Start in the original of each unit, or null for an unchanged slice: unit i is [base + i, base + i + 1). */
  readonly starts: Int32Array | null;
  /** End in the original of each unit, or null. */
  readonly ends: Int32Array | null;
}

/** An unchanged text that starts at `base` of the original. */
export function alignedText(text: string, base = 0): AlignedText {
  return { text, base, starts: null, ends: null };
}

/** The units [start, end). */
export function sliceAligned(source: AlignedText, start: number, end: number): AlignedText {
  if (start === 0 && end === source.text.length) return source;
  const text = source.text.slice(start, end);
  if (source.starts === null || source.ends === null) return alignedText(text, source.base + start);
  // An empty slice keeps the place where it was cut.
  const base = start < source.starts.length ? source.starts[start]! : (source.ends[start - 1] ?? source.base);
  return { text, base, starts: source.starts.subarray(start, end), ends: source.ends.subarray(start, end) };
}

/** Where unit `index` starts in the original text. */
export function originalStart(source: AlignedText, index: number): number {
  if (source.starts === null || source.ends === null) return source.base + index;
  if (index < source.starts.length) return source.starts[index]!;
  return index === 0 ? source.base : source.ends[source.ends.length - 1]!;
}

/** The range of the original text that the units [start, end) stand for, written to `out` as two numbers. */
export function pushOriginalRange(source: AlignedText, start: number, end: number, out: number[]): void {
  const { starts, ends } = source;
  if (starts === null || ends === null) {
    out.push(source.base + start, source.base + end);
  } else if (end <= start) {
    const at = originalStart(source, start);
    out.push(at, at);
  } else {
    // Alignments rise from left to right in all but reordered combining marks, where the ends of the range may lie inside.
    let from = starts[start]!;
    let to = ends[end - 1]!;
    if (from > to) [from, to] = [to, from];
    out.push(from, to);
  }
}

/** The same text in other letters, unit for unit. */
export function withText(source: AlignedText, text: string): AlignedText {
  return { text, base: source.base, starts: source.starts, ends: source.ends };
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
    const { starts, ends, base, text } = this.#source;
    this.#reserve(end - start);
    this.#parts.push(start === 0 && end === text.length ? text : text.slice(start, end));
    if (starts === null || ends === null) {
      for (let i = start; i < end; i++) {
        this.#starts[this.#length] = base + i;
        this.#ends[this.#length++] = base + i + 1;
      }
    } else {
      this.#starts.set(starts.subarray(start, end), this.#length);
      this.#ends.set(ends.subarray(start, end), this.#length);
      this.#length += end - start;
    }
  }

  /** `text`, each of whose units stands for all of the source's units [start, end). */
  replace(text: string, start: number, end: number): void {
    const { starts, ends, base } = this.#source;
    const from = originalStart(this.#source, start);
    let to = from;
    if (end > start) to = starts === null || ends === null ? base + end : ends[end - 1]!;
    this.#reserve(text.length);
    this.#parts.push(text);
    for (let i = 0; i < text.length; i++) {
      this.#starts[this.#length] = from;
      this.#ends[this.#length++] = to;
    }
  }

  finish(): AlignedText {
    return {
      text: this.#parts.join(""),
      base: originalStart(this.#source, 0),
      starts: this.#starts.subarray(0, this.#length),
      ends: this.#ends.subarray(0, this.#length),
    };
  }
}

/**
 * Passes each code point through `change`: null keeps it, a string takes its place ("" removes it). Returns the source
 * itself when nothing changes.
 */
export function mapCodePoints(source: AlignedText, change: (codePoint: number) => string | null): AlignedText {
  const { text } = source;
  let rewriter: AlignedRewriter | null = null;
  let kept = 0;
  for (let i = 0; i < text.length; ) {
    const codePoint = text.codePointAt(i)!;
    const next = i + (codePoint > 0xffff ? 2 : 1);
    const changed = change(codePoint);
    if (changed !== null) {
      rewriter ??= new AlignedRewriter(source);
      rewriter.copy(kept, i);
      if (changed !== "") rewriter.replace(changed, i, next);
      kept = next;
    }
    i = next;
  }
  if (rewriter === null) return source;
  rewriter.copy(kept, text.length);
  return rewriter.finish();
}
