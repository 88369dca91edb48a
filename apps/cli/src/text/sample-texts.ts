import type { Engine, Rng, Tree } from "@genai/core";
import type { Tokenizer } from "@genai/tokenizer";
import { type CausalLm, createDecoder, type Decoder } from "@genai/transformer";
import { endIdOf, specialIdOf } from "./text-vocabulary.ts";
import { writeTexts } from "./write-texts.ts";

/** The ids that a text without a beginning begins with: the token for it, or the end of a line, or else the first id. */
export function startIds(tokenizer: Tokenizer): number[] {
  const begin = specialIdOf(tokenizer, "bos_token") ?? endIdOf(tokenizer);
  if (begin !== undefined) return [begin];
  const newline = tokenizer.encode("\n", { addSpecialTokens: false }).ids;
  return newline.length > 0 ? [...newline] : [0];
}

export interface TextSamplerOptions<P extends Tree> {
  readonly engine: Engine;
  readonly lm: CausalLm<P>;
  readonly tokenizer: Tokenizer;
  /** What the texts go on from. */
  readonly prompt: readonly number[];
  readonly stopIds: readonly number[];
  readonly temperature: number;
  readonly topK: number | undefined;
}

/** Writes samples of a model in training; what is compiled serves all of them. */
export class TextSampler<P extends Tree> {
  readonly #options: TextSamplerOptions<P>;
  readonly #decoder: Decoder<P>;

  constructor(options: TextSamplerOptions<P>) {
    this.#options = options;
    this.#decoder = createDecoder(options.engine, options.lm);
  }

  /** Texts with the prompt in front, the same for the same parameters and seed. */
  async write(
    params: P,
    {
      count,
      tokens,
      rng,
      signal,
    }: { readonly count: number; readonly tokens: number; readonly rng: Rng; readonly signal?: AbortSignal },
  ): Promise<string[]> {
    const { engine, lm, tokenizer, prompt, stopIds, temperature, topK } = this.#options;
    const begin = prompt.slice(-lm.blockSize);
    const texts: string[] = new Array(count).fill(tokenizer.decode(begin));
    const pieces = writeTexts(engine, lm, params, new Array(count).fill(begin), {
      tokenizer,
      decoder: this.#decoder,
      stopIds,
      slide: true,
      maxNewTokens: tokens,
      ...(temperature > 0
        ? { rng, temperature, ...(topK === undefined ? {} : { topK: Math.min(topK, lm.vocabSize) }) }
        : {}),
      ...(signal ? { signal } : {}),
    });
    for await (const { row, text } of pieces) texts[row] += text;
    return texts;
  }

  dispose(): void {
    this.#decoder.dispose();
  }
}
