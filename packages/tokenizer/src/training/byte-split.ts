import { cl100kPattern, o200kPattern, qwen2Pattern } from "../pre-tokenizers/scanners/split-patterns.ts";
import type { StageJson } from "../tokenizer-json.ts";

/** How a text is cut into words whose bytes are put together. */
export type ByteSplit =
  /** As GPT-2 does: words and numbers with the space before them, punctuation, white space. */
  | "gpt2"
  /** As GPT-4 and Llama 3 do: numbers of at most three digits, ends of lines with the punctuation before them. */
  | "cl100k"
  | "llama3"
  /** As GPT-4o does: also where lower case turns into upper case. */
  | "o200k"
  /** As Qwen 2 does: every digit apart. */
  | "qwen2"
  /** Where a regular expression of your own matches, and between its matches. */
  | { readonly pattern: string }
  /** The whole text is one word. */
  | null;

const patterns: Readonly<Record<string, string>> = {
  cl100k: cl100kPattern,
  llama3: cl100kPattern,
  o200k: o200kPattern,
  qwen2: qwen2Pattern,
};

/** The pre-tokenizer of a way to split. */
export function byteSplitStage(trainer: string, split: ByteSplit): StageJson {
  if (split === "gpt2") return byteLevel(true);
  if (split === null) return byteLevel(false);
  const pattern =
    typeof split === "object" ? split.pattern : Object.hasOwn(patterns, split) ? patterns[split] : undefined;
  if (typeof pattern !== "string") {
    throw new TypeError(
      `${trainer}: split (${JSON.stringify(split)}) is unknown; it must be "gpt2", ${Object.keys(patterns)
        .map((name) => `"${name}"`)
        .join(", ")}, null or { pattern }`,
    );
  }
  return {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
      byteLevel(false),
    ],
  };
}

const byteLevel = (use_regex: boolean): StageJson => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});
