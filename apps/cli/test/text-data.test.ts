import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEngine, Rng, treeDispose } from "@genai/core";
import { createByteTokenizer } from "@genai/tokenizer";
import { createGpt2, gpt2Lm } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lossMeter } from "../src/text/mean-loss.ts";
import { type DocumentKind, loadCorpus } from "../src/text/text-corpus.ts";
import { chooseTokenizer, encodeText, endIdOf } from "../src/text/text-vocabulary.ts";
import { tokenSource } from "../src/text/token-source.ts";
import { torchPermutation } from "../src/text/torch-permutation.ts";

let folder = "";
beforeAll(async () => {
  await tf.setBackend("cpu");
  folder = mkdtempSync(join(tmpdir(), "genai-text-data-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { signal } = new AbortController();
function fileOf(name: string, contents: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, contents);
  return file;
}
const load = (source: string, documents: DocumentKind = "auto") =>
  loadCorpus(source, { documents, signal, note: () => {} });

test("torchPermutation gives the order that PyTorch 1.13 gives", () => {
  expect([...torchPermutation(10, 0)]).toEqual([4, 1, 7, 5, 3, 9, 0, 8, 6, 2]);
  const order = torchPermutation(32033, 3407);
  expect([...order.subarray(0, 6)]).toEqual([18545, 10853, 360, 10522, 2312, 27407]);
  expect([...order.subarray(-4)]).toEqual([9964, 30618, 16636, 29400]);
});

describe("loadCorpus", () => {
  test("parts a text file into its first nine tenths and its last tenth", async () => {
    const corpus = await load(fileOf("a.txt", "0123456789".repeat(10)));
    expect(corpus).toMatchObject({ documents: false, train: ["0123456789".repeat(9)], validation: ["0123456789"] });
    expect(corpus.summary).toMatch(/a\.txt; 90 characters to train on, 10 to validate with$/);
  });

  test("does not cut a character in two", async () => {
    const { train, validation } = await load(fileOf("emoji.txt", "😀".repeat(7)));
    expect([...train, ...validation]).toEqual(["😀".repeat(6), "😀"]);
  });

  test("takes lines, paragraphs or files as documents, and a tenth of them to validate with", async () => {
    const lines = fileOf("names.txt", `${Array.from({ length: 20 }, (_, i) => `name${i}`).join("\n")}\n\n`);
    const named = await load(lines, "lines");
    expect(named.documents).toBe(true);
    expect([named.train.length, named.validation.length]).toEqual([18, 2]);
    expect([...named.train, ...named.validation].sort()).toEqual(
      Array.from({ length: 20 }, (_, i) => `name${i}`).sort(),
    );
    const poems = await load(fileOf("poems.txt", "one\ntwo\n\nthree\n \n\nfour\n"), "paragraphs");
    expect([...poems.train, ...poems.validation].sort()).toEqual(["four", "one\ntwo", "three"]);
    const many = join(folder, "many");
    mkdirSync(join(many, "deeper"), { recursive: true });
    for (const name of ["b.txt", "a.md", "deeper/c.txt"]) writeFileSync(join(many, name), `text of ${name}\n`);
    for (const name of [".hidden", "empty.txt"]) writeFileSync(join(many, name), "");
    const files = await load(many);
    expect([...files.train, ...files.validation].sort()).toEqual([
      "text of a.md",
      "text of b.txt",
      "text of deeper/c.txt",
    ]);
    expect((await load(many, "none")).documents).toBe(false);
  });

  test("refuses what it cannot use, naming the file", async () => {
    await expect(load(join(folder, "absent.txt"))).rejects.toThrow(/absent.txt is neither a path nor a text; .* names/);
    await expect(load(fileOf("empty.txt", " \n"))).rejects.toThrow(/hold no text \(.*empty\.txt\)/);
    await expect(load(fileOf("latin.txt", Uint8Array.of(65, 0xe9, 66)))).rejects.toThrow(
      /latin\.txt is not UTF-8 text, from byte \d+ on/,
    );
    await expect(load(fileOf("one.txt", "single"), "lines")).rejects.toThrow(/holds 1 documents; expected at least 2/);
    mkdirSync(join(folder, "nothing"));
    await expect(load(join(folder, "nothing"))).rejects.toThrow(/nothing holds no files/);
  });
});

describe("chooseTokenizer", () => {
  const corpus = { documents: false, train: ["abcab"], validation: ["d"], summary: "letters; 6" };

  test("takes the characters of small alphabets, and byte pairs for large ones", async () => {
    const chars = await chooseTokenizer("auto", corpus, signal);
    expect([chars.vocabSize, ...chars.encode("abcd").ids]).toEqual([4, 0, 1, 2, 3]);
    const large = { ...corpus, train: [String.fromCodePoint(...Array.from({ length: 300 }, (_, i) => 0x4e00 + i))] };
    const pairs = await chooseTokenizer("auto", large, signal);
    expect(pairs.decode(pairs.encode("anything 😀").ids)).toBe("anything 😀");
  });

  test("gives documents a token for their end", async () => {
    const documents = { ...corpus, documents: true };
    for (const [spec, size] of [
      ["chars", 5],
      ["bytes", 257],
      ["bpe:260", 259],
    ] as const) {
      const tokenizer = await chooseTokenizer(spec, documents, signal);
      expect([spec, tokenizer.vocabSize <= Math.max(size, 260)]).toEqual([spec, true]);
      expect(tokenizer.idToToken(endIdOf(tokenizer)!)).toBe("<|endoftext|>");
      expect(tokenizer.encode("<|endoftext|>").ids).not.toContain(endIdOf(tokenizer));
    }
  });

  test("refuses sizes that are too small and files that are not there", async () => {
    await expect(chooseTokenizer("bpe:10", corpus, signal)).rejects.toThrow(
      "--tokenizer bpe:10: expected a size of at",
    );
    await expect(chooseTokenizer("words", corpus, signal)).rejects.toThrow(
      "--tokenizer words does not exist; expected chars, bytes, bpe:SIZE, or a file or folder",
    );
  });

  test("a character that the vocabulary lacks is named", async () => {
    const chars = await chooseTokenizer("chars", corpus, signal);
    const encode = (text: string) => encodeText(chars, text, { addSpecialTokens: false, what: "--prompt" });
    expect([...encode("dab")]).toEqual([3, 0, 1]);
    expect(() => encode("ab cé")).toThrow('--prompt: the character " " is not in the vocabulary of 4 tokens');
    const bytes = createByteTokenizer();
    expect(encodeText(bytes, "é\u0000", { addSpecialTokens: false, what: "text" })).toHaveLength(3);
  });
});

describe("tokenSource", () => {
  const bytes = createByteTokenizer({ specialTokens: ["<|endoftext|>"] });
  const corpusOf = (documents: boolean, train: string[], validation: string[]) => ({
    ...{ documents, train, validation },
    summary: "some.txt; so much",
  });
  const rowsOf = (x: tf.Tensor2D) => x.arraySync();

  test("reads running text in windows, each token's target the one behind it", async () => {
    const text = "abcdefghijklmnopqrstuvwxyz";
    const source = tokenSource(corpusOf(false, [text], ["zyxwv"]), bytes, { blockSize: 4, endId: undefined });
    const stream = source.batches("train", { batchSize: 3, rng: new Rng(0) });
    const { value } = await stream.next();
    for (const [i, row] of rowsOf(value!.ids).entries()) {
      expect(rowsOf(value!.targets)[i]).toEqual(row.map((id) => id + 1));
    }
    treeDispose(value);
    const { count, ids, targets } = source.validationRows();
    expect([count, ...ids.subarray(0, 4)]).toEqual([1, ...[..."zyxw"].map((c) => c.charCodeAt(0))]);
    expect([...targets]).toEqual([..."yxwv"].map((c) => c.charCodeAt(0)));
    expect(source.charactersPerToken).toBe(1);
  });

  test("reads documents that fit whole, between the token for their end", async () => {
    const source = tokenSource(corpusOf(true, ["ab", "c"], ["de"]), bytes, { blockSize: 16, endId: 256 });
    expect(source.length).toBe(3);
    const { ids, targets } = source.validationRows();
    expect([...ids]).toEqual([256, 100, 101]);
    expect([...targets]).toEqual([100, 101, 256]);
    const stream = source.batches("train", { batchSize: 2, rng: new Rng(0) });
    const { value } = await stream.next();
    expect(rowsOf(value!.targets).sort()).toEqual([
      [97, 98, 256],
      [99, 256, -100],
    ]);
    treeDispose(value);
  });

  test("lays short documents side by side, each of which is learned as if it were alone", async () => {
    const source = tokenSource(corpusOf(true, ["abcd", "e", "fg", "h"], ["ij", "klmn", "o"]), bytes, {
      ...{ blockSize: 16, endId: 256 },
    });
    const { count, length, ids, segments } = source.validationRows();
    expect([count, length]).toEqual([2, 5]);
    expect([...ids].slice(5)).toEqual([256, 105, 106, 256, 111]);
    expect([...segments].slice(5)).toEqual([1, 1, 1, 2, 2]);
    const { value } = await source.batches("train", { batchSize: 2, rng: new Rng(0) }).next();
    expect(value!.segments!.max().dataSync()[0]).toBe(2);
    treeDispose(value);

    const engine = await createEngine("tfjs:cpu");
    const lm = gpt2Lm({ vocabSize: 257, blockSize: 5, nEmbd: 8, nHead: 2, nLayer: 1 });
    const { params } = createGpt2({ vocabSize: 257, blockSize: 5, nEmbd: 8, nHead: 2, nLayer: 1 }, new Rng(3));
    const meter = lossMeter(engine, lm);
    const { loss, tokens } = await meter.measure(params, source.validationRows(), 2, signal);
    expect(tokens).toBe(10);
    let alone = 0;
    for (const text of ["ij", "klmn", "o"]) {
      const one = tokenSource(corpusOf(true, ["a"], [text]), bytes, { blockSize: 16, endId: 256 }).validationRows();
      alone += (await meter.measure(params, one, 1, signal)).loss * (text.length + 1);
    }
    expect(loss).toBeCloseTo(alone / 10, 5);
    meter.dispose();
    treeDispose(params);
    engine.dispose();
  });

  test("joins documents that are longer than the context", () => {
    const source = tokenSource(corpusOf(true, ["abcdef", "gh"], ["ijklm", "n"]), bytes, { blockSize: 4, endId: 256 });
    const { ids, targets, count } = source.validationRows();
    expect(count).toBe(2);
    expect([...ids]).toEqual([256, 105, 106, 107, 108, 109, 256, 110]);
    expect([...targets]).toEqual([105, 106, 107, 108, 109, 256, 110, 256]);
  });

  test("refuses text that is shorter than a block", () => {
    expect(() => tokenSource(corpusOf(false, ["abc"], ["de"]), bytes, { blockSize: 8, endId: undefined })).toThrow(
      "some.txt has 3 tokens to train on; a block takes 9: give more text or a smaller --block-size",
    );
    expect(() => tokenSource(corpusOf(true, ["a"], ["b"]), bytes, { blockSize: 8, endId: undefined })).toThrow(
      "The tokenizer has no token for the end of a document",
    );
  });
});
