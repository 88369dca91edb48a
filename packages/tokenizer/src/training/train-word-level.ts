import { BYTE_CHARACTERS } from "../models/byte-alphabet.ts";
import type { TokenizerJson } from "../tokenizer-json.ts";
import { chooseAlphabet } from "./alphabet.ts";
import { countWords } from "./count-words.ts";
import { createPacer } from "./pacer.ts";
import { createSplitter } from "./split-words.ts";
import { defaultVocabSize } from "./train-bpe.ts";
import {
  addedTokens,
  type Corpus,
  checkWhole,
  compareCodePoints,
  type SpecialToken,
  type TrainOptions,
  tokenizerJson,
  vocabOf,
  type WordSplit,
  wordSplitDecoder,
  wordSplitStage,
} from "./train-options.ts";

export interface TrainWordLevelOptions extends TrainOptions {
  /** How a text is cut into words. Default "words". */
  readonly split?: WordSplit;
  /** What unknown words become. It is a special token, the first one if `specialTokens` does not name it. Default "[UNK]". */
  readonly unkToken?: string;
}

/** The description of what `trainWordLevel` trains: the most frequent words, of equal counts the smaller code points. */
export async function trainWordLevelJson(texts: Corpus, options: TrainWordLevelOptions = {}): Promise<TokenizerJson> {
  const { vocabSize = defaultVocabSize, minFrequency = 0, normalizer = null, unkToken = "[UNK]" } = options;
  checkWhole("trainWordLevel", "vocabSize", vocabSize, 1);
  checkWhole("trainWordLevel", "minFrequency", minFrequency, 0);
  const preTokenizer = wordSplitStage("trainWordLevel", options.split === undefined ? "words" : options.split);
  const added = addedTokens("trainWordLevel", withUnknown(options.specialTokens ?? [], unkToken));
  const specials = added.map(({ content }) => content);
  const pacer = createPacer(options.signal);
  const counts = await countWords("trainWordLevel", texts, {
    split: createSplitter("trainWordLevel", normalizer, preTokenizer),
    boundaries: specials,
    pacer,
    onProgress: options.onProgress,
  });
  const words = [...counts]
    .filter(([word, count]) => count >= minFrequency && !specials.includes(word))
    .sort(([a, m], [b, n]) => n - m || compareCodePoints(a, b))
    .slice(0, Math.max(0, vocabSize - specials.length))
    .map(([word]) => word);
  return tokenizerJson({
    added_tokens: added,
    normalizer,
    pre_tokenizer: preTokenizer,
    decoder: wordSplitDecoder(preTokenizer, false),
    model: { type: "WordLevel", vocab: vocabOf([...specials, ...words]), unk_token: unkToken },
  });
}

export interface TrainCharactersOptions extends Omit<TrainOptions, "vocabSize" | "minFrequency"> {
  /** The most characters in the vocabulary; the rarest ones become unknown. Default: no limit. */
  readonly limitAlphabet?: number;
  /** Characters that are in the vocabulary whether they occur or not. */
  readonly initialAlphabet?: Iterable<string>;
  /** What unknown characters become; null leaves them out. It is a special token. Default "<unk>". */
  readonly unkToken?: string | null;
}

/** The description of what `trainCharacters` trains: one token for each character, by code point. */
export async function trainCharactersJson(texts: Corpus, options: TrainCharactersOptions = {}): Promise<TokenizerJson> {
  const { normalizer = null, unkToken = "<unk>" } = options;
  const given = options.specialTokens ?? [];
  const added = addedTokens("trainCharacters", unkToken === null ? given : withUnknown(given, unkToken));
  const specials = added.map(({ content }) => content);
  const pacer = createPacer(options.signal);
  const whole = createSplitter("trainCharacters", normalizer, null);
  const counts = await countWords("trainCharacters", texts, {
    split: (text, onWord) =>
      whole(text, (normalized) => {
        for (const character of normalized) onWord(character);
      }),
    boundaries: specials,
    pacer,
    onProgress: options.onProgress,
  });
  const alphabet = await chooseAlphabet("trainCharacters", counts, options, pacer);
  return tokenizerJson({
    added_tokens: added,
    normalizer,
    decoder: { type: "Fuse" },
    model: characterModel([...new Set([...specials, ...alphabet])], unkToken),
  });
}

/** The description of a tokenizer whose ids are the bytes of UTF-8, special tokens after them. */
export function byteTokenizerJson(options: { readonly specialTokens?: readonly SpecialToken[] } = {}): TokenizerJson {
  const added = addedTokens("createByteTokenizer", options.specialTokens ?? []).map((token) => ({
    ...token,
    id: token.id + 256,
  }));
  return tokenizerJson({
    added_tokens: added,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: characterModel(BYTE_CHARACTERS, null),
  });
}

/** A model without merges: each character is a token. */
function characterModel(tokens: readonly string[], unkToken: string | null): TokenizerJson["model"] {
  return {
    type: "BPE",
    dropout: null,
    unk_token: unkToken,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: vocabOf(tokens),
    merges: [],
  };
}

function withUnknown(specialTokens: readonly SpecialToken[], unkToken: string): readonly SpecialToken[] {
  if (typeof unkToken !== "string") throw new TypeError(`unkToken (${unkToken}) must be a string`);
  const listed = specialTokens.some((token) => (typeof token === "string" ? token : token.content) === unkToken);
  return listed ? specialTokens : [unkToken, ...specialTokens];
}
