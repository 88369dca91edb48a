import type { Tokenizer as RustTokenizer } from "tokenizers";
import type { TokenizerJson } from "../../src/index.ts";
import type { RustLibrary } from "../training/rust-library.ts";

/** A tokenizer of the Rust library from the same description, with all of its binding's methods. */
export function rustStages(library: RustLibrary, json: TokenizerJson): RustTokenizer {
  const complete = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...json,
  };
  return library.Tokenizer.fromString(JSON.stringify(complete)) as unknown as RustTokenizer;
}

export const tinyModel = { type: "WordLevel", vocab: { "[UNK]": 0 }, unk_token: "[UNK]" } as const;

/** UTF-16 index of each code point of a text, and of its end: the Rust library counts code points. */
export function utf16Indices(text: string): number[] {
  const indices = [0];
  for (const character of text) indices.push(indices[indices.length - 1]! + character.length);
  return indices;
}
