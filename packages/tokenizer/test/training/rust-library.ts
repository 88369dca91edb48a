import type { TokenizerJson } from "../../src/tokenizer-json.ts";

// The Rust library's own binding, for comparison. It comes as machine code, which not every platform can load.

export interface RustTokenizer {
  train(files: string[]): void;
  save(path: string): void;
  encode(
    text: string,
    pair?: null,
    options?: { addSpecialTokens?: boolean },
  ): Promise<{ getIds(): number[]; getTokens(): string[] }>;
  decode(ids: number[], skipSpecialTokens: boolean): Promise<string>;
  getVocabSize(): number;
}

export interface RustLibrary {
  readonly Tokenizer: { fromString(json: string): RustTokenizer };
}

/** The library, or null where it cannot be loaded. */
export async function loadRustLibrary(): Promise<RustLibrary | null> {
  try {
    const library = await import("tokenizers");
    return ((library as { default?: unknown }).default ?? library) as RustLibrary;
  } catch {
    return null;
  }
}

export const inRust = (library: RustLibrary, json: TokenizerJson): RustTokenizer =>
  library.Tokenizer.fromString(JSON.stringify(json));
