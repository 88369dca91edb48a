import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import { BYTE_CHARACTERS } from "../models/byte-alphabet.ts";
import { rankedBpe } from "../models/ranked-merges.ts";
import {
  cl100kPattern,
  cl100kTiktokenPattern,
  gpt2Pattern,
  o200kPattern,
} from "../pre-tokenizers/scanners/split-patterns.ts";
import type { TokenizerJson } from "../tokenizer-json.ts";
import { addedToken, byteLevelDecoder, byteLevelSplit, template } from "./stage-json.ts";

/** What a file of ranks does not say about its vocabulary. */
export interface TiktokenEncoding {
  /** Regular expression that cuts the text, in the syntax of tokenizer.json. */
  readonly pattern: string;
  /** Special tokens and their ids. */
  readonly specialTokens: Readonly<Record<string, number>>;
  /** A special token that starts every text, when special tokens are added. */
  readonly bosToken?: string;
}

export type TiktokenName =
  | "gpt2"
  | "r50k_base"
  | "p50k_base"
  | "p50k_edit"
  | "cl100k_base"
  | "o200k_base"
  | "o200k_harmony"
  | "llama3";

/** The encodings of OpenAI's tiktoken, and Llama 3's. */
export function tiktokenEncoding(name: TiktokenName): TiktokenEncoding {
  switch (name) {
    case "gpt2":
    case "r50k_base":
    case "p50k_base":
      return { pattern: gpt2Pattern, specialTokens: { "<|endoftext|>": 50256 } };
    case "p50k_edit":
      return {
        pattern: gpt2Pattern,
        specialTokens: {
          "<|endoftext|>": 50256,
          "<|fim_prefix|>": 50281,
          "<|fim_middle|>": 50282,
          "<|fim_suffix|>": 50283,
        },
      };
    case "cl100k_base":
      return {
        pattern: cl100kTiktokenPattern,
        specialTokens: {
          "<|endoftext|>": 100257,
          "<|fim_prefix|>": 100258,
          "<|fim_middle|>": 100259,
          "<|fim_suffix|>": 100260,
          "<|endofprompt|>": 100276,
        },
      };
    case "o200k_base":
      return { pattern: o200kPattern, specialTokens: { "<|endoftext|>": 199999, "<|endofprompt|>": 200018 } };
    case "o200k_harmony":
      return { pattern: o200kPattern, specialTokens: harmonyTokens() };
    case "llama3":
      return { pattern: cl100kPattern, specialTokens: llama3Tokens(), bosToken: "<|begin_of_text|>" };
  }
}

function harmonyTokens(): Record<string, number> {
  const named: Record<number, string> = {
    199998: "<|startoftext|>",
    199999: "<|endoftext|>",
    200002: "<|return|>",
    200003: "<|constrain|>",
    200005: "<|channel|>",
    200006: "<|start|>",
    200007: "<|end|>",
    200008: "<|message|>",
    200012: "<|call|>",
    200018: "<|endofprompt|>",
  };
  const tokens: Record<string, number> = {};
  for (let id = 199998; id < 201088; id++) tokens[named[id] ?? `<|reserved_${id}|>`] = id;
  return tokens;
}

function llama3Tokens(): Record<string, number> {
  const named: Record<number, string> = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "<|eot_id|>",
  };
  const tokens: Record<string, number> = {};
  for (let i = 0, reserved = 0; i < 256; i++)
    tokens[named[i] ?? `<|reserved_special_token_${reserved++}|>`] = 128000 + i;
  return tokens;
}

/** The encoding that a file's name speaks of, or else the one whose number of ranks it has. */
export function guessTiktokenName(source: string, ranks: number): TiktokenName | undefined {
  const file = source.slice(Math.max(source.lastIndexOf("/"), source.lastIndexOf("\\")) + 1).toLowerCase();
  const names = ["o200k_harmony", "o200k_base", "cl100k_base", "p50k_edit", "p50k_base", "r50k_base", "gpt2"] as const;
  const named = names.find((name) => file.startsWith(name));
  if (named) return named;
  const sizes: Readonly<Record<number, TiktokenName>> = {
    50256: "gpt2",
    50280: "p50k_base",
    100256: "cl100k_base",
    128000: "llama3",
    199998: "o200k_base",
  };
  return sizes[ranks];
}

/**
 * Reads a tiktoken file: lines of a token's bytes in base64, a space and its rank, which is its id. Without `encoding`
 * the file must be one of the known ones, told by its name or size.
 * Throws TokenizerFormatError, naming the file and the line.
 */
export function readTiktoken(
  content: string | Uint8Array,
  options: { readonly source?: string; readonly encoding?: TiktokenName | TiktokenEncoding } = {},
): TokenizerJson {
  const source = options.source ?? "ranks.tiktoken";
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const { vocab, ranks, count } = readRanks(bytes, source);
  const encoding = options.encoding ?? guessTiktokenName(source, count);
  if (encoding === undefined)
    throw new TokenizerFormatError(
      `${source} has ${count} ranks and is none of the known encodings; expected \`encoding\` to give its pattern and special tokens`,
    );
  const { pattern, specialTokens, bosToken } = typeof encoding === "string" ? tiktokenEncoding(encoding) : encoding;
  const idOf = (token: string): number => {
    const id = specialTokens[token];
    if (id === undefined) throw new TokenizerFormatError(`${source}: bosToken ${describe(token)} is no special token`);
    return id;
  };
  const byId = new Map<number, string>();
  for (const [token, id] of Object.entries(specialTokens)) {
    const other = byId.get(id) ?? (id < ranks.length && ranks[id]! >= 0 ? `a token of the file` : undefined);
    if (other !== undefined)
      throw new TokenizerFormatError(`${source}: the special token ${describe(token)} has the id ${id} of ${other}`);
    byId.set(id, token);
  }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...byId].sort((a, b) => a[0] - b[0]).map(([id, token]) => addedToken(id, token)),
    normalizer: null,
    pre_tokenizer: byteLevelSplit(pattern),
    post_processor:
      bosToken === undefined
        ? { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true }
        : template(`${bosToken} $A`, `${bosToken} $A ${bosToken}:1 $B:1`, idOf),
    decoder: byteLevelDecoder,
    model: rankedBpe(
      {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: true,
        vocab,
      },
      ranks,
      "smallest ids first",
    ),
  };
}

const RANK_LIMIT = 2 ** 24;

function readRanks(
  bytes: Uint8Array,
  source: string,
): { vocab: Record<string, number>; ranks: Int32Array; count: number } {
  const codes = Uint16Array.from(BYTE_CHARACTERS, (character) => character.charCodeAt(0));
  const vocab: Record<string, number> = Object.create(null);
  let ranks = new Int32Array(1 << 16).fill(-1);
  let count = 0;
  let line = 0;
  const fail = (what: string): never => {
    throw new TokenizerFormatError(`${source}, line ${line}, ${what}; expected base64, a space and a rank`);
  };
  const unit: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    line++;
    if (bytes[at] === NEWLINE || bytes[at] === RETURN) {
      at++;
      continue;
    }
    unit.length = 0;
    let bits = 0;
    let held = 0;
    for (; at < bytes.length && bytes[at] !== SPACE && bytes[at] !== EQUALS; at++) {
      const six = BASE64[bytes[at]!]!;
      if (six < 0) fail("does not start with base64");
      bits = (bits << 6) | six;
      held += 6;
      if (held >= 8) {
        held -= 8;
        unit.push(codes[(bits >> held) & 255]!);
      }
    }
    while (bytes[at] === EQUALS) at++;
    if (unit.length === 0 || held >= 6 || bytes[at] !== SPACE) fail("does not start with base64 and a space");
    at++;
    let rank = 0;
    const digits = at;
    for (; at < bytes.length && bytes[at] !== NEWLINE && bytes[at] !== RETURN; at++) {
      const digit = bytes[at]! - 48;
      if (!(digit >= 0 && digit <= 9)) fail("has a rank that is no number");
      rank = rank * 10 + digit;
      if (rank >= RANK_LIMIT) fail(`has a rank of more than ${RANK_LIMIT - 1}`);
    }
    if (at === digits) fail("has no rank");
    if (bytes[at] === RETURN) at++;
    if (bytes[at] === NEWLINE) at++;
    const token = String.fromCharCode.apply(null, unit);
    if (rank >= ranks.length) {
      const wide = new Int32Array(Math.max(rank + 1, ranks.length * 2)).fill(-1);
      wide.set(ranks);
      ranks = wide;
    }
    if (ranks[rank]! >= 0) fail(`has the rank ${rank} a second time`);
    if (vocab[token] !== undefined) fail(`has the token of rank ${vocab[token]} a second time`);
    vocab[token] = rank;
    ranks[rank] = rank;
    count++;
  }
  for (let byte = 0; byte < 256; byte++)
    if (vocab[BYTE_CHARACTERS[byte]!] === undefined)
      throw new TokenizerFormatError(`${source} has no rank for the byte ${byte}; expected all 256 single bytes`);
  return { vocab, ranks, count };
}

const [NEWLINE, RETURN, SPACE, EQUALS] = [10, 13, 32, 61];

const BASE64 = new Int8Array(256).fill(-1);
for (let i = 0; i < 64; i++)
  BASE64["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".charCodeAt(i)] = i;

/** Whether a file looks like ranks: Llama 3's are called tokenizer.model, as SentencePiece's models are. */
export function looksLikeTiktoken(bytes: Uint8Array): boolean {
  const start = String.fromCharCode(...bytes.subarray(0, 256));
  return /^[A-Za-z0-9+/]+={0,2} \d+\r?\n/.test(start);
}
