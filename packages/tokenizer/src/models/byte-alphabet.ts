/**
 * GPT-2's printable characters for the 256 bytes: those of Latin-1 that print stand for themselves, the others are
 * U+0100 and up in order. Index: byte.
 */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  const prints = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let extra = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : extra++));
})();

const byteOfUnit = new Int16Array(0x180).fill(-1);
for (let byte = 0; byte < 256; byte++) byteOfUnit[BYTE_CHARACTERS[byte]!.charCodeAt(0)] = byte;

/** The byte that a character of the alphabet stands for, by its UTF-16 unit, or -1. */
export const byteOfCharacter = (unit: number): number => (unit < 0x180 ? byteOfUnit[unit]! : -1);
