import type { AddedToken } from "./added-tokens.ts";
import { readAddedTokens } from "./added-tokens.ts";
import type { TokenizerConfigJson } from "./chat-template.ts";
import { createDecoder } from "./decoders/create-decoder.ts";
import { TokenizerFormatError } from "./errors.ts";
import { asObject, choiceField, fail, stringField, wholeField } from "./json-fields.ts";
import type { BpeModel } from "./models/bpe.ts";
import { ByteLevelBpe } from "./models/byte-level-bpe.ts";
import { createModel } from "./models/create-model.ts";
import { createNormalizer } from "./normalizers/create-normalizer.ts";
import { normalizeText } from "./normalizers/unicode-forms.ts";
import type { FastStages } from "./pipeline.ts";
import { createPostProcessor, plainPostProcessor } from "./post-processors/create-post-processor.ts";
import { byteLevelCut, createPreTokenizer } from "./pre-tokenizers/create-pre-tokenizer.ts";
import type { PostProcessor, TokenModel } from "./stages.ts";
import { Tokenizer } from "./tokenizer.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";

export interface CreateTokenizerOptions {
  /** The name of the file in messages. Default "tokenizer.json". */
  readonly source?: string;
  /** What tokenizer_config.json says: chat templates and the names of special tokens. */
  readonly config?: TokenizerConfigJson;
}

/**
 * Builds a tokenizer from the content of a tokenizer.json file. Throws a TokenizerFormatError that names the file and
 * the field when something in it is missing, malformed or not supported.
 */
export function createTokenizer(json: TokenizerJson, options: CreateTokenizerOptions = {}): Tokenizer {
  const source = options.source ?? "tokenizer.json";
  const file = asObject(json, source);
  const at = (field: string) => `${source}: ${field}`;
  const present = <T>(field: string, build: (json: unknown, where: string) => T): T | null => {
    const value = file[field];
    return value === undefined || value === null ? null : build(value, at(field));
  };
  checkTruncation(file.truncation, at("truncation"));
  checkPadding(file.padding, at("padding"));
  const normalizer = present("normalizer", createNormalizer);
  const preTokenizer = present("pre_tokenizer", createPreTokenizer);
  const postProcessor = present("post_processor", createPostProcessor) ?? plainPostProcessor;
  const decoder = present("decoder", createDecoder);
  const cut = byteLevelCut(file.pre_tokenizer, at("pre_tokenizer"));
  const model = present("model", asObject);
  if (model === null) return fail(at("model"), "", file.model, "an object");

  const build = (addedTokens: readonly AddedToken[], given?: TokenModel): Tokenizer => {
    const specialTokens = addedTokens.filter(({ special }) => special).map(({ content }) => content);
    const built = given ?? createModel(json.model, { source, specialTokens });
    checkAddedTokens(addedTokens, built, at("added_tokens"));
    checkIdsOf(file.padding, postProcessor, { at, has: (id) => has(built, addedTokens, id) });
    return new Tokenizer({
      json,
      config: options.config ?? {},
      stages: {
        normalizer,
        preTokenizer,
        model: built,
        postProcessor,
        addedTokens,
        fast: fastStages(file.normalizer, cut, built),
      },
      decoder,
      decodesBytes: (file.decoder as { type?: unknown } | null | undefined)?.type === "ByteLevel",
      rebuild: (tokens) => build(tokens),
    });
  };
  return build(readAddedTokens(file.added_tokens, at("added_tokens")));
}

function fastStages(normalizer: unknown, cut: FastStages["cut"] | null, model: TokenModel): FastStages | null {
  if (cut === null || model.kind !== "BPE") return null;
  let normalize: FastStages["normalize"] = null;
  if (normalizer !== null && normalizer !== undefined) {
    const { type } = normalizer as { type?: unknown };
    if (type !== "NFC" && type !== "NFD" && type !== "NFKC" && type !== "NFKD") return null;
    normalize = (text) => normalizeText(text, type);
  }
  const bpe = ByteLevelBpe.from(model as BpeModel);
  return bpe === undefined ? null : { normalize, cut, bpe };
}

function checkAddedTokens(tokens: readonly AddedToken[], model: TokenModel, where: string): void {
  tokens.forEach(({ id, content }, i) => {
    const known = model.tokenToId(content);
    if (known !== undefined && known !== id) {
      throw new TokenizerFormatError(
        `${where}[${i}].id is ${id}; ${known} was expected, the id of ${JSON.stringify(content)} in model.vocab`,
      );
    }
    const other = model.idToToken(id);
    if (other !== undefined && other !== content) {
      throw new TokenizerFormatError(
        `${where}[${i}].id is ${id}, which is the id of ${JSON.stringify(other)} in model.vocab; a free id was expected for ${JSON.stringify(content)}`,
      );
    }
  });
}

const has = (model: TokenModel, addedTokens: readonly AddedToken[], id: number): boolean =>
  model.idToToken(id) !== undefined || addedTokens.some((token) => token.id === id);

/** The ids that are put around and behind a text must be those of tokens, or they could not be decoded. */
function checkIdsOf(
  padding: unknown,
  postProcessor: PostProcessor,
  { at, has }: { at: (field: string) => string; has: (id: number) => boolean },
): void {
  for (const item of [...postProcessor.layout(false, true), ...postProcessor.layout(true, true)]) {
    if ("id" in item && !has(item.id)) {
      throw new TokenizerFormatError(
        `${at("post_processor")} adds ${JSON.stringify(item.token)} with the id ${item.id}, which is not in the vocabulary`,
      );
    }
  }
  const padId = (padding as { pad_id?: number } | null | undefined)?.pad_id;
  if (padId !== undefined && !has(padId)) {
    throw new TokenizerFormatError(`${at("padding")}.pad_id is ${padId}; an id of the vocabulary was expected`);
  }
}

/** More padding than this fits into no memory. */
const longestPadding = 1 << 24;

function checkTruncation(json: unknown, where: string): void {
  if (json === undefined || json === null) return;
  const object = asObject(json, where);
  choiceField(object, "direction", where, ["Left", "Right"], "Right");
  choiceField(object, "strategy", where, ["LongestFirst", "OnlyFirst", "OnlySecond"]);
  wholeField(object, "max_length", where);
  wholeField(object, "stride", where);
}

function checkPadding(json: unknown, where: string): void {
  if (json === undefined || json === null) return;
  const object = asObject(json, where);
  if (object.strategy !== "BatchLongest") {
    const strategy = asObject(object.strategy, `${where}.strategy`);
    const length = wholeField(strategy, "Fixed", `${where}.strategy`);
    if (length > longestPadding) fail(`${where}.strategy`, "Fixed", length, `at most ${longestPadding}`);
  }
  choiceField(object, "direction", where, ["Left", "Right"]);
  wholeField(object, "pad_id", where);
  wholeField(object, "pad_type_id", where);
  stringField(object, "pad_token", where);
  if (object.pad_to_multiple_of !== undefined && object.pad_to_multiple_of !== null) {
    const multiple = wholeField(object, "pad_to_multiple_of", where);
    if (multiple > longestPadding) fail(where, "pad_to_multiple_of", multiple, `at most ${longestPadding}`);
  }
}
