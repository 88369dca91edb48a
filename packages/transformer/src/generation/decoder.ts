import { type Compiled, type Engine, type Tree, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import type { KvCache } from "../kv-cache.ts";
import { type DrawInputs, drawTokens, type SamplingOptions } from "./draw-tokens.ts";

/**
 * A causal model compiled for decoding. Whoever generates more than once with a model makes one decoder and hands it to
 * every call, so that graphs are compiled once.
 */
export interface Decoder<P extends Tree = Tree> {
  readonly engine: Engine;
  readonly lm: CausalLm<P>;
  readonly step: Compiled<[params: P, ids: tf.Tensor2D, cache: KvCache], { logits: tf.Tensor2D; cache: KvCache }>;
  readonly draw: Compiled<
    [logits: tf.Tensor2D, inputs: DrawInputs, options: SamplingOptions, withLogProbs: boolean],
    { ids: tf.Tensor1D; logProbs?: tf.Tensor1D }
  >;
  /** Frees what was compiled. */
  dispose(): void;
}

/** Compiles a causal model's step, and the draw of a token, on an engine. */
export function createDecoder<P extends Tree>(engine: Engine, lm: CausalLm<P>): Decoder<P> {
  const step = engine.compile(function decodingStep(params: P, ids: tf.Tensor2D, cache: KvCache) {
    return lm.step(params, ids, cache);
  });
  const draw = engine.compile(drawTokens);
  return {
    engine,
    lm,
    step,
    draw,
    dispose() {
      step.dispose();
      draw.dispose();
    },
  };
}

/** What a model has read so far, on the engine: the cache, and the logits of the next token. */
export interface Reading {
  readonly logits: tf.Tensor2D; // [B, V]
  readonly cache: KvCache;
}

/**
 * Reads prompts into a fresh cache, padded on the left to `width` columns.
 *
 * @param length slots of the cache
 */
export async function readPrompts<P extends Tree>(
  decoder: Decoder<P>,
  params: P,
  prompts: readonly (readonly number[])[],
  { width, length }: { readonly width: number; readonly length: number },
): Promise<Reading> {
  const ids = new Int32Array(prompts.length * width);
  for (const [row, prompt] of prompts.entries()) ids.set(prompt, (row + 1) * width - prompt.length);
  const start = prompts.map((prompt) => width - prompt.length);
  const cache = decoder.lm.createCache(prompts.length, length, { start });
  const input = tf.tensor2d(ids, [prompts.length, width], "int32");
  try {
    return await decoder.step(params, input, cache);
  } finally {
    treeDispose([input, cache]);
  }
}

/** Reads one more token in each row; frees what was read before. */
export async function readTokens<P extends Tree>(
  decoder: Decoder<P>,
  params: P,
  ids: readonly number[],
  before: Reading,
): Promise<Reading> {
  const input = tf.tensor2d(Int32Array.from(ids), [ids.length, 1], "int32");
  try {
    return await decoder.step(params, input, before.cache);
  } finally {
    treeDispose([input, before]);
  }
}

/**
 * How many columns prompts of at most `longest` tokens are padded to, so that prompts of similar length share a graph: a
 * power of two up to 32, then a multiple of 32.
 *
 * @param limit is not exceeded; at least `longest`
 */
export function promptWidth(longest: number, limit: number): number {
  const rounded = longest <= 32 ? 2 ** Math.ceil(Math.log2(longest)) : Math.ceil(longest / 32) * 32;
  return Math.min(rounded, limit);
}

/** Slots for a cache of at least `tokens` tokens: a multiple of 64, at most `blockSize`. */
export function cacheLength(tokens: number, blockSize: number): number {
  return Math.min(Math.ceil(tokens / 64) * 64, blockSize);
}
