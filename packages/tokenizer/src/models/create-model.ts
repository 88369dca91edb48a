import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import type { TokenModel } from "../stages.ts";
import type { ModelJson } from "../tokenizer-json.ts";
import { createBpe } from "./bpe.ts";
import { createUnigram } from "./unigram.ts";
import { createWordLevel } from "./word-level.ts";
import { createWordPiece } from "./word-piece.ts";

export interface CreateModelOptions {
  /** Names the file in messages. */
  readonly source?: string;
  /** Contents of special tokens, which text never becomes: where they are allowed, they are cut out of it before. */
  readonly specialTokens?: Iterable<string>;
}

/**
 * Builds the model that the `model` field of a tokenizer.json describes, after checking it. A `type` that is missing is
 * told from the other fields, as old files have it. Throws TokenizerFormatError, naming the file and the field.
 */
export function createModel(json: ModelJson, options: CreateModelOptions = {}): TokenModel {
  const source = options.source ?? "tokenizer";
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new TokenizerFormatError(`${source}: model is ${describe(json)}; expected an object`);
  const special = new Set(options.specialTokens ?? []);
  const type = (json as { readonly type?: unknown }).type ?? guessType(json);
  switch (type) {
    case "BPE":
      return createBpe(json as Extract<ModelJson, { type: "BPE" }>, source, special);
    case "WordPiece":
      return createWordPiece(json as Extract<ModelJson, { type: "WordPiece" }>, source, special);
    case "Unigram":
      return createUnigram(json as Extract<ModelJson, { type: "Unigram" }>, source, special);
    case "WordLevel":
      return createWordLevel(json as Extract<ModelJson, { type: "WordLevel" }>, source, special);
    default:
      throw new TokenizerFormatError(
        `${source}: model.type is ${describe(type)}; expected "BPE", "WordPiece", "Unigram" or "WordLevel"`,
      );
  }
}

function guessType(json: object): string | undefined {
  if ("merges" in json) return "BPE";
  if ("vocab" in json && Array.isArray(json.vocab)) return "Unigram";
  if ("continuing_subword_prefix" in json || "max_input_chars_per_word" in json) return "WordPiece";
  return "unk_token" in json && "vocab" in json ? "WordLevel" : undefined;
}
