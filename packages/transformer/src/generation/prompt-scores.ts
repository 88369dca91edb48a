import { type Compiled, logSoftmax, type Tree, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import type { Decoder } from "./decoder.ts";
import { rowElements } from "./row-elements.ts";

// What a model thinks of a prompt's own tokens. They are read at once and without a cache, since a step with one gives the
// logits behind the last token alone.

/** A token that is given, under the logits of its place. */
export interface PromptScore {
  readonly id: number;
  /** In nats. */
  readonly logProb: number;
  /** The likeliest tokens of this place, the likeliest first; there with the option likeliest. */
  readonly likeliest?: readonly { readonly id: number; readonly logProb: number }[];
}

type Scores = { logProbs: tf.Tensor1D; likeliest?: tf.Tensor2D; likeliestLogProbs?: tf.Tensor2D };

/** Scores prompts with one model. */
export class PromptScorer<P extends Tree> {
  readonly #lm: CausalLm<P>;
  readonly #params: P;
  readonly #score: Compiled<[params: P, ids: tf.Tensor2D, targets: tf.Tensor1D, likeliest: number], Scores>;

  constructor({ engine, lm }: Decoder<P>, params: P) {
    this.#lm = lm;
    this.#params = params;
    this.#score = engine.compile((params: P, ids: tf.Tensor2D, targets: tf.Tensor1D, likeliest: number) =>
      scoresOf(lm.logits(params, ids), targets, likeliest),
    );
  }

  /** Scores of all tokens but the first, which nothing comes before. @throws if logits are NaN */
  async score(prompt: readonly number[], likeliest: number): Promise<PromptScore[]> {
    const count = prompt.length - 1;
    if (count === 0) return [];
    // Few widths, so that few graphs serve. What pads is behind, where nobody sees it.
    const width = Math.min(2 ** Math.ceil(Math.log2(Math.max(16, count))), this.#lm.blockSize);
    const padded = (ids: readonly number[]) => Int32Array.from({ length: width }, (_, i) => ids[i] ?? 0);
    const ids = tf.tensor2d(padded(prompt.slice(0, -1)), [1, width], "int32");
    const targets = tf.tensor1d(padded(prompt.slice(1)), "int32");
    let scores: Scores | undefined;
    try {
      scores = await this.#score(this.#params, ids, targets, likeliest);
      const logProbs = await scores.logProbs.data();
      const nan = logProbs.subarray(0, count).findIndex(Number.isNaN);
      if (nan >= 0) {
        throw new Error(
          `submit: the log-probability of the prompt's token ${nan + 1} is NaN; expected a number. The parameters may have ` +
            "diverged in training or been read wrongly",
        );
      }
      const listIds = await scores.likeliest?.data();
      const listLogProbs = await scores.likeliestLogProbs?.data();
      const entry = (n: number) => ({ id: listIds![n]!, logProb: listLogProbs![n]! });
      return Array.from({ length: count }, (_, i) => ({
        id: prompt[i + 1]!,
        logProb: logProbs[i]!,
        ...(listIds && { likeliest: Array.from({ length: likeliest }, (_, n) => entry(i * likeliest + n)) }),
      }));
    } finally {
      treeDispose([ids, targets, scores]);
    }
  }

  dispose(): void {
    this.#score.dispose();
  }
}

/** logits [1, T, V], targets int32 [T] */
function scoresOf(logits: tf.Tensor3D, targets: tf.Tensor1D, likeliest: number): Scores {
  return tf.tidy(() => {
    const [, count, vocab] = logits.shape;
    const all = logSoftmax(logits.reshape<tf.Tensor2D>([count, vocab]));
    const logProbs = rowElements(all, targets);
    if (likeliest === 0) return { logProbs };
    const { values, indices } = tf.topk(all, likeliest);
    return { logProbs, likeliest: indices as tf.Tensor2D, likeliestLogProbs: values as tf.Tensor2D };
  });
}
