import { linear, normalInit, type Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { Weight } from "../param-makers.ts";
import { poolTokens } from "../text-embeddings.ts";

// A head that classifies a text by a causal model's last token, the only one that has seen all of it. BERT has a head of
// its own: see `bertClassLogits`.
//
// Shapes: B batch, T tokens, C nEmbd, N labels.

/** Named as in the published files of GPT2ForSequenceClassification and its kin. */
export type SequenceHead = { score: Weight }; // [N, C]

/** A head for `labels` classes, weights normal 0.02. Train it with the model's parameters, or alone. */
export function createSequenceHead(nEmbd: number, labels: number, rng: Rng): SequenceHead {
  return { score: { weight: normalInit(0.02)([labels, nEmbd], rng) } };
}

/**
 * Logits of the texts' classes, for `crossEntropy`.
 *
 * @param hidden [B, T, C], after the final norm: of `llamaHidden`, or the last of `gpt2HiddenStates`
 * @param attentionMask [B, T]: 1 for tokens and 0 for the padding behind them; default all tokens
 * @returns [B, N]
 */
export function sequenceLogits(head: SequenceHead, hidden: tf.Tensor3D, attentionMask?: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const last = poolTokens(hidden, attentionMask, { pooling: "last", normalize: false }, "sequenceLogits");
    return linear(head.score, last) as tf.Tensor2D;
  });
}
