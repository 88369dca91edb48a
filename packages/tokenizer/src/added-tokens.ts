import { alignedText } from "./aligned-text.ts";
import { whitespace, wordCharacters } from "./code-point-set.ts";
import { TokenizerFormatError } from "./errors.ts";
import { asObject, booleanField, fail, stringField, wholeField } from "./json-fields.ts";
import type { Normalizer } from "./stages.ts";
import type { AddedTokenJson } from "./tokenizer-json.ts";

/** A token that is found in the text as it is, before the model sees the rest. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Only where no word character touches it. */
  readonly singleWord: boolean;
  /** Takes whitespace before it along. */
  readonly lstrip: boolean;
  /** Takes whitespace behind it along. */
  readonly rstrip: boolean;
  /** Found in the normalized text instead of the original. */
  readonly normalized: boolean;
  /** Left out of decoded text, and found in text only where allowed. */
  readonly special: boolean;
}

/** Reads and checks the field `added_tokens`. */
export function readAddedTokens(json: unknown, where: string): AddedToken[] {
  if (json === undefined || json === null) return [];
  if (!Array.isArray(json)) return fail(where, "", json, "an array");
  const contents = new Map<number, string>();
  return json.map((item, i) => {
    const at = `${where}[${i}]`;
    const object = asObject(item, at);
    const special = booleanField(object, "special", at, false);
    const token: AddedToken = {
      id: wholeField(object, "id", at),
      content: stringField(object, "content", at),
      singleWord: booleanField(object, "single_word", at, false),
      lstrip: booleanField(object, "lstrip", at, false),
      rstrip: booleanField(object, "rstrip", at, false),
      normalized: booleanField(object, "normalized", at, !special),
      special,
    };
    const other = contents.get(token.id);
    if (other !== undefined && other !== token.content) {
      throw new TokenizerFormatError(
        `${at}.id is ${token.id}, the id of ${JSON.stringify(other)}; ids that differ were expected`,
      );
    }
    contents.set(token.id, token.content);
    return token;
  });
}

export function addedTokenJson(token: AddedToken): AddedTokenJson {
  const { id, content, singleWord, lstrip, rstrip, normalized, special } = token;
  return { id, content, single_word: singleWord, lstrip, rstrip, normalized, special };
}

interface TrieNode {
  token: AddedToken | null;
  readonly next: Map<number, TrieNode>;
}

/** Finds added tokens in a text: the longest at each place, from left to right. */
export class AddedTokenMatcher {
  readonly #root: TrieNode = { token: null, next: new Map() };
  /** Units with which a token starts. */
  readonly #first = new Uint8Array(0x10000);
  readonly isEmpty: boolean;

  constructor(tokens: readonly AddedToken[], normalizer: Normalizer | null = null) {
    let count = 0;
    for (const token of tokens) {
      const content = normalizer === null ? token.content : normalizer(alignedText(token.content)).text;
      if (content === "") continue;
      count++;
      let node = this.#root;
      this.#first[content.charCodeAt(0)] = 1;
      for (let i = 0; i < content.length; i++) {
        const unit = content.charCodeAt(i);
        let next = node.next.get(unit);
        if (next === undefined) {
          next = { token: null, next: new Map() };
          node.next.set(unit, next);
        }
        node = next;
      }
      node.token = token;
    }
    this.isEmpty = count === 0;
  }

  /**
   * Calls `found` with each part of the text: [start, end) and the token that it is, or null for text between. Special
   * tokens cover no unit that `isPlain`.
   */
  split(
    text: string,
    found: (start: number, end: number, token: AddedToken | null) => void,
    isPlain?: (index: number) => boolean,
  ): void {
    let last = 0;
    for (let i = 0; i < text.length; ) {
      if (this.#first[text.charCodeAt(i)] === 0) {
        i++;
        continue;
      }
      const match = this.#longest(text, i, isPlain);
      if (match === null) {
        i++;
        continue;
      }
      const { token, end: matchEnd } = match;
      let start = i;
      let end = matchEnd;
      i = matchEnd;
      if (token.singleWord && (touchesWordBefore(text, start) || touchesWordAfter(text, end))) continue;
      if (token.lstrip) while (start > last && whitespace.has(text.charCodeAt(start - 1))) start--;
      if (token.rstrip) while (end < text.length && whitespace.has(text.charCodeAt(end))) end++;
      // The whitespace that the token before took along may reach into this one.
      if (start < last) continue;
      if (start > last) found(last, start, null);
      found(start, end, token);
      last = end;
      i = Math.max(i, end);
    }
    if (last < text.length) found(last, text.length, null);
  }

  /**
   * Calls `found` with every place [start, end) where a token stands, overlapping ones too, and with those from which
   * the text up to `last` is the beginning of one.
   */
  forEachPlace(text: string, last: number, found: (start: number, end: number) => void): void {
    for (let start = 0; start < text.length; start++) {
      if (this.#first[text.charCodeAt(start)] === 0) continue;
      let node: TrieNode | undefined = this.#root;
      for (let i = start; i < text.length; ) {
        node = node.next.get(text.charCodeAt(i++));
        if (node === undefined) break;
        if (node.token !== null || i === last) found(start, i);
      }
    }
  }

  #longest(
    text: string,
    start: number,
    isPlain: ((index: number) => boolean) | undefined,
  ): { token: AddedToken; end: number } | null {
    let node: TrieNode | undefined = this.#root;
    let found: { token: AddedToken; end: number } | null = null;
    let crossesPlain = false;
    for (let i = start; i < text.length; ) {
      if (isPlain?.(i)) crossesPlain = true;
      node = node.next.get(text.charCodeAt(i++));
      if (node === undefined) break;
      if (node.token !== null && !(crossesPlain && node.token.special)) found = { token: node.token, end: i };
    }
    return found;
  }
}

function touchesWordBefore(text: string, index: number): boolean {
  if (index === 0) return false;
  const pair = index >= 2 ? text.codePointAt(index - 2)! : 0;
  return wordCharacters.has(pair > 0xffff ? pair : text.charCodeAt(index - 1));
}

function touchesWordAfter(text: string, index: number): boolean {
  return index < text.length && wordCharacters.has(text.codePointAt(index)!);
}
