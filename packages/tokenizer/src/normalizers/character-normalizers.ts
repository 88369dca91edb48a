import type { AlignedText, TextChange } from "../aligned-text.ts";
import { AlignedRewriter, changeParts, mapCodePoints, sliceAligned, withText } from "../aligned-text.ts";
import { CodePointSet, marks, nonspacingMarks, whitespace } from "../code-point-set.ts";
import type { Normalizer } from "../stages.ts";
import type { TextPattern } from "../text-pattern.ts";
import { codePointLetters } from "../utf8.ts";
import { unicodeForm } from "./unicode-forms.ts";

/** Lower case, letter by letter: sigma is σ at the end of a word too, as in the Rust library. */
export const lowercase: Normalizer = (source) => {
  const { text } = source;
  // These alone depend on their neighbours or change their length.
  if (!/[\u03a3\u0130]/.test(text)) {
    const lower = text.toLowerCase();
    if (lower === text) return source;
    if (lower.length === text.length) return withText(source, lower);
  }
  return mapCodePoints(source, (codePoint) => {
    const letter = String.fromCodePoint(codePoint);
    const lower = letter.toLowerCase();
    return lower === letter ? null : lower;
  });
};

/** Removes whitespace at the ends. */
export function stripWhitespace(left: boolean, right: boolean): Normalizer {
  return (source) => {
    const { text } = source;
    let start = 0;
    let end = text.length;
    // Whitespace lies in the basic plane, one unit each.
    if (left) while (start < end && whitespace.has(text.charCodeAt(start))) start++;
    if (right) while (end > start && whitespace.has(text.charCodeAt(end - 1))) end--;
    return sliceAligned(source, start, end);
  };
}

/** Removes combining marks. */
export const stripAccents: Normalizer = (source) => mapCodePoints(source, (c) => (marks.has(c) ? "" : null));

/** Puts `content` in the place of each match. */
export function replaceMatches(pattern: TextPattern, content: string): Normalizer {
  return (source) => {
    const changes: TextChange[] = [];
    pattern.forEachMatch(source.text, (start, end) => changes.push({ start, end, text: content }));
    return changeParts(source, changes);
  };
}

/** Puts text in front, standing for the first character as in the Rust library. Leaves an empty text empty. */
export function prependText(source: AlignedText, prefix: string): AlignedText {
  if (source.text === "" || prefix === "") return source;
  const rewriter = new AlignedRewriter(source);
  rewriter.replace(prefix, 0, source.text.codePointAt(0)! > 0xffff ? 2 : 1);
  rewriter.copy(0, source.text.length);
  return rewriter.finish();
}

/** Writes the UTF-8 bytes in the letters of GPT-2's byte-level alphabet; each stands for its whole character. */
export const byteLevelLetters: Normalizer = (source) => {
  return mapCodePoints(source, (c) => (c > 0x20 && c < 0x7f ? null : codePointLetters(c)));
};

const nmtRemoved = new CodePointSet(
  (c) => (c >= 1 && c <= 8) || c === 0x0b || (c >= 0x0e && c <= 0x1f) || c === 0x7f || c === 0x8f || c === 0x9f,
);
const nmtSpaces = new Set([
  0x09, 0x0a, 0x0c, 0x0d, 0x1680, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd,
]);

/** SentencePiece's rules for control characters and spaces. */
export const nmt: Normalizer = (source) =>
  mapCodePoints(source, (c) => (nmtRemoved.has(c) ? "" : nmtSpaces.has(c) ? " " : null));

// Not unassigned code points, as in the Rust library.
const controls = CodePointSet.matching("[\\p{Cc}\\p{Cf}\\p{Co}\\p{Cs}]");

function isCjk(c: number): boolean {
  if (c < 0x3400) return false;
  return (
    c <= 0x4dbf ||
    (c >= 0x4e00 && c <= 0x9fff) ||
    (c >= 0xf900 && c <= 0xfaff) ||
    (c >= 0x20000 && c <= 0x2a6df) ||
    (c >= 0x2a700 && c <= 0x2b73f) ||
    (c >= 0x2b740 && c <= 0x2b81f) ||
    (c >= 0x2b920 && c <= 0x2ceaf) ||
    (c >= 0x2f800 && c <= 0x2fa1f)
  );
}

const decompose = unicodeForm("NFD");

export interface BertNormalizerOptions {
  readonly cleanText: boolean;
  readonly handleChineseChars: boolean;
  readonly stripAccents: boolean;
  readonly lowercase: boolean;
}

/** BERT's clean-up: control characters, spaces around Chinese characters, accents, case. */
export function bertNormalizer(options: BertNormalizerOptions): Normalizer {
  return (source) => {
    let text = source;
    if (options.cleanText) {
      text = mapCodePoints(text, (c) => {
        if (c === 0x20) return null;
        if (c === 0x09 || c === 0x0a || c === 0x0d) return " ";
        if (c === 0 || c === 0xfffd || controls.has(c)) return "";
        return whitespace.has(c) ? " " : null;
      });
    }
    if (options.handleChineseChars) {
      text = mapCodePoints(text, (c) => (isCjk(c) ? ` ${String.fromCodePoint(c)} ` : null));
    }
    if (options.stripAccents) {
      text = mapCodePoints(decompose(text), (c) => (nonspacingMarks.has(c) ? "" : null));
    }
    return options.lowercase ? lowercase(text) : text;
  };
}
