import { BYTE_CHARACTERS } from "../models/byte-alphabet.ts";
import type { BpeJson, StageJson, TokenizerJson } from "../tokenizer-json.ts";
import { chooseAlphabet } from "./alphabet.ts";
import { type ByteSplit, byteSplitStage } from "./byte-split.ts";
import { countWords } from "./count-words.ts";
import { mergePairs } from "./merge-pairs.ts";
import { createPacer, type Pacer } from "./pacer.ts";
import { createRawSplitter, createSplitter } from "./split-words.ts";
import { SymbolWordsBuilder } from "./symbol-words.ts";
import {
  addedTokens,
  byteFallbackTokens,
  type Corpus,
  checkWhole,
  compareCodePoints,
  type TrainOptions,
  tokenizerJson,
  vocabOf,
  type WordSplit,
  wordSplitDecoder,
  wordSplitStage,
} from "./train-options.ts";

export interface TrainAnyBpeOptions extends TrainOptions {
  /** The most characters (or bytes, with the alphabet of bytes) in a token. Default: no limit. */
  readonly maxTokenLength?: number;
}

/** Byte-level: every text has tokens, and decoding gives it back exactly. */
export interface TrainByteBpeOptions extends TrainAnyBpeOptions {
  readonly alphabet?: "bytes";
  /** How a text is cut into words. Default "gpt2". */
  readonly split?: ByteSplit;
}

export interface TrainCharacterBpeOptions extends TrainAnyBpeOptions {
  readonly alphabet: "characters";
  /** How a text is cut into words. Default "metaspace". */
  readonly split?: WordSplit;
  /** The most characters in the alphabet; the rarest ones become unknown. Default: no limit. */
  readonly limitAlphabet?: number;
  /** Characters that are in the alphabet whether they occur or not. */
  readonly initialAlphabet?: Iterable<string>;
  /** Marks the last character of a word, as "</w>" does in CLIP's vocabulary. */
  readonly endOfWordSuffix?: string;
  /** Marks the tokens that do not begin a word, as "##" does in BERT's vocabulary. */
  readonly continuingSubwordPrefix?: string;
  /** Adds 256 tokens for bytes, so that every text has tokens, as Llama 2's vocabulary does. Default false. */
  readonly byteFallback?: boolean;
  /** What unknown characters become; null leaves them out. It is a special token. Default "<unk>". */
  readonly unkToken?: string | null;
}

export type TrainBpeOptions = TrainByteBpeOptions | TrainCharacterBpeOptions;

/** The description of what `trainBpe` trains. */
export async function trainBpeJson(texts: Corpus, options: TrainBpeOptions = {}): Promise<TokenizerJson> {
  const { alphabet } = options;
  if (options.alphabet === "characters") return trainCharacterBpe(texts, options);
  if (alphabet === undefined || alphabet === "bytes") return trainByteBpe(texts, options as TrainByteBpeOptions);
  throw new TypeError(`trainBpe: alphabet (${JSON.stringify(alphabet)}) must be "bytes" or "characters"`);
}

async function trainByteBpe(texts: Corpus, options: TrainByteBpeOptions): Promise<TokenizerJson> {
  const pacer = createPacer(options.signal);
  const added = addedTokens("trainBpe", options.specialTokens ?? []);
  const preTokenizer = byteSplitStage("trainBpe", options.split ?? "gpt2");
  const normalizer = options.normalizer ?? null;
  const specials = added.map(({ content }) => content);
  // In the order of the characters that stand for them, as the Rust library has them.
  const tokens = [...specials, ...[...BYTE_CHARACTERS].sort(compareCodePoints)];
  checkSizes(options, tokens.length, "special tokens and bytes");

  const counts = await countWords("trainBpe", texts, {
    split: createRawSplitter("trainBpe", normalizer, preTokenizer),
    boundaries: specials,
    pacer,
    onProgress: options.onProgress,
  });
  const idOfByte = Int32Array.from(BYTE_CHARACTERS, (character) => tokens.indexOf(character, specials.length));
  const encoder = new TextEncoder();
  const builder = new SymbolWordsBuilder();
  for (const [word, count] of counts) {
    for (const byte of encoder.encode(word)) builder.addSymbol(idOfByte[byte]!);
    builder.endWord(count);
    if (pacer.due()) await pacer.pause();
  }
  counts.clear();
  const model = await mergeWords(builder, tokens, specials, options, pacer, (a, b) => a + b);
  return tokenizerJson({
    added_tokens: added,
    normalizer,
    pre_tokenizer: preTokenizer,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { ...bpe, ...model },
  });
}

async function trainCharacterBpe(texts: Corpus, options: TrainCharacterBpeOptions): Promise<TokenizerJson> {
  const { endOfWordSuffix: suffix, continuingSubwordPrefix: prefix, byteFallback = false } = options;
  const preTokenizer = wordSplitStage("trainBpe", options.split ?? (suffix === undefined ? "metaspace" : "whitespace"));
  const normalizer = options.normalizer ?? null;
  const { words, unkToken, added } = await characterWords("trainBpe", texts, {
    ...options,
    preTokenizer,
    byteFallback,
  });
  const specials = [...added.map(({ content }) => content), ...(byteFallback ? byteFallbackTokens : [])];
  const model = await mergeWords(words.builder, words.tokens, specials, options, words.pacer, joinWithPrefix(prefix));
  return tokenizerJson({
    added_tokens: added,
    normalizer,
    pre_tokenizer: preTokenizer,
    decoder:
      suffix === undefined
        ? prefix === undefined
          ? wordSplitDecoder(preTokenizer, byteFallback)
          : { type: "WordPiece", prefix, cleanup: false }
        : { type: "BPEDecoder", suffix },
    model: {
      ...bpe,
      unk_token: unkToken,
      continuing_subword_prefix: prefix ?? null,
      end_of_word_suffix: suffix ?? null,
      fuse_unk: byteFallback,
      byte_fallback: byteFallback,
      ...model,
    },
  });
}

const bpe = {
  type: "BPE",
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
} as const;

export interface CharacterWordsOptions
  extends Pick<
    TrainCharacterBpeOptions,
    | "limitAlphabet"
    | "initialAlphabet"
    | "endOfWordSuffix"
    | "continuingSubwordPrefix"
    | "byteFallback"
    | "unkToken"
    | "maxTokenLength"
    | keyof TrainOptions
  > {
  readonly preTokenizer: StageJson | null;
}

/** The words of a corpus as characters, and the tokens that the vocabulary has before any merge. */
export async function characterWords(trainer: string, texts: Corpus, options: CharacterWordsOptions) {
  const { endOfWordSuffix: suffix = "", continuingSubwordPrefix: prefix = "", byteFallback = false } = options;
  const { unkToken = "<unk>" } = options;
  const pacer = createPacer(options.signal);
  const given = options.specialTokens ?? [];
  const listed = given.some((token) => (typeof token === "string" ? token : token.content) === unkToken);
  const added = addedTokens(trainer, unkToken === null || listed ? given : [unkToken, ...given]);
  const specials = added.map(({ content }) => content);
  checkSizes(options, specials.length, "special tokens", trainer);

  const counts = await countWords(trainer, texts, {
    split: createSplitter(trainer, options.normalizer ?? null, options.preTokenizer),
    boundaries: specials,
    pacer,
    onProgress: options.onProgress,
  });
  const alphabet = await chooseAlphabet(trainer, counts, options, pacer);
  const tokens = [...new Set([...specials, ...(byteFallback ? byteFallbackTokens : []), ...alphabet])];
  checkSizes(
    options,
    tokens.length,
    "special tokens and characters; a larger vocabSize or limitAlphabet helps",
    trainer,
  );

  // A character has up to four forms: at the start, in the middle or at the end of a word, or all of it.
  const inAlphabet = new Set(alphabet);
  const forms = new Set<string>();
  if (prefix !== "" || suffix !== "") {
    for (const word of counts.keys()) {
      if (pacer.due()) await pacer.pause();
      forEachForm(word, (character, form) => inAlphabet.has(character) && forms.add(form));
    }
  }
  const known = new Map<string, number>();
  for (const token of alphabet) known.set(token, tokens.indexOf(token));
  for (const form of [...forms].sort(compareCodePoints)) {
    if (known.has(form)) continue;
    known.set(form, tokens.length);
    tokens.push(form);
  }
  const builder = new SymbolWordsBuilder();
  for (const [word, count] of counts) {
    if (pacer.due()) await pacer.pause();
    forEachForm(word, (character, form) => {
      // Nothing grows together over a character that is not in the alphabet.
      if (inAlphabet.has(character)) builder.addSymbol(known.get(form)!);
      else builder.endWord(count);
    });
    builder.endWord(count);
  }
  return { added, unkToken, words: { builder, tokens, pacer } };

  function forEachForm(word: string, visit: (character: string, form: string) => void): void {
    if (prefix === "" && suffix === "") {
      for (const character of word) visit(character, character);
      return;
    }
    const characters = [...word];
    for (const [i, character] of characters.entries()) {
      visit(character, (i === 0 ? "" : prefix) + character + (i === characters.length - 1 ? suffix : ""));
    }
  }
}

/** Joins two tokens of which the second may begin with a prefix that only tokens inside a word have. */
export function joinWithPrefix(prefix = ""): (left: string, right: string) => string {
  if (prefix === "") return (left, right) => left + right;
  return (left, right) => left + (right.startsWith(prefix) ? right.slice(prefix.length) : right);
}

/** Merges the words' symbols until the vocabulary is large enough. */
export async function mergeWords(
  builder: SymbolWordsBuilder,
  tokens: string[],
  forbidden: readonly string[],
  options: TrainAnyBpeOptions,
  pacer: Pacer,
  join: (left: string, right: string) => string,
): Promise<Pick<BpeJson, "vocab" | "merges">> {
  const {
    vocabSize = defaultVocabSize,
    minFrequency = 0,
    maxTokenLength = Number.POSITIVE_INFINITY,
    onProgress,
  } = options;
  let told = performance.now();
  const tell = (done: number) => onProgress?.({ stage: "merging", done, total: vocabSize });
  const ids = await mergePairs(builder.finish(), {
    tokens,
    lengths: tokens.map(() => 1),
    vocabSize,
    minFrequency,
    maxTokenLength,
    forbidden: new Set(forbidden),
    join,
    pacer,
    onMerge: (done) => {
      if (performance.now() - told < 50) return;
      told = performance.now();
      tell(done);
    },
  });
  tell(tokens.length);
  const merges: [string, string][] = [];
  for (let i = 0; i < ids.length; i += 2) merges.push([tokens[ids[i]!]!, tokens[ids[i + 1]!]!]);
  return { vocab: vocabOf(tokens), merges };
}

export const defaultVocabSize = 30_000;

function checkSizes(options: TrainAnyBpeOptions, needed: number, what: string, trainer = "trainBpe"): void {
  const { vocabSize = defaultVocabSize, minFrequency = 0, maxTokenLength } = options;
  checkWhole(trainer, "vocabSize", vocabSize, 1);
  checkWhole(trainer, "minFrequency", minFrequency, 0);
  if (maxTokenLength !== undefined && maxTokenLength !== Number.POSITIVE_INFINITY) {
    checkWhole(trainer, "maxTokenLength", maxTokenLength, 1);
  }
  if (needed <= vocabSize) return;
  throw new RangeError(`${trainer}: vocabSize (${vocabSize}) is less than the ${needed} ${what}`);
}
