import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { countParams, fileCheckpoints, type Tree, treeDispose } from "@genai/core";
import { loadTokenizer, type Tokenizer } from "@genai/tokenizer";
import {
  type CausalLm,
  loadConverted,
  loadLora,
  loadPretrained,
  mergeLora,
  type PretrainedModel,
  pretrainedLm,
} from "@genai/transformer";
import { UsageError } from "../exit-code.ts";
import { resumeCommand } from "../families/index.ts";
import { RunFolder } from "../run/run-folder.ts";
import { hubModelFolder, hubModelName, isHubModel } from "./hub-model.ts";

// What the commands that write text open: a causal language model with its tokenizer.

/** A model that writes. */
export interface WritingModel {
  /** The last part of the path: what people call it. */
  readonly name: string;
  readonly architecture: string;
  readonly lm: CausalLm;
  readonly params: Tree;
  readonly tokenizer: Tokenizer;
  /** Ids that end a text, as the folder says; none for models of running text. */
  readonly stopIds: readonly number[];
  /** Whether the tokenizer knows how to write conversations. */
  readonly chatTemplate: boolean;
  readonly countParams: number;
  dispose(): void;
}

/** A model as its files have it. */
export interface TextModel extends WritingModel {
  /** The model as `savePretrained` takes it; shares its tensors. */
  readonly pretrained: PretrainedModel;
}

export interface OpenTextModelOptions {
  /** Of a run: "best" by its validation loss (default), or as training left it, which is "latest". */
  readonly checkpoint?: "best" | "latest";
  /** Folder of an adapter in PEFT's format, which is merged into the weights. */
  readonly adapter?: string;
  readonly signal?: AbortSignal;
}

/** The folder below a run's that holds the model as Hugging Face's libraries read it. */
export const modelFolderOf = (run: string): string => join(run, "model");

/** The folder below a run's that holds an adapter in PEFT's format, whose base model its config names. */
export const adapterFolderOf = (run: string): string => join(run, "adapter");

const missing =
  "expected a run folder of a language model, a folder with config.json, model.safetensors and tokenizer.json, or " +
  "hf:OWNER/NAME on the hub";

/**
 * Opens a run of `genai train gpt` or `genai finetune`, a Hugging Face folder, or a model of the hub, hf:OWNER/NAME.
 *
 * @throws UsageError if the path is neither, FormatError if its files do not fit together.
 */
export async function openTextModel(path: string, options: OpenTextModelOptions = {}): Promise<TextModel> {
  const { checkpoint = "best", adapter, signal } = options;
  if (isHubModel(path)) return openHubFolder(path, await hubFolder(path, options), options);
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new UsageError(`${path} does not exist; ${missing}`);
  if (!found.isDirectory()) throw new UsageError(`${path} is a file; ${missing}`);
  const config = await readFile(join(path, "config.json"), "utf8").catch(() => undefined);
  if (config === undefined) throw new UsageError(`${path} has no config.json; ${missing}`);
  const name = basename(resolve(path));
  if (!isRun(config)) {
    if (checkpoint === "latest") throw new UsageError(`${path} is no run folder; only runs have a latest checkpoint`);
    return withAdapter(await openFolder(path, name, signal), adapter, signal);
  }
  const run = await new RunFolder(path).readConfig();
  const folder = modelFolderOf(path);
  const own = adapterFolderOf(path);
  if (existsSync(join(own, "adapter_config.json"))) {
    // The base may be a run with an adapter of its own.
    const base = await openTextModel(await baseOfAdapter(own, signal), signal ? { signal } : {});
    return withAdapter(await withAdapter({ ...base, name }, own), adapter, signal);
  }
  if (!existsSync(join(folder, "config.json"))) {
    throw new UsageError(
      existsSync(folder)
        ? `${path} holds no trained model yet; go on with: ${resumeCommand(run.family, path)}`
        : `${path} is a run of ${run.family}, which writes no text; ${missing}`,
    );
  }
  const model = await openFolder(folder, name, signal);
  return withAdapter(checkpoint === "latest" ? await withLatest(model, path) : model, adapter, signal);
}

const isRun = (config: string): boolean => {
  try {
    return (JSON.parse(config) as { format?: unknown } | null)?.format === "genai-run-1";
  } catch {
    return false; // loadPretrained says what is wrong with it
  }
};

/** A model whose weights `genai quantize` has rounded. */
export interface RoundedModel extends WritingModel {
  readonly bits: 4 | 8;
}

/**
 * Opens what `openTextModel` does, and models whose weights are rounded: folders of `genai quantize`, and what MLX's tools have
 * rounded, also on the hub.
 *
 * @throws as `openTextModel`
 */
export async function openAnyModel(path: string, options: OpenTextModelOptions): Promise<TextModel | RoundedModel> {
  const isHub = isHubModel(path);
  const folder = isHub ? await hubFolder(path, options) : path;
  if (await isRounded(folder))
    return openRoundedFolder(folder, isHub ? hubModelName(path) : basename(resolve(path)), options);
  return isHub ? openHubFolder(path, folder, options) : openTextModel(path, options);
}

const isRounded = async (folder: string) => (await readJson(join(folder, "config.json"))).quantization !== undefined;

async function hubFolder(path: string, { checkpoint, signal }: OpenTextModelOptions): Promise<string> {
  if (checkpoint === "latest") throw new UsageError(`${path} is no run folder; only runs have a latest checkpoint`);
  return hubModelFolder(path, signal);
}

async function openHubFolder(
  path: string,
  folder: string,
  { adapter, signal }: OpenTextModelOptions,
): Promise<TextModel> {
  return withAdapter(await openFolder(folder, hubModelName(path), signal), adapter, signal);
}

async function openRoundedFolder(
  folder: string,
  name: string,
  { signal }: OpenTextModelOptions,
): Promise<RoundedModel> {
  const common = signal ? { signal } : {};
  const tokenizer = await loadTokenizer(folder, common);
  const { lm, params, architecture, bits, countParams } = await loadConverted(folder, common);
  return {
    name,
    architecture,
    lm,
    params,
    tokenizer,
    stopIds: await stopIdsOf(folder, tokenizer, lm.vocabSize),
    chatTemplate: tokenizer.config.chat_template !== undefined,
    countParams,
    bits,
    dispose: () => treeDispose(params),
  };
}

async function openFolder(folder: string, name: string, signal: AbortSignal | undefined): Promise<TextModel> {
  if (await isRounded(folder)) {
    throw new UsageError(
      `${folder} holds rounded weights, which write text and learn nothing; give the model that they were made of`,
    );
  }
  const common = signal ? { signal } : {};
  const tokenizer = await loadTokenizer(folder, common);
  const pretrained = await loadPretrained(folder, common);
  try {
    const lm = pretrainedLm(pretrained);
    return textModel({ name, pretrained, lm, tokenizer, stopIds: await stopIdsOf(folder, tokenizer, lm.vocabSize) });
  } catch (error) {
    treeDispose(pretrained.params);
    throw error;
  }
}

function textModel({
  pretrained,
  ...rest
}: Pick<TextModel, "name" | "pretrained" | "lm" | "tokenizer" | "stopIds">): TextModel {
  const { params } = pretrained;
  return {
    ...rest,
    architecture: pretrained.architecture,
    params,
    pretrained,
    chatTemplate: rest.tokenizer.config.chat_template !== undefined,
    countParams: countParams(params),
    dispose: () => treeDispose(params),
  };
}

/** The model with other parameters; the old ones are disposed of. */
function withParams(model: TextModel, params: Tree): TextModel {
  model.dispose();
  return textModel({ ...model, pretrained: { ...model.pretrained, params } as PretrainedModel });
}

async function withLatest(model: TextModel, run: string): Promise<TextModel> {
  try {
    const latest = await fileCheckpoints(new RunFolder(run).checkpointsDir).latest();
    if (!latest) throw new UsageError(`${run} holds no checkpoint; leave --checkpoint out to take the saved model`);
    const { params, ...others } = latest.checkpoint.state as { params: Tree };
    treeDispose(others);
    return withParams(model, params);
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function withAdapter(model: TextModel, path: string | undefined, signal?: AbortSignal): Promise<TextModel> {
  if (path === undefined) return model;
  try {
    const folder = isHubModel(path) ? await hubModelFolder(path, signal) : path;
    // Hugging Face's GPT-2 has its blocks below `transformer`; our paths are the published names without it.
    const lora = await loadLora(folder, model.architecture === "gpt2" ? { prefix: "transformer." } : {});
    try {
      return withParams(model, mergeLora(model.params, lora));
    } finally {
      treeDispose(lora.params);
    }
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function baseOfAdapter(folder: string, signal?: AbortSignal): Promise<string> {
  const file = join(folder, "adapter_config.json");
  const { base_model_name_or_path: base } = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  if (typeof base !== "string") {
    throw new UsageError(`${file} does not name its base model; give the base model's path and the adapter instead`);
  }
  const candidates = [base, resolve(dirname(folder), base)];
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) {
    // Published adapters, and those trained on a model of the hub, name their base as the hub does.
    if (/^hf:|^[\w.-]+\/[\w.-]+$/.test(base)) return hubModelFolder(base, signal);
    throw new UsageError(`${file} belongs to ${base}, which is not there`);
  }
  const inner = modelFolderOf(found);
  return existsSync(join(inner, "config.json")) ? inner : found;
}

/** What the folder says ends a text: generation_config.json or else config.json, and the tokenizer's end token. */
async function stopIdsOf(folder: string, tokenizer: Tokenizer, vocabSize: number): Promise<number[]> {
  const ids = new Set<unknown>();
  for (const file of ["generation_config.json", "config.json"]) {
    const eos = (await readJson(join(folder, file))).eos_token_id;
    for (const id of Array.isArray(eos) ? eos : [eos]) ids.add(id);
    if (eos !== undefined && eos !== null) break;
  }
  const { eos_token: token } = tokenizer.config;
  const content = typeof token === "object" && token !== null && "content" in token ? token.content : token;
  if (typeof content === "string") ids.add(tokenizer.tokenToId(content));
  return [...ids].filter(
    (id): id is number => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabSize,
  );
}

async function readJson(file: string): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  } catch {
    return {};
  }
}
