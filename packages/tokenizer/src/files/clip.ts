import { TokenizerFormatError } from "../errors.ts";
import { describe } from "../json-fields.ts";
import { BYTE_CHARACTERS } from "../models/byte-alphabet.ts";
import type { TokenizerJson } from "../tokenizer-json.ts";
import { readMergesFile } from "./gpt2-files.ts";
import { gunzip } from "./gunzip.ts";
import { readText } from "./read-json.ts";
import { addedToken } from "./stage-json.ts";

const CLIP_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

/** CLIP's vocabulary has this many tokens; the file has more merges than that needs. */
const CLIP_SIZE = 49_152;

/**
 * Reads CLIP's bpe_simple_vocab_16e6.txt.gz (or the text in it): ids are the 256 bytes, the 256 bytes that end a word,
 * the merges, <|startoftext|> and <|endoftext|>. Throws TokenizerFormatError, naming the file.
 */
export async function readClipVocab(
  content: string | Uint8Array,
  source = "bpe_simple_vocab_16e6.txt.gz",
): Promise<TokenizerJson> {
  const plain = typeof content !== "string" && content[0] === 0x1f ? await gunzip(content, source) : content;
  const merges = readMergesFile(readText(plain, source), source).slice(0, CLIP_SIZE - 2 * 256 - 2);
  // Python's order: the bytes that print, then the others.
  const bytes = [...BYTE_CHARACTERS].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0));
  const tokens = [
    ...bytes,
    ...bytes.map((character) => `${character}</w>`),
    ...merges.map((merge) => merge.replace(" ", "")),
    "<|startoftext|>",
    "<|endoftext|>",
  ];
  const vocab: Record<string, number> = Object.create(null);
  for (let id = 0; id < tokens.length; id++) vocab[tokens[id]!] = id;
  return clipJson(vocab, merges, source);
}

/** CLIP's pipeline around its vocabulary, as Hugging Face's converter writes it; the decoder ends words with a space. */
export function clipJson(
  vocab: Readonly<Record<string, number>>,
  merges: readonly string[],
  source: string,
): TokenizerJson {
  const [start, end] = ["<|startoftext|>", "<|endoftext|>"].map((token) => {
    const id = vocab[token];
    if (id === undefined)
      throw new TokenizerFormatError(`${source} lacks ${describe(token)}; expected CLIP's vocabulary`);
    return id;
  }) as [number, number];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [addedToken(start, "<|startoftext|>", { normalized: true }), addedToken(end, "<|endoftext|>")],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: CLIP_PATTERN }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: "RobertaProcessing",
      sep: ["<|endoftext|>", end],
      cls: ["<|startoftext|>", start],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "</w>" }, content: BYTE_CHARACTERS[0x20]! },
        { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
        { type: "Strip", content: " ", start: 0, stop: 1 },
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<|endoftext|>",
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges,
    },
  };
}
