import { type Compiled, type Engine, type Tree, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import type { KvCache } from "../kv-cache.ts";
import { type DrawInputs, drawTokens, type SamplingOptions } from "./draw-tokens.ts";

/** Tokens that a model reads at once: int32 [B, T], and int32 [B] how many of each row are no padding behind (default T). */
export interface NewTokens {
  readonly ids: tf.Tensor2D;
  readonly counts?: tf.Tensor1D;
}

/** What a model has read so far, on the engine: the cache, and the logits of the next token. */
export interface Reading {
  readonly logits: tf.Tensor2D; // [B, V]
  readonly cache: KvCache;
}

/** A reading with the tokens that were drawn behind it. */
export interface Continued extends Reading {
  readonly ids: tf.Tensor1D; // int32 [B], -1 where none could be drawn
  readonly logProbs?: tf.Tensor1D; // [B]
}

/** What is drawn after a step, and how. */
export interface Draw {
  readonly inputs: DrawInputs;
  readonly options: SamplingOptions;
  readonly withLogProbs: boolean;
}

/**
 * A causal model compiled for decoding. Whoever generates more than once with a model makes one decoder and hands it to
 * every call, so that graphs are compiled once. Both functions take over the cache that they are given, and dispose of it.
 */
export interface Decoder<P extends Tree = Tree> {
  readonly engine: Engine;
  readonly lm: CausalLm<P>;
  /** Reads tokens. */
  readonly step: Compiled<[params: P, tokens: NewTokens, cache: KvCache], Reading>;
  /** Reads tokens and draws those that follow. */
  readonly advance: Compiled<[params: P, tokens: NewTokens, cache: KvCache, draw: Draw], Continued>;
  /** Frees what was compiled. */
  dispose(): void;
}

export interface CreateDecoderOptions {
  /** A pure tensor function over logits [B, V], compiled into `advance`. */
  readonly adjustLogits?: ((logits: tf.Tensor2D) => tf.Tensor2D) | undefined;
}

/** Compiles a causal model's step, alone and with the draw of a token, on an engine. */
export function createDecoder<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  { adjustLogits = (logits) => logits }: CreateDecoderOptions = {},
): Decoder<P> {
  const read = (params: P, { ids, counts }: NewTokens, cache: KvCache): Reading => lm.step(params, ids, cache, counts);
  const step = engine.compile(
    function decodingStep(params: P, tokens: NewTokens, cache: KvCache) {
      return read(params, tokens, cache);
    },
    { donated: [2] },
  );
  const advance = engine.compile(
    function decodingStep(params: P, tokens: NewTokens, cache: KvCache, draw: Draw): Continued {
      const reading = read(params, tokens, cache);
      const { inputs, options, withLogProbs } = draw;
      return { ...reading, ...drawTokens(adjustLogits(reading.logits), inputs, options, withLogProbs) };
    },
    { donated: [2] },
  );
  return {
    engine,
    lm,
    step,
    advance,
    dispose() {
      step.dispose();
      advance.dispose();
    },
  };
}

/** Rows of ids in any lengths as tokens to be read at once, padded behind to `width`. The caller disposes of them. */
export function newTokens(rows: readonly (readonly number[])[], width: number): NewTokens {
  const ids = new Int32Array(rows.length * width);
  for (const [i, row] of rows.entries()) ids.set(row, i * width);
  const batch = tf.tensor2d(ids, [rows.length, width], "int32");
  // Single tokens are read by one graph, whoever asks.
  if (width === 1) return { ids: batch };
  return {
    ids: batch,
    counts: tf.tensor1d(
      rows.map((row) => row.length),
      "int32",
    ),
  };
}

/** Runs `use` and disposes of the tree. */
export async function consuming<T extends Tree, R>(tree: T, use: (tree: T) => Promise<R>): Promise<R> {
  try {
    return await use(tree);
  } finally {
    treeDispose(tree);
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
