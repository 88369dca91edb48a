import type { TokenizerJson } from "../tokenizer-json.ts";
import { chooseAlphabet } from "./alphabet.ts";
import { countWords } from "./count-words.ts";
import { fitUnigram } from "./fit-unigram.ts";
import { createPacer } from "./pacer.ts";
import { createSplitter } from "./split-words.ts";
import { SymbolWordsBuilder } from "./symbol-words.ts";
import { defaultVocabSize } from "./train-bpe.ts";
import {
  addedTokens,
  byteFallbackTokens,
  type Corpus,
  checkWhole,
  type TrainOptions,
  tokenizerJson,
  type WordSplit,
  wordSplitDecoder,
  wordSplitStage,
} from "./train-options.ts";

export interface TrainUnigramOptions extends Omit<TrainOptions, "minFrequency"> {
  /** How a text is cut into words. Default "metaspace". */
  readonly split?: WordSplit;
  /** The most characters in a piece. Default 16. */
  readonly maxPieceLength?: number;
  /** Pieces to begin with: the most frequent parts of words. Default 1,000,000. */
  readonly seedSize?: number;
  /** Part of the pieces that each round of pruning keeps, above 0 and below 1. Default 0.75. */
  readonly shrinkingFactor?: number;
  /** Steps of expectation maximisation between two rounds of pruning. Default 2. */
  readonly subIterations?: number;
  /** The most characters in the alphabet; the rarest ones become unknown. Default: no limit. */
  readonly limitAlphabet?: number;
  /** Characters that are in the alphabet whether they occur or not. */
  readonly initialAlphabet?: Iterable<string>;
  /** Adds 256 tokens for bytes, so that every text has tokens. Default false. */
  readonly byteFallback?: boolean;
  /** What unknown characters become. It is a special token, the first one if `specialTokens` does not name it. Default "<unk>". */
  readonly unkToken?: string;
}

/** The description of what `trainUnigram` trains. */
export async function trainUnigramJson(texts: Corpus, options: TrainUnigramOptions = {}): Promise<TokenizerJson> {
  const {
    vocabSize = defaultVocabSize,
    maxPieceLength = 16,
    seedSize = 1_000_000,
    shrinkingFactor = 0.75,
    subIterations = 2,
    byteFallback = false,
    unkToken = "<unk>",
    normalizer = null,
    onProgress,
  } = options;
  for (const [name, value] of Object.entries({ vocabSize, maxPieceLength, seedSize, subIterations })) {
    checkWhole("trainUnigram", name, value, 1);
  }
  if (!(shrinkingFactor > 0 && shrinkingFactor < 1)) {
    throw new RangeError(`trainUnigram: shrinkingFactor (${shrinkingFactor}) must be above 0 and below 1`);
  }
  if (typeof unkToken !== "string") throw new TypeError(`trainUnigram: unkToken (${unkToken}) must be a string`);
  const pacer = createPacer(options.signal);
  const given = options.specialTokens ?? [];
  const listed = given.some((token) => (typeof token === "string" ? token : token.content) === unkToken);
  const added = addedTokens("trainUnigram", listed ? given : [unkToken, ...given]);
  const specials = added.map(({ content }) => content);
  const preTokenizer = wordSplitStage("trainUnigram", options.split === undefined ? "metaspace" : options.split);

  const counts = await countWords("trainUnigram", texts, {
    split: createSplitter("trainUnigram", normalizer, preTokenizer),
    boundaries: specials,
    pacer,
    onProgress,
  });
  const reserved = new Set([...specials, ...(byteFallback ? byteFallbackTokens : [])]);
  const alphabet = (await chooseAlphabet("trainUnigram", counts, options, pacer)).filter((c) => !reserved.has(c));
  const size = vocabSize - reserved.size;
  if (alphabet.length > size) {
    throw new RangeError(
      `trainUnigram: vocabSize (${vocabSize}) is less than the ${reserved.size + alphabet.length} special tokens and characters; a larger vocabSize or limitAlphabet helps`,
    );
  }
  const symbolOf = new Map(alphabet.map((character, i) => [character, i + 1]));
  const builder = new SymbolWordsBuilder();
  // In an order of their own: sums of fractions depend on it.
  const sorted = [...counts.keys()].sort();
  for (const word of sorted) {
    const count = counts.get(word)!;
    let length = 0;
    const end = () => {
      if (length > 0) builder.addSymbol(0);
      length = 0;
      builder.endWord(count);
    };
    for (const character of word) {
      const symbol = symbolOf.get(character);
      if (symbol === undefined) {
        end();
      } else {
        builder.addSymbol(symbol);
        length++;
      }
    }
    end();
    if (pacer.due()) await pacer.pause();
  }
  counts.clear();
  let steps = 0;
  const pieces = await fitUnigram(builder.finish(), alphabet.length, {
    size,
    seedSize,
    maxPieceLength,
    shrinkingFactor,
    subIterations,
    pacer,
    onStep: () => onProgress?.({ stage: "fitting", done: ++steps, total: null }),
  });
  const vocab: [string, number][] = [...reserved].map((token) => [token, 0]);
  const least = pieces.scores.at(-1) ?? 0;
  for (let i = 0; i < pieces.starts.length; i++) {
    let piece = "";
    for (let k = 0; k < pieces.lengths[i]!; k++) piece += alphabet[pieces.symbols[pieces.starts[i]! + k]! - 1]!;
    if (!reserved.has(piece)) vocab.push([piece, Math.max(pieces.scores[i]!, least)]);
  }
  return tokenizerJson({
    added_tokens: added,
    normalizer,
    pre_tokenizer: preTokenizer,
    decoder: wordSplitDecoder(preTokenizer, byteFallback),
    model: { type: "Unigram", unk_id: specials.indexOf(unkToken), vocab, byte_fallback: byteFallback },
  });
}
