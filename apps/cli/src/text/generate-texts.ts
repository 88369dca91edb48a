import { type Engine, Rng } from "@genai/core";
import { TextStream } from "@genai/tokenizer";
import { beamSearch, createDecoder, type SamplingOptions } from "@genai/transformer";
import type { WritingModel } from "./text-model.ts";
import { type TextPiece, writeTexts } from "./write-texts.ts";

export interface GenerateTextsOptions {
  readonly engine: Engine;
  /** Texts for each prompt. */
  readonly count: number;
  readonly maxTokens: number;
  readonly sampling: SamplingOptions;
  readonly seed: number;
  readonly stop: readonly string[];
  /** Prompts that are continued at once. */
  readonly batchSize: number;
  readonly logProbs: boolean;
  readonly signal: AbortSignal;
}

/** A piece of the `sample`-th text of a prompt. */
export type GeneratedPiece = TextPiece & { readonly prompt: number; readonly sample: number };

/**
 * Continues each prompt `count` times, many at once. What a prompt gets depends on the seed, its place among the prompts
 * and the sample's number alone. Where the context ends, it slides.
 */
export async function* generateTexts(
  model: WritingModel,
  prompts: readonly (readonly number[])[],
  options: GenerateTextsOptions,
): AsyncGenerator<GeneratedPiece, void> {
  const { engine, count, maxTokens, sampling, seed, stop, batchSize, logProbs, signal } = options;
  const { lm, params, tokenizer, stopIds } = model;
  const rows = prompts.flatMap((ids, prompt) =>
    Array.from({ length: count }, (_, sample) => ({ ids, prompt, sample })),
  );
  const decoder = createDecoder(engine, lm);
  try {
    for (let first = 0; first < rows.length; first += batchSize) {
      const batch = rows.slice(first, first + batchSize);
      const rngs = batch.map(({ prompt, sample }) => new Rng(seed).fork("generate").fork(prompt).fork(sample));
      const pieces = writeTexts(
        engine,
        lm,
        params,
        batch.map(({ ids }) => ids),
        {
          ...sampling,
          ...(sampling.temperature === 0 ? {} : { rng: rngs }),
          ...{ tokenizer, stopIds, stop, decoder, logProbs, signal, slide: true, maxNewTokens: maxTokens },
        },
      );
      for await (const piece of pieces) {
        const { prompt, sample } = batch[piece.row]!;
        yield { ...piece, prompt, sample };
      }
    }
  } finally {
    decoder.dispose();
  }
}

/** A whole text. */
export interface WholeText {
  readonly text: string;
  readonly tokens: number;
  readonly finish: "stop" | "length";
  /** Of all its tokens, in nats. */
  readonly logProb: number;
}

/** The likeliest texts behind each prompt, as far as beams find them; the best first. */
export async function searchTexts(
  model: WritingModel,
  prompts: readonly (readonly number[])[],
  options: Pick<GenerateTextsOptions, "engine" | "count" | "maxTokens" | "stop" | "signal"> & {
    readonly beams: number;
  },
): Promise<WholeText[][]> {
  const { engine, count, maxTokens, stop, signal, beams } = options;
  const { lm, params, tokenizer, stopIds } = model;
  const found: WholeText[][] = [];
  for (const prompt of prompts) {
    const room = lm.blockSize - prompt.length + 1;
    const hypotheses = await beamSearch(engine, lm, params, prompt, {
      beams,
      stopIds,
      signal,
      maxNewTokens: Math.min(maxTokens, room),
    });
    found.push(
      hypotheses.slice(0, count).map(({ ids, logProb, finish }) => {
        const stream = new TextStream(tokenizer, { stop, after: prompt });
        const text = stream.push(ids.filter((id) => !stopIds.includes(id))) + stream.flush();
        return { text, tokens: ids.length, finish: stream.stopped === undefined ? finish : "stop", logProb };
      }),
    );
  }
  return found;
}
