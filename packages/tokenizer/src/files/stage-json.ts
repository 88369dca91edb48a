import { gpt2Pattern } from "../pre-tokenizers/scanners/split-patterns.ts";
import type { AddedTokenJson, StageJson } from "../tokenizer-json.ts";

// Stages as Hugging Face's converters write them.

export const byteLevelDecoder: StageJson = {
  type: "ByteLevel",
  add_prefix_space: true,
  trim_offsets: true,
  use_regex: true,
};

/** Cuts by a pattern and spells the pieces in GPT-2's byte alphabet. */
export function byteLevelSplit(pattern: string): StageJson {
  if (pattern === gpt2Pattern)
    return { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
}

export const addedToken = (id: number, content: string, flags: Partial<AddedTokenJson> = {}): AddedTokenJson => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...flags,
});

/** A TemplateProcessing from "[CLS] $A [SEP]" and "[CLS] $A [SEP] $B:1 [SEP]:1"; a number after a colon is the type id. */
export function template(single: string, pair: string, idOf: (token: string) => number): StageJson {
  const special: Record<string, { id: string; ids: number[]; tokens: string[] }> = {};
  const items = (text: string) =>
    text.split(" ").map((item) => {
      const [, name = "", typeId = "0"] = /^(.*?)(?::(\d+))?$/.exec(item)!;
      if (name.startsWith("$")) return { Sequence: { id: name.slice(1), type_id: Number(typeId) } };
      special[name] = { id: name, ids: [idOf(name)], tokens: [name] };
      return { SpecialToken: { id: name, type_id: Number(typeId) } };
    });
  return { type: "TemplateProcessing", single: items(single), pair: items(pair), special_tokens: special };
}
