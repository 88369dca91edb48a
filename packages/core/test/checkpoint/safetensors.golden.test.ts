import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { concatBytes } from "../../src/checkpoint/byte-source.ts";
import { encodeSafetensors, openSafetensors, type TensorData } from "../../src/checkpoint/safetensors.ts";

const packaged = fileURLToPath(new URL("../../../testing/golden", import.meta.url));
const golden = resolve(process.env.GENAI_GOLDEN_DIR || packaged);
const files = readdirSync(golden).filter((file) => file.endsWith(".safetensors"));

test.each(files)("%s opens, and what is written again holds the same", async (name) => {
  const file = await openSafetensors(join(golden, name));
  const entries: [string, TensorData][] = [];
  for (const tensor of file.tensors.keys()) entries.push([tensor, await file.read(tensor)]);
  await file.close();
  expect(entries.length).toBeGreaterThan(10);
  const again = await openSafetensors(concatBytes(await encodeSafetensors(entries, file.metadata)));
  expect(again.metadata).toEqual(file.metadata);
  for (const [tensor, value] of entries) expect(await again.read(tensor)).toEqual(value);
});

test("gpt2_tiny.model.safetensors has the tensors of its config", async () => {
  const { default: config } = await import(join(golden, "gpt2_tiny.config.json"), { with: { type: "json" } });
  const file = await openSafetensors(join(golden, "gpt2_tiny.model.safetensors"));
  expect(file.tensors.get("wte.weight")?.shape).toEqual([config.vocab_size, config.n_embd]);
  const { data } = await file.read("h.0.ln_1.weight");
  expect(data).toBeInstanceOf(Float32Array);
  expect(data.length).toBe(config.n_embd);
  await file.close();
});
