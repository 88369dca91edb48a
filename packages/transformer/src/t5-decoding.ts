import { type Engine, type Tree, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { causalContext, lastTokens } from "./causal-context.ts";
import { type CausalLm, checkIdRange, checkIds } from "./causal-lm.ts";
import { type BeamSearchOptions, beamSearch, type Hypothesis } from "./generation/beam-search.ts";
import { type GeneratedToken, type GenerateOptions, generate } from "./generation/generate.ts";
import { createKvCache, type KvCache } from "./kv-cache.ts";
import {
  checkMask,
  type T5,
  type T5Config,
  type T5CrossKeys,
  type T5Options,
  type T5Params,
  t5CrossKeys,
  t5Decode,
  t5Encode,
  t5Head,
} from "./t5.ts";

// T5 as a writer. The texts that it reads become a memory once; with that its decoder is a causal language model like any
// other, whose parameters the memory is a part of, and whatever generates with those generates with it.
//
// Shapes: B batch, S tokens read, T tokens written, H nHead, D headDim, V vocabSize.

/** What the decoder looks at of the texts read: a tree of tensors. */
export type T5Memory = {
  cross: T5CrossKeys;
  attentionMask: tf.Tensor2D; // [B, S]
};

/**
 * Reads texts for `t5Step` and `t5Lm`. The caller disposes of the memory.
 *
 * @param ids int32 [B, S], each in [0, V)
 */
export function t5Read(t5: T5, ids: tf.Tensor2D, options: Pick<T5Options, "attentionMask"> = {}): T5Memory {
  checkIds("t5Read", ids, Number.POSITIVE_INFINITY);
  checkMask("t5Read", options.attentionMask, ids.shape);
  return tf.tidy(() => ({
    cross: t5CrossKeys(t5, t5Encode(t5, ids, options)),
    attentionMask: options.attentionMask?.clone() ?? (tf.ones(ids.shape) as tf.Tensor2D),
  }));
}

/** A cache for writing at most `length` tokens in each row. */
export function createT5Cache(config: T5Config, batchSize: number, length: number): KvCache {
  const { nHead, headDim, nLayer, nDecoderLayer = nLayer } = config;
  return createKvCache({ batchSize, layers: nDecoderLayer, heads: nHead, length, headDim });
}

/**
 * Reads what has been written behind what is in the cache; see `CausalLm.step`.
 *
 * @param memory of as many texts as the cache has rows, or of one that all rows write about
 * @param decoderIds int32 [B, T]
 * @param counts int32 [B]: how many tokens of each row are no padding behind them; default T
 * @returns logits [B, V] of what follows the last of them, and the cache with them in it
 */
export function t5Step(
  t5: T5,
  memory: T5Memory,
  decoderIds: tf.Tensor2D,
  cache: KvCache,
  counts?: tf.Tensor1D,
): { logits: tf.Tensor2D; cache: KvCache } {
  checkIds("t5Step", decoderIds, Number.POSITIVE_INFINITY);
  return tf.tidy(() => {
    const context = causalContext("t5Step", decoderIds, { cache });
    const hidden = t5Decode(t5, decoderIds, { context, ...memory });
    return { logits: t5Head(t5, lastTokens(hidden, counts)) as tf.Tensor2D, cache: context.advanced(counts) };
  });
}

/** The parameters of `t5Lm`: those of the model, and what it has read. */
export type T5WriterParams = { model: T5Params; memory: T5Memory };

/**
 * T5's decoder as generation sees it: a causal model whose prompts are what has been written, from `decoderStartId` on.
 *
 * @param blockSize the most tokens that it writes; relative positions set no limit. Default 512.
 */
export function t5Lm(config: T5Config, blockSize = 512): CausalLm<T5WriterParams> {
  return {
    vocabSize: config.vocabSize,
    blockSize,
    logits({ model, memory }, ids, { start, rng } = {}) {
      if (start) throw new Error("t5Lm: start is given; expected texts padded behind, not before");
      checkIds("t5Lm", ids, blockSize);
      const t5 = { config, params: model };
      return tf.tidy(() => {
        const context = causalContext("t5Lm", ids);
        return t5Head(t5, t5Decode(t5, ids, { context, ...memory, rng })) as tf.Tensor3D;
      });
    },
    createCache: (batchSize, length) => createT5Cache(config, batchSize, length),
    step: ({ model, memory }, ids, cache, counts) => t5Step({ config, params: model }, memory, ids, cache, counts),
  };
}

/** What `generate` takes, but for what belongs to a context that slides; the end of T5's texts is the stop id 1. */
export interface T5GenerateOptions extends Omit<GenerateOptions<T5WriterParams>, "slide" | "decoder"> {
  /** Default 512. */
  readonly maxNewTokens?: number;
}

/**
 * Writes a text for each one that is read, yielding tokens as they are drawn: by the likeliest token, or drawn with an rng.
 * Leaving the loop frees everything.
 *
 * @param texts ids of each, in any lengths
 * @throws as `generate` does, and for texts that are empty or hold ids out of range
 */
export async function* t5Generate(
  engine: Engine,
  t5: T5,
  texts: readonly ArrayLike<number>[],
  options: T5GenerateOptions = {},
): AsyncGenerator<GeneratedToken, void> {
  const { maxNewTokens = 512 } = options;
  yield* withMemory("t5Generate", engine, t5, texts, async function* (params) {
    const prompts = texts.map(() => [t5.config.decoderStartId ?? 0]);
    const lm = t5Lm(t5.config, Math.max(maxNewTokens, 1));
    yield* generate(engine, lm, params, prompts, { ...options, maxNewTokens });
  });
}

/** Writes as `t5Generate` does and returns the ids for each text, without stop ids. */
export async function t5GenerateIds(
  engine: Engine,
  t5: T5,
  texts: readonly ArrayLike<number>[],
  options: T5GenerateOptions = {},
): Promise<number[][]> {
  const rows: number[][] = texts.map(() => []);
  const stop = new Set(options.stopIds);
  for await (const { row, id } of t5Generate(engine, t5, texts, options)) if (!stop.has(id)) rows[row]!.push(id);
  return rows;
}

/**
 * Writes about one text by beam search.
 *
 * @returns at most `beams` texts, the best first
 * @throws as `beamSearch` does, and for a text that is empty or holds ids out of range
 */
export async function t5BeamSearch(
  engine: Engine,
  t5: T5,
  text: ArrayLike<number>,
  options: BeamSearchOptions = {},
): Promise<Hypothesis[]> {
  const { maxNewTokens = 512 } = options;
  const found = withMemory("t5BeamSearch", engine, t5, [text], async function* (params) {
    const lm = t5Lm(t5.config, Math.max(maxNewTokens, 1));
    yield await beamSearch(engine, lm, params, [t5.config.decoderStartId ?? 0], { ...options, maxNewTokens });
  });
  for await (const hypotheses of found) return hypotheses;
  return [];
}

/** Reads the texts and lets `write` write about them; frees what was read. */
async function* withMemory<R>(
  caller: string,
  engine: Engine,
  { config, params }: T5,
  texts: readonly ArrayLike<number>[],
  write: (params: T5WriterParams) => AsyncIterable<R>,
): AsyncGenerator<R, void> {
  if (texts.length === 0) throw new Error(`${caller}: texts are empty; expected at least one`);
  for (const [row, text] of texts.entries()) {
    if (text.length === 0) throw new Error(`${caller}: text ${row} is empty; expected at least one id`);
    checkIdRange(`${caller}: text ${row}`, text, config.vocabSize);
  }
  const read = engine.compile((model: T5Params, ids: tf.Tensor2D, attentionMask: tf.Tensor2D) =>
    t5Read({ config, params: model }, ids, { attentionMask }),
  );
  const longest = Math.max(...texts.map((text) => text.length));
  const width = Math.ceil(longest / 32) * 32; // texts of similar length share a graph
  const ids = new Int32Array(texts.length * width);
  const mask = new Float32Array(texts.length * width);
  for (const [row, text] of texts.entries()) {
    ids.set(Array.from(text), row * width);
    mask.fill(1, row * width, row * width + text.length);
  }
  const inputs: Tree[] = [];
  let memory: T5Memory | undefined;
  try {
    const shape: [number, number] = [texts.length, width];
    const [idTensor, maskTensor] = [tf.tensor2d(ids, shape, "int32"), tf.tensor2d(mask, shape)];
    inputs.push(idTensor, maskTensor);
    memory = await read(params, idTensor, maskTensor);
    yield* write({ model: params, memory });
  } finally {
    treeDispose([inputs, memory]);
    read.dispose();
  }
}
