import { describe, expect, test } from "vitest";
import { createTokenizer, type EncodeOptions, type StageJson, type TokenizerJson } from "../../src/index.ts";
import { randomNumbers, randomText } from "../random-text.ts";
import { loadRustLibrary } from "../training/rust-library.ts";
import { rustStages, utf16Indices } from "./rust-tokenizer.ts";

const rust = await loadRustLibrary();

// Letters only, so that offsets need no more than the stages do.
const letters = [..." abcdefghijklmnopqrstuvwxyzABCXYZ0123456789.,!?'-_▁"];
const pieces = ["th", "he", "in", "an", "er", "the", "ing", "llo", "Hello", "world", " t", " the", "it", "'s"];
const vocab: Record<string, number> = { "[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "[MASK]": 4 };
for (const token of [...letters, ...pieces, ...letters.map((c) => `##${c}`), ...pieces.map((p) => `##${p}`)]) {
  vocab[token] ??= Object.keys(vocab).length;
}

const wordPiece = {
  type: "WordPiece",
  unk_token: "[UNK]",
  continuing_subword_prefix: "##",
  max_input_chars_per_word: 100,
  vocab,
} as const;

const added = [
  { content: "[CLS]", special: true, normalized: false },
  { content: "[SEP]", special: true, normalized: false },
  { content: "[MASK]", special: true, normalized: false, lstrip: true },
  { content: "don't", special: false, normalized: true, single_word: true },
  { content: "DON", special: false, normalized: true },
  { content: "987", special: false, normalized: false, rstrip: true },
  { content: "😀", special: false, normalized: false, lstrip: true, rstrip: true },
];

/** Gives added tokens the ids that follow the model's, as the Rust library does whatever the file says. */
function withAdded(json: TokenizerJson): TokenizerJson {
  const known = json.model.vocab as Readonly<Record<string, number>>;
  let next = Object.keys(known).length;
  const added_tokens = added.map((token) => {
    const id = known[token.content] ?? next++;
    return { id, single_word: false, lstrip: false, rstrip: false, ...token };
  });
  return { ...json, added_tokens };
}

const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
const text = (id: string, type_id: number) => ({ Sequence: { id, type_id } });

const template: StageJson = {
  type: "TemplateProcessing",
  single: [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
  pair: [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
  special_tokens: {
    "[CLS]": { id: "[CLS]", ids: [1], tokens: ["[CLS]"] },
    "[SEP]": { id: "[SEP]", ids: [2], tokens: ["[SEP]"] },
  },
};

const bert = {
  type: "BertNormalizer",
  clean_text: true,
  handle_chinese_chars: true,
  strip_accents: null,
  lowercase: true,
};
const pipelines: Record<string, TokenizerJson> = {
  "BERT with a template": {
    normalizer: bert,
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: template,
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: wordPiece,
  },
  "BERT's post-processor, whitespace": {
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "Whitespace" },
    post_processor: { type: "BertProcessing", sep: ["[SEP]", 2], cls: ["[CLS]", 1] },
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    model: wordPiece,
  },
  "RoBERTa's post-processor, bytes": {
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    post_processor: {
      type: "RobertaProcessing",
      sep: ["[SEP]", 2],
      cls: ["[CLS]", 1],
      trim_offsets: true,
      add_prefix_space: true,
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: byteLevelModel(),
  },
  "byte-level with trimmed offsets": {
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: "Sequence",
      processors: [{ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true }, template],
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: byteLevelModel(),
  },
  "SentencePiece's spaces with byte fallback": {
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: template,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: byteFallbackModel(),
  },
  "Metaspace at the start of the text": {
    normalizer: { type: "Strip", strip_left: true, strip_right: false },
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true },
    post_processor: null,
    decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true },
    model: byteFallbackModel(),
  },
};

function byteLevelModel(): TokenizerJson["model"] {
  const bytes: Record<string, number> = { "[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "[MASK]": 4 };
  const order = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff), ...range(0x100, 0x143)];
  for (const unit of order) bytes[String.fromCharCode(unit)] = Object.keys(bytes).length;
  const merges = [
    "t h",
    "h e",
    "Ġ t",
    "Ġt he",
    "i n",
    "l l",
    "ll o",
    "Ġ Ġ",
    "Ã ¯",
    "ð Ł",
    "ðŁ ĺ",
    "1 2",
    "12 3",
    "' s",
  ];
  for (const merge of merges) bytes[merge.replace(" ", "")] = Object.keys(bytes).length;
  return { type: "BPE", vocab: bytes, merges };
}

function byteFallbackModel(): TokenizerJson["model"] {
  const all: Record<string, number> = { "[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "[MASK]": 4 };
  for (let byte = 0; byte < 256; byte++) {
    all[`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`] = Object.keys(all).length;
  }
  for (const letter of letters) if (letter !== " ") all[letter] ??= Object.keys(all).length;
  const merges = ["t h", "th e", "▁ the", "▁ t", "i n", "l l", "1 2", "▁ ▁", "h e"];
  for (const merge of merges) all[merge.replace(" ", "")] ??= Object.keys(all).length;
  return { type: "BPE", vocab: all, merges, unk_token: "[UNK]", byte_fallback: true, fuse_unk: true };
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** Texts without combining marks: there our offsets cover the mark and the library's do not. */
function someText(next: (bound: number) => number): string {
  const parts = [
    "the ",
    "Hello world",
    "[MASK]",
    " [SEP] ",
    "don't",
    "xdon'ts",
    "DON",
    " 987  ",
    "  😀  ",
    "it's ",
    "naïve",
  ];
  let out = "";
  for (let i = 1 + next(6); i > 0; i--) {
    out += next(2) === 0 ? parts[next(parts.length)]! : randomText(next, 4, false).replace(/\p{M}/gu, "");
  }
  return out;
}

const strategies = [
  ["LongestFirst", "longestFirst"],
  ["OnlyFirst", "onlyFirst"],
  ["OnlySecond", "onlySecond"],
] as const;

describe.skipIf(rust === null)("the whole pipeline gives what the Rust library gives", () => {
  test.each(Object.entries(pipelines))("%s", async (_, plain) => {
    const json = withAdded(plain);
    const ours = createTokenizer(json);
    const theirs = rustStages(rust!, json);
    const normalizedIds = new Set(json.added_tokens!.filter(({ normalized }) => normalized).map(({ id }) => id));
    const next = randomNumbers(11);
    for (let round = 0; round < 1500; round++) {
      const first = someText(next);
      const pair = next(3) === 0 ? someText(next) : undefined;
      const addSpecialTokens = next(4) > 0;
      const options: EncodeOptions = {
        addSpecialTokens,
        allowedSpecial: "all",
        ...(pair === undefined ? {} : { pair }),
      };
      const [a, b] = [ours.encode(first, options), await theirs.encode(first, pair ?? null, { addSpecialTokens })];
      const label = { first, pair, addSpecialTokens };
      const indices = [utf16Indices(first), utf16Indices(pair ?? "")];
      const sequences = b.getSequenceIds();
      expect({ ...label, ids: [...a.ids] }).toEqual({ ...label, ids: b.getIds() });
      expect({ ...label, offsets: a.offsets }).toEqual({
        ...label,
        offsets: b.getOffsets().map((offsets, i) => offsets.map((at) => indices[sequences[i] ?? 0]![at!])),
      });
      expect([...a.typeIds]).toEqual(b.getTypeIds());
      expect([...a.specialTokensMask]).toEqual(b.getSpecialTokensMask());
      expect([...a.attentionMask]).toEqual(b.getAttentionMask());
      expect(a.sequenceIds).toEqual([...sequences].map((id) => id ?? null));
      // The library decodes added tokens that are found in normalized text as they look there; we, as they are given.
      if (b.getIds().some((id) => normalizedIds.has(id))) continue;
      const skipSpecialTokens = next(2) === 0;
      expect(ours.decode(a.ids, { skipSpecialTokens })).toBe(await theirs.decode(b.getIds(), skipSpecialTokens));
    }
  });

  test.each(strategies)("truncation by %s", async (strategy, truncation) => {
    const json = withAdded(pipelines["BERT with a template"]!);
    const ours = createTokenizer(json);
    const theirs = rustStages(rust!, json);
    const next = randomNumbers(12);
    for (let round = 0; round < 500; round++) {
      const first = someText(next);
      const pair = next(2) === 0 ? someText(next) : undefined;
      // Where both texts are too long and the room is odd, the odd token goes to the longer one. The library stops
      // encoding early since 0.23 and no longer knows which that is, so pairs share an even room here.
      const maxLength = pair === undefined ? 4 + next(16) : 5 + 2 * next(8);
      const truncationSide = next(2) === 0 ? "left" : "right";
      theirs.setTruncation(maxLength, { strategy: strategy as never, stride: 0, direction: truncationSide });
      const common = { allowedSpecial: "all", maxLength, truncation, truncationSide } as const;
      const options: EncodeOptions = pair === undefined ? common : { ...common, pair };
      let expected: number[];
      try {
        expected = (await theirs.encode(first, pair ?? null)).getIds();
      } catch {
        expect(() => ours.encode(first, options)).toThrow(RangeError);
        continue;
      }
      expect({ first, options, ids: [...ours.encode(first, options).ids] }).toEqual({ first, options, ids: expected });
    }
  });

  // Of what is cut off from a text the library's encode keeps little since 0.23; its truncation of an encoding, all.
  test("windows of what truncation cuts off", async () => {
    const json = withAdded(pipelines["BERT with a template"]!);
    const ours = createTokenizer(json);
    const theirs = rustStages(rust!, json);
    const next = randomNumbers(14);
    for (let round = 0; round < 500; round++) {
      const first = someText(next);
      const maxLength = 3 + next(12);
      const stride = next(3);
      const truncationSide = next(2) === 0 ? "left" : "right";
      const b = await theirs.encode(first, null, { addSpecialTokens: false });
      b.truncate(maxLength, stride, truncationSide);
      const a = ours.encode(first, {
        addSpecialTokens: false,
        allowedSpecial: "all",
        maxLength,
        stride,
        truncationSide,
      });
      expect([a, ...a.overflowing].map(({ ids }) => [...ids])).toEqual(
        [b, ...b.getOverflowing()].map((part) => part.getIds()),
      );
    }
  });

  test("padding of batches", async () => {
    const json = withAdded(pipelines["BERT with a template"]!);
    for (const direction of ["Left", "Right"] as const) {
      for (const pad_to_multiple_of of [null, 8]) {
        for (const strategy of ["BatchLongest", { Fixed: 20 }] as const) {
          const padding = { strategy, direction, pad_to_multiple_of, pad_id: 3, pad_type_id: 1, pad_token: "[PAD]" };
          const ours = createTokenizer({ ...json, padding });
          const theirs = rustStages(rust!, { ...json, padding });
          const texts = ["the world", "Hello", "", "the the the the the the the the the the the the the"];
          const a = ours.encodeBatch(texts);
          const b = await theirs.encodeBatch(texts);
          expect(a.map(({ ids }) => [...ids])).toEqual(b.map((one) => one.getIds()));
          expect(a.map(({ typeIds }) => [...typeIds])).toEqual(b.map((one) => one.getTypeIds()));
          expect(a.map(({ attentionMask }) => [...attentionMask])).toEqual(b.map((one) => one.getAttentionMask()));
          expect(a.map(({ specialTokensMask }) => [...specialTokensMask])).toEqual(
            b.map((one) => one.getSpecialTokensMask()),
          );
          expect(a.map(({ tokens }) => tokens)).toEqual(b.map((one) => one.getTokens()));
        }
      }
    }
  });

  const decoders: StageJson[] = [
    { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    { type: "WordPiece", prefix: "##", cleanup: true },
    { type: "WordPiece", prefix: "##", cleanup: false },
    { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
    { type: "Metaspace", replacement: "▁", prepend_scheme: "never", split: true },
    { type: "BPEDecoder", suffix: "</w>" },
    { type: "ByteFallback" },
    { type: "Fuse" },
    // The library panics where nothing is left to strip at the end.
    { type: "Strip", content: " ", start: 1, stop: 0 },
    { type: "Strip", content: "▁", start: 2, stop: 0 },
    { type: "Replace", pattern: { String: "▁" }, content: " " },
    { type: "Replace", pattern: { Regex: "[.!]+" }, content: "" },
    { type: "CTC", pad_token: "<pad>", word_delimiter_token: "|", cleanup: true },
    { type: "CTC", pad_token: "<pad>", word_delimiter_token: "|", cleanup: false },
  ];
  test.each(decoders.map((json) => [JSON.stringify(json), json] as const))("decodes like %s", async (_, decoder) => {
    const tokens = [
      "▁the",
      "the</w>",
      "##ing",
      "<0xE4>",
      "<0xBD>",
      "<0xA0>",
      "<0xff>",
      "<pad>",
      "|",
      " .",
      " n't",
      "ĠÃ¯",
    ];
    tokens.push(" '", "'s", " do not", "▁▁", "  a  ", "Ċ", "ðŁĺ", "Ģ", "é", "!", "", "hello </w>", "日本");
    const model = {
      type: "WordLevel",
      vocab: Object.fromEntries(tokens.map((t, i) => [t, i])),
      unk_token: "|",
    } as const;
    const ours = createTokenizer({ decoder, model });
    const theirs = rustStages(rust!, { decoder, model });
    const next = randomNumbers(13);
    for (let round = 0; round < 500; round++) {
      const ids = Array.from({ length: 1 + next(8) }, () => next(tokens.length));
      const shown = ids.map((id) => tokens[id]);
      expect([shown, ours.decode(ids)]).toEqual([shown, await theirs.decode(ids, true)]);
    }
  });
});
