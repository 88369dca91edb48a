import { BYTE_CHARACTERS as byteLetters } from "./models/byte-alphabet.ts";

/** The UTF-8 bytes of a code point, in the letters of the alphabet. */
export function codePointLetters(codePoint: number): string {
  if (codePoint < 0x80) return byteLetters[codePoint]!;
  if (codePoint < 0x800) return byteLetters[0xc0 | (codePoint >> 6)]! + byteLetters[0x80 | (codePoint & 0x3f)]!;
  const last = byteLetters[0x80 | ((codePoint >> 6) & 0x3f)]! + byteLetters[0x80 | (codePoint & 0x3f)]!;
  if (codePoint < 0x10000) return byteLetters[0xe0 | (codePoint >> 12)]! + last;
  return byteLetters[0xf0 | (codePoint >> 18)]! + byteLetters[0x80 | ((codePoint >> 12) & 0x3f)]! + last;
}

/** A text with lone surrogates replaced by U+FFFD, unit for unit, as TextEncoder does. */
export function wellFormed(text: string): string {
  // Newer than the library's types; looks through the text much faster than an expression does.
  const { isWellFormed } = text as string & { isWellFormed?: (this: string) => boolean };
  if (isWellFormed?.call(text)) return text;
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}
