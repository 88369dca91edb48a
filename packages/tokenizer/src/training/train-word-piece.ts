import type { StageJson, TokenizerJson } from "../tokenizer-json.ts";
import { characterWords, joinWithPrefix, mergeWords } from "./train-bpe.ts";
import {
  type Corpus,
  type SpecialToken,
  type TrainOptions,
  tokenizerJson,
  type WordSplit,
  wordSplitStage,
} from "./train-options.ts";

export interface TrainWordPieceOptions extends TrainOptions {
  /** Lowercases the text and removes accents, as BERT's uncased models do. Default true. Not with `normalizer`. */
  readonly lowercase?: boolean;
  /** How a text is cut into words. Default: as BERT does, at white space and around punctuation and Chinese characters. */
  readonly split?: WordSplit;
  /** The most characters in the alphabet; the rarest ones become unknown. Default 1,000. */
  readonly limitAlphabet?: number;
  /** Characters that are in the alphabet whether they occur or not. */
  readonly initialAlphabet?: Iterable<string>;
  /** Marks the tokens that do not begin a word. Default "##". */
  readonly continuingSubwordPrefix?: string;
  /** The most characters in a token. Default: no limit. */
  readonly maxTokenLength?: number;
  /** What words become that cannot be put together. Default "[UNK]". */
  readonly unkToken?: string;
  /** Default [PAD], [UNK], [CLS], [SEP], [MASK]; with [CLS] and [SEP] among them, both are put around texts. */
  readonly specialTokens?: readonly SpecialToken[];
}

/** The description of what `trainWordPiece` trains. */
export async function trainWordPieceJson(texts: Corpus, options: TrainWordPieceOptions = {}): Promise<TokenizerJson> {
  const { lowercase = true, continuingSubwordPrefix: prefix = "##", unkToken = "[UNK]" } = options;
  if (typeof unkToken !== "string") throw new TypeError(`trainWordPiece: unkToken (${unkToken}) must be a string`);
  const normalizer: StageJson | null =
    options.normalizer !== undefined
      ? options.normalizer
      : { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase };
  const preTokenizer =
    options.split === undefined ? { type: "BertPreTokenizer" } : wordSplitStage("trainWordPiece", options.split);
  const all = {
    limitAlphabet: 1000,
    specialTokens: ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    ...options,
    continuingSubwordPrefix: prefix,
    unkToken,
    normalizer,
    preTokenizer,
  };
  const { words, added } = await characterWords("trainWordPiece", texts, all);
  const specials = added.map(({ content }) => content);
  const { vocab } = await mergeWords(words.builder, words.tokens, specials, all, words.pacer, joinWithPrefix(prefix));
  return tokenizerJson({
    added_tokens: added,
    normalizer,
    pre_tokenizer: preTokenizer,
    post_processor: bertTemplate(vocab),
    decoder: { type: "WordPiece", prefix, cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: unkToken,
      continuing_subword_prefix: prefix,
      max_input_chars_per_word: 100,
      vocab,
    },
  });
}

function bertTemplate(vocab: Readonly<Record<string, number>>): StageJson | null {
  const [cls, sep] = [vocab["[CLS]"], vocab["[SEP]"]];
  if (cls === undefined || sep === undefined) return null;
  const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const sequence = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  const single = [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)];
  return {
    type: "TemplateProcessing",
    single,
    pair: [...single, sequence("B", 1), special("[SEP]", 1)],
    special_tokens: {
      "[CLS]": { id: "[CLS]", ids: [cls], tokens: ["[CLS]"] },
      "[SEP]": { id: "[SEP]", ids: [sep], tokens: ["[SEP]"] },
    },
  };
}
