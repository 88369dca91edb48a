import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PassThrough } from "node:stream";
import { createEngine, type Engine } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AnswerWriter } from "../../src/chat/answer-writer.ts";
import { ChatRepl } from "../../src/chat/chat-repl.ts";
import { createConversation } from "../../src/chat/conversation.ts";
import { openTextModel, type TextModel } from "../../src/text/text-model.ts";
import { chatTemplate, tinyModelFolder } from "../serve/tiny-model.ts";

let folders: string[];
let engine: Engine;
let chatting: TextModel;
let plain: TextModel;
beforeAll(async () => {
  folders = [await tinyModelFolder({ template: chatTemplate }), await tinyModelFolder()];
  engine = await createEngine("onnx:cpu");
  chatting = await openTextModel(folders[0]!);
  plain = await openTextModel(folders[1]!);
});
afterAll(() => {
  chatting.dispose();
  plain.dispose();
  engine.dispose();
  for (const folder of folders) rmSync(dirname(folder), { recursive: true, force: true });
});

interface Talk {
  readonly output: string;
  readonly notes: readonly string[];
}

/** Talks with the model as a pipe does: one message a line. */
async function talk(
  lines: readonly string[],
  options: {
    readonly model?: TextModel;
    readonly maxNewTokens?: number;
    readonly onOutput?: (repl: ChatRepl) => void;
  } = {},
): Promise<Talk> {
  const { model = chatting, maxNewTokens = 6, onOutput } = options;
  const writer = new AnswerWriter(engine, model, { seed: 1 });
  const [input, output] = [new PassThrough(), new PassThrough()];
  const notes: string[] = [];
  let text = "";
  const repl = new ChatRepl({
    conversation: createConversation({ tokenizer: model.tokenizer }),
    writer,
    answer: { maxNewTokens, stop: [], sampling: { temperature: 0, repetitionPenalty: 1.1 } },
    input,
    output,
    note: (note) => notes.push(note),
  });
  output.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
    onOutput?.(repl);
  });
  input.end(lines.map((line) => `${line}\n`).join(""));
  await repl.run();
  await writer.dispose();
  await new Promise((then) => setImmediate(then));
  return { output: text, notes };
}

test("each line is answered, with what was said before in mind", async () => {
  const before = tf.memory().numTensors;
  const { output, notes } = await talk(["hi", "", "hi"]);
  expect(notes).toEqual([]);
  const first = await talk(["hi"]);
  expect(output.startsWith(first.output)).toBe(true);
  expect(output.length).toBeGreaterThan(first.output.length);
  const afresh = await talk(["hi", "/reset", "hi"]);
  expect(afresh.output).toBe(first.output + first.output);
  expect(tf.memory().numTensors).toBe(before);
});

test("commands list themselves, tell the model, save what was said, and leave", async () => {
  const dir = mkdtempSync(join(tmpdir(), "genai-chat-"));
  const file = join(dir, "talk.json");
  const lines = ["/help", "/system Be brief.", "a\\", "b", "//c", `/save ${file}`, "/save", "/dance", "/exit", "never"];
  const { notes } = await talk(lines);
  expect(notes[0]).toContain("/reset");
  expect(notes.join("\n")).toMatch(/is told so[\s\S]*Written to[\s\S]*needs the name of a file\nThere is no \/dance/);
  const saved = JSON.parse(readFileSync(file, "utf8")) as { role: string; content: string }[];
  expect(saved.map(({ role }) => role)).toEqual(["system", "user", "assistant", "user", "assistant"]);
  expect(saved.filter(({ role }) => role === "user").map(({ content }) => content)).toEqual(["a\nb", "/c"]);
  expect((await talk([`/save ${join(dir, "no", "x")}`])).notes[0]).toContain("cannot be written");
  rmSync(dir, { recursive: true });
});

test("the oldest turns are left out when the context is full, which is said", async () => {
  const { notes } = await talk(["x".repeat(30), "y".repeat(30), "z".repeat(20), "w"]);
  expect(notes[0]).toMatch(/The oldest 2 messages no longer fit the context of 96 tokens/);
  const long = await talk(["x".repeat(200), "hi"]);
  expect(long.notes).toEqual([
    expect.stringMatching(/takes 203 tokens with what goes around it; the context has room for 96/),
  ]);
  expect(long.output).toBe((await talk(["hi"])).output);
});

test("what a template refuses is said, and the talk goes on", async () => {
  const { notes, output } = await talk(["refuse", "hi"]);
  expect(notes).toEqual(["No such talk."]);
  expect(output).toBe((await talk(["hi"])).output);
});

test("an answer can be stopped; the talk goes on", async () => {
  let pieces = 0;
  const stopped = await talk(["hi"], {
    maxNewTokens: 60,
    onOutput: (repl) => {
      pieces += 1;
      if (pieces === 3) expect(repl.interrupt()).toBe(true);
    },
  });
  expect(stopped.output).toContain("(stopped)");
  expect(stopped.output.length).toBeLessThan((await talk(["hi"], { maxNewTokens: 60 })).output.length);
});

test("without a template the model goes on with the text", async () => {
  const { output } = await talk(["Once ", "upon "], { model: plain, maxNewTokens: 4 });
  expect(output.split("\n").length).toBeGreaterThanOrEqual(2);
  const long = await talk(["x".repeat(150)], { model: plain, maxNewTokens: 4 });
  expect(long.notes[0]).toMatch(/The oldest \d+ tokens no longer fit/);
});
