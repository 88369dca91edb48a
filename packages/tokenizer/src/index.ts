export type { AddedToken } from "./added-tokens.ts";
export type { AlignedText } from "./aligned-text.ts";
export type { ChatMessage, ChatTemplateOptions, TokenizerConfigJson } from "./chat-template.ts";
export { type CreateTokenizerOptions, createTokenizer } from "./create-tokenizer.ts";
export type { DecodeStream } from "./decode-stream.ts";
export type { Encoding } from "./encoding.ts";
export { TokenizerFormatError } from "./errors.ts";
export type { BertVocabOptions } from "./files/bert-vocab.ts";
export { readBertVocab } from "./files/bert-vocab.ts";
export { readClipVocab } from "./files/clip.ts";
export type { TokenizerFiles, TokenizerSource } from "./files/file-source.ts";
export type { Gpt2FilesOptions } from "./files/gpt2-files.ts";
export { readGpt2Files } from "./files/gpt2-files.ts";
export { readLlama2cTokenizer } from "./files/llama2c-tokenizer.ts";
export { readTokenizerJson } from "./files/read-json.ts";
export type { SentencePieceOptions } from "./files/sentencepiece.ts";
export { readSentencePiece } from "./files/sentencepiece.ts";
export type { TiktokenEncoding, TiktokenName } from "./files/tiktoken.ts";
export { readTiktoken, tiktokenEncoding } from "./files/tiktoken.ts";
export type { LoadTokenizerOptions } from "./load-tokenizer.ts";
export { loadTokenizer } from "./load-tokenizer.ts";
export type { AllowedSpecial } from "./pipeline.ts";
export type { Decoder, LayoutItem, Normalizer, PostProcessor, PreTokenizer, TokenModel, TokenSink } from "./stages.ts";
export { TextStream, type TextStreamOptions } from "./text-stream.ts";
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
export type { ByteSplit } from "./training/byte-split.ts";
export type { TrainBpeOptions, TrainByteBpeOptions, TrainCharacterBpeOptions } from "./training/train-bpe.ts";
export type { Corpus, SpecialToken, TrainOptions, TrainProgress, WordSplit } from "./training/train-options.ts";
export type { TrainUnigramOptions } from "./training/train-unigram.ts";
export type { TrainCharactersOptions, TrainWordLevelOptions } from "./training/train-word-level.ts";
export type { TrainWordPieceOptions } from "./training/train-word-piece.ts";
export {
  createByteTokenizer,
  trainBpe,
  trainCharacters,
  trainUnigram,
  trainWordLevel,
  trainWordPiece,
} from "./training/trainers.ts";
export type { TruncationStrategy } from "./truncation.ts";
