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
  return { ids: new TokenIndex(record, tokens, keys.length), tokens };
}

/** How many tokens the record is asked for before the index is made, which takes as long as some thousands of them. */
const FIRST_LOOKUPS = 1024;

/**
 * Ids by token: a hash table over the UTF-16 units of tokens. It takes a third of the time that a Map takes to fill, and
 * is made when it is needed: loading and using a byte-level vocabulary with merges does without it.
 */
export class TokenIndex {
  /** How many tokens there are. */
  readonly size: number;
  readonly #record: Readonly<Record<string, unknown>>;
  readonly #tokens: readonly (string | undefined)[];
  #lookups = 0;
  #slots: Int32Array | undefined;

  constructor(record: Readonly<Record<string, unknown>>, tokens: readonly (string | undefined)[], size: number) {
    this.size = size;
    this.#record = record;
    this.#tokens = tokens;
  }

  get(token: string): number | undefined {
    if (this.#slots === undefined && this.#lookups++ < FIRST_LOOKUPS) {
      // A look at the list makes sure of it: whoever has the record can change it.
      const id = this.#record[token];
      if (typeof id === "number" && this.#tokens[id] === token) return id;
    }
    this.#slots ??= this.#fill();
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = hashUnits(token) & mask; ; slot = (slot + 1) & mask) {
      const id = slots[slot]! - 1;
      if (id < 0) return undefined;
      if (this.#tokens[id] === token) return id;
    }
  }

  has(token: string): boolean {
    return this.get(token) !== undefined;
  }

  #fill(): Int32Array {
    const tokens = this.#tokens;
    let capacity = 16;
    while (capacity < this.size * 2) capacity *= 2;
    const slots = new Int32Array(capacity);
    for (let id = 0; id < tokens.length; id++) {
      const token = tokens[id];
      if (token === undefined) continue;
      let slot = hashUnits(token) & (capacity - 1);
      while (slots[slot] !== 0) slot = (slot + 1) & (capacity - 1);
      slots[slot] = id + 1;
    }
    return slots;
  }
}

function hashUnits(text: string): number {
  let hash = text.length;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1);
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
