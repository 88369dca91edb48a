import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import type { TokenModel } from "../stages.ts";
import type { BpeJson } from "../tokenizer-json.ts";
import { mergeSymbols, SymbolList } from "./merge-symbols.ts";
import { MergeTable } from "./merge-table.ts";
import { PieceCache } from "./piece-cache.ts";
import { rankedMergeTable, ranksOf, trimMergeTable } from "./ranked-merges.ts";
import { byteTokenIds, readVocabulary, utf8Bytes, type Vocabulary } from "./vocabulary.ts";

/** What the fields of a BPE description say, checked. */
export interface BpeParts {
  readonly vocabulary: Vocabulary;
  readonly merges: MergeTable;
  readonly unkId: number | undefined;
  readonly prefix: string;
  readonly suffix: string;
  readonly fuseUnk: boolean;
  /** Ids of <0x00> to <0xFF> when characters that are not in the vocabulary become their bytes. */
  readonly byteIds: Int32Array | undefined;
  readonly ignoreMerges: boolean;
  /** Contents of special tokens, which a piece never becomes as a whole. */
  readonly special: ReadonlySet<string>;
}

/** A BPE model as Hugging Face's tokenizers has it: pieces of any text, split into characters that merge. */
export interface BpeModel extends TokenModel {
  readonly kind: "BPE";
  readonly parts: BpeParts;
}

/**
 * Builds a BPE model. `dropout` is checked and not applied: encoding is deterministic here.
 * Throws TokenizerFormatError, naming `source` and the field.
 */
export function createBpe(json: BpeJson, source = "tokenizer", special: ReadonlySet<string> = new Set()): BpeModel {
  const parts = readBpe(json, source, special);
  const { vocabulary, merges, ignoreMerges } = parts;
  const cache = new PieceCache();
  const symbols = new SymbolList();
  return {
    kind: "BPE",
    parts,
    tokenize(text, emit) {
      if (text === "") return;
      if (ignoreMerges && !special.has(text)) {
        const whole = vocabulary.ids.get(text);
        if (whole !== undefined) return emit(whole, 0, text.length);
      }
      if (cache.emit(text, emit)) return;
      split(text, parts, symbols);
      trimMergeTable(merges);
      mergeSymbols(symbols, merges);
      const { ids, starts, ends, length } = symbols;
      cache.add(text, length, ids, starts, ends);
      for (let i = 0; i < length; i++) emit(ids[i]!, starts[i]!, ends[i]!);
      symbols.release();
    },
    tokenToId: (token) => vocabulary.ids.get(token),
    idToToken: (id) => vocabulary.tokens[id],
    size: vocabulary.ids.size,
  };
}

/** Fills `symbols` with the characters of a piece; unknown ones as their bytes, as the unknown token, or not at all. */
function split(text: string, parts: BpeParts, symbols: SymbolList): void {
  const { vocabulary, unkId, prefix, suffix, fuseUnk, byteIds } = parts;
  const { ids } = vocabulary;
  symbols.length = 0;
  symbols.reserve(Math.min(text.length, 1 << 16));
  let openUnk = false;
  for (let start = 0; start < text.length; ) {
    const codePoint = text.codePointAt(start)!;
    const end = start + (codePoint > 0xffff ? 2 : 1);
    let symbol = codePoint >= 0xd800 && codePoint <= 0xdfff ? "\ufffd" : text.slice(start, end);
    if (prefix !== "" && start > 0) symbol = prefix + symbol;
    if (suffix !== "" && end === text.length) symbol += suffix;
    const id = ids.get(symbol);
    if (id !== undefined) {
      symbols.push(id, start, end);
      openUnk = false;
    } else if (!pushBytes(symbol, start, end, byteIds, symbols)) {
      if (unkId !== undefined) {
        if (openUnk && fuseUnk) symbols.ends[symbols.length - 1] = end;
        else symbols.push(unkId, start, end);
        openUnk = true;
      }
    } else openUnk = false;
    start = end;
  }
}

function pushBytes(
  symbol: string,
  start: number,
  end: number,
  byteIds: Int32Array | undefined,
  symbols: SymbolList,
): boolean {
  if (byteIds === undefined) return false;
  const bytes = [...symbol].flatMap((character) => utf8Bytes(character.codePointAt(0)!));
  if (bytes.some((byte) => byteIds[byte]! < 0)) return false;
  for (const byte of bytes) symbols.push(byteIds[byte]!, start, end);
  return true;
}

function readBpe(json: BpeJson, source: string, special: ReadonlySet<string>): BpeParts {
  const at = (field: string) => `${source}: model.${field}`;
  const vocabulary = readVocabulary(json.vocab, at("vocab"));
  const text = (field: "unk_token" | "continuing_subword_prefix" | "end_of_word_suffix"): string => {
    const value = json[field] ?? "";
    if (typeof value !== "string")
      throw new TokenizerFormatError(`${at(field)} is ${describe(value)}; expected a string or null`);
    return value;
  };
  const flag = (field: "fuse_unk" | "byte_fallback" | "ignore_merges"): boolean => {
    const value = json[field] ?? false;
    if (typeof value !== "boolean")
      throw new TokenizerFormatError(`${at(field)} is ${describe(value)}; expected true or false`);
    return value;
  };
  const { dropout } = json;
  if (dropout != null && !(typeof dropout === "number" && dropout >= 0 && dropout <= 1))
    throw new TokenizerFormatError(`${at("dropout")} is ${describe(dropout)}; expected a number from 0 to 1, or null`);
  const unkToken = text("unk_token");
  const unkId = unkToken === "" ? undefined : vocabulary.ids.get(unkToken);
  if (unkToken !== "" && unkId === undefined)
    throw new TokenizerFormatError(`${at("unk_token")} is ${describe(unkToken)}, which is not in model.vocab`);
  const prefix = text("continuing_subword_prefix");
  const suffix = text("end_of_word_suffix");
  const ranks = ranksOf(json);
  return {
    vocabulary,
    merges: ranks
      ? rankedMergeTable(vocabulary, ranks)
      : readMerges(json, vocabulary, [...prefix].length, at("merges")),
    unkId,
    prefix,
    suffix,
    fuseUnk: flag("fuse_unk"),
    byteIds: flag("byte_fallback") ? byteTokenIds(vocabulary.ids) : undefined,
    ignoreMerges: flag("ignore_merges"),
    special,
  };
}

function readMerges(
  { vocab, merges }: { readonly vocab: Readonly<Record<string, unknown>>; readonly merges: unknown },
  { tokens }: Vocabulary,
  prefixLength: number,
  where: string,
): MergeTable {
  if (!Array.isArray(merges))
    throw new TokenizerFormatError(`${where} is ${describe(merges)}; expected an array of pairs of tokens`);
  const table = new MergeTable(merges.length);
  let id: unknown = -1;
  for (let rank = 0; rank < merges.length; rank++) {
    const merge: unknown = merges[rank];
    let left: string;
    let right: string;
    if (typeof merge === "string") {
      const space = merge.indexOf(" ");
      if (space <= 0 || space === merge.length - 1 || merge.indexOf(" ", space + 1) >= 0)
        return failMerge(merge, rank, where);
      left = merge.slice(0, space);
      right = merge.slice(space + 1);
    } else {
      if (!isPair(merge)) return failMerge(merge, rank, where);
      [left, right] = merge;
    }
    // The record was checked, and looking up in it costs less than in any table that would have to be filled before.
    // What it inherits is no number.
    const leftId = vocab[left];
    const rightId = vocab[right];
    const joined = left + (prefixLength > 0 ? [...right].slice(prefixLength).join("") : right);
    // Ids mostly go up with the ranks, which saves looking up the merged string.
    const next = (id as number) + 1;
    id = tokens[next] === joined ? next : vocab[joined];
    if (typeof leftId !== "number" || typeof rightId !== "number" || typeof id !== "number") {
      const missing = typeof leftId !== "number" ? left : typeof rightId !== "number" ? right : left + right;
      throw new TokenizerFormatError(
        `${where}[${rank}] joins ${describe(left)} and ${describe(right)}, but ${describe(missing)} is not in model.vocab`,
      );
    }
    table.add(leftId, rightId, rank, id);
  }
  return table;
}

/** A merge in the form for tokens that may have spaces in them. */
function isPair(merge: unknown): merge is readonly [string, string] {
  return Array.isArray(merge) && merge.length === 2 && typeof merge[0] === "string" && typeof merge[1] === "string";
}

function failMerge(merge: unknown, rank: number, where: string): never {
  throw new TokenizerFormatError(`${where}[${rank}] is ${describe(merge)}; expected "left right" or ["left", "right"]`);
}
