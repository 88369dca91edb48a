import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import type { TokenModel } from "../stages.ts";
import type { WordPieceJson } from "../tokenizer-json.ts";
import { SymbolList } from "./merge-symbols.ts";
import { PieceCache } from "./piece-cache.ts";
import { readVocabulary } from "./vocabulary.ts";
import { unknownId } from "./word-level.ts";

/**
 * WordPiece (Schuster & Nakajima 2012; BERT): the longest token that starts the word, then the longest that continues
 * it, and so on; the unknown token for the whole word where that fails or the word is too long.
 * Throws TokenizerFormatError, naming `source` and the field.
 */
export function createWordPiece(
  json: WordPieceJson,
  source = "tokenizer",
  special: ReadonlySet<string> = new Set(),
): TokenModel {
  const vocabulary = readVocabulary(json.vocab, `${source}: model.vocab`);
  const unkId = unknownId(json.unk_token, vocabulary, source);
  const prefix: unknown = json.continuing_subword_prefix ?? "##";
  if (typeof prefix !== "string")
    throw new TokenizerFormatError(
      `${source}: model.continuing_subword_prefix is ${describe(prefix)}; expected a string`,
    );
  const limit: unknown = json.max_input_chars_per_word ?? 100;
  if (typeof limit !== "number" || !Number.isInteger(limit) || limit < 0)
    throw new TokenizerFormatError(
      `${source}: model.max_input_chars_per_word is ${describe(limit)}; expected a whole number`,
    );
  // Tokens by what they look like inside a word, without the prefix; substrings longer than any are not looked up.
  const starting = new Map<string, number>();
  const continuing = prefix === "" ? starting : new Map<string, number>();
  let longest = 0;
  for (let id = 0; id < vocabulary.tokens.length; id++) {
    const token = vocabulary.tokens[id];
    if (token === undefined || token === "" || special.has(token)) continue;
    starting.set(token, id);
    longest = Math.max(longest, token.length);
    if (prefix !== "" && token.length > prefix.length && token.startsWith(prefix))
      continuing.set(token.slice(prefix.length), id);
  }
  const cache = new PieceCache();
  const found = new SymbolList();
  return {
    kind: "WordPiece",
    tokenize(text, emit) {
      if (text === "") return;
      if (cache.emit(text, emit)) return;
      if (text.length > limit && codePoints(text) > limit) return emit(unkId, 0, text.length);
      found.length = 0;
      for (let start = 0; start < text.length; ) {
        const tokens = start === 0 ? starting : continuing;
        let end = Math.min(text.length, start + longest);
        let id: number | undefined;
        for (; end > start; end--) {
          id = tokens.get(text.slice(start, end));
          if (id !== undefined) break;
        }
        if (id === undefined) {
          found.length = 0;
          found.push(unkId, 0, text.length);
          break;
        }
        found.push(id, start, end);
        start = end;
      }
      cache.add(text, found.length, found.ids, found.starts, found.ends);
      for (let i = 0; i < found.length; i++) emit(found.ids[i]!, found.starts[i]!, found.ends[i]!);
    },
    tokenToId: (token) => vocabulary.ids.get(token),
    idToToken: (id) => vocabulary.tokens[id],
    size: vocabulary.ids.size,
  };
}

function codePoints(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; count++) i += text.codePointAt(i)! > 0xffff ? 2 : 1;
  return count;
}
