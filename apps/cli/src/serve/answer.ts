import { randomUUID } from "node:crypto";
import type { Tokenizer } from "@genai/tokenizer";
import type { RequestScope } from "./request-scope.ts";
import type { TextPart } from "./text-service.ts";

// What the answers of both endpoints have in common.

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** The fields that every answer and every chunk of a stream begins with. */
export function answerHead(prefix: string, object: string, model: string) {
  return { id: `${prefix}-${randomUUID().replaceAll("-", "")}`, object, created: Math.floor(Date.now() / 1000), model };
}

/** Counts the tokens of an answer as it is written. */
export class UsageCount {
  readonly #scope: RequestScope;
  readonly #n: number;

  /** @param n texts for each prompt */
  constructor(scope: RequestScope, promptTokens: number, n: number) {
    this.#scope = scope;
    this.#n = n;
    scope.tokens.prompt = promptTokens;
  }

  add({ index, token }: TextPart): void {
    this.#scope.tokens.completion += 1;
    // Prompts count once, however many texts go on from them.
    if (index % this.#n === 0) this.#scope.tokens.cached += token.cachedTokens ?? 0;
  }

  get usage(): Usage {
    const { prompt, completion, cached } = this.#scope.tokens;
    return {
      prompt_tokens: prompt,
      completion_tokens: completion,
      total_tokens: prompt + completion,
      prompt_tokens_details: { cached_tokens: cached },
    };
  }
}

/** One of a request's texts, whole. */
export interface WholeText {
  text: string;
  finish: "stop" | "length";
  /** With the text before each. */
  readonly parts: { readonly part: TextPart; readonly offset: number }[];
}

/** Reads texts to their ends. */
export async function wholeTexts(
  parts: AsyncIterable<TextPart>,
  count: number,
  onToken: (part: TextPart) => void,
): Promise<WholeText[]> {
  const texts = Array.from({ length: count }, (): WholeText => ({ text: "", finish: "length", parts: [] }));
  for await (const part of parts) {
    onToken(part);
    const text = texts[part.index]!;
    text.parts.push({ part, offset: text.text.length });
    text.text += part.text;
    if (part.finish) text.finish = part.finish;
  }
  return texts;
}

/** The text of one token, by itself; parts of characters in the letters of the vocabulary, so that they differ. */
export function tokenText(tokenizer: Tokenizer, id: number): string {
  const token = tokenizer.idToToken(id);
  // Models often have more outputs than their vocabulary has tokens.
  if (token === undefined) return "";
  const text = tokenizer.decode([id], { skipSpecialTokens: false });
  return text.includes("\ufffd") ? token : text;
}

/** JSON has no -Infinity; OpenAI's own servers write this instead. */
export const finiteLogProb = (logProb: number): number => (Number.isFinite(logProb) ? logProb : -9999);
