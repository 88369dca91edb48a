import { createTokenizer } from "../create-tokenizer.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { type TrainBpeOptions, trainBpeJson } from "./train-bpe.ts";
import type { Corpus, SpecialToken } from "./train-options.ts";
import { type TrainUnigramOptions, trainUnigramJson } from "./train-unigram.ts";
import {
  byteTokenizerJson,
  type TrainCharactersOptions,
  type TrainWordLevelOptions,
  trainCharactersJson,
  trainWordLevelJson,
} from "./train-word-level.ts";
import { type TrainWordPieceOptions, trainWordPieceJson } from "./train-word-piece.ts";

// All trainers give the same vocabulary for the same texts and options, on every platform and in whatever order the
// texts come. They throw RangeError or TypeError for options that do not do, and the reason of an aborted signal.

/**
 * Trains byte-pair encoding (Sennrich et al. 2016): by default byte-level, as GPT-2, so that any text has tokens and
 * decoding is exact; with `alphabet: "characters"` as Llama 2 and CLIP. Merges the most frequent pair, of equal counts
 * the one with the smaller ids, as the Rust library does. 100 MB of text take about 10 s and 150 MB of memory.
 */
export async function trainBpe(texts: Corpus, options: TrainBpeOptions = {}): Promise<Tokenizer> {
  return createTokenizer(await trainBpeJson(texts, options), { source: "trainBpe" });
}

/**
 * Trains a WordPiece vocabulary as BERT uses it: pairs are merged by count, as the Rust library does, and texts are
 * encoded by the longest token that fits.
 */
export async function trainWordPiece(texts: Corpus, options: TrainWordPieceOptions = {}): Promise<Tokenizer> {
  return createTokenizer(await trainWordPieceJson(texts, options), { source: "trainWordPiece" });
}

/**
 * Trains a unigram language model of pieces (Kudo 2018), as T5 and ALBERT use it: the most frequent substrings, thinned
 * out by expectation maximisation until the vocabulary has its size.
 */
export async function trainUnigram(texts: Corpus, options: TrainUnigramOptions = {}): Promise<Tokenizer> {
  return createTokenizer(await trainUnigramJson(texts, options), { source: "trainUnigram" });
}

/** Lists the most frequent words. */
export async function trainWordLevel(texts: Corpus, options: TrainWordLevelOptions = {}): Promise<Tokenizer> {
  return createTokenizer(await trainWordLevelJson(texts, options), { source: "trainWordLevel" });
}

/** Lists the characters of the texts, one token each, in the order of their code points. */
export async function trainCharacters(texts: Corpus, options: TrainCharactersOptions = {}): Promise<Tokenizer> {
  return createTokenizer(await trainCharactersJson(texts, options), { source: "trainCharacters" });
}

/** A tokenizer whose ids are the 256 bytes of UTF-8, special tokens after them. It needs no texts. */
export function createByteTokenizer(options: { readonly specialTokens?: readonly SpecialToken[] } = {}): Tokenizer {
  return createTokenizer(byteTokenizerJson(options), { source: "createByteTokenizer" });
}
