import { expect, test } from "vitest";
import { createTokenizer, type Tokenizer, TokenizerFormatError, type TokenizerJson } from "../src/index.ts";
import { randomNumbers, randomText } from "./random-text.ts";

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: true } as const;

/** A byte-level vocabulary: all bytes, a few merges, two special tokens. */
function bytes(change: Partial<TokenizerJson> = {}): Tokenizer {
  const vocab: Record<string, number> = {};
  const units = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff), ...range(0x100, 0x143)];
  for (const unit of units) vocab[String.fromCharCode(unit)] = Object.keys(vocab).length;
  const merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ã ©"];
  for (const merge of merges) vocab[merge.replace(" ", "")] = Object.keys(vocab).length;
  return createTokenizer({
    added_tokens: [
      { id: 300, content: "<|end|>", special: true },
      { id: 301, content: "<|user|>", special: true },
    ],
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: { type: "BPE", vocab, merges },
    ...change,
  });
}

/** Words with ids, [CLS] and [SEP] around them. */
function words(change: Partial<TokenizerJson> = {}): Tokenizer {
  const list = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "f", "g"];
  const item = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const special = (id: string) => ({ id, ids: [list.indexOf(id)], tokens: [id] });
  return createTokenizer({
    added_tokens: list.slice(0, 4).map((content, id) => ({ id, content, special: true })),
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: {
      type: "TemplateProcessing",
      single: [item("[CLS]"), { Sequence: { id: "A", type_id: 0 } }, item("[SEP]")],
      pair: [
        item("[CLS]"),
        { Sequence: { id: "A", type_id: 0 } },
        item("[SEP]"),
        { Sequence: { id: "B", type_id: 1 } },
        { SpecialToken: { id: "[SEP]", type_id: 1 } },
      ],
      special_tokens: { "[CLS]": special("[CLS]"), "[SEP]": special("[SEP]") },
    },
    model: { type: "WordLevel", vocab: Object.fromEntries(list.map((token, id) => [token, id])), unk_token: "[UNK]" },
    ...change,
  });
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

test("byte-level vocabularies give every string of valid Unicode back", () => {
  const next = randomNumbers(1);
  for (const tokenizer of [bytes(), bytes({ pre_tokenizer: { ...byteLevel, use_regex: false } })]) {
    for (let i = 0; i < 2000; i++) {
      const text = randomText(next, 20);
      expect(tokenizer.decode(tokenizer.encode(text).ids)).toBe(text);
    }
  }
});

test("offsets cover the text and slice what each token stands for", () => {
  const tokenizer = bytes();
  const next = randomNumbers(2);
  for (let i = 0; i < 1000; i++) {
    const text = randomText(next, 20);
    const { tokens, offsets } = tokenizer.encode(text);
    let end = 0;
    offsets.forEach(([from, to], k) => {
      expect(from).toBeLessThanOrEqual(end);
      expect(to).toBeGreaterThanOrEqual(end);
      end = to;
      // A token of whole characters decodes to what its offsets slice.
      const decoded = tokenizer.decode([tokenizer.tokenToId(tokens[k]!)!]);
      if (!decoded.includes("\ufffd")) expect(text.slice(from, to)).toBe(decoded);
    });
    expect(end).toBe(text.length);
  }
});

test("lone surrogates count as U+FFFD, one unit each", () => {
  const tokenizer = bytes();
  for (const text of ["\ud800", "a\udc00b", "\ude00\ud83d", "x\ud83d", "😀\ud83d"]) {
    const encoding = tokenizer.encode(text);
    const replaced = text.replace(/\p{Surrogate}/gu, "\ufffd");
    expect([...encoding.ids]).toEqual([...tokenizer.encode(replaced).ids]);
    expect(tokenizer.decode(encoding.ids)).toBe(replaced);
    expect(encoding.offsets.at(-1)![1]).toBe(text.length);
  }
});

test("special tokens in a text are text unless they are allowed", () => {
  const tokenizer = bytes();
  const text = "<|user|>he<|end|>";
  const ids = (allowedSpecial?: "all" | "none" | string[]) => {
    return [...tokenizer.encode(text, allowedSpecial === undefined ? {} : { allowedSpecial }).ids];
  };
  expect(ids()).not.toContain(300);
  expect(ids("none")).toEqual(ids());
  expect(ids("all")).toEqual([301, tokenizer.tokenToId("he"), 300]);
  expect(ids(["<|end|>"]).at(-1)).toBe(300);
  expect(ids(["<|end|>"])).not.toContain(301);
  expect(tokenizer.decode(ids())).toBe(text);
  expect(tokenizer.decode(ids("all"))).toBe("he");
  expect(tokenizer.decode(ids("all"), { skipSpecialTokens: false })).toBe(text);
});

test("added tokens keep to whole words and take whitespace along", () => {
  const tokenizer = bytes({
    added_tokens: [
      { id: 300, content: "cat", single_word: true, normalized: false },
      { id: 301, content: "<m>", lstrip: true, rstrip: true, normalized: false },
      { id: 302, content: "<mm>", normalized: false },
    ],
  });
  const tokens = (text: string) => tokenizer.encode(text).tokens;
  expect(tokens("cat")).toEqual(["cat"]);
  expect(tokens("cats")).not.toContain("cat");
  expect(tokens("a cat.")).toEqual(["a", "Ġ", "cat", "."]);
  const encoding = tokenizer.encode("a  <m> \n b<mm> ");
  expect(encoding.tokens).toEqual(["a", "<m>", "b", "<mm>", "Ġ"]);
  expect(encoding.offsets).toEqual([
    [0, 1],
    [1, 9],
    [9, 10],
    [10, 14],
    [14, 15],
  ]);
});

test("truncation leaves windows that overlap by the stride", () => {
  const tokenizer = words();
  const ids = (text: string, options: Parameters<Tokenizer["encode"]>[1]) => {
    const encoding = tokenizer.encode(text, options);
    return [encoding, ...encoding.overflowing].map((part) => part.tokens.slice(1, -1).join(""));
  };
  expect(ids("a b c d e f g", { maxLength: 5 })).toEqual(["abc", "def", "g"]);
  expect(ids("a b c d e f g", { maxLength: 5, stride: 1 })).toEqual(["abc", "cde", "efg"]);
  expect(ids("a b c d e f g", { maxLength: 5, stride: 1, truncationSide: "left" })).toEqual(["efg", "cde", "abc"]);
  expect(ids("a b c d e", { pair: "f g", maxLength: 7 })).toEqual(["ab[SEP]fg", "cd[SEP]fg", "e[SEP]fg"]);
  expect(ids("a b", { pair: "c d e", maxLength: 7, truncation: "onlySecond" })).toEqual(["ab[SEP]cd", "ab[SEP]e"]);
  expect(ids("a b c", { maxLength: 5, truncation: false })).toEqual(["abc"]);
  const window = tokenizer.encode("a b c d e", { maxLength: 4 }).overflowing[0]!;
  expect(window.offsets).toEqual([
    [0, 0],
    [4, 5],
    [6, 7],
    [0, 0],
  ]);
  expect(() => ids("a b", { maxLength: 1 })).toThrow("maxLength (1) is less than the 2 special tokens");
  expect(() => ids("a b c d", { maxLength: 4, stride: 2 })).toThrow("stride (2) must be less than the 2 tokens");
  expect(() => ids("a b", { pair: "c", maxLength: 4, truncation: "onlySecond" })).toThrow(RangeError);
});

test("batches are padded to one length, on either side", () => {
  const tokenizer = words();
  const right = tokenizer.encodeBatch(["a", "a b c"], { padding: "longest" });
  expect(right.map(({ ids }) => [...ids])).toEqual([
    [2, 4, 3, 0, 0],
    [2, 4, 5, 6, 3],
  ]);
  expect([...right[0]!.attentionMask]).toEqual([1, 1, 1, 0, 0]);
  expect([...right[0]!.specialTokensMask]).toEqual([1, 0, 1, 1, 1]);
  const left = tokenizer.encode("a", { padding: 5, paddingSide: "left" });
  expect([...left.ids]).toEqual([0, 0, 2, 4, 3]);
  expect(left.offsets[3]).toEqual([0, 1]);
  const pair = tokenizer.encode("a b", { pair: "c", padding: "longest", padToMultipleOf: 8 });
  expect([...pair.typeIds]).toEqual([0, 0, 0, 0, 1, 1, 0, 0]);
  expect(pair.sequenceIds).toEqual([null, 0, 0, null, 1, null, null, null]);
  expect(() => bytes().encode("a", { padding: 5 })).toThrow("no padding token is known");
});

test("a stream of ids never shows a broken character and adds up to the text", () => {
  const next = randomNumbers(3);
  const sentencePiece = createTokenizer({
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      byte_fallback: true,
      vocab: Object.fromEntries(
        [
          "<unk>",
          "▁",
          "a",
          "b",
          ...range(0, 255).map((b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`),
        ].map((token, id) => [token, id]),
      ),
      merges: [],
    },
  });
  for (const tokenizer of [bytes(), sentencePiece]) {
    for (let i = 0; i < 300; i++) {
      const text = `a${randomText(next, 10).replaceAll("\ufffd", "")}`.replaceAll("▁", "_");
      const { ids } = tokenizer.encode(text);
      const stream = tokenizer.decodeStream();
      let shown = "";
      for (const id of ids) {
        const piece = stream.push(id);
        expect(piece).not.toContain("\ufffd");
        shown += piece;
      }
      expect(shown + stream.end()).toBe(tokenizer.decode(ids));
    }
  }
});

test("a stream leaves special tokens out and keeps the spaces between words", () => {
  const tokenizer = words({ decoder: { type: "WordPiece", prefix: "##", cleanup: true } });
  const stream = tokenizer.decodeStream();
  expect([2, 4, 2, ...new Array<number>(40).fill(3), 5, 6].map((id) => stream.push(id)).join("|")).toMatch(
    /^\|a\|+ b\| c$/,
  );
  expect(stream.end()).toBe("");
});

test("a stream ends with what never became a character", () => {
  const tokenizer = bytes();
  const stream = tokenizer.decodeStream();
  const [first] = tokenizer.encode("😀").ids;
  expect(stream.push([first!])).toBe("");
  expect(stream.end()).toBe("\ufffd");
  expect(stream.push(tokenizer.encode("hello").ids)).toBe("hello");
});

test("added tokens make a new tokenizer", () => {
  const tokenizer = bytes();
  const more = tokenizer.withAddedTokens(["world", { content: "<|tool|>", special: true }]);
  expect(more.encode("hello world").tokens).toEqual(["hello", "Ġ", "world"]);
  expect(more.vocabSize).toBe(tokenizer.vocabSize + 2);
  expect(more.tokenToId("<|tool|>")).toBe(303);
  expect(tokenizer.tokenToId("world")).toBeUndefined();
  expect(createTokenizer(more.toJson()).encode("world").tokens).toEqual(["world"]);
});

test("toJson keeps fields that nobody knows", () => {
  const json = { ...bytes().toJson(), version: "1.0", made_by: { tool: 1 } };
  expect(createTokenizer(json).toJson()).toEqual(json);
});

test("chat templates render with the names of special tokens", async () => {
  const config = {
    chat_template:
      "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    bos_token: { content: "<s>" },
  };
  const tokenizer = createTokenizer(bytes().toJson(), { config });
  const messages = [{ role: "user", content: " hello " }];
  expect(await tokenizer.applyChatTemplate(messages)).toBe("<s><|user|>hello<|end|>");
  expect(await tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toBe(
    "<s><|user|>hello<|end|><|assistant|>",
  );
  expect(await tokenizer.applyChatTemplate(messages, { template: "{{ messages[0].role }}" })).toBe("user");
  await expect(bytes().applyChatTemplate(messages)).rejects.toThrow("the tokenizer has no chat template");
  await expect(tokenizer.applyChatTemplate(messages, { template: "{{ raise_exception('no') }}" })).rejects.toThrow(
    "no",
  );
});

test("what cannot be encoded or decoded says so", () => {
  const tokenizer = bytes();
  expect(() => tokenizer.decode([5000])).toThrow("the id 5000 is not in the vocabulary of 266 tokens");
  expect(() => tokenizer.encode(5 as never)).toThrow("a text is number; a string was expected");
  expect(() => tokenizer.encode("a", { maxLength: -1 })).toThrow(RangeError);
});

test.each<[string, Partial<TokenizerJson> | { readonly [field: string]: unknown }]>([
  ["f.json: normalizer.type", { normalizer: { type: "NFX" } }],
  [
    "f.json: normalizer.normalizers[1].content is missing",
    { normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Replace", pattern: { String: "a" } }] } },
  ],
  [
    "f.json: normalizer.precompiled_charsmap is not base64",
    { normalizer: { type: "Precompiled", precompiled_charsmap: "?" } },
  ],
  [
    "f.json: normalizer.precompiled_charsmap holds 3 bytes",
    { normalizer: { type: "Precompiled", precompiled_charsmap: "AAAA" } },
  ],
  [
    'f.json: pre_tokenizer.pattern.Regex is "(a"',
    { pre_tokenizer: { type: "Split", pattern: { Regex: "(a" }, behavior: "Isolated" } },
  ],
  [
    'f.json: pre_tokenizer.behavior is "Gone"',
    { pre_tokenizer: { type: "Split", pattern: { String: "a" }, behavior: "Gone" } },
  ],
  [
    "uses a backreference, which is not supported",
    { pre_tokenizer: { type: "Split", pattern: { Regex: "(a)\\1" }, behavior: "Isolated" } },
  ],
  [
    'f.json: post_processor.special_tokens["[X]"] is missing',
    {
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "[X]", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        special_tokens: {},
      },
    },
  ],
  ["f.json: post_processor.cls is 5", { post_processor: { type: "BertProcessing", cls: 5, sep: ["x", 1] } }],
  ['f.json: decoder.decoders is "x"', { decoder: { type: "Sequence", decoders: "x" } }],
  [
    'f.json: added_tokens[1].id is 300, the id of "a1"',
    {
      added_tokens: [
        { id: 300, content: "a1" },
        { id: 300, content: "b1" },
      ],
    },
  ],
  ['f.json: added_tokens[0].id is 0, which is the id of "!"', { added_tokens: [{ id: 0, content: "zz" }] }],
  ["f.json: added_tokens[0].content is missing", { added_tokens: [{ id: 400 }] }],
  [
    "f.json: truncation.max_length is -1",
    { truncation: { direction: "Right", max_length: -1, strategy: "LongestFirst", stride: 0 } },
  ],
  ['f.json: padding.strategy is "Most"', { padding: { strategy: "Most" } }],
  ["f.json: model is missing", { model: undefined }],
])("a file that cannot be used: %s", (message, change) => {
  const make = () => createTokenizer({ ...bytes().toJson(), ...change } as TokenizerJson, { source: "f.json" });
  expect(make).toThrow(TokenizerFormatError);
  expect(make).toThrow(message);
});

test("strings made to be slow take no longer than others", () => {
  const bert = {
    type: "BertNormalizer",
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: true,
    lowercase: true,
  };
  const forms = [bert, { type: "NFC" }, { type: "NFKD" }];
  const started = Date.now();
  for (const normalizer of forms) {
    const tokenizer = bytes({ normalizer });
    for (const text of [`e${"\u0301\u0323".repeat(50_000)}`, "é".repeat(100_000), "👩\u200d".repeat(30_000)]) {
      expect(tokenizer.encode(text).offsets.at(-1)![1]).toBeLessThanOrEqual(text.length);
    }
  }
  expect(Date.now() - started).toBeLessThan(20_000);
});

test("a pattern that backtracks without end is stopped", () => {
  const json = bytes().toJson();
  const split = { type: "Split", pattern: { Regex: "(?:a+)+b|(?:a|a)*c" }, behavior: "Isolated" };
  const tokenizer = createTokenizer({
    ...json,
    pre_tokenizer: { type: "Sequence", pretokenizers: [split, byteLevel] },
  });
  expect(tokenizer.decode(tokenizer.encode("aaab aac").ids)).toBe("aaab aac");
  const started = Date.now();
  expect(() => tokenizer.encode("a".repeat(5000))).toThrow(/pre_tokenizer.pretokenizers\[0\].*backtracks without end/);
  expect(Date.now() - started).toBeLessThan(5000);
});
