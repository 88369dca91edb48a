import type { AlignedText } from "../aligned-text.ts";
import { AlignedRewriter } from "../aligned-text.ts";
import type { Normalizer } from "../stages.ts";

export type UnicodeForm = "NFC" | "NFD" | "NFKC" | "NFKD";

// A character with what may combine with it: marks, the vowels and final consonants of Hangul, and the vowel signs of
// Kirat Rai, the starters that compose with one before them.
const cluster = /[\s\S][\p{M}\u1160-\u1175\u11a8-\u11c2\u{16d63}-\u{16d6a}]*/gu;

const longMarks = /\p{M}{1024}/u;
const untilLongMarks = /[\s\S]*?\p{M}{1024}|[\s\S]+$/gu;

/**
 * A text in a normalization form. Engines put marks in order in quadratic time, so where more than 1,024 follow one
 * another each 1,024 are put in order by themselves.
 */
export function normalizeText(text: string, form: UnicodeForm): string {
  if (!longMarks.test(text)) return text.normalize(form);
  return text.replace(untilLongMarks, (part) => part.normalize(form));
}

/**
 * Unicode's normalization forms. A composed character stands for all the characters that it is composed of, so that
 * "e" + combining acute keeps both under the offsets of "é".
 */
export function unicodeForm(form: UnicodeForm): Normalizer {
  const composes = form === "NFC" || form === "NFKC";
  return (source) => {
    const { text } = source;
    const whole = normalizeText(text, form);
    if (whole === text) return source;
    const rewriter = new AlignedRewriter(source);
    let kept = 0;
    let at = 0;
    for (const [part] of text.matchAll(cluster)) {
      const end = at + part.length;
      const changed = normalizeText(part, form);
      if (changed !== part) {
        rewriter.copy(kept, at);
        if (composes || !decomposeEach(rewriter, part, at, form, changed)) rewriter.replace(changed, at, end);
        kept = end;
      }
      at = end;
    }
    rewriter.copy(kept, text.length);
    const result = rewriter.finish();
    // Never seen, but a newer Unicode may let other starters compose: then the whole text is one unit.
    return result.text === whole ? result : replaceAll(source, whole);
  };
}

/** Decomposes character by character, each part standing for its own character; false when marks change places. */
function decomposeEach(rewriter: AlignedRewriter, part: string, at: number, form: UnicodeForm, whole: string): boolean {
  const parts = [...part].map((character) => character.normalize(form));
  if (parts.join("") !== whole) return false;
  let start = at;
  let i = 0;
  for (const character of part) {
    rewriter.replace(parts[i++]!, start, start + character.length);
    start += character.length;
  }
  return true;
}

function replaceAll(source: AlignedText, text: string): AlignedText {
  const rewriter = new AlignedRewriter(source);
  rewriter.replace(text, 0, source.text.length);
  return rewriter.finish();
}
