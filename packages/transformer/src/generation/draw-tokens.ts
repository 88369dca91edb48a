import { logSoftmax } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { rowElements } from "./row-elements.ts";
import {
  allowTokens,
  drawByInverseCdf,
  drawGreedily,
  frequencyPresencePenalty,
  minP,
  noRepeatNgrams,
  repetitionPenalty,
  temperature,
  topK,
  topP,
  typical,
} from "./sampling-filters.ts";

// From the logits of a step to one token a row: the filters in their order, then the draw.
//
// Shapes: B batch, V vocabulary, L previous tokens.

/** How tokens are drawn. Plain JSON; what is left out has no effect. */
export interface SamplingOptions {
  /** Below 1 likely tokens become likelier; 0 takes the likeliest. Default 1. */
  readonly temperature?: number;
  /** Draws among this many of the likeliest tokens. */
  readonly topK?: number;
  /** Draws among the likeliest tokens whose probability makes up this share. */
  readonly topP?: number;
  /** Draws among tokens with at least this share of the likeliest one's probability. */
  readonly minP?: number;
  /** Draws among the tokens nearest to the expected surprisal that make up this share of the probability. */
  readonly typicalP?: number;
  /** Above 1 makes tokens of the prompt and of what was generated rarer, by factor. Default 1. */
  readonly repetitionPenalty?: number;
  /** Subtracted from the logit of a token for each time it was generated; prompts do not count. Default 0. */
  readonly frequencyPenalty?: number;
  /** Subtracted once from the logit of every token that was generated; prompts do not count. Default 0. */
  readonly presencePenalty?: number;
  /** No sequence of this many tokens comes twice, prompt included. */
  readonly noRepeatNgramSize?: number;
}

/** What a draw reads besides the logits. */
export type DrawInputs = {
  /** [B, 1] in [0, 1); without it the likeliest token is taken */
  uniform?: tf.Tensor2D;
  /** int32 [B, L], the latest token last, -1 before the first */
  previous?: tf.Tensor2D;
  /** int32 [B, L]: as `previous`, with -1 for the tokens of the prompt */
  generated?: tf.Tensor2D;
  /** float32 [B, V]: 0 for tokens that may not be drawn */
  allowed?: tf.Tensor2D;
};

/** @throws naming the first option that is out of range. */
export function checkSamplingOptions(caller: string, options: SamplingOptions): void {
  const check = (name: keyof SamplingOptions, fits: (n: number) => boolean, expected: string) => {
    const value = options[name];
    if (value === undefined || (Number.isFinite(value) && fits(value))) return;
    throw new Error(`${caller}: ${name} (${value}) must be ${expected}`);
  };
  const share = (n: number) => n > 0 && n <= 1;
  const count = (n: number) => Number.isInteger(n) && n >= 1;
  check("temperature", (n) => n >= 0, "a number that is not negative");
  check("topK", count, "a positive integer");
  check("topP", share, "in (0, 1]");
  check("minP", share, "in (0, 1]");
  check("typicalP", share, "in (0, 1]");
  check("repetitionPenalty", (n) => n > 0, "positive");
  check("frequencyPenalty", () => true, "a finite number");
  check("presencePenalty", () => true, "a finite number");
  check("noRepeatNgramSize", count, "a positive integer");
}

/** The options of `from` that concern sampling, without those that are left out. */
export function samplingOptionsOf(from: SamplingOptions): SamplingOptions {
  const names: readonly (keyof SamplingOptions)[] = [
    "temperature",
    "topK",
    "topP",
    "minP",
    "typicalP",
    "repetitionPenalty",
    "frequencyPenalty",
    "presencePenalty",
    "noRepeatNgramSize",
  ];
  return Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]));
}

/** Which histories the options read: `previous` holds prompt and generated tokens, `generated` the latter alone. */
export function historiesOf(options: SamplingOptions): { readonly previous: boolean; readonly generated: boolean } {
  const { repetitionPenalty: repetition = 1, frequencyPenalty = 0, presencePenalty = 0, noRepeatNgramSize } = options;
  return {
    previous: repetition !== 1 || noRepeatNgramSize !== undefined,
    generated: frequencyPenalty !== 0 || presencePenalty !== 0,
  };
}

/**
 * Applies what the options ask for, in this order: allowed tokens, repetition, frequency and presence penalties, n-grams,
 * temperature, top-k, top-p, min-p, typical.
 *
 * @param logits [B, V]
 * @returns [B, V], -Infinity for tokens that may not be drawn
 */
function filterLogits(logits: tf.Tensor2D, inputs: DrawInputs, options: SamplingOptions): tf.Tensor2D {
  const { previous, generated, allowed } = inputs;
  return tf.tidy(() => {
    let x = logits;
    if (allowed) x = allowTokens(x, allowed);
    if (previous && (options.repetitionPenalty ?? 1) !== 1) {
      x = repetitionPenalty(x, previous, options.repetitionPenalty!);
    }
    if (generated) {
      x = frequencyPresencePenalty(x, generated, {
        frequency: options.frequencyPenalty ?? 0,
        presence: options.presencePenalty ?? 0,
      });
    }
    if (previous && options.noRepeatNgramSize) x = noRepeatNgrams(x, previous, options.noRepeatNgramSize);
    // What follows keeps the likeliest token, which is all that a greedy choice asks for.
    if (!inputs.uniform) return tf.clone(x);
    x = temperature(x, options.temperature ?? 1);
    if (options.topK !== undefined) x = topK(x, options.topK);
    if (options.topP !== undefined) x = topP(x, options.topP, options.topK);
    if (options.minP !== undefined) x = minP(x, options.minP);
    if (options.typicalP !== undefined) x = typical(x, options.typicalP);
    return x === logits ? tf.clone(x) : x;
  });
}

/**
 * Draws one token a row.
 *
 * @param logits [B, V]
 * @returns ids int32 [B], -1 where the row has a NaN or no token left; with `withLogProbs` also the log-probability of each
 *   token under the logits as the model gave them, float32 [B]
 */
export function drawTokens(
  logits: tf.Tensor2D,
  inputs: DrawInputs,
  options: SamplingOptions,
  withLogProbs = false,
): { ids: tf.Tensor1D; logProbs?: tf.Tensor1D } {
  return tf.tidy(() => {
    const filtered = filterLogits(logits, inputs, options);
    const ids = inputs.uniform
      ? drawByInverseCdf(filtered, inputs.uniform).squeeze<tf.Tensor1D>([1])
      : drawGreedily(filtered);
    if (!withLogProbs) return { ids };
    const drawn = tf.maximum(ids, tf.scalar(0, "int32")) as tf.Tensor1D;
    return { ids, logProbs: rowElements(logSoftmax(logits), drawn) };
  });
}
