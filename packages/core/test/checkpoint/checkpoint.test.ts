import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { concatBytes } from "../../src/checkpoint/byte-source.ts";
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  encodeModel,
  loadModel,
  saveModel,
  streamCheckpoint,
} from "../../src/checkpoint/checkpoint.ts";
import { encodeSafetensors, openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { FormatError } from "../../src/errors.ts";
import { Rng } from "../../src/rng.ts";
import { treeDispose, treeEntries, treeMap } from "../../src/tree.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

let before: number;
let dir: string;
beforeEach(() => {
  before = tf.memory().numTensors;
  dir = mkdtempSync(join(tmpdir(), "genai-checkpoint-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
  expect(tf.memory().numTensors, "tensors leaked").toBe(before);
});

const special = () =>
  tf.tensor1d(
    new Float32Array(new Uint32Array([0x7fc00001, 0xffc12345, 0x7f800001, 0x80000000, 1, 0xff800000]).buffer),
  );

/** A checkpoint's bytes, which are the same all at once and one tensor after another. */
async function encode(checkpoint: Checkpoint) {
  const bytes = concatBytes(await encodeCheckpoint(checkpoint));
  const stream = streamCheckpoint(checkpoint);
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  expect(Buffer.compare(concatBytes(pieces), bytes)).toBe(0);
  expect(stream.bytes).toBe(bytes.byteLength);
  return bytes;
}

describe("a checkpoint", () => {
  test("gives back every bit and every value, plain ones too", async () => {
    const state = {
      config: { name: "a", layers: [1, 2, { deep: null }], on: true, $ref: "x", $$: 1, gone: undefined },
      odd: [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0.1, 1e300],
      empty: { record: {}, list: [] },
      params: { special: special(), "h.0": { w: tf.ones([2, 3]) }, list: [tf.scalar(1), tf.tensor1d([], "float32")] },
      ids: tf.tensor1d([-(2 ** 31), 5], "int32"),
      mask: tf.tensor2d([[true, false]], [1, 2], "bool"),
    };
    const rng = new Rng(7);
    rng.normal([3]).dispose();
    const data = { epoch: 3, order: [2, 0, 1], rng: rng.state() };
    const bytes = await encode({
      step: 12,
      state,
      rng: rng.state(),
      data,
      metrics: { loss: 0.1 },
      meta: { by: ["me"] },
    });
    const loaded = await decodeCheckpoint(bytes);
    expect(loaded.step).toBe(12);
    expect([loaded.rng, loaded.data, loaded.metrics, loaded.meta]).toEqual([
      rng.state(),
      data,
      { loss: 0.1 },
      { by: ["me"] },
    ]);
    const plain = (tree: unknown) =>
      treeMap(tree, (t) => [t.dtype, t.shape, Buffer.from(t.dataSync().buffer as ArrayBuffer).toString("hex")]);
    const { gone, ...config } = state.config;
    expect(gone).toBeUndefined();
    expect(plain(loaded.state)).toEqual(plain({ ...state, config }));
    treeDispose([state, loaded.state]);
  });

  test("is a safetensors file with the tensors at their paths", async () => {
    const state = { params: { layers: [{ w: tf.ones([2]) }] } };
    const file = await openSafetensors(await encode({ step: 1, state }));
    expect([...file.tensors.keys()]).toEqual(["params.layers.0.w"]);
    expect(JSON.parse(file.metadata.genai!)).toEqual({
      format: "genai-checkpoint",
      version: 1,
      step: 1,
      tree: { params: { layers: [{ w: { $tensor: 0 } }] } },
    });
    treeDispose(state);
  });

  test("refuses what it could not give back", async () => {
    const t = tf.scalar(1);
    const cases: [Checkpoint, RegExp][] = [
      [{ step: 1.5, state: t }, /step \(1.5\) must be a whole number/],
      [{ step: 1, state: { "a.b": t, a: { b: t } } }, /state: two tensors have the path 'a.b'/],
      [{ step: 1, state: { f: { g: () => 1 } } }, /state: 'f.g' is function; expected a tensor or plain JSON/],
      [{ step: 1, state: { d: new Date(0) } }, /'d' is a Date/],
      [{ step: 1, state: { a: new Float32Array(1) } }, /'a' is a Float32Array/],
      [{ step: 1, state: { n: 1n } }, /'n' is bigint/],
      [{ step: 1, state: [undefined] }, /'0' is undefined/],
      [{ step: 1, state: {}, meta: { t } }, /holds a tensor at 'meta.t'; expected plain JSON/],
    ];
    for (const [checkpoint, message] of cases) await expect(encode(checkpoint)).rejects.toThrow(message);
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    await expect(encode({ step: 1, state: loop })).rejects.toThrow(/nested more than 500 deep/);
    t.dispose();
  });

  test("refuses damaged or foreign files with a FormatError, and leaks nothing", async () => {
    const w = tf.ones([2]);
    const file = async (genai: unknown) => {
      const text = typeof genai === "string" ? genai : JSON.stringify(genai);
      return concatBytes(await encodeSafetensors([["w", w]], genai === undefined ? {} : { genai: text }));
    };
    const good = { format: "genai-checkpoint", version: 1, step: 3, tree: { w: { $tensor: 0 } } };
    const cases: [unknown, RegExp][] = [
      [undefined, /no "genai" in __metadata__; it was not written by us/],
      ["{", /is not valid JSON/],
      ["[]", /is no record/],
      [{ ...good, format: "genai-model" }, /holds "genai-model"; expected "genai-checkpoint"/],
      [{ ...good, version: 2 }, /version is 2; expected 1/],
      [{ ...good, tree: undefined }, /has no tree/],
      [{ ...good, tree: { v: { $tensor: 0 } } }, /has no tensor 'v', which its tree names/],
      [{ ...good, tree: {} }, /tree names 0 tensors; expected each of the 1 in the file once/],
      [{ ...good, tree: { w: { $number: "one" } } }, /'w' is .*; expected \$tensor or \$number/],
      [{ ...good, tree: { w: { $tensor: 0, x: 1 } } }, /expected \$tensor or \$number/],
      [{ ...good, step: "3" }, /step is "3"; expected a whole number/],
      [{ ...good, rng: { algorithm: "mt" } }, /is no saved state of a philox/],
      [{ ...good, meta: { $tensor: 0 } }, /meta: '' is a tensor; expected plain JSON/],
      [
        `{"format":"genai-checkpoint","version":1,"tree":${"[".repeat(4000)}${"]".repeat(4000)}}`,
        /nested more than 500/,
      ],
    ];
    for (const [genai, message] of cases) {
      const error = await decodeCheckpoint(await file(genai)).catch((e) => e);
      expect(error, JSON.stringify(genai)).toBeInstanceOf(FormatError);
      expect(error.message).toMatch(message);
    }
    w.dispose();
  });
});

describe("a model file", () => {
  const makeModel = () => ({
    config: { nEmbd: 4, act: "gelu" },
    params: { wte: { weight: tf.ones([3, 4]) }, h: [{ bias: tf.tensor1d([0.1, -0.2]) }] },
  });

  test("has PyTorch's names, the config in its header, and comes back the same", async () => {
    const model = makeModel();
    const path = join(dir, "model.safetensors");
    await saveModel(path, model);
    const file = await openSafetensors(path);
    expect(new Set(file.tensors.keys())).toEqual(new Set(["wte.weight", "h.0.bias"]));
    expect(file.metadata.format).toBe("pt");
    await file.close();
    const loaded = await loadModel<typeof model>(path);
    expect(loaded.config).toEqual(model.config);
    for (const [path, tensor] of treeEntries(loaded.params)) {
      expect([...(await tensor.data())]).toEqual([
        ...(await treeEntries(model.params)
          .find(([p]) => p === path)![1]
          .data()),
      ]);
    }
    expect(Array.isArray(loaded.params.h)).toBe(true);
    treeDispose([model, loaded]);
  });

  test("can be stored in half the bytes", async () => {
    const model = makeModel();
    const full = concatBytes(await encodeModel(model));
    const half = concatBytes(await encodeModel(model, { dtype: "BF16" }));
    expect(half.length).toBeLessThan(full.length);
    expect((await openSafetensors(half)).tensors.get("wte.weight")!.dtype).toBe("BF16");
    const loaded = await loadModel<typeof model>(half);
    expect(loaded.params.h[0]!.bias.dataSync()[0]).toBeCloseTo(0.1, 2);
    treeDispose([model, loaded]);
  });

  test("replaces a file whole or not at all, and says why it cannot", async () => {
    const model = makeModel();
    const path = join(dir, "model.safetensors");
    await saveModel(path, model);
    const old = readFileSync(path);
    await expect(saveModel(path, { config: {}, params: { f: () => 1 } })).rejects.toThrow("encodeModel: params: 'f'");
    expect(readFileSync(path).equals(old)).toBe(true);
    await expect(saveModel(join(dir, "none", "m"), model)).rejects.toThrow(/saveModel: cannot write .*ENOENT/);
    expect(readdirSync(dir)).toEqual(["model.safetensors"]);
    treeDispose(model);
  });

  test("a file of another program is told apart", async () => {
    const w = tf.ones([2]);
    const path = join(dir, "foreign.safetensors");
    writeFileSync(path, concatBytes(await encodeSafetensors([["w", w]], { format: "pt" })));
    await expect(loadModel(path)).rejects.toThrow(/foreign.safetensors: has no "genai".*use openSafetensors/);
    w.dispose();
  });
});
