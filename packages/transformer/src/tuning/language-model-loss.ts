import { type CrossEntropyOptions, crossEntropy, type Rng, type Tree } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import type { TokenBatch } from "../packing.ts";

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
