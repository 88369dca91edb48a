import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Rng } from "@genai/core";
import { createByteTokenizer, createTokenizer, type Tokenizer, trainCharacters } from "@genai/tokenizer";
import { afterAll, describe, expect, it } from "vitest";
import {
  encodeConversation,
  encodePreference,
  formatOf,
  parseConversations,
  parsePreferences,
  readJsonLines,
  splitItems,
} from "../src/text/conversations.ts";

const scratch = mkdtempSync(join(tmpdir(), "genai-conversations-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const fileOf = (contents: string) => {
  const file = join(scratch, "data.jsonl");
  writeFileSync(file, contents);
  return file;
};

const plain = createByteTokenizer({ specialTokens: ["<|end|>"] });
const END = 256;
const template =
  "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
const chat = () =>
  createTokenizer(createByteTokenizer({ specialTokens: ["<|end|>", "<|user|>", "<|assistant|>"] }).toJson(), {
    config: { chat_template: template },
  });
const learnedText = (
  tokenizer: Tokenizer,
  { ids, learned }: { ids: ArrayLike<number>; learned?: ArrayLike<unknown> },
) => Array.from(ids, (id, i) => (learned![i] ? tokenizer.decode([id], { skipSpecialTokens: false }) : "_")).join("");

describe("conversations", () => {
  it("are learned in their answers, with the end behind them", async () => {
    const { document, prompt } = await encodeConversation(plain, { prompt: "2+2=", completion: "4" }, END);
    expect(plain.decode(Array.from(document.ids), { skipSpecialTokens: false })).toBe("2+2=4<|end|>");
    expect(learnedText(plain, document)).toBe("____4<|end|>");
    expect(plain.decode(prompt)).toBe("2+2=");
  });

  it("end with a line where the vocabulary has no end", async () => {
    const { document } = await encodeConversation(plain, { prompt: "2+2=", completion: "4" }, undefined);
    expect(learnedText(plain, document)).toBe("____4\n");
  });

  it("are refused if the vocabulary lacks one of their characters", async () => {
    const few = await trainCharacters(["abc"], { unkToken: null });
    await expect(encodeConversation(few, { prompt: "ab", completion: "c!" }, undefined)).rejects.toThrow(
      '--data: the character "!" is not in the vocabulary',
    );
  });

  it("follow the chat template, every answer learned and no question", async () => {
    const tokenizer = chat();
    const messages = [
      { role: "user", content: "a" },
      { role: "assistant", content: "bc" },
      { role: "user", content: "<|end|>" },
      { role: "assistant", content: "d" },
    ];
    const { document, prompt } = await encodeConversation(tokenizer, { messages }, END);
    expect(learnedText(tokenizer, document)).toBe(`____bc<|end|>${"_".repeat(10)}d<|end|>`);
    expect(Array.from(document.ids).slice(0, prompt.length)).toEqual([...prompt]);
    expect(tokenizer.decode(prompt, { skipSpecialTokens: false })).toMatch(/<\|assistant\|>$/);
    const asked = await encodeConversation(tokenizer, { prompt: "a", completion: "bc" }, END);
    expect(learnedText(tokenizer, asked.document)).toBe("____bc<|end|>");
  });

  it("of messages want a template, and an answer", async () => {
    const messages = [{ role: "user", content: "a" }];
    await expect(encodeConversation(plain, { messages }, END)).rejects.toThrow("has no chat template");
    await expect(encodeConversation(chat(), { messages }, END)).rejects.toThrow("no message of the assistant");
    const fickle = createTokenizer(plain.toJson(), {
      config: { chat_template: "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}" },
    });
    const two = [...messages, { role: "assistant", content: "b" }];
    await expect(encodeConversation(fickle, { messages: two }, END)).rejects.toThrow("writes the beginning of a conv");
  });
});

describe("JSON lines", () => {
  it("of every published layout are understood", async () => {
    const lines = [
      { prompt: "p", completion: "c" },
      { messages: [{ role: "user", content: "u" }] },
      { instruction: "Add.", input: "1 2", output: "3" },
      {
        instruction: "Sing.",
        instances: [
          { input: "", output: "la" },
          { input: "x", output: "lo" },
        ],
      },
    ];
    const file = fileOf(lines.map((line) => JSON.stringify(line)).join("\r\n\n"));
    const found = parseConversations(file, await readJsonLines(file));
    expect(found).toHaveLength(5);
    expect(found[2]).toEqual({
      prompt: "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n",
      completion: "3",
    });
    expect(found[3]).toEqual({ prompt: "### Instruction:\nSing.\n\n### Response:\n", completion: "la" });
  });

  it("of preferences may hold texts or messages, with the question in front of both answers or before them", () => {
    const user = { role: "user", content: "q" };
    const answer = (content: string) => ({ role: "assistant", content });
    const [texts, lists, repeated] = parsePreferences("f", [
      { prompt: "q", chosen: "a", rejected: "b" },
      { prompt: [user], chosen: [answer("a")], rejected: [answer("b")] },
      { prompt: "q", chosen: [user, answer("a")], rejected: [user, answer("b")] },
    ]);
    expect(texts).toEqual({ chosen: { prompt: "q", completion: "a" }, rejected: { prompt: "q", completion: "b" } });
    expect(lists).toEqual({ chosen: { messages: [user, answer("a")] }, rejected: { messages: [user, answer("b")] } });
    expect(repeated).toEqual(lists);
  });

  it("become pairs with the answers learned", async () => {
    const [one] = parsePreferences("f", [{ prompt: "q", chosen: "yes", rejected: "no" }]);
    const { pair } = await encodePreference(plain, one!, END);
    expect([pair.chosen, pair.rejected].map((side) => learnedText(plain, side))).toEqual(["_yes<|end|>", "_no<|end|>"]);
  });

  it("that are broken are named by line", async () => {
    await expect(readJsonLines(fileOf('{"a":1}\n{oops\n'))).rejects.toThrow("data.jsonl:2 is no JSON");
    await expect(readJsonLines(fileOf("[1]\n"))).rejects.toThrow("data.jsonl:1 is no JSON object");
    await expect(readJsonLines(fileOf("\n"))).rejects.toThrow("holds no lines");
    await expect(readJsonLines(join(scratch, "none.jsonl"))).rejects.toThrow("does not exist");
    expect(() => parseConversations("f", [{ prompt: "p", completion: 3 }])).toThrow("f: record 1 is not understood");
    expect(() => parsePreferences("f", [{ prompt: "p", chosen: "a" }])).toThrow("f: record 1 is not understood");
  });

  it("of any shape either are understood or refused in a sentence", () => {
    const rng = new Rng(0);
    const pick = <T>(list: readonly T[]): T =>
      list[rng.draw({ kind: "integers", size: 1, low: 0, high: list.length })[0]!]!;
    const value = (depth: number): unknown =>
      pick([
        () => "text",
        () => "",
        () => 3,
        () => null,
        () => true,
        () => (depth > 0 ? [value(depth - 1), value(depth - 1)] : []),
        () => (depth > 0 ? record(depth - 1) : {}),
      ])();
    const fields = [
      "prompt",
      "completion",
      "messages",
      "instruction",
      "input",
      "output",
      "instances",
      "chosen",
      "rejected",
      "role",
      "content",
    ];
    const record = (depth: number): Record<string, unknown> =>
      Object.fromEntries([1, 2, 3].map(() => [pick(fields), value(depth)]));
    for (let i = 0; i < 3000; i++) {
      const line = record(3);
      formatOf(line);
      for (const parse of [parseConversations, parsePreferences]) {
        try {
          parse("f", [line]);
        } catch (error) {
          expect((error as Error).message).toMatch(/^f: record 1 is not understood; expected/);
        }
      }
    }
  });

  it("are parted the same way each time, a tenth to measure with", () => {
    const items = Array.from({ length: 40 }, (_, i) => i);
    const { train, validation } = splitItems(items);
    expect(validation).toHaveLength(4);
    expect([...train, ...validation].sort((a, b) => a - b)).toEqual(items);
    expect(splitItems(items)).toEqual({ train, validation });
    expect(splitItems([1, 2]).validation).toHaveLength(1);
  });
});
