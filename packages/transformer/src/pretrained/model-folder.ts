import {
  type ByteSource,
  type ByteSourceInput,
  FormatError,
  openByteSource,
  openSafetensors,
  openShardedSafetensors,
  type SafetensorsFile,
  type Shard,
  writeFileAtomic,
} from "@genai/core";
import { downloadPretrained, type HubOptions } from "../hub/download-pretrained.ts";
import { isHubName } from "../hub/hub-name.ts";
import type { PublishedConfig } from "./config-fields.ts";

/**
 * Where the files of a model are: a folder on disk (Node), `hf:OWNER/NAME` on the hub, the http(s) address that their names
 * are appended to, or the files themselves by name.
 */
export type ModelSource = string | URL | Readonly<Record<string, ByteSourceInput>>;

const CONFIG = "config.json";
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const MAX_CONFIG_BYTES = 10_000_000;

/** What is in the folder of a model, its weights open but not read. */
export interface ModelFolder {
  readonly name: string;
  readonly config: PublishedConfig;
  readonly weights: SafetensorsFile;
}

/** How a model's files are opened. */
export interface OpenModelOptions {
  readonly signal?: AbortSignal;
  /** For models on the hub: token, cache, address, progress of the download. */
  readonly hub?: Omit<HubOptions, "signal">;
}

/** @throws if there is no config.json or neither weights in one file nor their index. */
export async function openModelFolder(
  source: ModelSource,
  caller: string,
  { signal, hub }: OpenModelOptions = {},
): Promise<ModelFolder> {
  const files = isHubName(source)
    ? await downloadPretrained(source, { ...hub, ...(signal && { signal }), parts: ["model"] })
    : source;
  const { name, locate } = folderOf(files, caller);
  const config = await readConfig(await openByteSource(locate(CONFIG), caller), caller);
  const single = await tryOpen(() => locate(WEIGHTS), caller);
  if (!("error" in single)) return { name, config, weights: await openSafetensors(single, caller) };
  const index = await tryOpen(() => locate(INDEX), caller);
  if (!("error" in index)) return { name, config, weights: await openShardedSafetensors(index, locate) };
  throw new Error(
    `${caller}: ${name} has no weights; expected ${WEIGHTS} (${single.error.message}) or ${INDEX} (${index.error.message})`,
  );
}

function folderOf(source: ModelSource, caller: string): { name: string; locate: (file: string) => ByteSourceInput } {
  if (typeof source === "string" && !/^https?:\/\//i.test(source)) {
    return { name: source, locate: (file) => `${source.replace(/[/\\]+$/, "")}/${file}` };
  }
  if (typeof source === "string" || source instanceof URL) {
    const base = new URL(source);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    return { name: base.href, locate: (file) => new URL(encodeURIComponent(file), base) };
  }
  const names = Object.keys(source);
  return {
    name: "the files",
    locate(file) {
      const found = Object.hasOwn(source, file) ? source[file] : undefined;
      if (found !== undefined) return found;
      throw new Error(`${caller}: there is no ${file} among the files (${names.join(", ") || "none"})`);
    },
  };
}

async function tryOpen(input: () => ByteSourceInput, caller: string): Promise<ByteSource | { error: Error }> {
  try {
    return await openByteSource(input(), caller);
  } catch (error) {
    return { error: error as Error };
  }
}

async function readConfig(source: ByteSource, caller: string): Promise<PublishedConfig> {
  try {
    const where = `${caller}: ${source.name === "bytes" ? CONFIG : source.name}`;
    if (source.size > MAX_CONFIG_BYTES) {
      throw new FormatError(`${where}: holds ${source.size} bytes; expected at most ${MAX_CONFIG_BYTES}`);
    }
    let json: unknown;
    try {
      json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(await source.read(0, source.size)));
    } catch (cause) {
      throw new FormatError(`${where}: is not valid JSON: ${(cause as Error).message}`, { cause });
    }
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      throw new FormatError(`${where}: is no JSON record; expected the fields of a configuration`);
    }
    return json as PublishedConfig;
  } finally {
    await source.close?.();
  }
}

/**
 * Writes files into a folder, which is made if it is not there; each is there whole or not at all. Weights of an earlier
 * model that were not written over are removed: readers would prefer or mix them.
 */
export async function writeModelFolder(caller: string, folder: string, files: AsyncIterable<Shard>): Promise<void> {
  const [{ mkdir, readdir, rm }, { join }] = await Promise.all([import("node:fs/promises"), import("node:path")]);
  await mkdir(folder, { recursive: true });
  const written = new Set<string>();
  for await (const { file, chunks } of files) {
    await writeFileAtomic(join(folder, file), chunks, caller);
    written.add(file);
  }
  for (const name of await readdir(folder)) {
    const isWeights = /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(name);
    if (isWeights && !written.has(name)) await rm(join(folder, name));
  }
}
