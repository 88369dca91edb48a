import {
  type BatchStream,
  type Compiled,
  crossEntropy,
  type Engine,
  type Tree,
  throwIfAborted,
  treeDispose,
} from "@genai/core";
import { type CausalLm, holdsSeveral, type PackedRows, type TokenBatch } from "@genai/transformer";
import * as tf from "@tensorflow/tfjs";

/** Measures the mean loss of a language model, in nats a token, without dropout. */
export interface LossMeter<P extends Tree> {
  /** Over some batches of a stream, each counted alike, as nanoGPT's estimate_loss does. */
  estimate(params: P, stream: BatchStream<TokenBatch>, batches: number): Promise<number>;
  /** Over every token of the rows. */
  measure(
    params: P,
    rows: PackedRows,
    batchSize: number,
    signal: AbortSignal,
  ): Promise<{ loss: number; tokens: number }>;
  dispose(): void;
}

export function lossMeter<P extends Tree>(engine: Engine, lm: CausalLm<P>): LossMeter<P> {
  const sum: Compiled<[P, TokenBatch], tf.Scalar> = engine.compile(function lossSum(
    params: P,
    { ids, targets, segments }: TokenBatch,
  ) {
    const logits = lm.logits(params, ids, segments ? { segments } : {});
    return crossEntropy(logits, targets, { reduction: "sum" }) as tf.Scalar;
  });

  async function sumOf(params: P, batch: TokenBatch): Promise<{ sum: number; tokens: number }> {
    let loss: tf.Scalar | undefined;
    try {
      const tokens = Array.from(await batch.targets.data()).filter((id) => id >= 0).length;
      loss = await sum(params, batch);
      return { sum: (await loss.data())[0]!, tokens };
    } finally {
      treeDispose([batch, loss]);
    }
  }

  return {
    async estimate(params, stream, batches) {
      let mean = 0;
      for (let i = 0; i < batches; i++) {
        const { sum: total, tokens } = await sumOf(params, (await stream.next()).value!);
        mean += total / tokens / batches;
      }
      return mean;
    },
    async measure(params, rows, batchSize, signal) {
      const { count, length } = rows;
      const several = holdsSeveral(rows);
      let [total, tokens] = [0, 0];
      const size = Math.min(batchSize, count);
      for (let first = 0; first < count; first += size) {
        throwIfAborted("measure", signal);
        // The last batch is filled up with rows that count for nothing.
        const part = (values: Int32Array, filler: number) => {
          const filled = new Int32Array(size * length).fill(filler);
          filled.set(values.subarray(first * length, (first + size) * length));
          return tf.tensor2d(filled, [size, length], "int32");
        };
        const batch = await sumOf(params, {
          ids: part(rows.ids, 0),
          targets: part(rows.targets, -100),
          ...(several ? { segments: part(rows.segments, 0) } : {}),
        });
        total += batch.sum;
        tokens += batch.tokens;
      }
      return { loss: total / tokens, tokens };
    },
    dispose: () => sum.dispose(),
  };
}
