import { changeParts, type TextChange } from "../aligned-text.ts";
import { CodePointSet } from "../code-point-set.ts";
import { TokenizerFormatError } from "../errors.ts";
import type { Normalizer } from "../stages.ts";

/**
 * SentencePiece's normalization rules, compiled into a double-array trie (Darts) over UTF-8 bytes, as a tokenizer.json
 * carries them in base64: the trie's size in bytes, its units, and the replacements, each ended by a zero byte.
 */
export function precompiledNormalizer(charsmap: Uint8Array, where: string): Normalizer {
  if (charsmap.length === 0) return (source) => source;
  const view = new DataView(charsmap.buffer, charsmap.byteOffset, charsmap.byteLength);
  const size = charsmap.length >= 4 ? view.getUint32(0, true) : -1;
  if (size < 4 || size % 4 !== 0 || 4 + size > charsmap.length) {
    throw new TokenizerFormatError(
      `${where} holds ${charsmap.length} bytes with a trie of ${size} bytes; a character map whose trie fits was expected`,
    );
  }
  const units = new Uint32Array(size / 4);
  for (let i = 0; i < units.length; i++) units[i] = view.getUint32(4 + 4 * i, true);
  const replacements = charsmap.subarray(4 + size);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const encoder = new TextEncoder();
  const known = new Map<string, string | null>();

  /** The replacement of the shortest prefix that has one, or null. */
  function lookUp(text: string): string | null {
    const bytes = encoder.encode(text);
    let node = offsetOf(units[0]!);
    for (const byte of bytes) {
      if (byte === 0) return null;
      node = (node ^ byte) >>> 0;
      const unit = units[node];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return null;
      node = (node ^ offsetOf(unit)) >>> 0;
      if (((unit >>> 8) & 1) === 1) {
        const leaf = units[node];
        if (leaf === undefined) return null;
        const start = leaf & 0x7fffffff;
        if (start >= replacements.length) return null;
        let end = start;
        while (end < replacements.length && replacements[end] !== 0) end++;
        return decoder.decode(replacements.subarray(start, end));
      }
    }
    return null;
  }

  function transform(text: string): string | null {
    let found = known.get(text);
    if (found === undefined) {
      found = lookUp(text);
      if (known.size >= 20_000) known.clear();
      known.set(text, found);
    }
    return found;
  }

  return (source) => {
    const { text } = source;
    const changes: TextChange[] = [];
    forEachGrapheme(text, (start, end) => {
      const grapheme = text.slice(start, end);
      // A whole grapheme first, when it is short, then each of its characters. The Rust library does the same and takes
      // the shortest matching prefix where SentencePiece takes the longest; its ids are what models are used with.
      if (utf8Length(grapheme) < 6) {
        const found = transform(grapheme);
        if (found !== null) {
          if (found !== grapheme) changes.push({ start, end, text: found });
          return;
        }
      }
      for (let i = start; i < end; ) {
        const next = i + (text.codePointAt(i)! > 0xffff ? 2 : 1);
        const found = transform(text.slice(i, next));
        if (found !== null) changes.push({ start: i, end: next, text: found });
        i = next;
      }
    });
    return changeParts(source, changes);
  };
}

function offsetOf(unit: number): number {
  return ((unit >>> 10) << ((unit & 0x200) >>> 6)) >>> 0;
}

function utf8Length(text: string): number {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // A surrogate pair has four bytes, two for each half.
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit & 0xf800) === 0xd800 ? 2 : 3;
  }
  return length;
}

let segmenter: Intl.Segmenter | null = null;

// Letters between which a grapheme always ends. Without Hangul, whose letters join, and without modifier letters.
const simpleLetters = CodePointSet.matching(
  "(?!\\p{Lm})(?=\\p{L})[\\p{Script=Latin}\\p{Script=Greek}\\p{Script=Cyrillic}\\p{Script=Han}" +
    "\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hebrew}\\p{Script=Arabic}]",
);

function isSimple(codePoint: number): boolean {
  return codePoint < 0x80 ? codePoint >= 0x20 : simpleLetters.has(codePoint);
}

/** Graphemes. Only what is not simple goes to the segmenter, which is slow. */
function forEachGrapheme(text: string, found: (start: number, end: number) => void): void {
  for (let i = 0; i < text.length; ) {
    const codePoint = text.codePointAt(i)!;
    const end = i + (codePoint > 0xffff ? 2 : 1);
    if (isSimple(codePoint) && (end === text.length || isSimple(text.codePointAt(end)!))) {
      found(i, end);
      i = end;
    } else {
      i = segmentFrom(text, i, found);
    }
  }
}

/** Segments a part of the text from the start of a grapheme; returns where the next grapheme starts. */
function segmentFrom(text: string, start: number, found: (start: number, end: number) => void): number {
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  // Engines take time in proportion to the whole string for each segment, so they get windows.
  for (let size = 64; ; size *= 2) {
    const end = Math.min(text.length, start + size);
    const segments = [...segmenter.segment(text.slice(start, end))];
    // The last grapheme of a window may go on behind it.
    if (end < text.length) segments.pop();
    if (segments.length === 0) continue;
    let last = start;
    for (const { segment } of segments) {
      found(last, last + segment.length);
      last += segment.length;
    }
    return last;
  }
}
