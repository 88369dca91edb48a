import { gzipSync } from "node:zlib";
import {
  createTokenizer,
  readBertVocab,
  readClipVocab,
  readGpt2Files,
  readTiktoken,
  readTokenizerJson,
  TokenizerFormatError,
  tiktokenEncoding,
} from "@genai/tokenizer";
import { describe, expect, it } from "vitest";
import { guessTiktokenName } from "../../src/files/tiktoken.ts";
import { bertText, mergesText, ranksEncoding, ranksText, smallTokens, vocabText } from "./small-vocabulary.ts";

const refuses = (read: () => unknown, ...messages: string[]): void => {
  expect(read).toThrow(TokenizerFormatError);
  for (const message of messages) expect(read).toThrow(message);
};

describe("readGpt2Files", () => {
  it("reads a vocabulary and its merges", () => {
    const tokenizer = createTokenizer(readGpt2Files(vocabText, mergesText));
    expect(tokenizer.encode("hello world 😀").tokens).toEqual(["hello", "Ġwor", "l", "d", "Ġ", "ð", "Ł", "ĺ", "Ģ"]);
    expect(tokenizer.encode("<|endoftext|>", { allowedSpecial: "all" }).ids).toEqual(Int32Array.of(263));
  });

  it("knows RoBERTa and CLIP by their special tokens", () => {
    const vocab = { ...JSON.parse(vocabText), "<s>": 300, "</s>": 301, "<mask>": 302 };
    const tokenizer = createTokenizer(readGpt2Files(JSON.stringify(vocab), mergesText));
    expect(tokenizer.encode("hello").tokens).toEqual(["<s>", "hello", "</s>"]);
  });

  it("says what is wrong, and where", () => {
    refuses(() => readGpt2Files("{", mergesText), "vocab.json is not JSON");
    refuses(() => readGpt2Files("[]", mergesText), "vocab.json");
    refuses(() => readGpt2Files('{"a":0}', mergesText), "vocab.json lacks some of the 256 bytes");
    refuses(() => readGpt2Files(vocabText, "#version: 0.2\n"), "merges.txt has no merges");
    refuses(() => readGpt2Files(vocabText, "h e\nhell"), "merges.txt, line 2");
    refuses(() => readGpt2Files(vocabText, "h e l"), "merges.txt, line 1");
    refuses(() => readGpt2Files(Uint8Array.of(0xff), mergesText), "vocab.json is not text in UTF-8");
    refuses(() => createTokenizer(readGpt2Files(vocabText, "q q")), "model.merges[0]");
  });
});

describe("readTiktoken", () => {
  it("agrees with the vocabulary and merges", () => {
    const ranks = createTokenizer(readTiktoken(ranksText, { encoding: ranksEncoding }));
    const files = createTokenizer(readGpt2Files(vocabText, mergesText));
    for (const text of ["hello world", "hellohello", "wörld é\r\n  hell", "🤷🏽 <|endoftext|>", ""])
      expect(ranks.encode(text).ids).toEqual(files.encode(text).ids);
    expect(ranks.toJson().model).toMatchObject({
      merges: expect.arrayContaining([
        ["h", "e"],
        ["hell", "o"],
      ]),
    });
  });

  it("knows the published encodings by name and by size", () => {
    expect(guessTiktokenName("/a/cl100k_base.tiktoken", 1)).toBe("cl100k_base");
    expect(guessTiktokenName("tokenizer.model", 128_000)).toBe("llama3");
    expect(guessTiktokenName("x.tiktoken", 7)).toBeUndefined();
    expect(Object.keys(tiktokenEncoding("llama3").specialTokens)).toHaveLength(256);
    expect(tiktokenEncoding("llama3").specialTokens).toMatchObject({
      "<|reserved_special_token_4|>": 128_008,
      "<|eot_id|>": 128_009,
      "<|reserved_special_token_250|>": 128_255,
    });
    expect(tiktokenEncoding("o200k_harmony").specialTokens).toMatchObject({ "<|call|>": 200_012 });
  });

  it("puts the token that starts a text before it", () => {
    const encoding = { ...ranksEncoding, bosToken: "<|endoftext|>" };
    const tokenizer = createTokenizer(readTiktoken(ranksText, { encoding }));
    expect(tokenizer.encode("hello").tokens).toEqual(["<|endoftext|>", "hello"]);
    refuses(() => readTiktoken(ranksText, { encoding: { ...ranksEncoding, bosToken: "<s>" } }), "bosToken");
  });

  it("says what is wrong, and in which line", () => {
    const read = (text: string) => () => readTiktoken(text, { source: "some.tiktoken", encoding: ranksEncoding });
    refuses(() => readTiktoken(ranksText, { source: "some.tiktoken" }), "some.tiktoken", "none of the known encodings");
    refuses(read("IQ== 0\n??? 1\n"), "some.tiktoken, line 2, does not start with base64");
    refuses(read("IQ== 0\nIg==\n"), "line 2");
    refuses(read("IQ== x\n"), "line 1, has a rank that is no number");
    refuses(read("IQ== \n"), "line 1, has no rank");
    refuses(read("IQ== 99999999999\n"), "line 1, has a rank of more than");
    refuses(read("IQ== 0\nIg== 0\n"), "line 2, has the rank 0 a second time");
    refuses(read("IQ== 0\nIQ== 1\n"), "line 2, has the token of rank 0 a second time");
    refuses(read("IQ== 0\n"), "no rank for the byte 0");
    const clash = { ...ranksEncoding, specialTokens: { "<s>": 3 } };
    refuses(() => readTiktoken(ranksText, { encoding: clash }), 'special token "<s>" has the id 3');
  });
});

describe("readBertVocab", () => {
  it("reads a token a line, with either end of line", () => {
    for (const text of [bertText, `${bertText}\n`, bertText.replaceAll("\n", "\r\n")]) {
      const tokenizer = createTokenizer(readBertVocab(text));
      expect(tokenizer.encode("HELLO wörld!").tokens).toEqual(["[CLS]", "hello", "wor", "##ld", "!", "[SEP]"]);
    }
  });

  it("keeps the case of vocabularies that have capitals, or as it is told", () => {
    expect(createTokenizer(readBertVocab(`${bertText}\nHello`)).encode("Hello").tokens[1]).toBe("Hello");
    expect(createTokenizer(readBertVocab(bertText, { lowercase: false })).encode("Hello").tokens[1]).toBe("[UNK]");
  });

  it("says what is wrong, and in which line", () => {
    refuses(() => readBertVocab("a\n[UNK]\na", { source: "v.txt" }), 'v.txt, line 3, is "a", as is line 1');
    refuses(() => readBertVocab("a\nb", { source: "v.txt" }), 'v.txt lacks the special token "[UNK]"');
  });
});

describe("readClipVocab", () => {
  it("reads plain and compressed merges", async () => {
    const text = '"bpe_simple_vocab_16e6.txt#version: 0.2\nh e\nl o</w>\nhe l\nhel lo</w>\n';
    for (const content of [text, new Uint8Array(gzipSync(text))]) {
      const tokenizer = createTokenizer(await readClipVocab(content));
      expect(tokenizer.vocabSize).toBe(512 + 4 + 2);
      const { ids, tokens } = tokenizer.encode("Hello  a");
      expect(tokens).toEqual(["<|startoftext|>", "hello</w>", "a</w>", "<|endoftext|>"]);
      expect([...ids]).toEqual([516, 515, 256 + 64, 517]);
      expect(tokenizer.decode(ids)).toBe("hello a");
    }
  });

  it("says that a file is damaged", async () => {
    const damaged = new Uint8Array(gzipSync("h e\n")).subarray(0, 12);
    await expect(readClipVocab(damaged)).rejects.toThrow("bpe_simple_vocab_16e6.txt.gz is not a whole gzip file");
    await expect(readClipVocab("h\n")).rejects.toThrow(TokenizerFormatError);
  });
});

describe("readTokenizerJson", () => {
  it("says what is wrong", () => {
    refuses(() => readTokenizerJson("{"), "tokenizer.json is not JSON");
    refuses(() => readTokenizerJson("[]"), "tokenizer.json");
    refuses(() => readTokenizerJson("{}"), "tokenizer.json: model is missing");
    expect(readTokenizerJson(new TextEncoder().encode('\ufeff{"model":{}}')).model).toEqual({});
  });

  it("keeps tokens that are names of an object's own methods", () => {
    const json = readBertVocab(`${bertText}\n__proto__\nconstructor\ntoString`);
    expect(createTokenizer(json).tokenToId("__proto__")).toBe(9);
    expect(createTokenizer(readBertVocab(bertText)).tokenToId("constructor")).toBeUndefined();
    expect(smallTokens).toHaveLength(263);
  });
});
