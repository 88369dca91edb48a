import { UsageError } from "../exit-code.ts";
import { startIds } from "./sample-texts.ts";
import type { WritingModel } from "./text-model.ts";
import { encodeText } from "./text-vocabulary.ts";

export interface PromptOptions {
  /** What errors call it: "--prompt". */
  readonly what: string;
  /** Keeps the end of a prompt that is longer than the context, instead of refusing it. */
  readonly slide: boolean;
  /** Reads special tokens that are typed in the prompt as such. */
  readonly allowSpecial: boolean;
}

/**
 * The ids of a prompt with what the tokenizer puts before it. An empty one becomes what a text begins with.
 *
 * @throws UsageError for a character that the vocabulary lacks, and a prompt that is longer than the context.
 */
export function promptIds({ tokenizer, lm }: WritingModel, prompt: string, options: PromptOptions): number[] {
  const { what, slide, allowSpecial } = options;
  const ids = encodeText(tokenizer, prompt, {
    addSpecialTokens: true,
    what,
    ...(allowSpecial ? { allowedSpecial: "all" } : {}),
  });
  if (ids.length === 0) return startIds(tokenizer);
  const excess = ids.length - lm.blockSize;
  if (excess <= 0) return [...ids];
  if (slide) return [...ids.slice(-lm.blockSize)];
  throw new UsageError(
    `${what} has ${ids.length} tokens, ${excess} more than the context of ${lm.blockSize}; shorten it, or keep its end with --slide`,
  );
}
