import { type BatchStream, Rng, type RngState } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { checkWhole } from "./check-options.ts";

export interface TextWindowsOptions {
  readonly batchSize: number;
  /** Tokens in a window: T. */
  readonly blockSize: number;
  /** Where the windows' places come from. Forked once, here. */
  readonly rng: Rng;
}

/** B windows of T tokens, and the tokens that follow each of them. */
export interface TextBatch {
  /** int32 [B, T] */
  readonly tokens: tf.Tensor2D;
  /** int32 [B, T]: `tokens` moved on by one. */
  readonly targets: tf.Tensor2D;
}

/** An endless stream of random windows. */
export interface TextWindowStream extends BatchStream<TextBatch>, AsyncIterable<TextBatch> {
  return(): Promise<IteratorResult<TextBatch, undefined>>;
}

/**
 * An endless stream of windows at random places of a text's token ids, as nanoGPT trains on. The places of the n-th batch
 * are a function of (rng, n), so that a saved state goes on bit-identically. The tensors belong to the caller.
 *
 * @throws if there are fewer than blockSize + 1 ids.
 */
export function textWindows(ids: Int32Array, { batchSize, blockSize, rng }: TextWindowsOptions): TextWindowStream {
  checkWhole("textWindows", { batchSize, blockSize }, 1);
  if (ids.length < blockSize + 1) {
    throw new Error(`textWindows: ids has ${ids.length} tokens; expected at least blockSize + 1 (${blockSize + 1})`);
  }
  let base: RngState = rng.fork("textWindows").state();
  let step = 0;
  let stopped = false;

  return {
    async next() {
      if (stopped) return { done: true, value: undefined };
      const starts = Rng.fromState(base)
        .fork(step)
        .draw({ kind: "integers", size: batchSize, low: 0, high: ids.length - blockSize });
      step += 1;
      const tokens = new Int32Array(batchSize * blockSize);
      const targets = new Int32Array(batchSize * blockSize);
      for (const [row, start] of starts.entries()) {
        tokens.set(ids.subarray(start, start + blockSize), row * blockSize);
        targets.set(ids.subarray(start + 1, start + 1 + blockSize), row * blockSize);
      }
      const shape: [number, number] = [batchSize, blockSize];
      return {
        done: false,
        value: { tokens: tf.tensor2d(tokens, shape, "int32"), targets: tf.tensor2d(targets, shape, "int32") },
      };
    },
    async return() {
      stopped = true;
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    state: () => ({ kind: "textWindows", length: ids.length, batchSize, blockSize, step, rng: base }),
    restore(state) {
      const saved = state as { kind?: string; length?: number; step?: number; rng?: RngState } | null;
      if (saved?.kind !== "textWindows" || saved.length !== ids.length) {
        throw new Error(
          `textWindows.restore: state (${JSON.stringify(state)}) must be of a stream over ${ids.length} tokens`,
        );
      }
      if (!Number.isSafeInteger(saved.step) || saved.step! < 0) {
        throw new Error(`textWindows.restore: step (${saved.step}) must be a whole number`);
      }
      base = Rng.fromState(saved.rng!).state();
      step = saved.step!;
    },
  };
}
