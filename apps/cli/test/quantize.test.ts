import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Rng, treeDispose } from "@genai/core";
import { serveHub } from "@genai/testing/hub-server";
import { createByteTokenizer } from "@genai/tokenizer";
import { createGpt2, generateIds, savePretrained } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";
import { Command } from "commander";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { addQuantize } from "../src/commands/quantize.ts";
import { openTextModel } from "../src/text/text-model.ts";
import { openWritingModel } from "../src/text/writing-model.ts";

const scratch = mkdtempSync(join(tmpdir(), "genai-quantize-"));
const folder = join(scratch, "tiny");
const text = join(scratch, "held-out.txt");

beforeAll(async () => {
  await tf.setBackend("cpu");
  const model = createGpt2({ vocabSize: 257, blockSize: 32, nEmbd: 32, nHead: 2, nLayer: 1 }, new Rng(0));
  await savePretrained(folder, { architecture: "gpt2", ...model });
  treeDispose(model.params);
  const tokenizer = createByteTokenizer({ specialTokens: ["<|end|>"] });
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer.toJson()));
  const settings = { eos_token: "<|end|>", chat_template: "{{ messages[0].content }}" };
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(settings));
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [3, 256] }));
  // A byte order mark is dropped, as in training.
  writeFileSync(text, `\uFEFF${"What is held out. ".repeat(20)}`);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function quantize(...args: string[]): Promise<string> {
  let printed = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((part) => {
    printed += part;
    return true;
  });
  try {
    const program = new Command();
    addQuantize(program);
    await program.parseAsync(["quantize", ...args], { from: "user" });
    return printed;
  } finally {
    write.mockRestore();
  }
}

const flags = { checkpoint: "best", weights: "32", device: "onnx:cpu" } as const;

test("a folder of rounded weights is smaller, opens as any other and writes as --weights does", async () => {
  const before = tf.memory().numTensors;
  const out = join(scratch, "eight");
  const result = JSON.parse(await quantize(folder, "--bits", "8", "--out", out, "--data", text, "--json"));
  expect(result).toMatchObject({ out, bits: 8, bytes: { after: statSync(join(out, "model.safetensors")).size } });
  expect(result.bytes.after).toBeLessThan(0.5 * result.bytes.before);
  expect(result.measured.tokens).toBe(360);
  expect(result.measured.after.perplexity / result.measured.before.perplexity).toBeCloseTo(1, 2);
  expect(result.measured.after.tokensPerSecond).toBeGreaterThan(0);

  const opened = await openWritingModel(out, flags);
  const converted = await openWritingModel(folder, { ...flags, weights: "8" });
  expect(opened.model).toMatchObject({ name: "eight", stopIds: [3, 256], chatTemplate: true });
  expect(opened.model.countParams).toBe(converted.model.countParams);
  const write = ({ engine, model }: typeof opened) =>
    generateIds(engine, model.lm, model.params, [[72, 105]], { maxNewTokens: 8 });
  expect(await write(opened)).toEqual(await write(converted));
  for (const { model, engine } of [opened, converted]) {
    model.dispose();
    engine.dispose();
  }
  expect(tf.memory().numTensors).toBe(before);
});

test("what is printed says size, perplexity and speed before and after", async () => {
  const out = join(scratch, "four");
  const printed = await quantize(folder, "--out", out, "--data", text, "--data-tokens", "40");
  expect(printed).toMatch(
    /32 bits +4 bits\nsize +0\.1 MiB +0\.0 MiB\nperplexity +[\d.]+ +[\d.]+\nspeed +\d+ tokens\/s/,
  );
  expect(JSON.parse(readFileSync(join(out, "config.json"), "utf8")).quantization).toEqual({
    group_size: 32, // of layers with 32 inputs
    bits: 4,
    "h.0.mlp.c_proj": { group_size: 64, bits: 4 },
  });
});

test("weights are rounded by a text in larger groups, and lose less of it", async () => {
  const before = tf.memory().numTensors;
  const perplexityOf = async (...args: string[]) => {
    const out = join(scratch, "calibrated");
    const result = JSON.parse(await quantize(folder, "--out", out, "--data", text, "--json", ...args));
    return Math.abs(result.measured.after.perplexity - result.measured.before.perplexity);
  };
  const plain = await perplexityOf();
  expect(await perplexityOf("--calibrate", text, "--calibrate-tokens", "300")).toBeLessThan(0.7 * plain);
  const { quantization } = JSON.parse(readFileSync(join(scratch, "calibrated", "config.json"), "utf8"));
  expect(quantization).toMatchObject({ "h.0.mlp.c_proj": { group_size: 128, bits: 4 } });
  expect(tf.memory().numTensors).toBe(before);
});

test("a rounded model of the hub opens by its name", async () => {
  const before = tf.memory().numTensors;
  const out = join(scratch, "for-the-hub");
  await quantize(folder, "--out", out);
  const hub = await serveHub(
    "org/tiny-4bit",
    Object.fromEntries(readdirSync(out).map((name) => [name, readFileSync(join(out, name))])),
  );
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_HUB_CACHE", join(scratch, "hub"));
  try {
    const { model, engine } = await openWritingModel("hf:org/tiny-4bit", flags);
    expect(model).toMatchObject({ name: "tiny-4bit", architecture: "gpt2", bits: 4 });
    expect(await generateIds(engine, model.lm, model.params, [[72]], { maxNewTokens: 4 })).toHaveLength(1);
    model.dispose();
    engine.dispose();
    await expect(openTextModel("hf:org/tiny-4bit")).rejects.toThrow("holds rounded weights");
    await expect(openWritingModel("hf:org/tiny-4bit", { ...flags, checkpoint: "latest" })).rejects.toThrow(
      "is no run folder",
    );
    expect(tf.memory().numTensors).toBe(before);
  } finally {
    vi.unstubAllEnvs();
    await hub.close();
  }
});

test("what cannot be done with rounded weights is refused with a reason", async () => {
  const before = tf.memory().numTensors;
  const out = join(scratch, "four");
  await expect(openTextModel(out)).rejects.toThrow("holds rounded weights, which write text and learn nothing");
  await expect(openWritingModel(out, { ...flags, weights: "8" })).rejects.toThrow(
    "holds weights in 4 bits; --weights 8",
  );
  await expect(openWritingModel(out, { ...flags, adapter: "x" })).rejects.toThrow("which take no adapter");
  await expect(openWritingModel(out, { ...flags, checkpoint: "latest" })).rejects.toThrow("is no run folder");
  await expect(quantize(out, "--out", join(scratch, "again"))).rejects.toThrow("holds rounded weights");
  await expect(quantize(folder, "--out", folder)).rejects.toThrow("is the model's own folder");
  await expect(quantize(folder, "--out", out, "--data", join(scratch, "none"))).rejects.toThrow("cannot be read");
  const empty = join(scratch, "empty.txt");
  writeFileSync(empty, "");
  await expect(quantize(folder, "--out", out, "--calibrate", empty)).rejects.toThrow("--calibrate");
  await expect(quantize(folder, "--out", out, "--calibrate", join(scratch, "none"))).rejects.toThrow("--calibrate");
  expect(tf.memory().numTensors).toBe(before);
});
