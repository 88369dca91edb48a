export type { AlignedText } from "./aligned-text.ts";
export { TokenizerFormatError } from "./errors.ts";
export type { Decoder, LayoutItem, Normalizer, PostProcessor, PreTokenizer, TokenModel, TokenSink } from "./stages.ts";
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
