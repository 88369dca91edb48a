import {
  type ByteSource,
  type ByteSourceInput,
  FormatError,
  openByteSource,
  throwIfAborted,
  treeDispose,
  treeMap,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type Llama, type LlamaConfig, type LlamaParams, llamaParams } from "../llama.ts";
import { paramShapes } from "./architecture.ts";

// Checkpoints of llama2.c (https://github.com/karpathy/llama2.c), float32 and little-endian: a header of seven numbers, then
// the weights of all layers, one kind after the other. Version 0 has nothing else; version 1 has a magic number before
// and another order behind it.

const MAGIC = 0x616b3432; // "ak42"
const HEADER_0 = 28;
const HEADER_1 = 256;

/** A run of tensors of one shape in the file: of every layer, of the model, or numbers that nobody needs. */
interface Run {
  /** In our parameters, "*" for the layer's number; none for what is not read. */
  readonly path?: string;
  readonly shape: readonly number[];
}

/**
 * Loads a checkpoint of llama2.c, versions 0 and 1, such as stories15M.bin. Its tokenizer.bin is read by the tokenizer
 * package's `loadTokenizer`.
 *
 * @param source a path (Node), an http(s) address, a Blob or bytes
 * @throws FormatError if the header asks for what cannot be, or the file has not the length that follows from it.
 */
export async function loadLlama2c(
  source: ByteSourceInput,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Llama & { readonly architecture: "llama" }> {
  const caller = "loadLlama2c";
  const file = await openByteSource(source, caller);
  try {
    const { config, version, begin } = await readHeader(file, caller);
    const runs = runsOf(config, version);
    const bytes = begin + 4 * runs.reduce((sum, run) => sum + times(run, config) * sizeOf(run), 0);
    // Before anything is made of the numbers: they may be anything.
    if (file.size !== bytes) {
      throw new FormatError(
        `${caller}: ${file.name}: holds ${file.size} bytes; expected ${bytes} by its header of version ${version} (` +
          `${JSON.stringify(config)})`,
      );
    }
    const params = await readParams(file, begin, runs, config, options.signal);
    return { architecture: "llama", config, params };
  } finally {
    await file.close?.();
  }
}

async function readHeader(
  file: ByteSource,
  caller: string,
): Promise<{ config: LlamaConfig; version: number; begin: number }> {
  const fail = (what: string): never => {
    throw new FormatError(`${caller}: ${file.name}: ${what}`);
  };
  if (file.size < HEADER_0) fail(`holds ${file.size} bytes; expected a header of ${HEADER_0} at least`);
  const bytes = await file.read(0, Math.min(HEADER_1, file.size));
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const versioned = header.getUint32(0, true) === MAGIC;
  const version = versioned ? header.getInt32(4, true) : 0;
  if (versioned && version !== 1) {
    fail(`is of version ${version}${version === 2 ? ", with 8-bit weights" : ""}; expected 0 or 1, of float32`);
  }
  if (versioned && file.size < HEADER_1) fail(`holds ${file.size} bytes; expected a header of ${HEADER_1} at least`);
  const at = versioned ? 8 : 0;
  const [dim, hidden, layers, heads, kvHeads, vocab, length] = Array.from({ length: 7 }, (_, i) =>
    header.getInt32(at + 4 * i, true),
  ) as [number, number, number, number, number, number, number];
  // Version 0 tells by the sign of the vocabulary's size whether there is a head.
  const tied = versioned ? header.getUint8(at + 28) !== 0 : vocab > 0;
  const sizes = { dim, hidden_dim: hidden, n_layers: layers, n_heads: heads, n_kv_heads: kvHeads, seq_len: length };
  for (const [name, n] of Object.entries({ ...sizes, vocab_size: versioned ? vocab : Math.abs(vocab) })) {
    if (n < 1) fail(`${name} is ${n}; expected a positive number`);
  }
  if (dim % heads !== 0 || (dim / heads) % 2 !== 0 || heads % kvHeads !== 0) {
    fail(`has dim ${dim}, n_heads ${heads} and n_kv_heads ${kvHeads}; expected heads of even size that divide them`);
  }
  return {
    version,
    begin: versioned ? HEADER_1 : HEADER_0,
    config: {
      vocabSize: Math.abs(vocab),
      blockSize: length,
      nEmbd: dim,
      nHead: heads,
      nKvHead: kvHeads,
      nLayer: layers,
      nInner: hidden,
      rmsNormEps: 1e-5,
      tieWordEmbeddings: tied,
    },
  };
}

const sizeOf = ({ shape }: Run): number => shape.reduce((a, b) => a * b, 1);
const times = ({ path }: Run, { nLayer }: LlamaConfig): number => (path?.includes("*") ? nLayer : 1);

/** What the file holds behind its header, in order. */
function runsOf(config: LlamaConfig, version: number): Run[] {
  const { nEmbd: c, nInner: f, nHead, nKvHead = nHead, vocabSize, blockSize } = config;
  const kv = (c / nHead) * nKvHead;
  const layers = (name: string, shape: readonly number[]): Run => ({ path: `model.layers.*.${name}.weight`, shape });
  const embedding = { path: "model.embed_tokens.weight", shape: [vocabSize, c] };
  const norm = { path: "model.norm.weight", shape: [c] };
  const attentionNorm = layers("input_layernorm", [c]);
  const innerNorm = layers("post_attention_layernorm", [c]);
  const attention = [
    layers("self_attn.q_proj", [c, c]),
    layers("self_attn.k_proj", [kv, c]),
    layers("self_attn.v_proj", [kv, c]),
    layers("self_attn.o_proj", [c, c]),
  ];
  const inner = [layers("mlp.gate_proj", [f, c]), layers("mlp.down_proj", [c, f]), layers("mlp.up_proj", [f, c])];
  const head = config.tieWordEmbeddings ? [] : [{ path: "lm_head.weight", shape: [vocabSize, c] }];
  const tables = { shape: [blockSize, c / nHead] }; // cosines and sines of the positions
  return version === 0
    ? [embedding, attentionNorm, ...attention, innerNorm, ...inner, norm, tables, ...head]
    : [attentionNorm, innerNorm, norm, embedding, ...attention, ...inner, ...head];
}

async function readParams(
  file: ByteSource,
  begin: number,
  runs: readonly Run[],
  config: LlamaConfig,
  signal: AbortSignal | undefined,
): Promise<LlamaParams> {
  const loaded = new Map<string, tf.Tensor>();
  let at = begin;
  try {
    for (const run of runs) {
      const bytes = 4 * sizeOf(run);
      for (let layer = 0; layer < times(run, config); layer++, at += bytes) {
        if (run.path === undefined) continue;
        throwIfAborted("loadLlama2c", signal);
        // A copy: the bytes may begin anywhere, and numbers of four bytes may not.
        const values = new Float32Array((await file.read(at, at + bytes)).slice().buffer);
        const path = run.path.replace("*", String(layer));
        loaded.set(path, tf.tensor(rotatedByHalves(path, values, config), [...run.shape], "float32"));
      }
    }
    const { template } = paramShapes((make) => llamaParams(config, make));
    return treeMap(template, (_, path) => loaded.get(path)) as LlamaParams;
  } catch (error) {
    treeDispose([...loaded.values()]);
    throw error;
  }
}

/**
 * llama2.c rotates the neighbours (2 i, 2 i + 1) of a head together, we rotate (i, i + D/2): the rows that make queries
 * and keys change their places within each head.
 */
function rotatedByHalves(path: string, weight: Float32Array, { nEmbd, nHead }: LlamaConfig): Float32Array {
  if (!/\.(q|k)_proj\./.test(path)) return weight;
  const headDim = nEmbd / nHead;
  const out = new Float32Array(weight.length);
  for (let row = 0; row < weight.length / nEmbd; row++) {
    const i = row % headDim;
    const to = row - i + (i >> 1) + (i % 2) * (headDim / 2);
    out.set(weight.subarray(row * nEmbd, (row + 1) * nEmbd), to * nEmbd);
  }
  return out;
}
