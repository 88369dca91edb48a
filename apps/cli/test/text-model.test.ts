import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Rng, treeDispose } from "@genai/core";
import { serveHub } from "@genai/testing/hub-server";
import { createByteTokenizer } from "@genai/tokenizer";
import { createGpt2, createLora, saveLora, savePretrained } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { publishedBaseName } from "../src/text/hub-model.ts";
import { adapterFolderOf, modelFolderOf, openTextModel } from "../src/text/text-model.ts";

const scratch = mkdtempSync(join(tmpdir(), "genai-text-model-"));
const folder = join(scratch, "tiny-gpt2");
const config = { vocabSize: 257, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1 };

beforeAll(async () => {
  await tf.setBackend("cpu");
  const model = createGpt2(config, new Rng(0));
  await savePretrained(folder, { architecture: "gpt2", ...model });
  treeDispose(model.params);
  const tokenizer = createByteTokenizer({ specialTokens: ["<|end|>"] });
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer.toJson()));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ eos_token: "<|end|>" }));
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [3, 999] }));
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A folder that says it is a run. */
function runFolder(name: string, family = "gpt"): string {
  const dir = join(scratch, name);
  mkdirSync(dir);
  writeFileSync(join(dir, "config.json"), JSON.stringify({ format: "genai-run-1", family, settings: {} }));
  return dir;
}

test("a Hugging Face folder opens with its tokenizer and the ids that end a text", async () => {
  const before = tf.memory().numTensors;
  const model = await openTextModel(folder);
  expect(model).toMatchObject({ name: "tiny-gpt2", architecture: "gpt2", chatTemplate: false, stopIds: [3, 256] });
  expect(model.lm).toMatchObject({ vocabSize: 257, blockSize: 8 });
  expect(model.countParams).toBe(2056 + 64 + 872 + 16);
  model.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

test("an adapter is merged into the weights, given beside a model or as a run of its own", async () => {
  const before = tf.memory().numTensors;
  const base = await openTextModel(folder);
  const lora = createLora(base.params, { rank: 1, alpha: 2, targets: ["c_attn"], fanInFanOut: true }, new Rng(1));
  const moved = { ...lora, params: trainedFactors(lora.params) };
  const run = runFolder("adapted", "finetune");
  await saveLora(adapterFolderOf(run), moved, { prefix: "transformer.", baseModel: "../tiny-gpt2" });
  const weight = (params: unknown) => (params as typeof created).h[0]!.attn.c_attn.weight;
  const created = base.params as ReturnType<typeof createGpt2>["params"];
  const adapted = await openTextModel(run);
  const given = await openTextModel(folder, { adapter: adapterFolderOf(run) });
  expect(await weight(given.params).data()).toEqual(await weight(adapted.params).data());
  expect(await weight(given.params).data()).not.toEqual(await weight(base.params).data());
  for (const model of [base, adapted, given]) model.dispose();
  treeDispose([lora.params, moved.params]);
  expect(tf.memory().numTensors).toBe(before);
});

/** Factors with ones in place of the zeros of B. */
function trainedFactors(params: ReturnType<typeof createLora>["params"]) {
  return Object.fromEntries(
    Object.entries(params).map(([layer, { lora_A, lora_B }]) => [
      layer,
      { lora_A: { weight: lora_A.weight.clone() }, lora_B: { weight: tf.onesLike(lora_B.weight) } },
    ]),
  );
}

test("what is no language model is refused with a sentence", async () => {
  const before = tf.memory().numTensors;
  const file = join(folder, "tokenizer.json");
  const vae = runFolder("vae-run", "vae");
  const begun = runFolder("begun");
  mkdirSync(modelFolderOf(begun));
  await expect(openTextModel(join(scratch, "nothing"))).rejects.toThrow(
    /nothing does not exist; expected a run folder/,
  );
  await expect(openTextModel(file)).rejects.toThrow(/tokenizer.json is a file; expected a run folder/);
  await expect(openTextModel(scratch)).rejects.toThrow(/has no config.json/);
  await expect(openTextModel(vae)).rejects.toThrow(/vae-run is a run of vae, which writes no text/);
  await expect(openTextModel(begun)).rejects.toThrow(/begun holds no trained model yet; go on with: genai train gpt/);
  await expect(openTextModel(folder, { checkpoint: "latest" })).rejects.toThrow(/is no run folder; only runs have/);
  await expect(openTextModel(folder, { adapter: scratch })).rejects.toThrow(/adapter_config.json/);
  expect(tf.memory().numTensors).toBe(before);
});

test("a model of the hub opens by its name, and so does the one that an adapter belongs to", async () => {
  const files = Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
  const hub = await serveHub("org/tiny", files);
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_HUB_CACHE", join(scratch, "hub"));
  try {
    const before = tf.memory().numTensors;
    const model = await openTextModel("hf:org/tiny@main");
    expect(model).toMatchObject({ name: "tiny", architecture: "gpt2", stopIds: [3, 256] });
    const lora = createLora(model.params, { rank: 1, alpha: 2, targets: ["c_attn"], fanInFanOut: true }, new Rng(1));
    const run = runFolder("adapted-hub", "finetune");
    const baseModel = publishedBaseName("hf:org/tiny");
    expect([baseModel, publishedBaseName("hf:org/tiny@v1"), publishedBaseName("a/folder")]).toEqual([
      "org/tiny",
      "hf:org/tiny@v1",
      "a/folder",
    ]);
    await saveLora(adapterFolderOf(run), lora, { prefix: "transformer.", baseModel });
    const adapted = await openTextModel(run);
    expect(adapted.name).toBe("adapted-hub");
    model.dispose();
    adapted.dispose();
    treeDispose(lora.params);
    expect(tf.memory().numTensors).toBe(before);
    await expect(openTextModel("hf:org/other")).rejects.toThrow("there is no such model");
    await expect(openTextModel("hf:org/tiny", { checkpoint: "latest" })).rejects.toThrow("is no run folder");
  } finally {
    vi.unstubAllEnvs();
    await hub.close();
  }
});
