import type { Tensor } from "@tensorflow/tfjs";
import { FormatError } from "../errors.ts";
import { Rng, type RngState } from "../rng.ts";
import { type Tree, treeDispose } from "../tree.ts";
import type { ByteChunks, ByteSourceInput } from "./byte-source.ts";
import { type EncodeSafetensorsOptions, encodeSafetensors, openSafetensors, streamSafetensors } from "./safetensors.ts";
import { decodeJson, decodeTree, encodeJson, encodeTree, type Json } from "./tree-structure.ts";

// One checkpoint is one safetensors file: the tensors at their paths in the tree, and in __metadata__, under "genai", a
// JSON string with the rest. Python's safetensors opens it as it opens any other.

/** Everything that a training run needs to go on as if it had never stopped. */
export interface Checkpoint<S extends Tree = Tree> {
  /** Steps done. */
  readonly step: number;
  /** Tensors (float32, int32, bool) in records and arrays, with plain JSON among them. */
  readonly state: S;
  readonly rng?: RngState | undefined;
  /** Where the data stream stands; plain JSON. */
  readonly data?: unknown;
  /** Metrics of the last step. */
  readonly metrics?: Readonly<Record<string, number>> | undefined;
  /** Whatever the user wants to keep beside; plain JSON. */
  readonly meta?: unknown;
}

/** A model: its configuration and its parameters. */
export interface ModelRecord<C = unknown, P extends Tree = Tree> {
  readonly config: C;
  readonly params: P;
}

const CHECKPOINT = "genai-checkpoint";
const MODEL = "genai-model";
const VERSION = 1;

/**
 * Encodes a checkpoint as a safetensors file. Every bit of the tensors is kept.
 *
 * @returns the bytes in chunks, which may share memory with the tensors.
 * @throws if a value is neither tensor nor plain JSON; its path is named.
 */
export async function encodeCheckpoint(checkpoint: Checkpoint): Promise<Uint8Array[]> {
  const { tensors, metadata } = describeCheckpoint(checkpoint);
  return encodeSafetensors(tensors, metadata);
}

/** The same bytes, one tensor after another. The state must stay as it is until they are read. */
export function streamCheckpoint(checkpoint: Checkpoint): ByteChunks {
  const { tensors, metadata } = describeCheckpoint(checkpoint);
  return streamSafetensors("encodeCheckpoint", tensors, metadata);
}

function describeCheckpoint({ step, state, rng, data, metrics, meta }: Checkpoint) {
  const caller = "encodeCheckpoint";
  if (!Number.isSafeInteger(step) || step < 0) throw new Error(`${caller}: step (${step}) must be a whole number`);
  const { structure, tensors } = encodeTree(`${caller}: state`, state);
  const rest = encodeJson(caller, { rng, data, metrics, meta }, "rng, data, metrics or meta") as object;
  const text = JSON.stringify({ format: CHECKPOINT, version: VERSION, step, ...rest, tree: structure });
  return { tensors, metadata: { genai: text } };
}

/**
 * Reads a checkpoint. The caller owns the tensors of its state.
 *
 * @throws FormatError if the file is damaged or no checkpoint; nothing is leaked then.
 */
export async function decodeCheckpoint(input: ByteSourceInput): Promise<Checkpoint> {
  const caller = "decodeCheckpoint";
  const { json, tree, name } = await readTree(input, caller, CHECKPOINT);
  try {
    const { step } = json;
    if (typeof step !== "number" || !Number.isSafeInteger(step) || step < 0) {
      throw new FormatError(`${caller}: ${name}: step is ${JSON.stringify(step)}; expected a whole number`);
    }
    const rest = (key: string) => {
      return json[key] === undefined ? {} : { [key]: decodeJson(`${caller}: ${name}: ${key}`, json[key]) };
    };
    const { rng } = rest("rng");
    if (rng !== undefined) checkRng(rng, `${caller}: ${name}`);
    return { step, state: tree, ...rest("rng"), ...rest("data"), ...rest("metrics"), ...rest("meta") };
  } catch (error) {
    treeDispose(tree);
    throw error;
  }
}

function checkRng(state: unknown, where: string): void {
  try {
    Rng.fromState(state as RngState);
  } catch (error) {
    throw new FormatError(`${where}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Encodes a model as one safetensors file: parameters at their own names, which PyTorch reads as they are, and the
 * configuration in the header.
 */
export async function encodeModel(model: ModelRecord, options: EncodeSafetensorsOptions = {}): Promise<Uint8Array[]> {
  const { tensors, metadata } = describeModel(model);
  return encodeSafetensors(tensors, metadata, options);
}

function describeModel(model: ModelRecord) {
  const { structure, tensors } = encodeTree("encodeModel: params", model.params);
  const config = encodeJson("encodeModel", model.config, "config");
  const text = JSON.stringify({ format: MODEL, version: VERSION, config, tree: structure });
  // Hugging Face's loaders ask for "format".
  return { tensors, metadata: { format: "pt", genai: text } };
}

/**
 * Writes a model to a file (Node), so that the file is either there whole or not at all.
 *
 * @param options `dtype`: what float32 parameters are stored as; F16 and BF16 halve the file and round.
 */
export async function saveModel(
  path: string,
  model: ModelRecord,
  options: EncodeSafetensorsOptions = {},
): Promise<void> {
  const { tensors, metadata } = describeModel(model);
  const { writeFileAtomic } = await import("./atomic-file.ts");
  await writeFileAtomic(path, streamSafetensors("encodeModel", tensors, metadata, options), "saveModel");
}

/**
 * Reads a model that `saveModel` or `encodeModel` has written. The caller owns its parameters.
 *
 * @param input bytes, a Blob or File, a path (Node), an http(s) URL or a `ByteSource`.
 * @throws FormatError if the file is damaged, or holds tensors without the structure of a model.
 */
export async function loadModel<M extends ModelRecord = ModelRecord>(input: ByteSourceInput): Promise<M> {
  const caller = "loadModel";
  const { json, tree, name } = await readTree(input, caller, MODEL);
  try {
    return { config: decodeJson(`${caller}: ${name}: config`, json.config ?? null), params: tree } as M;
  } catch (error) {
    treeDispose(tree);
    throw error;
  }
}

/** Opens a file of ours, checks what it says it is, and builds the tree of its tensors. */
async function readTree(input: ByteSourceInput, caller: string, format: string) {
  const file = await openSafetensors(input, caller);
  const loaded = new Map<string, Tensor>();
  try {
    const fail = (what: string): never => {
      throw new FormatError(`${caller}: ${file.name}: ${what}`);
    };
    const json = parseRecord(file.metadata.genai, fail);
    if (json.format !== format) fail(`holds ${JSON.stringify(json.format)}; expected "${format}"`);
    if (json.version !== VERSION) fail(`version is ${JSON.stringify(json.version)}; expected ${VERSION}`);
    if (json.tree === undefined) fail("has no tree; expected the structure of its tensors");
    // Structure first: a file whose tensors do not fit it is refused before anything large is read.
    const paths: string[] = [];
    const where = `${caller}: ${file.name}: tree`;
    decodeTree(where, json.tree as Json, (path) => {
      if (!file.tensors.has(path)) fail(`has no tensor '${path}', which its tree names`);
      paths.push(path);
      return undefined as unknown as Tensor;
    });
    if (new Set(paths).size !== paths.length || paths.length !== file.tensors.size) {
      fail(`tree names ${paths.length} tensors; expected each of the ${file.tensors.size} in the file once`);
    }
    for (const path of paths) loaded.set(path, await file.tensor(path));
    const tree = decodeTree(where, json.tree as Json, (path) => loaded.get(path)!);
    return { json: json as Record<string, Json | undefined>, tree, name: file.name };
  } catch (error) {
    treeDispose([...loaded.values()]);
    throw error;
  } finally {
    await file.close();
  }
}

function parseRecord(text: string | undefined, fail: (what: string) => never): Record<string, unknown> {
  if (text === undefined) return fail('has no "genai" in __metadata__; it was not written by us: use openSafetensors');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return fail(`"genai" in __metadata__ is not valid JSON: ${(error as Error).message}`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    return fail('"genai" in __metadata__ is no record; expected one');
  }
  return json as Record<string, unknown>;
}
