import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";

/** A vocabulary in both directions. */
export interface Vocabulary {
  readonly ids: TokenIndex;
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
    tokens[id] = token;
  }
  return { ids: new TokenIndex(tokens, keys.length), tokens };
}

/**
 * Ids by token: a hash table over the UTF-16 units of tokens. It takes a third of the time that a Map takes to fill, and
 * is asked for parts of strings without making strings of them.
 */
export class TokenIndex {
  /** How many tokens there are. */
  readonly size: number;
  readonly #tokens: readonly (string | undefined)[];
  readonly #slots: Int32Array;

  constructor(tokens: readonly (string | undefined)[], size: number) {
    this.size = size;
    this.#tokens = tokens;
    let capacity = 16;
    while (capacity < size * 2) capacity *= 2;
    const slots = new Int32Array(capacity);
    for (let id = 0; id < tokens.length; id++) {
      const token = tokens[id];
      if (token === undefined) continue;
      let slot = hashUnits(token, 0, token.length) & (capacity - 1);
      while (slots[slot] !== 0) slot = (slot + 1) & (capacity - 1);
      slots[slot] = id + 1;
    }
    this.#slots = slots;
  }

  get(token: string): number | undefined {
    const id = this.find(token, 0, token.length);
    return id < 0 ? undefined : id;
  }

  has(token: string): boolean {
    return this.find(token, 0, token.length) >= 0;
  }

  /** The id of the token that `text` has at [start, end), or -1. */
  find(text: string, start: number, end: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = hashUnits(text, start, end) & mask; ; slot = (slot + 1) & mask) {
      const id = slots[slot]! - 1;
      if (id < 0) return -1;
      const token = this.#tokens[id]!;
      if (token.length !== end - start) continue;
      let at = 0;
      while (at < token.length && token.charCodeAt(at) === text.charCodeAt(start + at)) at++;
      if (at === token.length) return id;
    }
  }
}

function hashUnits(text: string, start: number, end: number): number {
  let hash = end - start;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1);
  return hash ^ (hash >>> 15);
}

/** Ids of the 256 tokens <0x00> to <0xFF> that stand for bytes, -1 for those that a vocabulary lacks. */
export function byteTokenIds(ids: { get(token: string): number | undefined }): Int32Array {
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
