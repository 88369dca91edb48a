import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createTokenizer, loadTokenizer, readGpt2Files, TokenizerFormatError } from "@genai/tokenizer";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bertText, mergesText, ranksEncoding, ranksText, vocabText } from "./files/small-vocabulary.ts";
import { UNKNOWN, writeSentencePiece } from "./files/write-sentencepiece.ts";

const jsonText = JSON.stringify(createTokenizer(readGpt2Files(vocabText, mergesText)).toJson());
const spiece = writeSentencePiece({
  pieces: [
    ["<unk>", 0, UNKNOWN],
    ["▁hello", -1],
  ],
});

/** A fetch that answers from a record of files by path, and notes what it was asked for. */
function fakeFetch(files: Record<string, string | Uint8Array>): { asked: string[]; fetch: typeof fetch } {
  const asked: string[] = [];
  const answer = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    init?.signal?.throwIfAborted();
    const { pathname, search } = new URL(String(input));
    asked.push(pathname + search);
    const content = files[pathname];
    return content === undefined ? new Response("", { status: 404 }) : new Response(content as BodyInit);
  };
  return { asked, fetch: answer as typeof fetch };
}

describe("loadTokenizer", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const write = (name: string, content: string | Uint8Array) => writeFile(join(folder, name), content);

  it("finds each format in a folder, the fullest first", async () => {
    await write("vocab.txt", bertText);
    expect((await loadTokenizer(folder)).modelKind).toBe("WordPiece");
    await write("spiece.model", spiece);
    expect((await loadTokenizer(folder)).modelKind).toBe("Unigram");
    await write("small.tiktoken", ranksText);
    expect((await loadTokenizer(folder, { encoding: ranksEncoding })).vocabSize).toBe(264);
    await write("encoder.json", vocabText);
    await write("vocab.bpe", mergesText);
    expect((await loadTokenizer(folder)).encode("hello").tokens).toEqual(["hello"]);
    await write("tokenizer.json", '{"model":{"type":"WordLevel","vocab":{"x":0},"unk_token":"x"}}');
    expect((await loadTokenizer(folder)).modelKind).toBe("WordLevel");
  });

  it("takes the file that it is given, by path or file URL", async () => {
    await write("tokenizer.json", jsonText);
    await write("vocab.txt", bertText);
    await write("vocab.json", vocabText);
    await write("merges.txt", mergesText);
    expect((await loadTokenizer(join(folder, "vocab.txt"))).modelKind).toBe("WordPiece");
    expect((await loadTokenizer(pathToFileURL(join(folder, "merges.txt")))).vocabSize).toBe(264);
    await rm(join(folder, "merges.txt"));
    await expect(loadTokenizer(join(folder, "vocab.json"))).rejects.toThrow("needs merges.txt beside it");
  });

  it("reads ranks in a tokenizer.model, as Llama 3 has them", async () => {
    await write("tokenizer.model", ranksText);
    expect((await loadTokenizer(folder, { encoding: ranksEncoding })).modelKind).toBe("BPE");
  });

  it("adds what tokenizer_config.json and special_tokens_map.json say", async () => {
    await write("vocab.txt", bertText);
    await write(
      "tokenizer_config.json",
      JSON.stringify({
        do_lower_case: false,
        chat_template: "{{ messages }}",
        added_tokens_decoder: { 9: { content: "<extra>", special: true }, 3: { content: "[SEP]" } },
      }),
    );
    await write("special_tokens_map.json", JSON.stringify({ eos_token: { content: "!" }, bos_token: "missing" }));
    const tokenizer = await loadTokenizer(folder);
    expect(tokenizer.encode("Hello").tokens[1]).toBe("[UNK]");
    expect(tokenizer.tokenToId("<extra>")).toBe(9);
    expect(tokenizer.addedTokens.map(({ content }) => content)).toContain("!");
    expect(tokenizer.config.chat_template).toBe("{{ messages }}");
  });

  it("names the file of a folder in errors", async () => {
    await expect(loadTokenizer(folder)).rejects.toThrow("no tokenizer in");
    await expect(loadTokenizer(join(folder, "nowhere"))).rejects.toThrow("does not exist");
    await write("notes.txt", "");
    await expect(loadTokenizer(join(folder, "notes.txt"))).rejects.toThrow("notes.txt is no tokenizer");
    await write("tokenizer.json", "{");
    await expect(loadTokenizer(folder)).rejects.toThrow(`${join(folder, "tokenizer.json")} is not JSON`);
    await write("tokenizer.json", '{"model":{"type":"BPE","vocab":{"a":0}},"added_tokens":7}');
    await expect(loadTokenizer(folder)).rejects.toThrow(TokenizerFormatError);
  });

  it("fetches from the URL of a folder or a file, with its query", async () => {
    const { asked, fetch } = fakeFetch({ "/m/vocab.json": vocabText, "/m/merges.txt": mergesText });
    const tokenizer = await loadTokenizer("https://host/m?rev=1", { fetch });
    expect(tokenizer.encode("hello").tokens).toEqual(["hello"]);
    expect(asked).toContain("/m/tokenizer.json?rev=1");
    expect(asked).toContain("/m/merges.txt?rev=1");
    const file = fakeFetch({ "/m/spiece.model": spiece });
    expect((await loadTokenizer(new URL("https://host/m/spiece.model"), file)).modelKind).toBe("Unigram");
    await expect(loadTokenizer("https://host/m/", fakeFetch({}))).rejects.toThrow("no tokenizer in https://host/m/");
    const broken = (async () => new Response("", { status: 500 })) as typeof globalThis.fetch;
    await expect(loadTokenizer("https://host/m/?token=secret", { fetch: broken })).rejects.toThrow(
      "https://host/m/tokenizer_config.json answered 500",
    );
  });

  it("reads files in memory and File objects", async () => {
    expect((await loadTokenizer({ "tokenizer.json": jsonText })).vocabSize).toBe(264);
    expect((await loadTokenizer({ "x/spiece.model": new Blob([spiece as BlobPart]) })).modelKind).toBe("Unigram");
    const files = [new File([vocabText], "vocab.json"), new File([mergesText], "merges.txt")];
    expect((await loadTokenizer(files)).vocabSize).toBe(264);
    await expect(loadTokenizer({})).rejects.toThrow("no tokenizer in files in memory");
    await expect(loadTokenizer({ "vocab.json": vocabText })).rejects.toThrow("no tokenizer");
  });

  it("stops when it is told to", async () => {
    await write("tokenizer.json", jsonText);
    await expect(loadTokenizer(folder, { signal: AbortSignal.abort() })).rejects.toThrow("abort");
    const controller = new AbortController();
    const { fetch } = fakeFetch({ "/tokenizer.json": jsonText });
    const slow = (async (input: URL, init?: RequestInit) => {
      controller.abort();
      return fetch(input, init);
    }) as typeof globalThis.fetch;
    await expect(loadTokenizer("https://host/", { fetch: slow, signal: controller.signal })).rejects.toThrow("abort");
  });

  it("finds the chat template in a file of its own", async () => {
    const files = { "tokenizer.json": jsonText, "chat_template.jinja": "{{ messages[0].content }}!" };
    const tokenizer = await loadTokenizer(files);
    expect(await tokenizer.applyChatTemplate([{ role: "user", content: "hi" }])).toBe("hi!");
    const both = await loadTokenizer({ ...files, "tokenizer_config.json": JSON.stringify({ chat_template: "own" }) });
    expect(both.config.chat_template).toBe("own");
  });

  it("says where to turn for models of the hub", async () => {
    await expect(loadTokenizer("hf:org/model")).rejects.toThrow(
      "hf:org/model names a model on the hub; give the folder that downloadPretrained of @genai/transformer returns",
    );
  });
});
