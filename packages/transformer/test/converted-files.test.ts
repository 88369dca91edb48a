import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  encodeSafetensors,
  fromRoundedMatrix,
  openSafetensors,
  plainWeights,
  Rng,
  type TensorData,
  type Tree,
  treeDispose,
  treeEntries,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ConvertedModel,
  convertLm,
  createGpt2,
  createLlama,
  loadConverted,
  loadPretrained,
  type PretrainedModel,
  pretrainedLm,
  type SavePretrainedOptions,
  saveConverted,
  savePretrained,
} from "../src/index.ts";
import { toZeroPoints } from "../src/pretrained/affine-groups.ts";

const folder = mkdtempSync(join(tmpdir(), "genai-converted-"));
beforeAll(() => tf.setBackend("cpu"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const sizes = { vocabSize: 40, blockSize: 16, nEmbd: 32, nHead: 2, nLayer: 2 };
const models: Record<string, () => PretrainedModel> = {
  "GPT-2": () => ({ architecture: "gpt2", ...createGpt2({ ...sizes, activation: "gelu" }, new Rng(0)) }),
  "GPT-2 without biases and with a head": () => ({
    architecture: "gpt2",
    ...createGpt2({ ...sizes, bias: false, tieWordEmbeddings: false }, new Rng(1)),
  }),
  Llama: () => ({ architecture: "llama", ...createLlama({ ...sizes, nKvHead: 1, nInner: 48 }, new Rng(2)) }),
  "Llama with groups of 64 and 128": () => ({
    architecture: "llama",
    ...createLlama({ ...sizes, nEmbd: 64, nInner: 128 }, new Rng(3)),
  }),
};

const ids = () => tf.tensor2d([[3, 1, 4, 1, 5, 9, 2, 6]], undefined, "int32");

async function logitsOf({ lm, params }: { lm: ReturnType<typeof pretrainedLm>; params: Tree }): Promise<number[]> {
  const logits = tf.tidy(() => lm.logits(params, ids()));
  const values = [...(await logits.data())];
  logits.dispose();
  return values;
}

/** What is in a model's folder. */
async function contentsOf(at: string) {
  const file = await openSafetensors(join(at, "model.safetensors"));
  const tensors = new Map<string, TensorData>();
  for (const name of file.tensors.keys()) tensors.set(name, await file.read(name));
  await file.close();
  return { tensors, config: JSON.parse(readFileSync(join(at, "config.json"), "utf8")) as Record<string, unknown> };
}

const filesWith = async (
  config: unknown,
  tensors: ReadonlyMap<string, tf.Tensor | TensorData>,
  options: SavePretrainedOptions = {},
) => ({
  "config.json": new TextEncoder().encode(JSON.stringify(config)),
  "model.safetensors": Uint8Array.from(Buffer.concat(await encodeSafetensors(tensors, {}, options))),
});

/** A model in 4 bits, its first block in 8 and a matrix in panels. */
async function rounded(make: () => PretrainedModel) {
  const model = make();
  const converted = await convertLm(pretrainedLm(model), model.params as Tree, {
    format: "int4",
    formatOf: (path, format) => (/\b0\b.*mlp/.test(path) ? "int8" : /\b1\b.*mlp/.test(path) ? "panels" : format),
    consume: true,
  });
  const { architecture, config, published } = model;
  return { ...converted, architecture, config, ...(published && { published }) } satisfies ConvertedModel & object;
}

/** Files of a small model in 4 bits, with changes. */
async function filesOf(
  change: {
    readonly config?: (config: Record<string, unknown>) => unknown;
    readonly tensors?: (tensors: Map<string, TensorData>) => void;
  } = {},
) {
  const at = join(folder, "plain");
  const model = await rounded(models["GPT-2"]!);
  await saveConverted(at, model);
  treeDispose(model.params);
  const { config, tensors } = await contentsOf(at);
  change.tensors?.(tensors);
  return filesWith(change.config?.(config) ?? config, tensors);
}

describe("a model with rounded weights", () => {
  it.each(Object.entries(models))("of %s is read as it was written, and never in float32", async (name, make) => {
    const before = tf.memory().numTensors;
    const model = await rounded(make);
    const want = await logitsOf(model);
    await saveConverted(join(folder, name), model);
    treeDispose(model.params);
    expect(tf.memory().numTensors).toBe(before);
    const read = await loadConverted(join(folder, name));
    expect(await logitsOf(read)).toEqual(want);
    expect([read.bits, read.architecture]).toEqual([4, model.architecture]);
    // A matrix that is rounded has no tensor of its shape.
    const { config, ...rest } = read;
    expect(config).toMatchObject({ vocabSize: 40, nLayer: 2 });
    await saveConverted(join(folder, "again"), { config, ...rest });
    expect(readFileSync(join(folder, "again", "model.safetensors"))).toEqual(
      readFileSync(join(folder, name, "model.safetensors")),
    );
    treeDispose(read.params);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("has the layout of MLX: codes in words, and scale code + bias", async () => {
    const make = models.Llama!;
    const model = await rounded(make);
    await saveConverted(join(folder, "mlx"), model);
    treeDispose(model.params);
    const { quantization } = JSON.parse(readFileSync(join(folder, "mlx", "config.json"), "utf8"));
    expect(quantization).toEqual({
      group_size: 32,
      bits: 4,
      ...Object.fromEntries(
        ["gate_proj", "up_proj"].map((layer) => [`model.layers.0.mlp.${layer}`, { group_size: 32, bits: 8 }]),
      ),
    });
    const file = await openSafetensors(join(folder, "mlx", "model.safetensors"));
    const plain = make();
    const original = (
      plain.params as never as { model: { layers: { self_attn: { q_proj: { weight: tf.Tensor2D } } }[] } }
    ).model.layers[1]!.self_attn.q_proj.weight;
    const layer = "model.layers.1.self_attn.q_proj";
    const [codes, scales, biases] = await Promise.all(
      ["weight", "scales", "biases"].map(async (part) => (await file.read(`${layer}.${part}`)).data as Uint32Array),
    );
    await file.close();
    expect(codes!.length).toBe(32 * 4);
    const values = original.dataSync();
    for (let i = 0; i < values.length; i++) {
      const [row, k] = [Math.floor(i / 32), i % 32];
      const code = (codes![row * 4 + Math.floor(k / 8)]! >>> (4 * (k % 8))) & 15;
      expect(Math.abs(scales![row]! * code + biases![row]! - values[i]!)).toBeLessThanOrEqual(
        Math.abs(scales![row]!) + 1e-7,
      );
    }
    treeDispose(plain.params as Tree);
  });

  it("names the size of groups, most layers' for all", async () => {
    const model = await rounded(models["Llama with groups of 64 and 128"]!);
    await saveConverted(join(folder, "groups"), model);
    treeDispose(model.params);
    const { quantization } = JSON.parse(readFileSync(join(folder, "groups", "config.json"), "utf8"));
    const layer = (name: string) => `model.layers.0.mlp.${name}`;
    expect(quantization).toEqual({
      group_size: 64,
      bits: 4,
      [layer("gate_proj")]: { group_size: 64, bits: 8 },
      [layer("up_proj")]: { group_size: 64, bits: 8 },
      [layer("down_proj")]: { group_size: 128, bits: 8 },
    });
  });

  it("takes less in F16, and is nearly the same", async () => {
    const model = await rounded(models.Llama!);
    const want = await logitsOf(model);
    await saveConverted(join(folder, "half"), model, { dtype: "F16" });
    treeDispose(model.params);
    const read = await loadConverted(join(folder, "half"));
    for (const [i, value] of (await logitsOf(read)).entries()) expect(value).toBeCloseTo(want[i]!, 2);
    treeDispose(read.params);
  });

  it("is refused where nothing is rounded, or the other function reads it", async () => {
    const model = models["GPT-2"]!();
    await expect(saveConverted(join(folder, "none"), model as ConvertedModel)).rejects.toThrow(
      "saveConverted: no matrix is in 8 or 4 bits",
    );
    treeDispose(model.params as Tree);
    await expect(loadPretrained(await filesOf())).rejects.toThrow("has a quantization; expected weights in F32");
    await expect(loadConverted(await filesOf({ config: ({ quantization: _, ...rest }) => rest }))).rejects.toThrow(
      "quantization is missing; expected a record with group_size and bits",
    );
  });
});

/**
 * Groups of weights as MLX rounds them (`quantize` in mlx/backend/cpu/quantized.cpp), and the weights that they stand for in the type
 * that scales and biases are written in.
 */
function mlxGroups(values: Float32Array, groupSize: number, bits: 4 | 8, dtype: "F32" | "F16" | "BF16") {
  const typed = (x: number) => {
    if (dtype === "F32") return Math.fround(x);
    const digits = dtype === "F16" ? 11 : 8;
    const step = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x) || 1)), dtype === "F16" ? -14 : -126) - digits + 1);
    return Math.round(x / step) * step;
  };
  const largest = 2 ** bits - 1;
  const codes = new Uint32Array((values.length * bits) / 32);
  const [scales, biases] = [[] as number[], [] as number[]];
  const weights = new Float32Array(values.length);
  for (let at = 0; at < values.length; at += groupSize) {
    const group = values.subarray(at, at + groupSize);
    const [low, high] = [Math.min(...group), Math.max(...group)];
    const isLow = Math.abs(low) > Math.abs(high);
    const edge = isLow ? low : high;
    let scale = Math.max((high - low) / largest, 1e-7) * (isLow ? 1 : -1);
    const multiple = Math.round(edge / scale);
    if (multiple !== 0) scale = edge / multiple;
    const bias = multiple === 0 ? 0 : edge;
    scales.push(typed(scale));
    biases.push(typed(bias));
    for (const [i, w] of group.entries()) {
      const code = Math.max(0, Math.min(largest, Math.round((w - bias) / scale)));
      codes[Math.floor(((at + i) * bits) / 32)]! |= code << (((at + i) * bits) % 32);
      weights[at + i] = typed(scale) * code + typed(bias);
    }
  }
  return { codes, scales: Float32Array.from(scales), biases: Float32Array.from(biases), weights };
}

describe("a model that MLX has rounded", () => {
  // The last number: by how many steps of a group a weight may be off, which is what the type does to its bias.
  it.each([
    [4, "F32", 1e-5],
    [4, "F16", 0.02],
    [4, "BF16", 0.13],
    [8, "F32", 1e-4],
    [8, "F16", 0.3],
    [8, "BF16", 0.5],
  ] as const)("in %i bits and %s has its weights, and is written as one", async (bits, dtype, atMost) => {
    const { config, params } = createLlama({ ...sizes, nKvHead: 1, nInner: 64 }, new Rng(7));
    await savePretrained(join(folder, "original"), { architecture: "llama", config, params });
    treeDispose(params as Tree);
    const original = await contentsOf(join(folder, "original"));
    const left = "model.layers.0.mlp.up_proj";
    const [tensors, wanted] = [new Map<string, tf.Tensor | TensorData>(), new Map<string, Float32Array>()];
    for (const [name, tensor] of original.tensors) {
      const values = tensor.data as Float32Array;
      if (name === "model.embed_tokens.weight") values.fill(0, 64, 96).fill(0.25, 96, 128);
      const layer = name.slice(0, -".weight".length);
      const [outputs, inputs] = tensor.shape as [number, number];
      if (tensor.shape.length !== 2 || layer === left) {
        tensors.set(name, tensor);
        continue;
      }
      const { codes, weights, ...groups } = mlxGroups(values, 32, bits, dtype);
      tensors.set(name, { dtype: "U32", shape: [outputs, (inputs * bits) / 32], data: codes });
      for (const part of ["scales", "biases"] as const) {
        tensors.set(`${layer}.${part}`, tf.tensor(groups[part], [outputs, inputs / 32]));
      }
      wanted.set(name, weights);
    }
    const quantization = { group_size: 32, bits, [left]: false };
    const files = await filesWith({ ...original.config, quantization, quantization_config: quantization }, tensors, {
      dtype,
    });
    const before = tf.memory().numTensors;
    const read = await loadConverted(files);
    expect([read.bits, "quantization_config" in read.published!]).toEqual([bits, false]);
    const plain = new Map(treeEntries(tf.tidy(() => plainWeights<Tree>(read.params) as tf.TensorContainer) as Tree));
    for (const [name, want] of wanted) {
      const got = await plain.get(name)!.data();
      const scales = await (tensors.get(name.replace(/weight$/, "scales")) as tf.Tensor).data();
      const off = want.map((w, i) => Math.abs(got[i]! - w) / Math.max(Math.abs(scales[Math.floor(i / 32)]!), 1e-5));
      expect(Math.max(...off)).toBeLessThanOrEqual(atMost);
    }
    await saveConverted(join(folder, "mlx-again"), read);
    const again = await loadConverted(join(folder, "mlx-again"));
    expect(await logitsOf(again)).toEqual(await logitsOf(read));
    treeDispose([read.params, again.params, ...plain.values()]);
    expect(tf.memory().numTensors).toBe(before);
    for (const tensor of tensors.values()) if (tensor instanceof tf.Tensor) tensor.dispose();
  });
});

describe("toZeroPoints", () => {
  it.each([4, 8] as const)("rounds groups again that have no zero among their codes, in %i bits", (bits) => {
    const largest = 2 ** bits - 1;
    // Weights from 1 to 2, from -1 to -2, and as many on either side of zero.
    const rows = [1, -1].map((sign) => Float32Array.from({ length: 32 }, (_, i) => sign * (1 + i / 31)));
    const values = Float32Array.from([...rows[0]!, ...rows[1]!, ...rows[0]!.map((w, i) => (i % 2 ? w : -w))]);
    const { weights, ...groups } = mlxGroups(values, 32, bits, "F32");
    const given = { ...groups, bits, groupSize: 32, dtype: "F32" } as const;
    const before = [given.codes.slice(), given.scales.slice()];
    const { codes, scales, zeroPoints } = toZeroPoints("here", given);
    expect([given.codes, given.scales]).toEqual(before);
    expect([...zeroPoints!.subarray(0, 2)].sort((a, b) => a - b)).toEqual([largest, largest].map((n) => n));
    const tree = {
      w: fromRoundedMatrix({
        bits,
        groupSize: 32,
        layout: "out-in",
        codes,
        scales,
        zeroPoints: zeroPoints!,
        size: [3, 32],
      }),
    };
    const got = tf.tidy(() => plainWeights<{ w: tf.Tensor2D }>(tree).w.dataSync().slice());
    // Half a step of the wider codes, which reach from zero to 2.
    for (const [i, w] of weights.entries())
      expect(Math.abs(got[i]! - w)).toBeLessThanOrEqual(i < 64 ? 1.01 / largest : 1e-6);
    treeDispose(tree);
  });
});

describe("files with rounded weights that do not fit", () => {
  const q = (fields: object) => (config: Record<string, unknown>) => ({
    ...config,
    quantization: { ...(config.quantization as object), ...fields },
  });
  it.each<[string, string, Parameters<typeof filesOf>[0]]>([
    ["bits", "quantization.bits is 3; expected 4 or 8", { config: q({ bits: 3 }) }],
    ["a group size", "quantization.group_size is 16; expected one of 32, 64, 128", { config: q({ group_size: 16 }) }],
    [
      "another group size than codes",
      "h.1.attn.c_attn has codes [96,4] with scales [96,1], expected [96,8] for 4 bits and groups of 64",
      { config: q({ group_size: 64 }) },
    ],
    ["a mode", 'quantization.mode is "mxfp4"; expected "affine"', { config: q({ mode: "mxfp4" }) }],
    ["a layer's bits", 'quantization["x"].bits is 16', { config: q({ x: { group_size: 32, bits: 16 } }) }],
    [
      "a layer",
      'quantization["x"] is 4; expected a record with group_size and bits, or false',
      { config: q({ x: 4 }) },
    ],
    [
      "what other libraries call a quantization",
      "has a quantization_config",
      { config: (config) => ({ ...config, quantization_config: { quant_method: "gptq" } }) },
    ],
    [
      "a layer that is not there",
      "x has bits in config.json, and no scales",
      { config: q({ x: { group_size: 32, bits: 8 } }) },
    ],
    [
      "other bits than codes",
      "h.1.attn.c_attn has codes [96,4] with scales [96,1], expected [96,8]",
      { config: q({ bits: 8 }) },
    ],
    ["a section", "quantization is 4; expected a record", { config: (config) => ({ ...config, quantization: 4 }) }],
    [
      "parts that are missing, all listed",
      "h.0.attn.c_attn has scales, but no biases\n  h.1.attn.c_attn has scales, but no weight",
      {
        tensors: (tensors) => {
          tensors.delete("h.0.attn.c_attn.biases");
          tensors.delete("h.1.attn.c_attn.weight");
        },
      },
    ],
    [
      "scales that are missing",
      "of another type (1): h.0.attn.c_attn.weight U32",
      { tensors: (tensors) => void tensors.delete("h.0.attn.c_attn.scales") },
    ],
    [
      "codes of another type",
      "wte has codes of type I32, expected U32",
      {
        tensors: (tensors) => {
          const { shape, data } = tensors.get("wte.weight")!;
          tensors.set("wte.weight", { dtype: "I32", shape, data: new Int32Array((data as Uint32Array).buffer) });
        },
      },
    ],
    [
      "another model's sizes",
      "of another shape (1): wte.weight [39,32], expected [40,32]",
      {
        tensors: (tensors) => {
          tensors.set("wte.weight", { dtype: "U32", shape: [39, 4], data: new Uint32Array(39 * 4) });
          for (const part of ["scales", "biases"]) {
            tensors.set(`wte.${part}`, { dtype: "F32", shape: [39, 1], data: new Float32Array(39) });
          }
        },
      },
    ],
    [
      "biases between the codes",
      "wte has the scale 0.5 and the bias 1.0499999523162842 at 0; expected numbers, and a bias that is a whole multiple",
      {
        tensors: (tensors) => {
          tensors.set("wte.scales", { dtype: "F32", shape: [40, 1], data: new Float32Array(40).fill(0.5) });
          tensors.set("wte.biases", { dtype: "F32", shape: [40, 1], data: new Float32Array(40).fill(1.05) });
        },
      },
    ],
    [
      "biases where there is no scale",
      "wte has the scale 0 and the bias 1 at 0",
      {
        tensors: (tensors) => {
          tensors.set("wte.scales", { dtype: "F32", shape: [40, 1], data: new Float32Array(40) });
          tensors.set("wte.biases", { dtype: "F32", shape: [40, 1], data: new Float32Array(40).fill(1) });
        },
      },
    ],
    [
      "scales that are no numbers",
      "wte has the scale NaN",
      {
        tensors: (tensors) =>
          void tensors.set("wte.scales", { dtype: "F32", shape: [40, 1], data: new Float32Array(40).fill(Number.NaN) }),
      },
    ],
    [
      "tables that nothing is multiplied with",
      "wpe is no matrix of the model",
      {
        tensors: (tensors) => {
          tensors.set("wpe.weight", { dtype: "U32", shape: [16, 4], data: new Uint32Array(64) });
          for (const part of ["scales", "biases"]) {
            tensors.set(`wpe.${part}`, { dtype: "F32", shape: [16, 1], data: new Float32Array(16) });
          }
        },
      },
    ],
  ])("are refused for %s, and leave nothing behind", async (_, message, change) => {
    const files = await filesOf(change);
    const before = tf.memory().numTensors;
    await expect(loadConverted(files)).rejects.toThrow(message);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("are refused or read wherever they end and whatever bytes are changed, and leave nothing behind", async () => {
    const files = await filesOf();
    const before = tf.memory().numTensors;
    const rng = new Rng(5);
    const whole = files["model.safetensors"];
    let refused = 0;
    for (let round = 0; round < 60; round++) {
      const bytes = whole.slice();
      const [at, value] = rng.draw({ kind: "integers", size: 2, low: 0, high: 2 ** 24 });
      const end = round % 2 === 0 ? at! % bytes.length : bytes.length;
      // The header, which says what is where, is what can mislead.
      if (round % 2 === 1) bytes[at! % Math.min(bytes.length, 3000)] = value! % 256;
      try {
        const { params } = await loadConverted({ ...files, "model.safetensors": bytes.slice(0, end) });
        treeDispose(params);
      } catch (error) {
        refused += 1;
        expect((error as Error).message).toMatch(/^(loadConverted|openSafetensors|bytes|read)\b/);
      }
      expect(tf.memory().numTensors).toBe(before);
    }
    expect(refused).toBeGreaterThan(30);
  });
});
