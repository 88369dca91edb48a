import { type CrossEntropyOptions, crossEntropy, type Rng, type Tree } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";

// Shapes: B batch, T tokens, V vocabulary.

/** Tokens and what is to be learned of them. */
export type TokenBatch = {
  ids: tf.Tensor2D; // int32 [B, T]
  targets: tf.Tensor2D; // int32 [B, T]: what follows each token, or -100 where nothing is to be learned
  segments?: tf.Tensor2D; // int32 [B, T]: the document of each token, where rows hold several that are kept apart
};

export interface LanguageModelLossOptions extends Omit<CrossEntropyOptions, "reduction" | "ignoreIndex"> {
  /** Its presence means training: it draws the dropout. */
  readonly rng?: Rng;
  /** Saves memory: see `CausalLogitsOptions`. */
  readonly recompute?: boolean;
}

/**
 * Mean cross-entropy of a causal model's next tokens, in nats, over the targets that are not -100: pretraining, and
 * instruction tuning where only answers are targets. With `loraLm` it trains an adapter.
 */
export function languageModelLoss<P extends Tree>(
  lm: CausalLm<P>,
  params: P,
  { ids, targets, segments }: TokenBatch,
  options: LanguageModelLossOptions = {},
): tf.Scalar {
  const { rng, recompute = false, ...rest } = options;
  const how = { recompute, ...(rng && { rng }), ...(segments && { segments }) };
  return tf.tidy(() => crossEntropy(lm.logits(params, ids, how), targets, rest) as tf.Scalar);
}
