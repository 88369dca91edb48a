import type { BpeModel } from "./bpe.ts";
import { BYTE_CHARACTERS } from "./byte-alphabet.ts";
import type { IdBuffer } from "./id-buffer.ts";
import { mergeSymbols, SymbolList } from "./merge-symbols.ts";
import { trimMergeTable } from "./ranked-merges.ts";

/** Pieces of more UTF-16 units than this are not remembered. */
const LONGEST = 128;
/** Pieces that are remembered at most; then all are forgotten. */
const MOST_PIECES = 1 << 16;
/** UTF-16 units and ids that are remembered at most. */
const MOST_UNITS = 1 << 20;
const MOST_IDS = 1 << 18;

/**
 * Byte-level BPE straight from the text to ids, for pieces that a scanner found: no strings and no objects are made for
 * pieces that were seen before. Gives the ids that the BPE model gives for the piece in GPT-2's byte alphabet.
 */
export class ByteLevelBpe {
  readonly #model: BpeModel;
  readonly #byteIds: Int32Array;
  readonly #symbols = new SymbolList(false);

  // The remembered pieces, an open-addressing table. Four numbers a slot: hash, where the units are, where the ids are
  // (or the id, when there is one), and length + 256 * count; the last is 0 where a slot is empty.
  // It grows with the pieces, so that few of them stay close together in memory.
  #slots = new Int32Array(4096);
  #units = new Uint16Array(0);
  #ids = new Int32Array(0);
  #pieces = 0;
  #unitCount = 0;
  #idCount = 0;

  private constructor(model: BpeModel, byteIds: Int32Array) {
    this.#model = model;
    this.#byteIds = byteIds;
  }

  /** For models whose vocabulary has all 256 bytes as characters of GPT-2's alphabet; undefined for others. */
  static from(model: BpeModel): ByteLevelBpe | undefined {
    const { prefix, suffix, vocabulary } = model.parts;
    if (prefix !== "" || suffix !== "") return undefined;
    const byteIds = Int32Array.from(BYTE_CHARACTERS, (character) => vocabulary.ids.get(character) ?? -1);
    return byteIds.includes(-1) ? undefined : new ByteLevelBpe(model, byteIds);
  }

  /** Appends the ids of the piece [start, end) of `text`, in UTF-16 units. Lone surrogates are taken for U+FFFD. */
  encodeUtf16(text: string, start: number, end: number, into: IdBuffer): void {
    const length = end - start;
    if (length > LONGEST) {
      this.#encodePiece(text, start, end);
      this.#emit(into);
      this.#symbols.release();
      return;
    }
    let hash = length;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1);
    hash ^= hash >>> 15;
    const slots = this.#slots;
    const units = this.#units;
    const mask = slots.length - 1;
    for (let slot = (hash << 2) & mask; ; slot = (slot + 4) & mask) {
      const info = slots[slot + 3]!;
      if (info === 0) break;
      if (slots[slot] !== hash || (info & 255) !== length) continue;
      let at = slots[slot + 1]!;
      let i = start;
      while (i < end && units[at] === text.charCodeAt(i)) {
        at++;
        i++;
      }
      if (i < end) continue;
      const count = info >> 8;
      if (count === 1) {
        into.push(slots[slot + 2]!);
        return;
      }
      into.reserve(count);
      const first = slots[slot + 2]!;
      for (let k = 0; k < count; k++) into.ids[into.length++] = this.#ids[first + k]!;
      return;
    }
    this.#encodePiece(text, start, end);
    this.#emit(into);
    this.#remember(text, start, end, hash);
  }

  #emit(into: IdBuffer): void {
    const { ids, length } = this.#symbols;
    into.reserve(length);
    into.ids.set(length < ids.length ? ids.subarray(0, length) : ids, into.length);
    into.length += length;
  }

  #remember(text: string, start: number, end: number, hash: number): void {
    const length = end - start;
    const count = this.#symbols.length;
    if (this.#pieces === MOST_PIECES || this.#unitCount + length > MOST_UNITS || this.#idCount + count > MOST_IDS) {
      this.#slots.fill(0);
      this.#pieces = 0;
      this.#unitCount = 0;
      this.#idCount = 0;
    }
    if (this.#units.length === 0) {
      this.#units = new Uint16Array(MOST_UNITS);
      this.#ids = new Int32Array(MOST_IDS);
    }
    if (this.#pieces * 8 >= this.#slots.length) this.#grow();
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = (hash << 2) & mask;
    while (slots[slot + 3] !== 0) slot = (slot + 4) & mask;
    slots[slot] = hash;
    slots[slot + 1] = this.#unitCount;
    for (let i = start; i < end; i++) this.#units[this.#unitCount++] = text.charCodeAt(i);
    if (count === 1) slots[slot + 2] = this.#symbols.ids[0]!;
    else {
      slots[slot + 2] = this.#idCount;
      this.#ids.set(this.#symbols.ids.subarray(0, count), this.#idCount);
      this.#idCount += count;
    }
    slots[slot + 3] = length | (count << 8);
    this.#pieces++;
  }

  #grow(): void {
    const old = this.#slots;
    const slots = new Int32Array(old.length * 2);
    const mask = slots.length - 1;
    for (let from = 0; from < old.length; from += 4) {
      if (old[from + 3] === 0) continue;
      let slot = (old[from]! << 2) & mask;
      while (slots[slot + 3] !== 0) slot = (slot + 4) & mask;
      for (let k = 0; k < 4; k++) slots[slot + k] = old[from + k]!;
    }
    this.#slots = slots;
  }

  /** Leaves the tokens of a piece in the list of symbols. */
  #encodePiece(text: string, start: number, end: number): void {
    const symbols = this.#symbols;
    const { ignoreMerges, vocabulary, merges, special } = this.#model.parts;
    symbols.length = 0;
    symbols.reserve(end - start <= LONGEST ? LONGEST * 3 : utf8Length(text, start, end));
    const { ids } = symbols;
    const byteIds = this.#byteIds;
    let n = 0;
    let mapped = "";
    const spell = ignoreMerges && end - start <= 1024;
    const put = (byte: number): void => {
      if (spell) mapped += BYTE_CHARACTERS[byte]!;
      ids[n++] = byteIds[byte]!;
    };
    for (let i = start; i < end; i++) {
      let c = text.charCodeAt(i);
      if (c < 0x80) {
        put(c);
        continue;
      }
      if (c < 0x800) {
        put(0xc0 | (c >> 6));
        put(0x80 | (c & 63));
        continue;
      }
      if (c >= 0xd800 && c <= 0xdfff) {
        const low = c < 0xdc00 && i + 1 < end ? text.charCodeAt(i + 1) : 0;
        if (low >= 0xdc00 && low <= 0xdfff) {
          c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
          i++;
          put(0xf0 | (c >> 18));
          put(0x80 | ((c >> 12) & 63));
          put(0x80 | ((c >> 6) & 63));
          put(0x80 | (c & 63));
          continue;
        }
        c = 0xfffd;
      }
      put(0xe0 | (c >> 12));
      put(0x80 | ((c >> 6) & 63));
      put(0x80 | (c & 63));
    }
    symbols.length = n;
    if (spell && !special.has(mapped)) {
      const whole = vocabulary.ids.get(mapped);
      if (whole !== undefined) {
        ids[0] = whole;
        symbols.length = 1;
        return;
      }
    }
    trimMergeTable(merges);
    mergeSymbols(symbols, merges);
  }
}

/** At least the bytes of UTF-8 that [start, end) of a text takes. */
function utf8Length(text: string, start: number, end: number): number {
  let bytes = 0;
  for (let i = start; i < end; i++) {
    const c = text.charCodeAt(i);
    bytes += c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
  }
  return bytes;
}
