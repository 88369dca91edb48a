import type { AddedToken } from "./added-tokens.ts";
import { AddedTokenMatcher } from "./added-tokens.ts";
import { alignedText, originalEnd, originalStart } from "./aligned-text.ts";
import type { ChatMessage } from "./chat-template.ts";
import type { Normalizer } from "./stages.ts";

// Which special tokens of a rendered conversation come from the template, and which did a user type? Before it is
// rendered, a marker goes in front of one character of every special token in the users' strings. It says: no special
// token covers this character. Markers go through `trim` and the like with the text, and are taken out before encoding.

/** A text, and which of its units no special token may cover; null where there are none. */
export interface GuardedText {
  readonly text: string;
  readonly plain: Uint8Array | null;
}

/** Finds the special tokens of a tokenizer in the strings of conversations. */
export class ChatGuard {
  readonly #normalizer: Normalizer | null;
  readonly #original: AddedTokenMatcher;
  /** Over normalized text; null where that is the same. */
  readonly #normalized: AddedTokenMatcher | null;
  /** What a special token may end with, short of the whole. */
  readonly #ends = new Set<string>();
  #longest = 0;
  /** The units of the tokens, which a marker must not be. */
  readonly contents: readonly string[];

  constructor(addedTokens: readonly AddedToken[], normalizer: Normalizer | null) {
    const special = addedTokens.filter((token) => token.special);
    const lowered = (tokens: readonly AddedToken[], form: (text: string) => string) =>
      new AddedTokenMatcher(tokens.map((token) => ({ ...token, content: lowerAscii(form(token.content)) })));
    const normalized = normalizer === null ? [] : special.filter((token) => token.normalized);
    this.#normalizer = normalizer;
    this.#original = lowered(special, (text) => text);
    this.#normalized =
      normalizer === null || normalized.length === 0
        ? null
        : lowered(normalized, (text) => normalizer(alignedText(text)).text);
    this.contents = special.map(({ content }) => content);
    for (const content of this.contents) {
      for (let i = 1; i < content.length; i++) this.#ends.add(lowerAscii(content.slice(i)));
      this.#longest = Math.max(this.#longest, content.length);
    }
  }

  /** The string with the marker in front of characters that no special token may cover. */
  guard(text: string, marker: string): string {
    const places = new Set<number>();
    // Templates may change the case, trim, and put their own text or another string right beside this one.
    const first = text.length - text.trimStart().length;
    const last = plainWords.test(text) ? text.length + 1 : text.trimEnd().length;
    const lower = lowerAscii(text);
    this.#original.forEachPlace(lower, last, (start, end) => places.add(firstVisible(text, start, end)));
    if (last <= text.length) {
      for (let length = 1; length < this.#longest && first + length <= text.length; length++) {
        if (this.#ends.has(lower.slice(first, first + length))) places.add(first);
      }
    }
    if (this.#normalized !== null) {
      const source = this.#normalizer!(alignedText(text));
      this.#normalized.forEachPlace(lowerAscii(source.text), source.text.length + 1, (start, end) => {
        places.add(firstVisible(text, originalStart(source, start), originalEnd(source, end - 1)));
      });
    }
    if (places.size === 0) return text;
    let guarded = "";
    let kept = 0;
    for (const place of [...places].sort((a, b) => a - b)) {
      guarded += text.slice(kept, place) + marker;
      kept = place;
    }
    return guarded + text.slice(kept);
  }

  /** All strings in messages, tools or documents, their keys too. Roles are the template's own words, unless they are odd. */
  guardMessages(messages: readonly ChatMessage[], marker: string): ChatMessage[] {
    return messages.map((message) => {
      const guarded = this.guardValue(message, marker) as ChatMessage;
      return typeof message.role === "string" && plainWords.test(message.role)
        ? { ...guarded, role: message.role }
        : guarded;
    });
  }

  guardValue(value: unknown, marker: string): unknown {
    if (typeof value === "string") return this.guard(value, marker);
    if (Array.isArray(value)) return value.map((item) => this.guardValue(item, marker));
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value).map(([key, item]) => [
      plainWords.test(key) ? key : this.guard(key, marker),
      this.guardValue(item, marker),
    ]);
    return Object.fromEntries(entries);
  }
}

/**
 * A character that is in none of the strings in `values`: one of Unicode's noncharacters, else one for private use.
 * Throws a RangeError if all of them are taken.
 */
export function unusedCharacter(values: readonly unknown[]): string {
  const taken = new Uint8Array(0x10000);
  const look = (value: unknown): void => {
    if (typeof value === "string") {
      for (let i = 0; i < value.length; i++) taken[value.charCodeAt(i)] = 1;
      for (const [, hex] of value.matchAll(/\\u([0-9a-f]{4})/g)) taken[Number.parseInt(hex!, 16)] = 1;
    } else if (Array.isArray(value)) value.forEach(look);
    else if (typeof value === "object" && value !== null) {
      for (const [key, item] of Object.entries(value)) {
        look(key);
        look(item);
      }
    }
  };
  look(values);
  const ranges = [
    [0xfdd0, 0xfdef],
    [0xe000, 0xf8ff],
  ] as const;
  for (const [from, to] of ranges) {
    for (let unit = from; unit <= to; unit++) if (taken[unit] === 0) return String.fromCharCode(unit);
  }
  throw new RangeError(
    "encodeChat: the messages hold all noncharacters and all characters for private use; expected one that they do not",
  );
}

/** Takes the markers out of a rendered conversation. */
export function takeMarkers(rendered: string, marker: string): GuardedText {
  // `tojson(ensure_ascii=true)` writes the marker as an escape.
  const parts = rendered.replaceAll(`\\u${marker.charCodeAt(0).toString(16)}`, marker).split(marker);
  if (parts.length === 1) return { text: rendered, plain: null };
  const text = parts.join("");
  const plain = new Uint8Array(text.length);
  let at = 0;
  for (const part of parts.slice(0, -1)) {
    at += part.length;
    plain[at] = 1;
  }
  return { text, plain };
}

const plainWords = /^[\p{L}\p{N}_ -]*$/u;

/** A template that trims must still find the whitespace at the ends; it does not where a token is nothing else. */
function firstVisible(text: string, start: number, end: number): number {
  for (let i = start; i < end; i++) if (text[i]!.trim() !== "") return i;
  return start;
}

function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
