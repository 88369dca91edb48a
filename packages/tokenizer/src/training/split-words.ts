import { type Scanner, scanGpt2, scannerFor } from "../pre-tokenizers/scanners/scanners.ts";
import type { StageJson } from "../tokenizer-json.ts";
import type { WordSplitter } from "./count-words.ts";

/**
 * What cuts a text into the words that the normalizer and the pre-tokenizer of a tokenizer make of it. With `rawBytes`
 * the pre-tokenizer is one of `byteSplitStage`, and the words are parts of the text as they are, not yet as bytes.
 */
export function createSplitter(
  normalizer: StageJson | null,
  preTokenizer: StageJson | null,
  options: { readonly rawBytes?: boolean } = {},
): WordSplitter {
  const scan = options.rawBytes ? byteScanner(preTokenizer) : null;
  if (scan === null || normalizer !== null) throw new Error("later");
  return scanned(scan);
}

function byteScanner(stage: StageJson | null): Scanner | null {
  if (stage?.type === "ByteLevel") return stage.use_regex ? scanGpt2 : (text) => text.length;
  const [split] = (stage?.pretokenizers ?? []) as { pattern?: { Regex?: string } }[];
  return scannerFor(split?.pattern?.Regex ?? "");
}

function scanned(scan: Scanner): WordSplitter {
  return (text, onWord) => {
    for (let start = 0; start < text.length; ) {
      const end = scan(text, start);
      onWord(text.slice(start, end));
      start = end;
    }
  };
}
