import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import type { TokenModel } from "../stages.ts";
import type { BpeJson } from "../tokenizer-json.ts";
import { mergeSymbols, SymbolList } from "./merge-symbols.ts";
import { MergeTable } from "./merge-table.ts";
import { PieceCache } from "./piece-cache.ts";
import { rankedMergeTable, ranksOf, trimMergeTable } from "./ranked-merges.ts";
import { byteTokenIds, readVocabulary, type TokenIndex, utf8Bytes, type Vocabulary } from "./vocabulary.ts";

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
      : readMerges(json.merges, vocabulary, [...prefix].length, at("merges")),
    unkId,
    prefix,
    suffix,
    fuseUnk: flag("fuse_unk"),
    byteIds: flag("byte_fallback") ? byteTokenIds(vocabulary.ids) : undefined,
    ignoreMerges: flag("ignore_merges"),
    special,
  };
}

function readMerges(merges: unknown, vocabulary: Vocabulary, prefixLength: number, where: string): MergeTable {
  if (!Array.isArray(merges))
    throw new TokenizerFormatError(`${where} is ${describe(merges)}; expected an array of pairs of tokens`);
  const { ids, tokens } = vocabulary;
  const table = new MergeTable(merges.length);
  let id = -1;
  for (let rank = 0; rank < merges.length; rank++) {
    const merge: unknown = merges[rank];
    const text = typeof merge === "string" ? merge : joinPair(merge);
    const space = text.indexOf(" ");
    if (space <= 0 || space === text.length - 1 || text.indexOf(" ", space + 1) >= 0) {
      // Tokens with spaces in them can be written as pairs only.
      const [left, right] = Array.isArray(merge) && merge.length === 2 ? (merge as unknown[]) : [];
      if (typeof left !== "string" || typeof right !== "string")
        throw new TokenizerFormatError(
          `${where}[${rank}] is ${describe(merge)}; expected "left right" or ["left", "right"]`,
        );
      id = mergedId(left, right, ids, prefixLength);
      addMerge(table, ids.get(left) ?? -1, ids.get(right) ?? -1, rank, id, merge, where);
      continue;
    }
    const leftId = ids.find(text, 0, space);
    const rightId = ids.find(text, space + 1, text.length);
    // Ids mostly go up with the ranks, which saves making and looking up the merged string.
    const guess = prefixLength === 0 ? tokens[id + 1] : undefined;
    id =
      guess !== undefined && isJoined(guess, text, space)
        ? id + 1
        : mergedId(text.slice(0, space), text.slice(space + 1), ids, prefixLength);
    addMerge(table, leftId, rightId, rank, id, merge, where);
  }
  return table;
}

const joinPair = (merge: unknown): string => {
  if (!Array.isArray(merge) || merge.length !== 2) return "";
  const [left, right] = merge as unknown[];
  return typeof left === "string" && typeof right === "string" ? `${left} ${right}` : "";
};

const mergedId = (left: string, right: string, ids: TokenIndex, prefixLength: number): number =>
  ids.get(left + (prefixLength > 0 ? [...right].slice(prefixLength).join("") : right)) ?? -1;

function addMerge(
  table: MergeTable,
  left: number,
  right: number,
  rank: number,
  id: number,
  merge: unknown,
  where: string,
): void {
  if (left >= 0 && right >= 0 && id >= 0) {
    table.add(left, right, rank, id);
    return;
  }
  const parts = typeof merge === "string" ? merge.split(" ") : (merge as string[]);
  const missing = left < 0 ? parts[0] : right < 0 ? parts[1] : parts.join("");
  throw new TokenizerFormatError(
    `${where}[${rank}] joins ${describe(parts[0])} and ${describe(parts[1])}, but ${describe(missing)} is not in model.vocab`,
  );
}

/** Whether a token is "left right" without the space. */
function isJoined(token: string, merge: string, space: number): boolean {
  if (token.length !== merge.length - 1) return false;
  for (let i = 0; i < token.length; i++)
    if (token.charCodeAt(i) !== merge.charCodeAt(i < space ? i : i + 1)) return false;
  return true;
}
