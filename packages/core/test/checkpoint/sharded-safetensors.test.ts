import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collectBytes } from "../../src/checkpoint/byte-source.ts";
import type { TensorData } from "../../src/checkpoint/safetensors.ts";
import { encodeShardedSafetensors, openShardedSafetensors } from "../../src/checkpoint/sharded-safetensors.ts";
import { FormatError } from "../../src/errors.ts";

const entries: [string, TensorData][] = [1, 2, 3, 4, 5].map((n) => [
  `layer.${n}`,
  { dtype: "F32", shape: [n], data: new Float32Array(n).fill(n) },
]);

async function shards(maxShardBytes?: number): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const out = new Map<string, Uint8Array<ArrayBuffer>>();
  const options = maxShardBytes === undefined ? {} : { maxShardBytes };
  for await (const { file, chunks } of encodeShardedSafetensors(entries, { format: "pt" }, options)) {
    out.set(file, await collectBytes(chunks));
  }
  return out;
}

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "genai-shards-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

test("splits by size, names files as Hugging Face does, and reads them as one", async () => {
  const files = await shards(24);
  expect([...files.keys()]).toEqual([
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
    "model.safetensors.index.json",
  ]);
  const index = JSON.parse(new TextDecoder().decode(files.get("model.safetensors.index.json")));
  expect(index.metadata).toEqual({ total_size: 60 });
  expect(index.weight_map["layer.5"]).toBe("model-00003-of-00003.safetensors");
  for (const [file, bytes] of files) writeFileSync(join(dir, file), bytes);
  const file = await openShardedSafetensors(join(dir, "model.safetensors.index.json"));
  expect(file.tensors.size).toBe(5);
  expect(file.metadata).toEqual({ format: "pt" });
  for (const [name, value] of entries) expect(await file.read(name)).toEqual(value);
  await expect(file.read("nothing")).rejects.toThrow("no tensor 'nothing'");
  await file.close();
});

test("what fits one file is one file without an index", async () => {
  expect([...(await shards()).keys()]).toEqual(["model.safetensors"]);
});

test("a tensor larger than a shard is an error that names it", async () => {
  await expect(shards(16)).rejects.toThrow("'layer.5' takes 20 bytes; maxShardBytes is 16");
});

test("a broken index or shard is a FormatError that says what is wrong", async () => {
  const files = await shards(24);
  const cases: [unknown, RegExp, typeof FormatError?][] = [
    ["{", /index is not valid JSON/],
    [[], /no weight_map/],
    [{ weight_map: [] }, /no weight_map/],
    [{ weight_map: { a: 1 } }, /places 'a' in 1; expected the plain name of a file/],
    [{ weight_map: { a: "../model.safetensors" } }, /expected the plain name/],
    [{ weight_map: { a: ".." } }, /expected the plain name/],
    [{ weight_map: { a: "c:\\x" } }, /expected the plain name/],
    [{ weight_map: { a: "" } }, /expected the plain name/],
    [
      { weight_map: { a: "model-00001-of-00003.safetensors" } },
      /places tensor 'a' in .*; that file has no such tensor/,
    ],
    [{ weight_map: { a: "broken" } }, /shard 'broken'.*header starts with/],
  ];
  const open = (file: string) => {
    const bytes = file === "broken" ? new Uint8Array(16) : files.get(file);
    if (bytes === undefined) throw new Error(`no file ${file}`);
    return bytes;
  };
  for (const [index, message] of cases) {
    const text = typeof index === "string" ? index : JSON.stringify(index);
    const error = await openShardedSafetensors(new TextEncoder().encode(text), open).catch((e) => e);
    expect(error, text).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(message);
  }
  const missing = new TextEncoder().encode('{"weight_map":{"a":"gone"}}');
  await expect(openShardedSafetensors(missing, open)).rejects.toThrow("no file gone");
  await expect(openShardedSafetensors(missing)).rejects.toThrow("expected openShard");
});
