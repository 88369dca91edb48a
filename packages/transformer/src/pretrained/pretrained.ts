import {
  chunksOf,
  countParams,
  encodeShardedSafetensors,
  FormatError,
  type SafetensorsFile,
  type Shard,
  type TensorData,
  type Tree,
  throwIfAborted,
  treeDispose,
  treeEntries,
  treeMap,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { Bert } from "../bert.ts";
import type { CausalLm } from "../causal-lm.ts";
import { type Gpt2, gpt2Lm } from "../gpt2.ts";
import { type Llama, llamaLm } from "../llama.ts";
import type { T5 } from "../t5.ts";
import { type Architecture, paramShapes } from "./architecture.ts";
import type { PublishedConfig } from "./config-fields.ts";
import { type ModelSource, type OpenModelOptions, openModelFolder, writeModelFolder } from "./model-folder.ts";
import { publishedBert } from "./published-bert.ts";
import { publishedGpt2 } from "./published-gpt2.ts";
import { publishedLlama } from "./published-llama.ts";
import { publishedT5 } from "./published-t5.ts";

// Models in the folders of Hugging Face: config.json, and model.safetensors or its shards with their index.

export const ARCHITECTURES = { gpt2: publishedGpt2, llama: publishedLlama, bert: publishedBert, t5: publishedT5 };

type Models = { gpt2: Gpt2; llama: Llama; bert: Bert; t5: T5 };
export type ArchitectureName = keyof Models;

/** A model with the name of its architecture, which tells which functions take it. */
export type PretrainedModel = {
  [K in ArchitectureName]: Models[K] & {
    readonly architecture: K;
    /** The fields of its config.json, if it was loaded; saving keeps those that this package does not know. */
    readonly published?: PublishedConfig;
  };
}[ArchitectureName];

export interface LoadPretrainedOptions extends OpenModelOptions {
  /** Called after each tensor. */
  readonly onProgress?: (progress: { readonly loadedParams: number; readonly totalParams: number }) => void;
}

/**
 * Loads a model: GPT-2, Llama (with Mistral and Qwen2), BERT or T5. Weights in F16 and BF16 become float32.
 *
 * @param source a folder (Node), `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION` on the hub (see `downloadPretrained`), an
 *   http(s) address, or files by name; see `ModelSource`
 * @throws FormatError if config.json asks for what is not supported, or if weights and config.json do not fit: all that
 *   is missing, not expected, of another shape or of another type is listed.
 */
export async function loadPretrained(
  source: ModelSource,
  options: LoadPretrainedOptions = {},
): Promise<PretrainedModel> {
  const caller = "loadPretrained";
  const { name, config: published, weights } = await openModelFolder(source, caller, options);
  try {
    if (published.quantization !== undefined) {
      throw new FormatError(
        `${caller}: config.json of ${name}: has a quantization; expected weights in F32, F16 or BF16. loadConverted opens ` +
          "rounded weights, to generate and score with",
      );
    }
    const where = `${caller}: config.json of ${name}`;
    const named = withModelType(published);
    const architecture = architectureOf(named, where);
    const { read, pathOf, makeParams } = ARCHITECTURES[architecture] as Architecture<
      Models[ArchitectureName]["config"]
    >;
    const has = (tensor: string) => weights.tensors.has(tensor);
    const byPath = new Map<string, readonly number[]>();
    for (const [tensor, { shape }] of weights.tensors) byPath.set(pathOf(tensor, {}, has) ?? tensor, shape);
    const config = read(named, where, byPath);
    const { template, shapes } = paramShapes((make) => makeParams(config, make));
    const names = matchNames(`${caller}: the weights of ${name}`, weights, shapes, (tensor) =>
      pathOf(tensor, config as { tieWordEmbeddings?: boolean }, has),
    );
    const params = await readParams(weights, template, shapes, names, options);
    return { architecture, config, params, published } as PretrainedModel;
  } finally {
    await weights.close();
  }
}

export interface SavePretrainedOptions {
  /** Default F32. */
  readonly dtype?: "F32" | "F16" | "BF16";
  /** Upper bound on the bytes of tensors in one file; more become several files. Default 5e9. */
  readonly maxShardBytes?: number;
}

/**
 * Writes a model as a folder that `loadPretrained` and Hugging Face's transformers read (Node).
 *
 * @throws if the configuration has no published counterpart, or a file cannot be written.
 */
export async function savePretrained(
  folder: string,
  model: PretrainedModel,
  options: SavePretrainedOptions = {},
): Promise<void> {
  await writeModelFolder("savePretrained", folder, encodePretrained(model, options));
}

/**
 * The files that `savePretrained` writes, one at a time, config.json last. Write each before asking for the next: its
 * chunks are made of the tensors while they are read; `collectBytes` gives them in one piece.
 */
export async function* encodePretrained(
  model: PretrainedModel,
  options: SavePretrainedOptions = {},
): AsyncGenerator<Shard, void, undefined> {
  const { params } = model;
  yield* encodeModel(model, treeEntries(params), {}, options);
}

/**
 * The files of a model whose tensors are given by their paths, with further fields of its config.json.
 */
export async function* encodeModel(
  model: Pick<PretrainedModel, "architecture" | "config" | "published">,
  tensors: Iterable<readonly [path: string, value: tf.Tensor | TensorData]>,
  more: PublishedConfig,
  options: SavePretrainedOptions,
): AsyncGenerator<Shard, void, undefined> {
  const { dtype = "F32", maxShardBytes } = options;
  const { config, published = {} } = model;
  const architecture = ARCHITECTURES[model.architecture] as Architecture<typeof config>;
  const torchDtype = { F32: "float32", F16: "float16", BF16: "bfloat16" }[dtype];
  const fields: PublishedConfig = {
    ...published,
    ...architecture.write(config),
    ...keptLabels(published, config),
    torch_dtype: torchDtype,
    ...("dtype" in published ? { dtype: torchDtype } : {}), // as newer files call it
    ...more,
  };
  const zeros = [...(architecture.zeros?.(config) ?? [])].map(([path, shape]) => [path, tf.zeros([...shape])] as const);
  try {
    const entries = [...tensors, ...zeros].map(([path, value]) => [architecture.nameOf(path, config), value] as const);
    const sharding = { dtype, ...(maxShardBytes === undefined ? {} : { maxShardBytes }) };
    // Readers in Python want to know that the layouts are PyTorch's.
    yield* encodeShardedSafetensors(entries, { format: "pt" }, sharding);
  } finally {
    treeDispose(zeros.map(([, tensor]) => tensor));
  }
  yield { file: "config.json", chunks: chunksOf(new TextEncoder().encode(`${JSON.stringify(fields, null, 2)}\n`)) };
}

/**
 * A loaded model as decoding and fine-tuning see it; its `params` are the functions' first argument.
 *
 * @throws if the model is no causal language model.
 */
export function pretrainedLm(model: PretrainedModel): CausalLm {
  switch (model.architecture) {
    case "gpt2":
      return gpt2Lm(model.config);
    case "llama":
      return llamaLm(model.config);
    default:
      throw new Error(`pretrainedLm: ${model.architecture} is no causal language model; expected gpt2 or llama`);
  }
}

/** The configuration with a model_type, which the oldest files tell by the name of the class alone. */
export function withModelType(published: PublishedConfig): PublishedConfig {
  const [name] = Array.isArray(published.architectures) ? published.architectures : [];
  if (published.model_type !== undefined || typeof name !== "string") return published;
  const [, type] = /^(\w+?)(LMHeadModel|Model|For[A-Z]\w+)$/.exec(name) ?? [];
  return type === undefined ? published : { ...published, model_type: type.toLowerCase() };
}

export function architectureOf(published: PublishedConfig, where: string): ArchitectureName {
  if (published.quantization_config) {
    throw new FormatError(`${where}: has a quantization_config; expected weights in F32, F16 or BF16`);
  }
  const types: string[] = [];
  for (const [name, { modelTypes }] of Object.entries(ARCHITECTURES)) {
    if (modelTypes.includes(published.model_type as string)) return name as ArchitectureName;
    types.push(...modelTypes);
  }
  throw new FormatError(
    `${where}: model_type is ${JSON.stringify(published.model_type)}; expected one of ${types.join(", ")}`,
  );
}

const FLOATS: readonly string[] = ["F32", "F16", "BF16", "F64"];
const MOST_LISTED = 200;

/** The name in the file of every path. @throws listing all that does not fit */
export function matchNames(
  where: string,
  weights: SafetensorsFile,
  shapes: ReadonlyMap<string, readonly number[]>,
  pathOf: (name: string) => string | undefined,
): Map<string, string> {
  const names = new Map<string, string>();
  const problems: Record<string, string[]> = {
    missing: [],
    "not expected": [],
    "of another shape": [],
    "of another type": [],
  };
  for (const [name, { shape, dtype }] of weights.tensors) {
    const path = pathOf(name);
    if (path === undefined) continue;
    const want = shapes.get(path);
    if (!want || names.has(path)) problems["not expected"]!.push(`${name} [${shape}]`);
    else if (!FLOATS.includes(dtype))
      problems["of another type"]!.push(`${name} ${dtype}, expected ${FLOATS.join(" or ")}`);
    else if (`${want}` !== `${shape}`) problems["of another shape"]!.push(`${name} [${shape}], expected [${want}]`);
    if (want) names.set(path, name);
  }
  for (const [path, shape] of shapes) if (!names.has(path)) problems.missing!.push(`${path} [${shape}]`);
  const lists = Object.entries(problems).filter(([, list]) => list.length > 0);
  if (lists.length === 0) return names;
  const lines = lists.map(([what, list]) => {
    const more = list.length > MOST_LISTED ? ` and ${list.length - MOST_LISTED} more` : "";
    return `${what} (${list.length}): ${list.slice(0, MOST_LISTED).join("; ")}${more}`;
  });
  throw new FormatError(`${where} do not fit its config.json:\n  ${lines.join("\n  ")}`);
}

async function readParams(
  weights: SafetensorsFile,
  template: Tree,
  shapes: ReadonlyMap<string, readonly number[]>,
  names: ReadonlyMap<string, string>,
  { signal, onProgress }: LoadPretrainedOptions,
): Promise<Tree> {
  const loaded = new Map<string, tf.Tensor>();
  const totalParams = [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
  try {
    let loadedParams = 0;
    for (const [path, name] of names) {
      throwIfAborted("loadPretrained", signal);
      const tensor = await weights.tensor(name);
      loaded.set(path, tensor);
      loadedParams += countParams(tensor);
      onProgress?.({ loadedParams, totalParams });
    }
    return treeMap(template, (_, path) => loaded.get(path));
  } catch (error) {
    treeDispose([...loaded.values()]);
    throw error;
  }
}

/** The published names of a classifier's labels, if there are as many still. */
function keptLabels(published: PublishedConfig, config: PretrainedModel["config"]): PublishedConfig {
  const { id2label, label2id } = published;
  if (!("labels" in config) || typeof id2label !== "object" || id2label === null) return {};
  return Object.keys(id2label).length === config.labels ? { id2label, label2id } : {};
}
