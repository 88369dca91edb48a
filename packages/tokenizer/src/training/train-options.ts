import type { AddedTokenJson, StageJson, TokenizerJson } from "../tokenizer-json.ts";

/** Texts to train on. A long text may come in parts; no word goes across the border of two. */
export type Corpus = Iterable<string> | AsyncIterable<string>;

export interface TrainProgress {
  /** Reading the texts, merging pairs, or fitting a unigram model. */
  readonly stage: "reading" | "merging" | "fitting";
  /** Characters read, or tokens that the vocabulary has, or steps of fitting. */
  readonly done: number;
  /** What `done` reaches at most; null where that is not known. */
  readonly total: number | null;
}

/** A special token: its text, or the text with what the description of an added token may say. */
export type SpecialToken = string | Omit<AddedTokenJson, "id" | "special">;

/** What all trainers take. */
export interface TrainOptions {
  /** Entries of the vocabulary, special tokens among them. A small corpus may give fewer. Default 30,000. */
  readonly vocabSize?: number;
  /** The least count of a pair to be merged, or of a word to be listed. Default 0. */
  readonly minFrequency?: number;
  /** Get the first ids, in this order. Where one occurs in a text, the text is cut and the token not counted. */
  readonly specialTokens?: readonly SpecialToken[];
  /** Changes a text before it is cut into words. Default: the text stays as it is. */
  readonly normalizer?: StageJson | null;
  /** Told now and then how far training is. */
  readonly onProgress?: (progress: TrainProgress) => void;
  /** Ends training; the promise rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** How a text is cut into words before characters are put together. */
export type WordSplit =
  /** At spaces, which become ▁ at the start of the word after them. Decoding gives back all but one before the text. */
  | "metaspace"
  /** At white space, which is lost. */
  | "whitespace"
  /** At white space, which is lost, and between letters and punctuation. */
  | "words"
  | StageJson
  /** The whole text is one word. */
  | null;

const metaspace: StageJson = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };

/** The pre-tokenizer of a way to split. */
export function wordSplitStage(trainer: string, split: WordSplit): StageJson | null {
  if (split === "metaspace") return metaspace;
  if (split === "whitespace") return { type: "WhitespaceSplit" };
  if (split === "words") return { type: "Whitespace" };
  if (split === null || (typeof split === "object" && typeof split.type === "string")) return split;
  throw new TypeError(
    `${trainer}: split (${JSON.stringify(split)}) is unknown; it must be "metaspace", "whitespace", "words", null or a pre-tokenizer`,
  );
}

/** What gives back the text that was cut so. */
export function wordSplitDecoder(stage: StageJson | null, byteFallback: boolean): StageJson | null {
  const isMetaspace = stage?.type === "Metaspace";
  if (!byteFallback) return isMetaspace ? { ...stage } : stage === null ? { type: "Fuse" } : null;
  const decoders: StageJson[] = [{ type: "ByteFallback" }, { type: "Fuse" }];
  if (!isMetaspace) return stage === null ? { type: "Sequence", decoders } : null;
  const replacement = typeof stage.replacement === "string" ? stage.replacement : "▁";
  return {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: replacement }, content: " " },
      ...decoders,
      ...(stage.prepend_scheme === "never" ? [] : [{ type: "Strip", content: " ", start: 1, stop: 0 }]),
    ],
  };
}

/** The special tokens as added tokens with the ids 0, 1, 2 ... */
export function addedTokens(trainer: string, specialTokens: readonly SpecialToken[]): AddedTokenJson[] {
  const seen = new Set<string>();
  return specialTokens.map((token, id) => {
    const given = typeof token === "string" ? { content: token } : token;
    if (typeof given?.content !== "string" || given.content === "" || seen.has(given.content)) {
      throw new TypeError(
        `${trainer}: specialTokens[${id}] (${JSON.stringify(token)}) is empty or there twice; every special token needs a text of its own`,
      );
    }
    seen.add(given.content);
    return { single_word: false, lstrip: false, rstrip: false, normalized: false, ...given, id, special: true };
  });
}

/** The whole description around a trained model. */
export function tokenizerJson(
  parts: Pick<TokenizerJson, "added_tokens" | "normalizer" | "pre_tokenizer" | "post_processor" | "decoder" | "model">,
): TokenizerJson {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: parts.added_tokens ?? [],
    normalizer: parts.normalizer ?? null,
    pre_tokenizer: parts.pre_tokenizer ?? null,
    post_processor: parts.post_processor ?? null,
    decoder: parts.decoder ?? null,
    model: parts.model,
  };
}

/** A vocabulary whose ids are the tokens' places. */
export function vocabOf(tokens: readonly string[]): Record<string, number> {
  // Without a prototype: a token may be called __proto__.
  const vocab: Record<string, number> = Object.create(null);
  for (const [id, token] of tokens.entries()) vocab[token] = id;
  return vocab;
}

/** The bytes' own tokens, which stand for characters that the vocabulary does not have. */
export const byteFallbackTokens: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
);

/** Throws unless `value` is a whole number of at least `least`. */
export function checkWhole(trainer: string, name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new RangeError(`${trainer}: ${name} (${value}) must be a whole number of at least ${least}`);
}

/** Compares by code points (as UTF-8 sorts), where `<` compares UTF-16 units. */
export function compareCodePoints(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above all other units.
    if (x >= 0xd800 && y >= 0xd800) {
      x = x >= 0xe000 ? x - 0x800 : x + 0x2000;
      y = y >= 0xe000 ? y - 0x800 : y + 0x2000;
    }
    return x - y;
  }
  return a.length - b.length;
}
