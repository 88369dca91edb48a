import type { MatrixLayout, Rng, Tree } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { KvCache } from "./kv-cache.ts";

// What decoding, scoring and fine-tuning need to know of a causal language model. `gpt2Lm` and `llamaLm` give it.

export interface CausalLogitsOptions {
  /** int32 [B]: how many tokens of padding each row begins with, which are not attended to. Default none. */
  readonly start?: tf.Tensor1D;
  /**
   * int32 [B, T]: the document that each token belongs to, from 1, each in one piece, and 0 for padding, as packed rows have
   * them. Tokens see those of their own document only, and positions begin anew in each, as if each were alone. ("dynamic"
   * rotary scaling goes by the whole row.)
   */
  readonly segments?: tf.Tensor2D;
  /** Its presence means training: it draws the dropout. */
  readonly rng?: Rng;
  /**
   * Keeps of each block only what it reads, and computes the rest again for the gradients: about a third more time, for the
   * activations of one block instead of all. See `recompute` of @genai/core.
   */
  readonly recompute?: boolean;
}

/** A causal language model as functions of its parameters, each usable inside `engine.compile`. */
export interface CausalLm<P extends Tree = Tree> {
  readonly vocabSize: number;
  /** The largest number of positions. */
  readonly blockSize: number;
  /** Logits of the next token at every position: ids int32 [B, T], T <= blockSize, to [B, T, V]. */
  logits(params: P, ids: tf.Tensor2D, options?: CausalLogitsOptions): tf.Tensor3D;
  /** An empty cache with room for `length` tokens in each row, padding included; length <= blockSize. */
  createCache(batchSize: number, length: number): KvCache;
  /**
   * Reads tokens behind those in the cache, the whole prompt or one at a time: ids int32 [B, T] to the logits [B, V] of
   * what follows the last of them, and the cache with them in it. The caller keeps lengths + T <= length and disposes of
   * the old cache.
   *
   * @param counts int32 [B], from 1 to T: rows of unequal length are padded behind, with any id, and this says how many
   *   tokens are none. The padding is forgotten. Default T.
   */
  step(params: P, ids: tf.Tensor2D, cache: KvCache, counts?: tf.Tensor1D): { logits: tf.Tensor2D; cache: KvCache };
  /**
   * Whether what a token means depends on the length of the cache that it is read into, as with rotary scalings that go by the
   * length of the sequence: then tokens do not move to caches of another length.
   */
  readonly fixedCacheLength?: boolean;
  /** Which parameters are matrices that activations are multiplied with, and which way round; see `convertLm`. */
  matrixLayout?(path: string): MatrixLayout | undefined;
}

/** @throws unless ids are int32 [B, T] of at least one token and at most blockSize. */
export function checkIds(caller: string, ids: tf.Tensor, blockSize: number): void {
  if (ids.rank !== 2 || ids.dtype !== "int32") {
    throw new Error(`${caller}: ids are ${ids.dtype} of shape [${ids.shape}]; expected int32 [batch, tokens]`);
  }
  const length = ids.shape[1]!;
  if (length < 1) throw new Error(`${caller}: ids of shape [${ids.shape}] hold no tokens; expected at least one`);
  if (length > blockSize) {
    throw new Error(
      `${caller}: ids hold ${length} tokens, ${length - blockSize} more than the context of ${blockSize}; expected at ` +
        `most ${blockSize}`,
    );
  }
}

/** @throws naming the first id that is no integer from 0 to vocabSize - 1. Call it where ids come from the host. */
export function checkIdRange(caller: string, ids: ArrayLike<number>, vocabSize: number): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
    throw new Error(`${caller}: id ${id} at ${i}; expected an integer from 0 to ${vocabSize - 1}`);
  }
}

/**
 * The targets of ids: what follows each, int32 [B, T], with -100, which losses ignore, behind the last. Give it labels
 * with -100 where a token is not to be learned.
 */
export function nextTokens(ids: tf.Tensor2D): tf.Tensor2D {
  const [b, t] = ids.shape;
  return tf.tidy(() => tf.concat([ids.slice([0, 1], [b, t - 1]), tf.fill([b, 1], -100, "int32")], 1));
}
