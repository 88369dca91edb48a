import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import type { TokenModel } from "../stages.ts";
import type { WordLevelJson } from "../tokenizer-json.ts";
import { readVocabulary, type Vocabulary } from "./vocabulary.ts";

/**
 * One token for each piece: the word itself, or the unknown token.
 * Throws TokenizerFormatError, naming `source` and the field.
 */
export function createWordLevel(
  json: WordLevelJson,
  source = "tokenizer",
  special: ReadonlySet<string> = new Set(),
): TokenModel {
  const vocabulary = readVocabulary(json.vocab, `${source}: model.vocab`);
  const unkId = unknownId(json.unk_token, vocabulary, source);
  return {
    kind: "WordLevel",
    tokenize(text, emit) {
      if (text === "") return;
      const id = special.has(text) ? undefined : vocabulary.ids.get(text);
      emit(id ?? unkId, 0, text.length);
    },
    tokenToId: (token) => vocabulary.ids.get(token),
    idToToken: (id) => vocabulary.tokens[id],
    size: vocabulary.ids.size,
  };
}

/** Id of the unknown token, which these models cannot do without. */
export function unknownId(unkToken: unknown, vocabulary: Vocabulary, source: string): number {
  const id = typeof unkToken === "string" ? vocabulary.ids.get(unkToken) : undefined;
  if (id === undefined)
    throw new TokenizerFormatError(
      `${source}: model.unk_token is ${describe(unkToken)}; expected a token of model.vocab, for unknown words`,
    );
  return id;
}
