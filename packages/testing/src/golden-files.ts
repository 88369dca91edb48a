import { openSafetensors } from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// Reads the reference vectors; ../golden/README.md describes the format.

/** `|got - want| <= atol + rtol |want|` for every element. */
export interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
}

/** A tensor as the files hold it: flat, row-major; null is minus infinity. */
export interface GoldenTensor {
  readonly shape: number[];
  readonly dtype: "float32" | "int32" | "bool";
  readonly data: (number | null)[];
}

export type GoldenValue = GoldenTensor | number;

export interface GoldenCase {
  readonly name: string;
  // Numbers, strings and booleans; which ones there are depends on the case.
  readonly params?: Record<string, unknown>;
  readonly note?: string;
  readonly tolerance?: Tolerance;
  readonly inputs: Record<string, GoldenValue>;
  readonly outputs: Record<string, GoldenValue>;
  readonly grads?: Record<string, GoldenTensor>;
}

export interface GoldenFile {
  readonly name: string;
  readonly what: string;
  readonly tolerance: Tolerance;
  readonly conventions: string;
  readonly cases: GoldenCase[];
}

/** A whole model: its configuration, its weights, and what it should compute. */
export interface GoldenModel {
  // The fields of a Hugging Face config.json.
  readonly config: Record<string, unknown>;
  readonly weights: Record<string, tf.Tensor>;
  readonly inputs: Record<string, tf.Tensor>;
  readonly outputs: Record<string, tf.Tensor>;
  readonly grads: Record<string, tf.Tensor>;
  readonly tolerance: Tolerance;
}

/** The folder of the reference vectors: GENAI_GOLDEN_DIR, or this package's own. */
async function goldenFolder(): Promise<string> {
  const { fileURLToPath } = await import("node:url");
  const { resolve } = await import("node:path");
  return resolve(process.env.GENAI_GOLDEN_DIR || fileURLToPath(new URL("../golden", import.meta.url)));
}

async function readGolden(name: string): Promise<Uint8Array> {
  const { readFile } = await import("node:fs/promises");
  const { join } = await import("node:path");
  return new Uint8Array(await readFile(join(await goldenFolder(), name)));
}

/** Reads `NAME.json`. */
export async function loadGolden(name: string): Promise<GoldenFile> {
  const file = JSON.parse(new TextDecoder().decode(await readGolden(`${name}.json`)));
  if (file.format !== "golden-1")
    throw new Error(`loadGolden: ${name}.json has format ${file.format}; expected golden-1`);
  return file as GoldenFile;
}

/** Reads `NAME.config.json`, `NAME.model.safetensors` and `NAME.golden.safetensors`. */
export async function loadGoldenModel(name: string): Promise<GoldenModel> {
  const config = JSON.parse(new TextDecoder().decode(await readGolden(`${name}.config.json`)));
  const groups = {
    input: {} as Record<string, tf.Tensor>,
    output: {} as Record<string, tf.Tensor>,
    grad: {} as Record<string, tf.Tensor>,
  };
  const golden = await openSafetensors(await readGolden(`${name}.golden.safetensors`));
  for (const key of golden.tensors.keys()) {
    const dot = key.indexOf(".");
    const group = groups[key.slice(0, dot) as keyof typeof groups];
    if (!group) throw new Error(`loadGoldenModel: ${name} holds '${key}'; expected input.*, output.* and grad.*`);
    group[key.slice(dot + 1)] = await golden.tensor(key);
  }
  const weights: Record<string, tf.Tensor> = {};
  const model = await openSafetensors(await readGolden(`${name}.model.safetensors`));
  for (const key of model.tensors.keys()) weights[key] = await model.tensor(key);
  return {
    config,
    weights,
    inputs: groups.input,
    outputs: groups.output,
    grads: groups.grad,
    tolerance: JSON.parse(golden.metadata.tolerance ?? "{}") as Tolerance,
  };
}

export function isGoldenTensor(value: unknown): value is GoldenTensor {
  return typeof value === "object" && value !== null && "shape" in value && "data" in value;
}

/** The numbers of a golden value. */
export function goldenNumbers(value: GoldenValue): number[] {
  return typeof value === "number" ? [value] : value.data.map((x) => x ?? Number.NEGATIVE_INFINITY);
}

/** A golden value as a tensor of its shape; scalars are float32. Booleans become int32 0 and 1. */
export function goldenTensor(value: GoldenValue): tf.Tensor {
  if (typeof value === "number") return tf.scalar(value);
  return tf.tensor(goldenNumbers(value), value.shape, value.dtype === "float32" ? "float32" : "int32");
}
