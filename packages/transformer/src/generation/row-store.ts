import { type Tree, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { consuming, type Decoder, type NewTokens, newTokens, promptWidth, type Reading } from "./decoder.ts";

/** A row of a running batch: one request's keys and values on the engine. */
export interface StoredRow {
  reading: Reading | undefined;
  readonly prompt: readonly number[];
}

/** The rows of a running batch, which join and leave it at any time. */
export class RowStore<P extends Tree> {
  readonly #decoder: Decoder<P>;
  readonly #params: P;
  readonly #length: number;

  /** @param length most tokens of a row */
  constructor(decoder: Decoder<P>, params: P, length: number) {
    this.#decoder = decoder;
    this.#params = params;
    this.#length = length;
  }

  /** Reads a prompt into a row of its own; the logits [1, V] of what follows belong to the caller. */
  async read(prompt: readonly number[]): Promise<{ row: StoredRow; logits: tf.Tensor2D }> {
    const { logits, cache } = await consuming(newTokens([prompt], promptWidth(prompt.length, this.#length)), (tokens) =>
      this.#decoder.step(this.#params, tokens, this.#decoder.lm.createCache(1, this.#length)),
    );
    const row = { prompt, reading: { logits: tf.zeros([1, 1]) as tf.Tensor2D, cache } };
    return { row, logits };
  }

  /** Reads one more token in each row: the logits [B or more, V] of what follows. */
  async step(rows: readonly StoredRow[], ids: readonly number[]): Promise<tf.Tensor2D> {
    const all: tf.Tensor2D[] = [];
    try {
      for (const [i, row] of rows.entries()) {
        const { logits, cache } = row.reading!;
        row.reading = undefined;
        const reading = await consuming([newTokens([[ids[i]!]], 1), logits], ([tokens]) =>
          this.#decoder.step(this.#params, tokens as NewTokens, cache),
        );
        row.reading = reading;
        all.push(reading.logits);
      }
      return tf.tidy(() => tf.concat(all, 0));
    } catch (error) {
      for (const row of rows) this.free(row);
      throw error;
    }
  }

  free(row: StoredRow): void {
    treeDispose(row.reading);
    row.reading = undefined;
  }
}
