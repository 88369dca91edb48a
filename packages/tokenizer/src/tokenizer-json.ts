/**
 * The content of a `tokenizer.json` file (Hugging Face tokenizers, version 1.0): the one description of a tokenizer
 * here. Readers of other formats and trainers produce it, `createTokenizer` builds a tokenizer from it, and
 * `tokenizer.toJson()` gives it back with everything that this library does not know left in place.
 */
export interface TokenizerJson {
  readonly version?: string;
  readonly truncation?: TruncationJson | null;
  readonly padding?: PaddingJson | null;
  readonly added_tokens?: readonly AddedTokenJson[];
  readonly normalizer?: StageJson | null;
  readonly pre_tokenizer?: StageJson | null;
  readonly post_processor?: StageJson | null;
  readonly decoder?: StageJson | null;
  readonly model: ModelJson;
  readonly [unknown: string]: unknown;
}

/** A normalizer, pre-tokenizer, post-processor or decoder: its type and that type's own fields. */
export interface StageJson {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly normalized?: boolean;
  readonly special?: boolean;
}

export interface TruncationJson {
  readonly direction: "Left" | "Right";
  readonly max_length: number;
  readonly strategy: "LongestFirst" | "OnlyFirst" | "OnlySecond";
  readonly stride: number;
}

export interface PaddingJson {
  readonly strategy: "BatchLongest" | { readonly Fixed: number };
  readonly direction: "Left" | "Right";
  readonly pad_to_multiple_of?: number | null;
  readonly pad_id: number;
  readonly pad_type_id: number;
  readonly pad_token: string;
}

export type ModelJson = BpeJson | WordPieceJson | UnigramJson | WordLevelJson;

export interface BpeJson {
  readonly type: "BPE";
  readonly dropout?: number | null;
  readonly unk_token?: string | null;
  readonly continuing_subword_prefix?: string | null;
  readonly end_of_word_suffix?: string | null;
  readonly fuse_unk?: boolean;
  readonly byte_fallback?: boolean;
  readonly ignore_merges?: boolean;
  readonly vocab: Readonly<Record<string, number>>;
  /** "a b" or ["a", "b"], best first. */
  readonly merges: readonly (string | readonly [string, string])[];
}

export interface WordPieceJson {
  readonly type: "WordPiece";
  readonly unk_token: string;
  readonly continuing_subword_prefix: string;
  readonly max_input_chars_per_word: number;
  readonly vocab: Readonly<Record<string, number>>;
}

export interface UnigramJson {
  readonly type: "Unigram";
  readonly unk_id: number | null;
  /** Token and log probability; the index is the id. */
  readonly vocab: readonly (readonly [token: string, logProb: number])[];
  readonly byte_fallback?: boolean;
}

export interface WordLevelJson {
  readonly type: "WordLevel";
  readonly vocab: Readonly<Record<string, number>>;
  readonly unk_token: string;
}
