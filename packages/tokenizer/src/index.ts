export type { AddedToken } from "./added-tokens.ts";
export type { AlignedText } from "./aligned-text.ts";
export type { ChatMessage, ChatTemplateOptions, TokenizerConfigJson } from "./chat-template.ts";
export { type CreateTokenizerOptions, createTokenizer } from "./create-tokenizer.ts";
export type { DecodeStream } from "./decode-stream.ts";
export type { Encoding } from "./encoding.ts";
export { TokenizerFormatError } from "./errors.ts";
export type { AllowedSpecial } from "./pipeline.ts";
export type { Decoder, LayoutItem, Normalizer, PostProcessor, PreTokenizer, TokenModel, TokenSink } from "./stages.ts";
export type { DecodeOptions, EncodeOptions, NewToken, Tokenizer } from "./tokenizer.ts";
export type {
  AddedTokenJson,
  BpeJson,
  ModelJson,
  PaddingJson,
  StageJson,
  TokenizerJson,
  TruncationJson,
  UnigramJson,
  WordLevelJson,
  WordPieceJson,
} from "./tokenizer-json.ts";
export type { TruncationStrategy } from "./truncation.ts";
