import type { Engine, Tree } from "@genai/core";
import { TextStream, type Tokenizer } from "@genai/tokenizer";
import { type CausalLm, type GenerateOptions, generate } from "@genai/transformer";

/** A piece of text for one of the prompts, safe to show. */
export interface TextPiece {
  readonly row: number;
  /** May be empty: a token whose character is not complete yet. */
  readonly text: string;
  readonly id: number;
  /** Set on the last piece of a row: why it ended. */
  readonly finish?: "length" | "stop";
  /** The stop string that ended it. */
  readonly stopString?: string;
  readonly logProb?: number;
}

export interface WriteTextsOptions<P extends Tree> extends Omit<GenerateOptions<P>, "stopWhen"> {
  readonly tokenizer: Tokenizer;
  /** Strings that end a text. */
  readonly stop?: readonly string[];
}

const breathEveryMs = 50;

/** Continues prompts of ids as `generate` does, and yields text as it is safe to show. */
export async function* writeTexts<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  prompts: readonly ArrayLike<number>[],
  { tokenizer, stop = [], ...options }: WriteTextsOptions<P>,
): AsyncGenerator<TextPiece, void> {
  const streams = prompts.map((after) => new TextStream(tokenizer, { stop, after }));
  // `stopWhen` is asked before a token is yielded: what it shows waits here until then.
  const shown = prompts.map(() => "");
  const ends = new Set(options.stopIds);
  const tokens = generate(engine, lm, params, prompts, {
    ...options,
    stopWhen(row, generated) {
      const id = generated.at(-1)!;
      if (!ends.has(id)) shown[row] += streams[row]!.push(id);
      return streams[row]!.stopped !== undefined;
    },
  });
  let breathed = performance.now();
  for await (const { row, id, finish, logProb } of tokens) {
    // Engines without threads never let go of the event loop, which hears of Ctrl-C and of clients that left.
    if (performance.now() - breathed > breathEveryMs) {
      await new Promise(setImmediate);
      breathed = performance.now();
    }
    const stream = streams[row]!;
    const text = shown[row]! + (finish ? stream.flush() : "");
    shown[row] = "";
    yield {
      row,
      id,
      text,
      ...(finish && { finish }),
      ...(stream.stopped !== undefined && { stopString: stream.stopped }),
      ...(logProb !== undefined && { logProb }),
    };
  }
}
