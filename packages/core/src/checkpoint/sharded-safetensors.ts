import { FormatError } from "../errors.ts";
import { type ByteChunks, type ByteSourceInput, chunksOf, openByteSource } from "./byte-source.ts";
import {
  type EncodeSafetensorsOptions,
  infoOf,
  openSafetensors,
  type PlannedTensor,
  planTensors,
  type SafetensorsEntries,
  type SafetensorsFile,
  streamPlanned,
} from "./safetensors.ts";
import type { TensorInfo } from "./safetensors-header.ts";

// Large models come in several files: model-00001-of-00003.safetensors and so on, with model.safetensors.index.json,
// whose weight_map says which file holds which tensor.

/** One file of a sharded model, ready to be written. */
export interface Shard {
  /** The name of the file, without a folder. */
  readonly file: string;
  /** Read from the tensors as they are asked for. */
  readonly chunks: ByteChunks;
}

export interface EncodeShardedOptions extends EncodeSafetensorsOptions {
  /** Upper bound on the bytes of tensors in one file. Default 5e9, as Hugging Face writes. */
  readonly maxShardBytes?: number;
  /** How the names of the files begin. Default "model". */
  readonly prefix?: string;
}

/**
 * Encodes tensors as several safetensors files and their index, one file at a time, the index last. What fits one file
 * becomes `model.safetensors` alone, without an index.
 *
 * Write each file before asking for the next: its chunks are made of the tensors while they are read.
 *
 * @throws if one tensor is larger than maxShardBytes.
 */
export async function* encodeShardedSafetensors(
  entries: SafetensorsEntries,
  metadata: Readonly<Record<string, string>> = {},
  { maxShardBytes = 5e9, prefix = "model", ...options }: EncodeShardedOptions = {},
): AsyncGenerator<Shard, void, undefined> {
  const caller = "encodeShardedSafetensors";
  if (!(maxShardBytes > 0)) throw new Error(`${caller}: maxShardBytes (${maxShardBytes}) must be positive`);
  const shards: PlannedTensor[][] = [];
  let room = 0;
  let total = 0;
  for (const tensor of planTensors(caller, entries, options)) {
    if (tensor.bytes > maxShardBytes) {
      throw new Error(`${caller}: '${tensor.name}' takes ${tensor.bytes} bytes; maxShardBytes is ${maxShardBytes}`);
    }
    if (shards.length === 0 || tensor.bytes > room) {
      shards.push([]);
      room = maxShardBytes;
    }
    shards.at(-1)!.push(tensor);
    room -= tensor.bytes;
    total += tensor.bytes;
  }
  if (shards.length <= 1) {
    yield { file: `${prefix}.safetensors`, chunks: streamPlanned(shards[0] ?? [], metadata) };
    return;
  }
  const weightMap: [string, string][] = [];
  const pad = (n: number) => String(n).padStart(5, "0");
  for (const [i, shard] of shards.entries()) {
    const file = `${prefix}-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`;
    for (const { name } of shard) weightMap.push([name, file]);
    yield { file, chunks: streamPlanned(shard, metadata) };
  }
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(weightMap) };
  const text = `${JSON.stringify(index, null, 2)}\n`;
  yield { file: `${prefix}.safetensors.index.json`, chunks: chunksOf(new TextEncoder().encode(text)) };
}

/** Opens the shard whose name the index gives. */
export type OpenShard = (file: string) => ByteSourceInput | Promise<ByteSourceInput>;

/**
 * Opens a sharded model through its index file and checks that every shard holds what the index says.
 *
 * @param index `model.safetensors.index.json`: bytes, a Blob, a path (Node) or an http(s) URL.
 * @param openShard where to find a shard. Default: beside an index that is a path or a URL.
 * @throws FormatError if the index is no weight map, or a shard lacks a tensor that the index places there.
 */
export async function openShardedSafetensors(index: ByteSourceInput, openShard?: OpenShard): Promise<SafetensorsFile> {
  const caller = "openShardedSafetensors";
  const open = openShard ?? besideIndex(index, caller);
  const { name, weightMap } = await readIndex(index, caller);
  const fileNames = [...new Set(weightMap.values())];
  const opened = await Promise.allSettled(
    fileNames.map(async (file) => openSafetensors(await open(file), `${caller}: shard '${file}'`)),
  );
  const files = new Map<string, SafetensorsFile>();
  for (const [i, result] of opened.entries()) {
    if (result.status === "fulfilled") files.set(fileNames[i]!, result.value);
  }
  const close = async () => {
    await Promise.all([...files.values()].map((file) => file.close()));
  };
  try {
    for (const result of opened) if (result.status === "rejected") throw result.reason;
    const tensors = new Map<string, TensorInfo>();
    for (const [tensor, file] of weightMap) {
      const info = files.get(file)!.tensors.get(tensor);
      if (info === undefined) {
        throw new FormatError(
          `${caller}: ${name} places tensor '${tensor}' in '${file}'; that file has no such tensor`,
        );
      }
      tensors.set(tensor, info);
    }
    const fileOf = (tensor: string) => files.get(infoOf(weightMap, tensor, name))!;
    return {
      name,
      metadata: Object.assign({}, ...[...files.values()].map((file) => file.metadata)),
      tensors,
      read: async (tensor) => fileOf(tensor).read(tensor),
      tensor: async (tensor) => fileOf(tensor).tensor(tensor),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function besideIndex(index: ByteSourceInput, caller: string): OpenShard {
  if (index instanceof URL) return (file) => new URL(encodeURIComponent(file), index);
  if (typeof index !== "string") {
    throw new Error(`${caller}: index is no path or URL; expected openShard, which says where the shards are`);
  }
  if (/^https?:\/\//i.test(index)) return (file) => new URL(encodeURIComponent(file), index);
  return (file) => index.replace(/[^/\\]*$/, () => file);
}

const MAX_INDEX_BYTES = 100_000_000;

async function readIndex(input: ByteSourceInput, caller: string) {
  const source = await openByteSource(input, caller);
  const fail = (what: string): never => {
    throw new FormatError(`${caller}: ${source.name}: ${what}`);
  };
  try {
    if (source.size > MAX_INDEX_BYTES) fail(`index of ${source.size} bytes; expected at most ${MAX_INDEX_BYTES}`);
    let json: unknown;
    try {
      json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(await source.read(0, source.size)));
    } catch (error) {
      fail(`index is not valid JSON: ${(error as Error).message}`);
    }
    const map = (json as { weight_map?: unknown } | null)?.weight_map;
    if (typeof map !== "object" || map === null || Array.isArray(map)) {
      return fail("index has no weight_map; expected a record of tensor names and file names");
    }
    const weightMap = new Map<string, string>();
    for (const [tensor, file] of Object.entries(map)) {
      // A name with a folder in it could point anywhere on the reader's disk.
      if (typeof file !== "string" || !/^[^/\\]+$/.test(file) || file === "." || file === "..") {
        return fail(`weight_map places '${tensor}' in ${JSON.stringify(file)}; expected the plain name of a file`);
      }
      weightMap.set(tensor, file);
    }
    return { name: source.name, weightMap };
  } finally {
    await source.close?.();
  }
}
