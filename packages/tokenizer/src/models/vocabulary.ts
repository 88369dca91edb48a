import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";

/** A vocabulary in both directions. */
export interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  /** Token of each id; ids may have gaps. */
  readonly tokens: readonly (string | undefined)[];
}

/** Ids stay below this, so that a damaged file cannot ask for tables of gigabytes. */
const ID_LIMIT = 2 ** 24;

/** Checks a record from tokens to ids: whole numbers from 0, none of them twice. `where` names the file and the field. */
export function readVocabulary(vocab: unknown, where: string): Vocabulary {
  if (typeof vocab !== "object" || vocab === null || Array.isArray(vocab))
    throw new TokenizerFormatError(`${where} is ${describe(vocab)}; expected an object from tokens to ids`);
  const record = vocab as Record<string, unknown>;
  const ids = new Map<string, number>();
  const keys = Object.keys(record);
  const tokens: (string | undefined)[] = new Array(keys.length);
  for (const token of keys) {
    const id = record[token];
    if (typeof id !== "number" || !(id >= 0 && id < ID_LIMIT) || id % 1 !== 0)
      throw new TokenizerFormatError(
        `${where}[${JSON.stringify(token)}] is ${describe(id)}; expected a whole number from 0 to ${ID_LIMIT - 1}`,
      );
    if (tokens[id] !== undefined)
      throw new TokenizerFormatError(
        `${where} gives the id ${id} to both ${JSON.stringify(tokens[id])} and ${JSON.stringify(token)}; expected each id once`,
      );
    ids.set(token, id);
    tokens[id] = token;
  }
  return { ids, tokens };
}

/** Ids of the 256 tokens <0x00> to <0xFF> that stand for bytes, -1 for those that a vocabulary lacks. */
export function byteTokenIds(ids: ReadonlyMap<string, number>): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => ids.get(byteToken(byte)) ?? -1);
}

/** The token of a byte in vocabularies with byte fallback: <0x0A>. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;

/** UTF-8 of a code point; of a lone surrogate, that of U+FFFD. */
export function utf8Bytes(codePoint: number): number[] {
  const c = codePoint >= 0xd800 && codePoint <= 0xdfff ? 0xfffd : codePoint;
  if (c < 0x80) return [c];
  if (c < 0x800) return [0xc0 | (c >> 6), 0x80 | (c & 63)];
  if (c < 0x10000) return [0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63)];
  return [0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63)];
}
