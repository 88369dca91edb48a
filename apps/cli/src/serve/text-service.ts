import { randomInt } from "node:crypto";
import { Rng } from "@genai/core";
import { TextStream } from "@genai/tokenizer";
import type { BatchRequest, BatchScheduler, BatchToken } from "@genai/transformer";
import { startIds } from "../text/sample-texts.ts";
import type { WritingModel } from "../text/text-model.ts";
import { encodeText } from "../text/text-vocabulary.ts";
import { ApiError } from "./api-error.ts";
import { mergeAsync } from "./merge-async.ts";
import type { SamplingRequest } from "./request-schemas.ts";

/** A part of one of a request's texts, as soon as it is safe to show. */
export interface TextPart {
  /** Which text: `n` for the first prompt, then those for the second. */
  readonly index: number;
  /** May be empty. */
  readonly text: string;
  readonly token: BatchToken;
  /** Whether the token is part of the text; one that ends it is not. */
  readonly shown: boolean;
  /** Set on the last part. */
  readonly finish?: "stop" | "length";
}

export interface WriteOptions {
  readonly maxNewTokens: number;
  /** -1: no log-probabilities; otherwise how many of the likeliest tokens come with theirs. */
  readonly likeliest: number;
  /** Whether the first token of each text brings what the model thinks of the prompt's own. */
  readonly promptScores?: boolean;
  readonly signal: AbortSignal;
}

/** Writes texts with a model for the requests of the API. */
export class TextService {
  readonly model: WritingModel;
  readonly scheduler: BatchScheduler;
  /** Most new tokens that a request may ask for. */
  readonly maxNewTokens: number;

  constructor(model: WritingModel, scheduler: BatchScheduler, maxNewTokens: number) {
    this.model = model;
    this.scheduler = scheduler;
    this.maxNewTokens = maxNewTokens;
  }

  /** The ids of a prompt. An empty one is what a text begins with. @throws ApiError 400 */
  promptIds(prompt: string | readonly number[], param: string): readonly number[] {
    const { tokenizer, lm } = this.model;
    if (typeof prompt !== "string") {
      const wrong = prompt.find((id) => id >= lm.vocabSize);
      if (wrong === undefined) return prompt;
      throw new ApiError(400, `${param}: the id ${wrong} is not in the vocabulary of ${lm.vocabSize} tokens.`, {
        param,
      });
    }
    let ids: readonly number[];
    try {
      ids = [...encodeText(tokenizer, prompt, { addSpecialTokens: true, what: param })];
    } catch (error) {
      throw new ApiError(400, error instanceof Error ? error.message : String(error), { param, cause: error });
    }
    return ids.length === 0 ? startIds(tokenizer) : ids;
  }

  /**
   * How many tokens to write behind a prompt of this length.
   *
   * @param fields what the request calls its number of new tokens, and its prompt
   * @throws ApiError 400 if there is no room for as many
   */
  newTokens(
    promptTokens: number,
    asked: number | null | undefined,
    standard: number,
    [param, prompt]: readonly [tokens: string, prompt: string],
  ): number {
    const { maxTokens } = this.scheduler;
    // The last token is not read, so that it needs no place.
    const room = maxTokens - promptTokens + 1;
    if (asked && asked > this.maxNewTokens) {
      throw new ApiError(
        400,
        `${param} is ${asked}; this server writes at most ${this.maxNewTokens} tokens for a request.`,
        {
          param,
          code: "max_tokens_exceeded",
        },
      );
    }
    if (room < Math.max(1, asked ?? 1)) {
      const wanted = asked ? `, and ${asked} were asked for` : "";
      throw new ApiError(
        400,
        `This model's maximum context length is ${maxTokens} tokens. The prompt has ${promptTokens}${wanted}; ` +
          "shorten the prompt, or ask for fewer.",
        { param: promptTokens > maxTokens ? prompt : param, code: "context_length_exceeded" },
      );
    }
    return asked ?? Math.min(standard, room, this.maxNewTokens);
  }

  /**
   * Starts writing `n` texts for each prompt; they share a seed and have streams of their own.
   *
   * @throws at once for what cannot be served, ApiError and QueueFullError; while iterating what the scheduler does
   */
  write(
    prompts: readonly (readonly number[])[],
    request: SamplingRequest,
    options: WriteOptions,
  ): AsyncIterable<TextPart> {
    const n = request.n ?? 1;
    if (prompts.length * n > maxTextsPerRequest) {
      throw new ApiError(
        400,
        `The request asks for ${prompts.length * n} texts; at most ${maxTextsPerRequest} at once.`,
        {
          param: "n",
        },
      );
    }
    const stop = typeof request.stop === "string" ? [request.stop] : (request.stop ?? []);
    const streams = new Rng(request.seed ?? randomInt(2 ** 47));
    const started: AsyncIterableIterator<TextPart>[] = [];
    try {
      for (const prompt of prompts) {
        for (let i = 0; i < n; i++) {
          started.push(this.#writeOne(started.length, prompt, stop, request, streams.fork(started.length), options));
        }
      }
    } catch (error) {
      for (const text of started) void text.return?.();
      throw error;
    }
    return mergeAsync(started);
  }

  #writeOne(
    index: number,
    prompt: readonly number[],
    stop: readonly string[],
    request: SamplingRequest,
    rng: Rng,
    { maxNewTokens, likeliest, promptScores = false, signal }: WriteOptions,
  ): AsyncIterableIterator<TextPart> {
    const { tokenizer, stopIds, lm } = this.model;
    const stream = new TextStream(tokenizer, { stop, after: prompt });
    const ends = new Set(stopIds);
    // `stopWhen` is asked before a token can be read: what it shows waits here until then.
    const shown: string[] = [];
    const tokens = this.scheduler.submit({
      ...samplingOf(request, rng, lm.vocabSize),
      prompt,
      maxNewTokens,
      stopIds,
      signal,
      logProbs: likeliest >= 0,
      likeliest: Math.max(0, likeliest),
      promptScores,
      stopWhen(generated) {
        shown.push(stream.push(generated.at(-1)!));
        return stream.stopped !== undefined;
      },
    });
    const read = async (): Promise<IteratorResult<TextPart, undefined>> => {
      const { done, value: token } = await tokens.next();
      if (done) return { done, value: undefined };
      const { finish } = token;
      const text = (shown[token.index] ?? "") + (finish ? stream.flush() : "");
      return { done: false, value: { index, text, token, shown: !ends.has(token.id), ...(finish && { finish }) } };
    };
    return {
      next: read,
      return: async () => {
        await tokens.return?.();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}

const maxTextsPerRequest = 128;

/** Below this a temperature would divide logits beyond what a 32-bit number holds; the likeliest token is taken. */
const leastTemperature = 1e-4;

function samplingOf(request: SamplingRequest, rng: Rng, vocabSize: number): Omit<BatchRequest, "prompt"> {
  const { top_p: topP, top_k: topK, min_p: minP, typical_p: typicalP } = request;
  const temperature = request.temperature ?? 1;
  const bias = Object.entries(request.logit_bias ?? {}).map(([id, value]) => [Number(id), value] as const);
  const wrong = bias.find(([id]) => id >= vocabSize);
  if (wrong) {
    throw new ApiError(400, `logit_bias: the id ${wrong[0]} is not in the vocabulary of ${vocabSize} tokens.`, {
      param: "logit_bias",
    });
  }
  const common = {
    ...(request.repetition_penalty && { repetitionPenalty: request.repetition_penalty }),
    ...(request.presence_penalty && { presencePenalty: request.presence_penalty }),
    ...(request.frequency_penalty && { frequencyPenalty: request.frequency_penalty }),
    ...(bias.length > 0 && { logitBias: new Map(bias) }),
  };
  if (temperature < leastTemperature || topP === 0) return common;
  const isShare = (share: number | null | undefined) => share !== null && share !== undefined && share > 0 && share < 1;
  return {
    ...common,
    rng,
    temperature,
    ...(topK && topK > 0 && { topK }),
    ...(isShare(topP) && { topP: topP! }),
    ...(isShare(minP) && { minP: minP! }),
    ...(isShare(typicalP) && { typicalP: typicalP! }),
  };
}
