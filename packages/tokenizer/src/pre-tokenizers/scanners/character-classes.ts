// One byte of bits for each code point, looked up once and kept: what the scanners ask about a character.

const known = 1;
export const letter = 2;
export const number = 4;
export const space = 8;
/** In [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]: what may start a word that o200k's pattern takes as one. */
export const upper = 16;
/** In [\p{Ll}\p{Lm}\p{Lo}\p{M}]. */
export const lower = 32;
export const newline = 64;

const table = new Uint8Array(0x110000);

const tests: readonly (readonly [bits: number, regex: RegExp])[] = [
  [letter, /^\p{L}$/u],
  [number, /^\p{N}$/u],
  [space, /^\p{White_Space}$/u],
  [upper, /^[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]$/u],
  [lower, /^[\p{Ll}\p{Lm}\p{Lo}\p{M}]$/u],
  [newline, /^[\r\n]$/u],
];

function classify(codePoint: number): number {
  const text = String.fromCodePoint(codePoint);
  let bits = known;
  for (const [bit, regex] of tests) if (regex.test(text)) bits |= bit;
  table[codePoint] = bits;
  return bits;
}

/** The bits of a code point. */
export function bitsOf(codePoint: number): number {
  const bits = table[codePoint]!;
  return bits !== 0 ? bits : classify(codePoint);
}

/** The bits of the character that starts at `index`. */
export function bitsAt(text: string, index: number): number {
  const unit = text.charCodeAt(index);
  const bits = table[(unit & 0xfc00) === 0xd800 ? text.codePointAt(index)! : unit]!;
  return bits !== 0 ? bits : classify(text.codePointAt(index)!);
}

/** Where the run of characters ends that starts at `index` and has any of `bits`. */
export function runEnd(text: string, index: number, bits: number): number {
  const { length } = text;
  let i = index;
  while (i < length) {
    const unit = text.charCodeAt(i);
    if ((unit & 0xfc00) === 0xd800) {
      const codePoint = text.codePointAt(i)!;
      if ((bitsOf(codePoint) & bits) === 0) break;
      i += codePoint > 0xffff ? 2 : 1;
    } else {
      const found = table[unit]!;
      if (((found !== 0 ? found : classify(unit)) & bits) === 0) break;
      i++;
    }
  }
  return i;
}

/** Where the run of characters ends that starts at `index` and has none of `bits`. */
export function runEndWithout(text: string, index: number, bits: number): number {
  const { length } = text;
  let i = index;
  while (i < length) {
    const unit = text.charCodeAt(i);
    if ((unit & 0xfc00) === 0xd800) {
      const codePoint = text.codePointAt(i)!;
      if ((bitsOf(codePoint) & bits) !== 0) break;
      i += codePoint > 0xffff ? 2 : 1;
    } else {
      const found = table[unit]!;
      if (((found !== 0 ? found : classify(unit)) & bits) !== 0) break;
      i++;
    }
  }
  return i;
}
