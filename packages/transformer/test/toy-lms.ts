import { embedding, writeSlots } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { lastTokens } from "../src/causal-context.ts";
import { type CausalLm, createKvCache, type KvCache } from "../src/index.ts";

// Language models small enough to be worked out by hand.

/** Logits of the next token by the last one alone: rows of table [V, V]. */
export function bigramLm(vocabSize: number, blockSize = 16): CausalLm<{ table: tf.Tensor2D }> {
  return {
    vocabSize,
    blockSize,
    logits: ({ table }, ids) => embedding({ weight: table }, ids) as tf.Tensor3D,
    createCache: (batchSize, length) => createKvCache({ batchSize, layers: 1, heads: 1, length, headDim: 1 }),
    step: ({ table }, ids, cache, counts = tf.fill([ids.shape[0]], ids.shape[1], "int32") as tf.Tensor1D) => ({
      logits: embedding({ weight: table }, lastTokens(ids.expandDims(2), counts).reshape([-1])) as tf.Tensor2D,
      cache: { ...cache, lengths: cache.lengths.add(counts) },
    }),
  };
}

/**
 * Logits of the next token by all tokens of the context: row i of table [V, V] times the sine of i's place counts for the
 * token i, with places counted from 1 behind the padding. Reads what it has seen from the cache.
 */
export function historyLm(vocabSize: number, blockSize = 16): CausalLm<{ table: tf.Tensor2D }> {
  const slotsOf = (length: number) =>
    tf.tensor2d(
      Float32Array.from({ length }, (_, i) => i),
      [1, length],
    );
  const weights = (length: number, start: tf.Tensor, end: tf.Tensor) => {
    const slots = slotsOf(length);
    const place = slots.sub(start.toFloat().expandDims(1)).add(1); // [B, L]
    const seen = tf.logicalAnd(tf.greater(place, 0), tf.less(slots, end.toFloat()));
    return tf.mul(tf.sin(place), seen.toFloat());
  };
  const step = (
    { table }: { table: tf.Tensor2D },
    ids: tf.Tensor2D,
    cache: KvCache,
    counts = tf.fill([ids.shape[0]], ids.shape[1], "int32") as tf.Tensor1D,
  ) => {
    const [rows, t] = ids.shape;
    const read = (embedding({ weight: table }, ids) as tf.Tensor3D).reshape<tf.Tensor4D>([rows, 1, t, vocabSize]);
    const k = writeSlots(cache.layers[0]!.k, read, cache.lengths);
    const lengths = cache.lengths.add(counts) as tf.Tensor1D;
    const length = k.shape[2];
    const w = weights(length, tf.zeros([rows], "int32"), lengths.expandDims(1)).reshape([rows, 1, length]);
    const logits = tf.matMul(w, k.reshape([rows, length, vocabSize]) as tf.Tensor3D).reshape([rows, vocabSize]);
    return {
      logits: logits as tf.Tensor2D,
      cache: { layers: [{ k, v: cache.layers[0]!.v.clone() }], lengths },
    };
  };
  return {
    vocabSize,
    blockSize,
    logits: ({ table }, ids, options = {}) => {
      const [rows, t] = ids.shape;
      const read = embedding({ weight: table }, ids) as tf.Tensor3D;
      const w = weights(t, options.start ?? tf.zeros([rows], "int32"), tf.scalar(t)).expandDims(2);
      return tf.cumsum(tf.mul(read, w), 1) as tf.Tensor3D;
    },
    createCache: (batchSize, length) => createKvCache({ batchSize, layers: 1, heads: 1, length, headDim: vocabSize }),
    step,
  };
}
