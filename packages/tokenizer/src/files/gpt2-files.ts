import { TokenizerFormatError } from "../errors.ts";
import { asObject, describe } from "../json-fields.ts";
import { BYTE_CHARACTERS } from "../models/byte-alphabet.ts";
import { gpt2Pattern, qwen2Pattern } from "../pre-tokenizers/scanners/split-patterns.ts";
import type { AddedTokenJson, BpeJson, StageJson, TokenizerJson } from "../tokenizer-json.ts";
import { clipJson } from "./clip.ts";
import { readJson, readText } from "./read-json.ts";
import { addedToken, byteLevelDecoder, byteLevelSplit } from "./stage-json.ts";

export interface Gpt2FilesOptions {
  /** Names of the two files in messages. */
  readonly vocabSource?: string;
  readonly mergesSource?: string;
  /**
   * Whose vocabulary it is: the class of Hugging Face's tokenizer_config.json ("GPT2Tokenizer", "RobertaTokenizer",
   * "CLIPTokenizer", "Qwen2Tokenizer"). Told from the vocabulary's special tokens when it is not given.
   */
  readonly tokenizerClass?: string;
}

/**
 * Reads GPT-2's pair of files (vocab.json and merges.txt, or encoder.json and vocab.bpe), which RoBERTa, CLIP and Qwen
 * have too. Throws TokenizerFormatError, naming the file and the line.
 */
export function readGpt2Files(
  vocab: string | Uint8Array,
  merges: string | Uint8Array,
  options: Gpt2FilesOptions = {},
): TokenizerJson {
  const { vocabSource = "vocab.json", mergesSource = "merges.txt" } = options;
  const record = asObject(readJson(vocab, vocabSource), vocabSource) as Record<string, number>;
  const ids = new Map(Object.entries(record));
  const mergeList = readMergesFile(readText(merges, mergesSource), mergesSource);
  const family = familyOf(ids, options.tokenizerClass);
  if (family === "clip") return clipJson(record, mergeList, vocabSource);
  if (!BYTE_CHARACTERS.every((character) => ids.has(character)))
    throw new TokenizerFormatError(
      `${vocabSource} lacks some of the 256 bytes in GPT-2's alphabet; expected a byte-level vocabulary (others need a tokenizer.json)`,
    );
  return byteLevelJson(record, mergeList, ids, family);
}

function byteLevelJson(
  vocab: Record<string, number>,
  merges: readonly string[],
  ids: ReadonlyMap<string, number>,
  family: "gpt2" | "roberta" | "qwen2",
): TokenizerJson {
  const model: BpeJson = {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: "",
    end_of_word_suffix: "",
    fuse_unk: false,
    byte_fallback: false,
    vocab,
    merges,
  };
  const special = (names: readonly string[], flags: Partial<AddedTokenJson> = {}) =>
    names.flatMap((name) => (ids.has(name) ? [addedToken(ids.get(name)!, name, flags)] : []));
  const plain: StageJson = { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true };
  const common = { version: "1.0", truncation: null, padding: null };
  const rest = { pre_tokenizer: byteLevelSplit(family === "qwen2" ? qwen2Pattern : gpt2Pattern), model };
  if (family === "roberta")
    return {
      ...common,
      added_tokens: [
        ...special(["<s>", "<pad>", "</s>", "<unk>"], { normalized: true }),
        ...special(["<mask>"], { lstrip: true }),
      ],
      normalizer: null,
      post_processor: {
        type: "RobertaProcessing",
        sep: ["</s>", ids.get("</s>")!],
        cls: ["<s>", ids.get("<s>")!],
        trim_offsets: true,
        add_prefix_space: false,
      },
      decoder: byteLevelDecoder,
      ...rest,
    };
  return {
    ...common,
    added_tokens: special(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], { normalized: family === "gpt2" }),
    normalizer: family === "qwen2" ? { type: "NFC" } : null,
    post_processor: plain,
    decoder: byteLevelDecoder,
    ...rest,
  };
}

function familyOf(ids: ReadonlyMap<string, number>, tokenizerClass = ""): "gpt2" | "roberta" | "clip" | "qwen2" {
  const name = tokenizerClass.toLowerCase();
  const robertaTokens = ids.has("<s>") && ids.has("</s>");
  if (name.startsWith("clip")) return "clip";
  if (/^(roberta|bart|longformer|led)/.test(name) && robertaTokens) return "roberta";
  if (name.startsWith("qwen2")) return "qwen2";
  if (name !== "") return "gpt2";
  if (ids.has("<|startoftext|>") && ids.has("!</w>")) return "clip";
  return robertaTokens && ids.has("<mask>") ? "roberta" : "gpt2";
}

/** Lines "left right", best first; a first line "#version" and empty lines are left out. */
export function readMergesFile(text: string, source: string): string[] {
  const merges: string[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!.endsWith("\r") ? lines[i]!.slice(0, -1) : lines[i]!;
    if (line === "" || (i === 0 && line.includes("#version"))) continue;
    const space = line.indexOf(" ");
    if (space <= 0 || space === line.length - 1 || line.indexOf(" ", space + 1) >= 0)
      throw new TokenizerFormatError(`${source}, line ${i + 1}, is ${describe(line)}; expected two tokens and a space`);
    merges.push(line);
  }
  if (merges.length === 0) throw new TokenizerFormatError(`${source} has no merges; expected lines of two tokens`);
  return merges;
}
