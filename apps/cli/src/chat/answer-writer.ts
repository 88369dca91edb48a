import { randomInt } from "node:crypto";
import { type Engine, Rng } from "@genai/core";
import { TextStream } from "@genai/tokenizer";
import { type BatchScheduler, createBatchScheduler, type SamplingOptions } from "@genai/transformer";
import type { WritingModel } from "../text/text-model.ts";

export interface AnswerOptions {
  readonly maxNewTokens: number;
  readonly stop: readonly string[];
  readonly sampling: SamplingOptions;
  readonly signal: AbortSignal;
}

/** Writes answers with a model; what is compiled for the first serves those after it. */
export class AnswerWriter {
  readonly context: number;
  readonly #model: WritingModel;
  readonly #scheduler: BatchScheduler;
  readonly #streams: Rng;
  #answers = 0;

  constructor(
    engine: Engine,
    model: WritingModel,
    options: { readonly context?: number; readonly seed?: number } = {},
  ) {
    this.context = options.context ?? model.lm.blockSize;
    this.#model = model;
    this.#scheduler = createBatchScheduler(engine, model.lm, model.params, {
      maxRows: 1,
      maxTokens: this.context,
      // What was said stays read: a turn reads what is new.
      prefixCache: { maxBytes: Number.POSITIVE_INFINITY, maxSequences: 1 },
    });
    this.#streams = new Rng(options.seed ?? randomInt(2 ** 47));
  }

  /** The answer, in pieces that are safe to show. @throws AbortError when the signal fires */
  async *write(
    prompt: readonly number[],
    { maxNewTokens, stop, sampling, signal }: AnswerOptions,
  ): AsyncGenerator<string, "stop" | "length"> {
    const { tokenizer, stopIds } = this.#model;
    const stream = new TextStream(tokenizer, { stop, after: prompt });
    const shown: string[] = [];
    const rng = this.#streams.fork(this.#answers++);
    const tokens = this.#scheduler.submit({
      ...sampling,
      ...(sampling.temperature !== 0 && { rng }),
      prompt,
      maxNewTokens: Math.min(maxNewTokens, this.context - prompt.length + 1),
      stopIds,
      signal,
      stopWhen(generated) {
        shown.push(stream.push(generated.at(-1)!));
        return stream.stopped !== undefined;
      },
    });
    for await (const { index, finish } of tokens) {
      const text = (shown[index] ?? "") + (finish ? stream.flush() : "");
      if (text !== "") yield text;
      if (finish) return finish;
    }
    return "stop";
  }

  dispose(): Promise<void> {
    return this.#scheduler.dispose();
  }
}
