import type { Rng } from "@genai/core";
import { checkIdRange } from "../causal-lm.ts";
import { checkSamplingOptions, type SamplingOptions } from "./draw-tokens.ts";
import type { PromptScore } from "./prompt-scores.ts";

/** One prompt to be continued, as `generate` continues it. */
export interface BatchRequest extends SamplingOptions {
  /** At least one id. */
  readonly prompt: ArrayLike<number>;
  /** Draws the tokens, one number each; without it the likeliest one is taken. */
  readonly rng?: Rng;
  /** Default: what a row has room for. */
  readonly maxNewTokens?: number;
  /** Tokens that end the text. They are yielded, with `finish: "stop"`. */
  readonly stopIds?: readonly number[];
  /** Ends the text when it returns true after a token. */
  readonly stopWhen?: (generated: readonly number[]) => boolean;
  /** The ids to choose among, for all steps or asked for at each step; undefined allows all. */
  readonly allowedIds?: readonly number[] | ((generated: readonly number[]) => readonly number[] | undefined);
  /** Added to the logits of ids. */
  readonly logitBias?: ReadonlyMap<number, number>;
  /** Also gives each token's log-probability under the unfiltered logits. */
  readonly logProbs?: boolean;
  /** And those of this many of the likeliest tokens. */
  readonly likeliest?: number;
  /** With the first token also comes what the model thinks of the prompt's own tokens; `likeliest` counts for them too. */
  readonly promptScores?: boolean;
  readonly signal?: AbortSignal;
}

/** A token of a request. */
export interface BatchToken {
  readonly id: number;
  /** 0 for the first token after the prompt. */
  readonly index: number;
  /** With the first token: how many of the prompt's had been read before, for another request, if there were any. */
  readonly cachedTokens?: number;
  /** With the first token; there with the option promptScores. Of all tokens of the prompt but the first. */
  readonly promptScores?: readonly PromptScore[];
  /** Set on the last token: "stop" for a stop id or stopWhen, "length" for maxNewTokens. */
  readonly finish?: "stop" | "length";
  /** In nats; there with the option logProbs. */
  readonly logProb?: number;
  /** The likeliest tokens of this place, the likeliest first; there with the option likeliest. */
  readonly likeliest?: readonly { readonly id: number; readonly logProb: number }[];
}

/** @throws for what cannot be served. @returns the prompt, and how many tokens to draw */
export function checkBatchRequest(
  request: BatchRequest,
  { vocabSize, length }: { readonly vocabSize: number; readonly length: number },
): { readonly prompt: readonly number[]; readonly maxNewTokens: number } {
  const { rng, stopIds = [], allowedIds, logitBias, likeliest = 0 } = request;
  checkSamplingOptions("submit", request);
  const prompt = Array.from(request.prompt);
  if (prompt.length === 0) {
    throw new Error("submit: the prompt is empty; expected at least one id, such as that of the text's beginning");
  }
  checkIdRange("submit: prompt", prompt, vocabSize);
  checkIdRange("submit: stopIds", stopIds, vocabSize);
  if (Array.isArray(allowedIds)) checkAllowedIds(allowedIds, vocabSize);
  if (logitBias) {
    checkIdRange("submit: logitBias", [...logitBias.keys()], vocabSize);
    for (const [id, bias] of logitBias) {
      if (Number.isNaN(bias)) throw new Error(`submit: logitBias of id ${id} is NaN; expected a number`);
    }
  }
  if (!Number.isInteger(likeliest) || likeliest < 0 || likeliest > vocabSize) {
    throw new Error(`submit: likeliest (${likeliest}) must be an integer from 0 to ${vocabSize}`);
  }
  const needsRng = (["topK", "topP", "minP", "typicalP"] as const).find((name) => request[name] !== undefined);
  if (rng === undefined && (needsRng || (request.temperature ?? 0) > 0)) {
    throw new Error(`submit: ${needsRng ?? "temperature"} is set without an rng; expected one to draw tokens with`);
  }
  // The last token drawn is not read, so that it needs no place.
  const room = length - prompt.length + 1;
  if (room < 1) {
    throw new Error(
      `submit: the prompt has ${prompt.length} tokens, ${prompt.length - length} more than the ${length} of a row; ` +
        "shorten it",
    );
  }
  const { maxNewTokens = room } = request;
  if (!Number.isSafeInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new Error(`submit: maxNewTokens (${maxNewTokens}) must be a positive integer`);
  }
  if (maxNewTokens > room) {
    throw new Error(
      `submit: maxNewTokens (${maxNewTokens}) is ${maxNewTokens - room} more than fit behind a prompt of ` +
        `${prompt.length} tokens in a row of ${length}; expected at most ${room}`,
    );
  }
  return { prompt, maxNewTokens };
}

export function checkAllowedIds(ids: readonly number[], vocabSize: number): void {
  if (ids.length === 0) throw new Error("submit: allowedIds are empty; expected at least one id to choose");
  checkIdRange("submit: allowedIds", ids, vocabSize);
}
