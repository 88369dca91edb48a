import type { AlignedText } from "./aligned-text.ts";

// The stages of a tokenizer, in the order in which a text passes through them (the pipeline of Hugging Face's
// tokenizers): normalizer -> pre-tokenizer -> model -> post-processor, and back through the decoder.

/** Changes a text before it is cut: Unicode forms, case, accents, whitespace. */
export type Normalizer = (text: AlignedText) => AlignedText;

/** Cuts a text into pieces; no token of the model crosses the border of a piece. */
export type PreTokenizer = (piece: AlignedText) => readonly AlignedText[];

/** Receives the tokens of a piece: the id and the UTF-16 range [start, end) of the piece's text that it stands for. */
export type TokenSink = (id: number, start: number, end: number) => void;

/** Maps a piece of text to the ids of a vocabulary. */
export interface TokenModel {
  readonly kind: "BPE" | "WordPiece" | "Unigram" | "WordLevel";
  /** Emits the tokens of `text` in order. */
  tokenize(text: string, emit: TokenSink): void;
  tokenToId(token: string): number | undefined;
  idToToken(id: number): string | undefined;
  /** Entries of the model's own vocabulary; added tokens are the tokenizer's. */
  readonly size: number;
}

/** One place of a post-processor's output: a token of sequence 0 or 1, or a special token. */
export interface PostProcessor {
  /** Special tokens that it adds to a single text, or to a pair. */
  addedTokens(isPair: boolean): number;
  /** Lays out the tokens of one or two texts, with special tokens around and between them when `addSpecialTokens`. */
  layout(isPair: boolean, addSpecialTokens: boolean): readonly LayoutItem[];
  /** Changes the offsets of a text's token, as ByteLevel's `trim_offsets` does. `index` is its place among the tokens. */
  adjustOffsets?(token: string, index: number, range: readonly [number, number]): readonly [number, number];
}

export type LayoutItem =
  | { readonly sequence: 0 | 1; readonly typeId: number }
  | { readonly token: string; readonly id: number; readonly typeId: number };

/** Turns tokens into pieces of text; the text is their concatenation. */
export type Decoder = (tokens: readonly string[]) => string[];
