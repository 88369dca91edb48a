import { createEngine, type Engine, Rng, treeDispose } from "@genai/core";
import { createByteTokenizer } from "@genai/tokenizer";
import { createGpt2, gpt2Lm } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { printable, showSamples } from "../src/text/sample-log.ts";
import { startIds } from "../src/text/sample-texts.ts";
import { TextsInOrder } from "../src/text/texts-in-order.ts";
import { writeTexts } from "../src/text/write-texts.ts";

const tokenizer = createByteTokenizer({ specialTokens: ["<|endoftext|>"] });
const { config, params } = createGpt2({ vocabSize: 257, blockSize: 16, nEmbd: 8, nHead: 2, nLayer: 1 }, new Rng(0));
const lm = gpt2Lm(config);
let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("tfjs:cpu");
});
afterAll(() => {
  treeDispose(params);
  engine.dispose();
});

/** What a model writes that may choose among some bytes only. */
async function written(letters: string, options: { stop?: string[]; maxNewTokens?: number }) {
  const allowedIds = [...tokenizer.encode(letters).ids];
  const rows = ["", ""];
  const ends: unknown[] = [];
  const rng = new Rng(3);
  const prompts = [tokenizer.encode("a").ids, tokenizer.encode("bcd").ids];
  for await (const { row, text, finish, stopString } of writeTexts(engine, lm, params, prompts, {
    ...{ tokenizer, rng, allowedIds, slide: true, maxNewTokens: 24 },
    ...options,
  })) {
    rows[row] += text;
    if (finish) ends[row] = stopString ?? finish;
  }
  return { rows, ends };
}

test("texts come out whole, whatever the context", async () => {
  const { rows, ends } = await written("xyz", {});
  expect(rows.map((text) => /^[xyz]{24}$/.test(text))).toEqual([true, true]);
  expect(ends).toEqual(["length", "length"]);
});

test("a stop string ends a text before it", async () => {
  const before = tf.memory().numTensors;
  const whole = await written("xyz", {});
  const cut = await written("xyz", { stop: ["zx", "yy"] });
  for (const [row, text] of cut.rows.entries()) {
    expect(["zx", "yy"]).toContain(cut.ends[row]);
    expect(whole.rows[row]!.startsWith(text + (cut.ends[row] as string))).toBe(true);
    expect(text).not.toMatch(/zx|yy/);
  }
  expect(tf.memory().numTensors).toBe(before);
});

test("what may begin a stop string shows when the text ends without it", async () => {
  const { rows } = await written("x", { stop: ["xxxxxxxx!"], maxNewTokens: 5 });
  expect(rows).toEqual(["xxxxx", "xxxxx"]);
});

test("a text without a beginning begins with the end of another, or with the end of a line", () => {
  expect(startIds(tokenizer)).toEqual([256]);
  expect(startIds(createByteTokenizer())).toEqual([10]);
});

test("texts that are written at once are shown one after another", () => {
  const log: string[] = [];
  const order = new TextsInOrder(3, {
    write: (text) => log.push(text),
    begin: (i) => log.push(`<${i}`),
    end: (i) => log.push(`${i}>`),
  });
  order.add(0, "a", false);
  order.add(2, "x", false);
  order.add(1, "m", true);
  order.add(2, "y", false);
  order.add(0, "b", true);
  order.add(2, "", true);
  expect(log.join(" ")).toBe("<0 a b 0> <1 m 1> <2 xy 2>");
});

test("samples on the terminal cannot move its cursor", () => {
  expect(printable("a\u001b[2Jb\tc\nd\u009b\r")).toBe("a\ufffd[2Jb\tc\nd\ufffd\ufffd");
  const sampled = { step: 5, valLoss: 2, trainLoss: 1.5 };
  const [head, ...lines] = showSamples({ ...sampled, texts: ["to be\nor not\n"] }).split("\n");
  expect(head).toContain("step 5");
  expect(head).toContain("validation loss 2.000  training loss 1.500");
  expect(lines).toEqual(["  to be", "  or not"]);
  expect(showSamples({ ...sampled, texts: ["ann", "bob"] }).split("\n")[1]).toBe("  ann  bob");
});
