import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import type { TokenizerJson } from "../tokenizer-json.ts";
import { readText } from "./read-json.ts";
import { addedToken, template } from "./stage-json.ts";

export interface BertVocabOptions {
  /** Names the file in messages. */
  readonly source?: string;
  /** Lower-case the text; by default when no token of the vocabulary has a letter A to Z. */
  readonly lowercase?: boolean;
  /** Strip accents; by default (null) when lower-casing. */
  readonly stripAccents?: boolean | null;
  /** Make every CJK character a word. Default true. */
  readonly handleChineseChars?: boolean;
  readonly unkToken?: string;
  readonly clsToken?: string;
  readonly sepToken?: string;
  readonly padToken?: string;
  readonly maskToken?: string;
}

/**
 * Reads BERT's vocab.txt: a token a line, its id the number of the line from 0.
 * Throws TokenizerFormatError, naming the file and the line, for tokens that occur twice and for missing special tokens.
 */
export function readBertVocab(content: string | Uint8Array, options: BertVocabOptions = {}): TokenizerJson {
  const {
    source = "vocab.txt",
    unkToken = "[UNK]",
    clsToken = "[CLS]",
    sepToken = "[SEP]",
    padToken = "[PAD]",
    maskToken = "[MASK]",
  } = options;
  const lines = readText(content, source).split("\n");
  if (lines.at(-1) === "") lines.pop();
  const vocab: Record<string, number> = Object.create(null);
  let capitals = false;
  for (let id = 0; id < lines.length; id++) {
    const line = lines[id]!;
    const token = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (vocab[token] !== undefined)
      throw new TokenizerFormatError(
        `${source}, line ${id + 1}, is ${describe(token)}, as is line ${vocab[token] + 1}; expected each token once`,
      );
    vocab[token] = id;
    capitals ||= token.charCodeAt(0) !== 0x5b && /[A-Z]/.test(token);
  }
  const idOf = (token: string): number => {
    const id = vocab[token];
    if (id === undefined)
      throw new TokenizerFormatError(
        `${source} lacks the special token ${describe(token)}; expected BERT's vocabulary`,
      );
    return id;
  };
  const special = [padToken, unkToken, clsToken, sepToken, maskToken].filter((token) => vocab[token] !== undefined);
  idOf(unkToken);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((token) => addedToken(idOf(token), token)).sort((a, b) => a.id - b.id),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: options.handleChineseChars ?? true,
      strip_accents: options.stripAccents ?? null,
      lowercase: options.lowercase ?? !capitals,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: template(`${clsToken} $A ${sepToken}`, `${clsToken} $A ${sepToken} $B:1 ${sepToken}:1`, idOf),
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: unkToken,
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab,
    },
  };
}
