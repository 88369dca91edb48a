import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { BpeJson, TokenizerJson, UnigramJson } from "../../src/tokenizer-json.ts";
import { trainBpeJson } from "../../src/training/train-bpe.ts";
import type { TrainProgress } from "../../src/training/train-options.ts";
import { trainUnigramJson } from "../../src/training/train-unigram.ts";
import { byteTokenizerJson, trainCharactersJson, trainWordLevelJson } from "../../src/training/train-word-level.ts";
import { trainWordPieceJson } from "../../src/training/train-word-piece.ts";
import { naiveBpe } from "./naive-bpe.ts";
import { inRust, loadRustLibrary } from "./rust-library.ts";

const rust = await loadRustLibrary();
const dataDir = process.env.GENAI_DATA_DIR;
const scratch = mkdtempSync(join(tmpdir(), "genai-train-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const verse = `The quick brown fox jumps over the lazy dog. The dog, which was lazier than the fox, didn't care;
the fox's quickness wasn't lost on the others, though: 12 of 345 dogs were 6,789 times quicker!
Größe, naïveté, 漢字かな交じり文, привет, मानक, 👩‍👩‍👧 and 😉 are words too, and so are low, lower, lowest, newer, newest.
`;
const sentences = Array.from({ length: 40 }, (_, i) => {
  const words = verse.split(/\s+/);
  return `${words.slice(i % 7, 12 + ((i * 5) % 29)).join(" ")}\n`;
});

const tokensOf = ({ model }: TokenizerJson): string[] =>
  model.type === "Unigram"
    ? model.vocab.map(([token]) => token)
    : Object.entries(model.vocab)
        .sort(([, a], [, b]) => a - b)
        .map(([token]) => token);
const mergesOf = (json: TokenizerJson) =>
  (json.model as BpeJson).merges.map((pair) => (typeof pair === "string" ? pair : pair.join(" ")));

const trainers: [
  string,
  (texts: Iterable<string> | AsyncIterable<string>, control?: object) => Promise<TokenizerJson>,
][] = [
  ["byte-level BPE", (texts, control) => trainBpeJson(texts, { vocabSize: 400, ...control })],
  [
    "byte-level BPE as GPT-4",
    (texts, control) =>
      trainBpeJson(texts, { vocabSize: 400, split: "cl100k", specialTokens: ["<|endoftext|>"], ...control }),
  ],
  [
    "byte-level BPE with a pattern",
    (texts, control) => trainBpeJson(texts, { vocabSize: 400, split: { pattern: "\\w+|\\s+" }, ...control }),
  ],
  ["character BPE", (texts, control) => trainBpeJson(texts, { alphabet: "characters", vocabSize: 300, ...control })],
  [
    "character BPE with byte fallback",
    (texts, control) =>
      trainBpeJson(texts, {
        alphabet: "characters",
        vocabSize: 400,
        byteFallback: true,
        limitAlphabet: 30,
        specialTokens: ["<s>", "<unk>", "</s>"],
        ...control,
      }),
  ],
  [
    "character BPE with a suffix",
    (texts, control) =>
      trainBpeJson(texts, { alphabet: "characters", vocabSize: 300, endOfWordSuffix: "</w>", ...control }),
  ],
  ["WordPiece", (texts, control) => trainWordPieceJson(texts, { vocabSize: 300, ...control })],
  ["unigram", (texts, control) => trainUnigramJson(texts, { vocabSize: 200, ...control })],
  [
    "unigram with byte fallback",
    (texts, control) => trainUnigramJson(texts, { vocabSize: 400, byteFallback: true, limitAlphabet: 30, ...control }),
  ],
  ["words", (texts, control) => trainWordLevelJson(texts, { vocabSize: 50, ...control })],
  ["characters", (texts, control) => trainCharactersJson(texts, { specialTokens: ["<s>"], ...control })],
  ["bytes", async () => byteTokenizerJson({ specialTokens: ["<|endoftext|>"] })],
];

describe.each(trainers)("%s", (name, train) => {
  it("is the same every time, whatever the order of the texts and whether they come at once or one by one", async () => {
    async function* slowly() {
      for (const text of sentences) {
        await Promise.resolve();
        yield text;
      }
    }
    const json = JSON.stringify(await train(sentences));
    expect(JSON.stringify(await train(slowly()))).toBe(json);
    expect(JSON.stringify(await train([...sentences].reverse()))).toBe(json);
  });

  it("numbers its tokens from 0 without gaps, special tokens first", async () => {
    const json = await train(sentences);
    const tokens = tokensOf(json);
    expect(new Set(tokens).size).toBe(tokens.length);
    if (json.model.type !== "Unigram")
      expect(Object.values(json.model.vocab).sort((a, b) => a - b)).toEqual([...tokens.keys()]);
    if (name !== "bytes") for (const { id, content } of json.added_tokens ?? []) expect(tokens[id]).toBe(content);
  });

  it.runIf(rust)("loads in the Rust library, which gives back what it encodes", async () => {
    const json = await train(sentences);
    const tokenizer = inRust(rust!, json);
    for (const text of [sentences[3]!, "The lowest fox's quickness", "naïveté 漢字"]) {
      const ids = (await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds();
      expect(ids.length).toBeGreaterThan(0);
      const decoded = await tokenizer.decode(ids, false);
      const lossless = name.startsWith("byte") || name.endsWith("byte fallback") || text === sentences[3];
      if (lossless && !/suffix|WordPiece|words/.test(name)) expect(decoded).toBe(text);
    }
  });

  it("ends when its signal is aborted", async () => {
    if (name === "bytes") return;
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    await expect(train(sentences, { signal: controller.signal })).rejects.toThrow("enough");
    async function* endless() {
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        yield sentences[0]!;
      }
    }
    const later = new AbortController();
    setTimeout(() => later.abort(new Error("enough, now")), 60);
    await expect(train(endless(), { signal: later.signal })).rejects.toThrow("enough, now");
  });

  it("trains on nothing", async () => {
    expect(tokensOf(await train([])).length).toBeLessThanOrEqual(400);
    expect(tokensOf(await train(["", ""])).length).toBeLessThanOrEqual(400);
  });
});

describe("trainBpe", () => {
  it("agrees with the naive trainer on bytes", async () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", " ", "é", "\n", "'", "1", "."), maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(fc.array(letters, { maxLength: 8 }), async (texts) => {
        const json = await trainBpeJson(texts, { vocabSize: 280 });
        const bytes = tokensOf(await trainBpeJson([], {}));
        const pattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
        const character = new Map(bytes.map((token) => [byteOf(token), token]));
        const words = texts
          .flatMap((text) => text.match(pattern) ?? [])
          .map((word) => [[...new TextEncoder().encode(word)].map((byte) => character.get(byte)!), 1] as const);
        const naive = naiveBpe(words, bytes, { vocabSize: 280 });
        expect(tokensOf(json)).toEqual(naive.tokens);
        expect(mergesOf(json)).toEqual(naive.merges.map((pair) => pair.join(" ")));
      }),
      { numRuns: 60, seed: 21 },
    );
  });

  it("agrees with the naive trainer on characters, with prefixes, suffixes and a limited alphabet", async () => {
    const word = fc.string({ unit: fc.constantFrom("a", "b", "c", "é", "😉"), minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(word, { maxLength: 6 }), { minLength: 1, maxLength: 6 }),
        fc.constantFrom("", "##"),
        fc.constantFrom("", "</w>"),
        fc.constantFrom(3, 10),
        async (lines, prefix, suffix, limitAlphabet) => {
          const texts = lines.map((words) => words.join(" "));
          const json = await trainBpeJson(texts, {
            alphabet: "characters",
            split: "whitespace",
            vocabSize: 60,
            limitAlphabet,
            unkToken: null,
            ...(prefix === "" ? {} : { continuingSubwordPrefix: prefix }),
            ...(suffix === "" ? {} : { endOfWordSuffix: suffix }),
          });
          const counts = new Map<string, number>();
          for (const c of texts.join("").replaceAll(" ", "")) counts.set(c, (counts.get(c) ?? 0) + 1);
          const point = (c: string) => c.codePointAt(0)!;
          const alphabet = [...counts]
            .sort(([a, m], [b, n]) => n - m || point(a) - point(b))
            .slice(0, limitAlphabet)
            .map(([c]) => c)
            .sort((a, b) => point(a) - point(b));
          const forms = new Set<string>();
          const words: [string[], number][] = [];
          for (const characters of lines.flat().map((one) => [...one])) {
            let run: string[] = [];
            for (const [i, c] of characters.entries()) {
              if (alphabet.includes(c)) {
                const form = (i > 0 ? prefix : "") + c + (i === characters.length - 1 ? suffix : "");
                run.push(form);
                forms.add(form);
              } else {
                words.push([run, 1]);
                run = [];
              }
            }
            words.push([run, 1]);
          }
          const others = [...forms].filter((form) => !alphabet.includes(form)).sort(byCodePoints);
          const naive = naiveBpe(words, [...alphabet, ...others], {
            vocabSize: 60,
            join: (a, b) => a + (prefix !== "" && b.startsWith(prefix) ? b.slice(prefix.length) : b),
          });
          expect(tokensOf(json)).toEqual(naive.tokens);
          expect(mergesOf(json)).toEqual(naive.merges.map((pair) => pair.join(" ")));
        },
      ),
      { numRuns: 150, seed: 22 },
    );
  });

  it("takes special tokens out of the texts and never makes one", async () => {
    const json = await trainBpeJson(["<s>ab<s>ab<s>", "< s><s >"], {
      vocabSize: 300,
      split: null,
      specialTokens: ["<s>", { content: "</s>", lstrip: true }],
    });
    expect(tokensOf(json).slice(0, 2)).toEqual(["<s>", "</s>"]);
    expect(json.added_tokens?.[1]).toEqual({
      id: 1,
      content: "</s>",
      single_word: false,
      lstrip: true,
      rstrip: false,
      normalized: false,
      special: true,
    });
    expect(mergesOf(json)[0]).toBe("a b");
    const plain = await trainBpeJson(["<s", ">", "<s", ">", "x<", "s>"], {
      vocabSize: 300,
      split: null,
      specialTokens: ["<s>"],
    });
    expect(tokensOf(plain).filter((token) => token === "<s>")).toHaveLength(1);
  });

  it("counts a long text in parts without cutting its words", async () => {
    const long = Array.from({ length: 40_000 }, (_, i) => `line ${i % 97} of the long text, word${i % 89}`).join("\n");
    expect(long.length).toBeGreaterThan(1 << 20);
    const whole = await trainBpeJson([long], { vocabSize: 500 });
    const lines = await trainBpeJson(long.match(/[^\n]*\n|[^\n]+$/g)!, { vocabSize: 500 });
    expect(mergesOf(whole)).toEqual(mergesOf(lines));
  });

  it("tells how far it is, and lets timers run meanwhile", async () => {
    const seen: TrainProgress[] = [];
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const texts = Array.from({ length: 150_000 }, (_, i) => `word${(i * 7919) % 50_021} and${(i * 31) % 977}\n`);
    await trainBpeJson(texts, { vocabSize: 3000, onProgress: (progress) => seen.push(progress) });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(2);
    expect(seen.filter(({ stage }) => stage === "reading").at(-1)!.done).toBe(texts.join("").length);
    expect(seen.at(-1)).toEqual({ stage: "merging", done: 3000, total: 3000 });
  });

  it.each([
    [
      "a vocabulary smaller than the bytes",
      {},
      { vocabSize: 100 },
      /trainBpe: vocabSize \(100\) is less than the 256 special tokens and bytes/,
    ],
    ["a size that is no number", {}, { vocabSize: Number.NaN }, /trainBpe: vocabSize \(NaN\) must be a whole number/],
    [
      "a vocabulary smaller than the alphabet",
      {},
      { alphabet: "characters", vocabSize: 5 },
      /less than the \d+ special tokens and characters/,
    ],
    ["an unknown split", {}, { split: "gpt9" }, /trainBpe: split \("gpt9"\) is unknown; it must be "gpt2", "cl100k"/],
    [
      "an unknown alphabet",
      {},
      { alphabet: "runes" },
      /trainBpe: alphabet \("runes"\) must be "bytes" or "characters"/,
    ],
    ["a special token twice", {}, { specialTokens: ["a", "a"] }, /specialTokens\[1\] \("a"\) is empty or there twice/],
    ["a negative frequency", {}, { minFrequency: -1 }, /minFrequency \(-1\)/],
    ["a pattern that cannot be compiled", {}, { split: { pattern: "(" } }, /trainBpe: split/],
    ["one string in place of texts", { texts: "abc" }, {}, /texts is one string/],
    ["no texts", { texts: undefined }, {}, /must be an iterable or async iterable/],
    ["a text that is no string", { texts: ["a", 7] }, {}, /text 1 is of type number; every text must be a string/],
  ])("refuses %s", async (_, { texts = sentences }: { texts?: unknown }, options, message) => {
    const given = _ === "no texts" ? undefined : texts;
    await expect(trainBpeJson(given as string[], options as object)).rejects.toThrow(message);
  });
});

describe("trainUnigram", () => {
  it("keeps the alphabet, and gives the least score to a character that nothing needs", async () => {
    const json = await trainUnigramJson(sentences, { vocabSize: 250, unkToken: "[UNK]" });
    const { vocab, unk_id } = json.model as UnigramJson;
    expect(vocab[unk_id!]).toEqual(["[UNK]", 0]);
    const tokens = vocab.map(([token]) => token);
    for (const character of new Set(sentences.join("").replaceAll(" ", "▁"))) expect(tokens).toContain(character);
    expect(tokens).toContain("▁the");
  });
});

describe.runIf(rust && dataDir)("beside the Rust library, on real text", () => {
  /** What the library's own trainer makes of a file, which it reads line by line. */
  function rustTrained(json: TokenizerJson, file: string): TokenizerJson {
    const { model } = json;
    const empty =
      model.type === "WordLevel" ? { ...model, vocab: {} } : { ...model, unk_token: null, vocab: {}, merges: [] };
    const tokenizer = inRust(rust!, { ...json, added_tokens: [], model: empty as BpeJson });
    tokenizer.train([file]);
    const saved = join(scratch, "trained.json");
    tokenizer.save(saved);
    return JSON.parse(readFileSync(saved, "utf8")) as TokenizerJson;
  }
  const shakespeare = () => readFileSync(join(dataDir!, "tinyshakespeare/input.txt"), "utf8");
  const lines = (text: string) => text.match(/[^\n]*\n|[^\n]+$/g)!;

  it("makes the same 21,271 byte-level merges of Shakespeare", async () => {
    const text = lines(shakespeare());
    const json = await trainBpeJson(text);
    const file = join(scratch, "text.txt");
    writeFileSync(file, text.join(""));
    expect(mergesOf(json)).toEqual(mergesOf(rustTrained(json, file)));
    expect(mergesOf(json)).toHaveLength(21_271);
  });

  it("makes the same character merges and the same list of words", async () => {
    const text = lines(shakespeare()).slice(0, 10_000);
    const file = join(scratch, "text.txt");
    writeFileSync(file, text.join(""));
    const characters = await trainBpeJson(text, { alphabet: "characters", unkToken: null });
    const theirs = rustTrained(characters, file);
    expect(mergesOf(characters)).toEqual(mergesOf(theirs));
    expect(tokensOf(characters)).toEqual(tokensOf(theirs));
    const words = await trainWordLevelJson(text);
    expect(tokensOf(words).slice(1)).toEqual(tokensOf(rustTrained(words, file)));
  });

  it("trains 4,096 tokens on Shakespeare in two seconds", async () => {
    const text = shakespeare();
    await trainBpeJson([text], { vocabSize: 4096 });
    const start = performance.now();
    expect(tokensOf(await trainBpeJson([text], { vocabSize: 4096 }))).toHaveLength(4096);
    // Twice the limit, for a machine that does something else too.
    expect(performance.now() - start).toBeLessThan(4000);
  });
});

function byCodePoints(a: string, b: string): number {
  const [x, y] = [Array.from(a, (c) => c.codePointAt(0)!), Array.from(b, (c) => c.codePointAt(0)!)];
  const i = x.findIndex((point, k) => point !== y[k]);
  return i < 0 ? x.length - y.length : x[i]! - (y[i] ?? -1);
}

/** The byte that a character of the byte-level alphabet stands for. */
function byteOf(character: string): number {
  const prints = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !prints(byte));
  const code = character.codePointAt(0)!;
  return code < 256 ? code : others[code - 256]!;
}
