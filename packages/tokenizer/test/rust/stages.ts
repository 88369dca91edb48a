import type { StageJson } from "../../src/index.ts";

/** Every normalizer that the Rust library reads, with the options that change what it does. */
export const normalizers: readonly StageJson[] = [
  ...["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"].map((type) => ({ type })),
  { type: "Strip", strip_left: true, strip_right: true },
  { type: "Strip", strip_left: false, strip_right: true },
  { type: "Strip", strip_left: true, strip_right: false },
  { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
  { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: true, lowercase: false },
  { type: "BertNormalizer", clean_text: false, handle_chinese_chars: false, strip_accents: false, lowercase: true },
  { type: "Replace", pattern: { String: " " }, content: "▁" },
  { type: "Replace", pattern: { String: "'" }, content: "" },
  { type: "Replace", pattern: { Regex: " {2,}" }, content: "▁" },
  { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
  { type: "Prepend", prepend: "▁" },
  { type: "Sequence", normalizers: [{ type: "NFKC" }, { type: "Lowercase" }, { type: "StripAccents" }] },
  {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
];

const split = (pattern: StageJson["pattern"], behavior: string, invert = false): StageJson => {
  return { type: "Split", pattern, behavior, invert };
};

const behaviours = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"];

/** Every pre-tokenizer that the Rust library reads. */
export const preTokenizers: readonly StageJson[] = [
  { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  { type: "BertPreTokenizer" },
  { type: "Whitespace" },
  { type: "WhitespaceSplit" },
  ...["always", "first", "never"].flatMap((prepend_scheme) =>
    [true, false].map((cut) => ({ type: "Metaspace", replacement: "▁", prepend_scheme, split: cut })),
  ),
  ...behaviours.map((behavior) => ({ type: "Punctuation", behavior })),
  { type: "Digits", individual_digits: true },
  { type: "Digits", individual_digits: false },
  { type: "CharDelimiterSplit", delimiter: "a" },
  { type: "UnicodeScripts" },
  { type: "FixedLength", length: 3 },
  ...behaviours.flatMap((behavior) => [
    split({ String: " " }, behavior),
    split({ Regex: "[\\p{L}&&[^a]]|'" }, behavior, true),
    split({ Regex: "\\s+|\\p{Han}{1,2}+|(?<=[a-z])(?=[A-Z])" }, behavior),
    split({ Regex: "(?i:don't)|\\b\\w{2,3}?\\b" }, behavior, true),
  ]),
  split({ Regex: "\\p{N}{1,3}" }, "Isolated"),
  // DeepSeek's and others' way with runs of digits.
  split({ Regex: "(?=(\\d{3})+(?!\\d))" }, "Isolated"),
  {
    type: "Sequence",
    pretokenizers: [
      split({ Regex: "[\\r\\n]" }, "Isolated"),
      split({ Regex: "\\s?[\\p{L}\\p{M}]+|\\s?\\p{P}+" }, "Isolated"),
      { type: "Digits", individual_digits: true },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  },
];
