import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { blocksOf, linesOf } from "../src/tokenizer/read-texts.ts";
import { buildSourceCli, type SourceCli } from "./source-cli.ts";

const verse =
  "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n\n  The slings — ünd 漢字 😉\n";

let cli: SourceCli;
beforeAll(async () => {
  cli = await buildSourceCli();
  writeFileSync(join(cli.scratch, "verse.txt"), verse.repeat(20));
  const { code, stderr } = await cli.run([
    "tokenizer",
    "train",
    "--vocab-size",
    "300",
    "--special",
    "<s>",
    "verse.txt",
    "--out",
    "bpe.json",
  ]);
  expect([code, stderr]).toEqual([0, ""]);
});
afterAll(() => cli?.dispose());

const readJson = (file: string) => JSON.parse(readFileSync(join(cli.scratch, file), "utf8"));

describe("genai tokenizer train", () => {
  it.each([
    ["bpe", ["--vocab-size", "300", "--split", "cl100k", "--normalizer", "nfc"], "BPE", 300],
    ["bpe", ["--vocab-size", "290", "--pattern", "\\w+|\\s+|[^\\w\\s]+", "--max-token-length", "4"], "BPE", 290],
    ["character-bpe", ["--vocab-size", "90"], "BPE", 90],
    ["character-bpe", ["--vocab-size", "330", "--byte-fallback", "--limit-alphabet", "20"], "BPE", 330],
    ["character-bpe", ["--vocab-size", "80", "--suffix", "</w>"], "BPE", 80],
    ["wordpiece", ["--vocab-size", "90", "--cased"], "WordPiece", 90],
    ["unigram", ["--vocab-size", "50"], "Unigram", 50],
    ["words", ["--vocab-size", "20", "--min-frequency", "2"], "WordLevel", 20],
    ["characters", [], "BPE", 30],
    ["bytes", [], "BPE", 256],
  ])("trains %s %j", async (algorithm, options, model, size) => {
    const files = algorithm === "bytes" ? [] : ["verse.txt"];
    const out = `made/${algorithm}.json`;
    const { code, stdout, stderr } = await cli.run([
      "tokenizer",
      "train",
      ...files,
      "--algorithm",
      algorithm,
      ...options,
      "--out",
      out,
      "--json",
    ]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toMatchObject({ file: out, algorithm, vocabSize: size });
    const json = readJson(out);
    expect(json.version).toBe("1.0");
    expect(json.model.type).toBe(model);
    const info = await cli.run(["tokenizer", "info", out, "--json"]);
    expect(JSON.parse(info.stdout)).toMatchObject({ model, vocabSize: size });
  });

  it("says to people what it wrote, and leaves no temporary file", async () => {
    const { code, stdout } = await cli.run(["tokenizer", "train", "verse.txt", "--vocab-size", "260"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Wrote 260 tokens to tokenizer\.json in [\d.]+ s\n$/);
  });

  it("reads the standard input, with the same result as the file, line by line or not", async () => {
    const input = verse.repeat(20);
    await cli.run(["tokenizer", "train", "--vocab-size", "300", "--special", "<s>", "--out", "stdin.json"], { input });
    expect(readJson("stdin.json")).toEqual(readJson("bpe.json"));
    await cli.run(["tokenizer", "train", "-", "--lines", "--vocab-size", "300", "--out", "lines.json"], { input });
    expect(readJson("lines.json").model.merges.length).toBeGreaterThan(30);
  });

  it.each([
    ["a file that is missing", ["nowhere.txt"], /^No file is called nowhere\.txt\.\n$/],
    ["a folder", ["."], /^\. is a folder; name the text files in it\.\n$/],
    ["an unknown algorithm", ["verse.txt", "--algorithm", "bpee"], /'bpee' is invalid\. Allowed choices are bpe, /],
    [
      "an option of another algorithm",
      ["verse.txt", "--suffix", "</w>", "--cased"],
      /^--cased, --suffix does nothing with --algorithm bpe\.\n$/,
    ],
    [
      "a split of another algorithm",
      ["verse.txt", "--split", "metaspace"],
      /^--split metaspace does not go with --algorithm bpe; there is gpt2, /,
    ],
    [
      "a vocabulary that is too small",
      ["verse.txt", "--vocab-size", "100"],
      /^trainBpe: vocabSize \(100\) is less than the 256 /,
    ],
    ["two ways to split", ["verse.txt", "--split", "gpt2", "--pattern", "a"], /exclude each other/],
  ])("refuses %s with exit code 2 and a sentence", async (_, args, message) => {
    const { code, stdout, stderr } = await cli.run(["tokenizer", "train", ...args, "--out", "refused.json"]);
    expect(stderr).toMatch(message);
    expect([code, stdout]).toEqual([2, ""]);
    expect(existsSync(join(cli.scratch, "refused.json"))).toBe(false);
  });

  it("stops at Ctrl-C with exit code 130 and writes nothing", async () => {
    const big = Array.from(
      { length: 400_000 },
      (_, i) => `word${(i * 7919) % 390_001} x${(i * 104_729) % 299_993}`,
    ).join("\n");
    writeFileSync(join(cli.scratch, "big.txt"), big);
    const start = performance.now();
    const { code, stderr } = await cli.run(
      ["tokenizer", "train", "big.txt", "--algorithm", "unigram", "--out", "big.json"],
      {
        interrupt: { signal: "SIGINT", when: () => performance.now() - start > 2500 },
      },
    );
    expect(stderr).toMatch(/Interrupted; big\.json was not written\.\n$/);
    expect(code).toBe(130);
    expect(existsSync(join(cli.scratch, "big.json"))).toBe(false);
  });
});

describe("genai tokenizer encode and decode", () => {
  it("give back the text, from arguments, files and the standard input", async () => {
    const encoded = await cli.run(["tokenizer", "encode", "bpe.json", "To be, or", "not 漢字 😉?"]);
    expect(encoded.stderr).toBe("");
    expect(encoded.stdout).toMatch(/^\d+( \d+)+\n$/);
    const ids = encoded.stdout.trim().split(" ");
    expect((await cli.run(["tokenizer", "decode", "bpe.json", ...ids])).stdout).toBe("To be, or not 漢字 😉?\n");
    expect((await cli.run(["tokenizer", "decode", "bpe.json"], { input: encoded.stdout })).stdout).toBe(
      "To be, or not 漢字 😉?\n",
    );
    const file = await cli.run(["tokenizer", "encode", "bpe.json", "--file", "verse.txt"]);
    const input = await cli.run(["tokenizer", "encode", "bpe.json"], { input: verse.repeat(20) });
    expect(file.stdout).toBe(input.stdout);
    expect((await cli.run(["tokenizer", "decode", "bpe.json", "--json"], { input: file.stdout })).stdout).toBe(
      `${JSON.stringify({ text: verse.repeat(20) })}\n`,
    );
  });

  it("print tokens, offsets and JSON", async () => {
    const tokens = await cli.run(["tokenizer", "encode", "bpe.json", "--tokens", "to be"]);
    expect(tokens.stdout).toMatch(/^\S+( \S+)+\n$/);
    const offsets = await cli.run(["tokenizer", "encode", "bpe.json", "--offsets", "to be"]);
    expect(offsets.stdout).toMatch(/^\d+ +0 +\d+ +"t/);
    const { stdout } = await cli.run(["tokenizer", "encode", "bpe.json", "--json", "to be"]);
    const { ids, tokens: names, offsets: ranges } = JSON.parse(stdout);
    expect(ids).toHaveLength(names.length);
    expect(ranges.map(([start, end]: [number, number]) => "to be".slice(start, end)).join("")).toBe("to be");
  });

  it("encodes each line by itself", async () => {
    const { stdout } = await cli.run(["tokenizer", "encode", "bpe.json", "--lines", "--json"], {
      input: "to be\r\n\nor not",
    });
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).tokens.join(""));
    expect(lines).toEqual(["toĠbe", "", "orĠnot"]);
  });

  it("parses special tokens only where they are allowed", async () => {
    const plain = await cli.run(["tokenizer", "encode", "bpe.json", "--json", "<s>to"]);
    expect(JSON.parse(plain.stdout).ids).not.toContain(0);
    const allowed = await cli.run(["tokenizer", "encode", "bpe.json", "--json", "--allow-special", "<s>", "<s>to"]);
    expect(JSON.parse(allowed.stdout).ids[0]).toBe(0);
    const skipped = await cli.run(["tokenizer", "decode", "bpe.json", "--skip-special-tokens", "0,0"]);
    expect(skipped.stdout).toBe("\n");
  });

  it("says what a tokenizer is made of", async () => {
    const { stdout } = await cli.run(["tokenizer", "info", "bpe.json"]);
    expect(stdout).toMatch(/^Model +BPE$/m);
    expect(stdout).toMatch(/^Vocabulary +300 tokens$/m);
    expect(stdout).toMatch(/^Special tokens +<s> \(0\)$/m);
    expect(stdout).toMatch(/^Pre-tokenizer +ByteLevel$/m);
  });

  it.each([
    ["an id that is none", ["decode", "bpe.json", "12", "x7"], 2, /^x7 is no id of bpe\.json; expected whole numbers/],
    ["an id out of range", ["decode", "bpe.json", "300"], 2, /^300 is no id of bpe\.json/],
    ["a tokenizer that is missing", ["encode", "nowhere.json", "x"], 1, /nowhere\.json/],
    [
      "a text and a file",
      ["encode", "bpe.json", "x", "--file", "verse.txt"],
      2,
      /^Give a text or --file, not both\.\n$/,
    ],
    ["a broken tokenizer", ["info", "broken/tokenizer.json"], 1, /tokenizer\.json.*model/],
  ])("refuse %s with a sentence", async (_, args, expected, message) => {
    mkdirSync(join(cli.scratch, "broken"), { recursive: true });
    writeFileSync(join(cli.scratch, "broken/tokenizer.json"), '{"version":"1.0","model":7}');
    const { code, stdout, stderr } = await cli.run(["tokenizer", ...args]);
    expect(stderr).toMatch(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect([code, stdout]).toEqual([expected, ""]);
  });
});

describe("reading texts in parts", () => {
  async function* inChunks(text: string, size: number) {
    for (let i = 0; i < text.length; i += size) yield text.slice(i, i + size);
  }
  const all = async (parts: AsyncIterable<string>) => {
    const list: string[] = [];
    for await (const part of parts) list.push(part);
    return list;
  };

  it.each([1, 3, 7, 1000])("loses nothing in chunks of %i, and cuts where a line ends", async (size) => {
    const text = `\nfirst\nsecond\r\n\n  third\nfourth without end`;
    const lines = await all(linesOf(inChunks(text, size)));
    expect(lines).toEqual(["\n", "first\n", "second\r\n", "\n", "  third\n", "fourth without end"]);
    const blocks = await all(blocksOf(inChunks(text, size)));
    expect(blocks.join("")).toBe(text);
    for (const block of blocks.slice(0, -1)) expect(block).toMatch(/\n$/);
    for (const block of blocks.slice(1)) expect(block).toMatch(/^\S/);
  });
});
