import type { Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type Bert, type BertOptions, bertHidden } from "./bert.ts";
import { type Gpt2, gpt2HiddenStates } from "./gpt2.ts";
import { type Llama, llamaHidden } from "./llama.ts";

// A text as one vector, for search and clustering: the hidden states of its tokens, pooled.
//
//   N. Reimers and I. Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019,
//   arXiv:1908.10084
//
// Shapes: B batch, T tokens, C nEmbd.

export interface PoolingOptions {
  /**
   * The mean over all tokens (default), the first token, which for BERT is [CLS], or the last one. Published encoders
   * name theirs in 1_Pooling/config.json.
   */
  readonly pooling?: "mean" | "first" | "last";
  /** Whether vectors are given the length 1, so that their products are cosines; default true. */
  readonly normalize?: boolean;
}

export interface CausalEmbeddingOptions extends PoolingOptions {
  /** [B, T]: 1 for tokens and 0 for the padding behind them, which no token of a causal model sees. Default all tokens. */
  readonly attentionMask?: tf.Tensor2D;
  /** Its presence means training: it draws the dropout. */
  readonly rng?: Rng;
}

/**
 * Texts as vectors, by the hidden states of BERT.
 *
 * @param ids int32 [B, T], with the [CLS] and [SEP] that the tokenizer adds
 * @returns [B, C]
 */
export function bertEmbeddings(bert: Bert, ids: tf.Tensor2D, options: BertOptions & PoolingOptions = {}): tf.Tensor2D {
  return tf.tidy(() => poolTokens(bertHidden(bert, ids, options), options.attentionMask, options));
}

/**
 * Texts as vectors, by the hidden states of GPT-2 after its final norm.
 *
 * @param ids int32 [B, T], shorter texts padded behind
 * @returns [B, C]
 */
export function gpt2Embeddings(gpt: Gpt2, ids: tf.Tensor2D, options: CausalEmbeddingOptions = {}): tf.Tensor2D {
  const { attentionMask, rng } = options;
  return tf.tidy(() =>
    poolTokens(gpt2HiddenStates(gpt, ids, rng ? { rng } : {}).at(-1)!, attentionMask, options, "gpt2Embeddings"),
  );
}

/**
 * Texts as vectors, by the hidden states of Llama after its final norm.
 *
 * @param ids int32 [B, T], shorter texts padded behind
 * @returns [B, C]
 */
export function llamaEmbeddings(llama: Llama, ids: tf.Tensor2D, options: CausalEmbeddingOptions = {}): tf.Tensor2D {
  const { attentionMask, rng } = options;
  return tf.tidy(() =>
    poolTokens(llamaHidden(llama, ids, rng ? { rng } : {}), attentionMask, options, "llamaEmbeddings"),
  );
}

/**
 * One vector for the tokens of each text.
 *
 * @param hidden [B, T, C]
 * @param mask [B, T]: 1 for tokens, 0 for padding, which comes behind them; default all tokens
 * @returns [B, C]; 0 for a text without tokens
 */
export function poolTokens(
  hidden: tf.Tensor3D,
  mask?: tf.Tensor2D,
  { pooling = "mean", normalize = true }: PoolingOptions = {},
  caller = "poolTokens",
): tf.Tensor2D {
  const [b, t] = hidden.shape;
  if (mask && (mask.shape[0] !== b || mask.shape[1] !== t)) {
    throw new Error(`${caller}: attentionMask has shape [${mask.shape}]; expected [${[b, t]}], that of ids`);
  }
  if (!["mean", "first", "last"].includes(pooling)) {
    throw new Error(`${caller}: pooling (${pooling}) must be mean, first or last`);
  }
  return tf.tidy(() => {
    const tokens = mask?.toFloat() ?? tf.ones([b, t]);
    const sum = tf.matMul(tokenWeights(tokens as tf.Tensor2D, pooling).expandDims(1), hidden).reshape([b, -1]); // [B, C]
    if (!normalize) return sum as tf.Tensor2D;
    const length = tf.sqrt(tf.sum(tf.square(sum), -1, true));
    return tf.div(sum, tf.maximum(length, 1e-12)) as tf.Tensor2D;
  });
}

/** What each token counts for: [B, T], the rows of which sum to 1. */
function tokenWeights(tokens: tf.Tensor2D, pooling: "mean" | "first" | "last"): tf.Tensor2D {
  const [b, t] = tokens.shape;
  switch (pooling) {
    case "mean":
      return tf.div(tokens, tf.maximum(tf.sum(tokens, 1, true), 1));
    case "first":
      return tf.concat([tokens.slice([0, 0], [b, 1]), tf.zeros([b, t - 1])], 1) as tf.Tensor2D;
    case "last": {
      const next = tf.concat([tokens.slice([0, 1], [b, t - 1]), tf.zeros([b, 1])], 1);
      return tf.mul(tokens, tf.sub(1, next));
    }
  }
}
