import { type Engine, type Rng, throwIfAborted, treeDispose, treeLeaves, treeMap } from "@genai/core";
import * as tf from "@tensorflow/tfjs";

/** The means of scalars over a set of examples, which are the first axis of every tensor of `examples`. */
export async function meanMetrics<P, B>(
  engine: Engine,
  params: P,
  metrics: (params: P, batch: B, noise: Rng) => Record<string, tf.Scalar>,
  examples: B,
  options: { readonly rng: Rng; readonly signal: AbortSignal; readonly batchSize?: number },
): Promise<Record<string, number>> {
  const { rng, signal, batchSize = 500 } = options;
  const total = treeLeaves(examples)[0]!.shape[0]!;
  const sums: Record<string, number> = {};
  const compiled = engine.compile(metrics);
  try {
    for (let start = 0; start < total; start += batchSize) {
      throwIfAborted("genai", signal);
      const count = Math.min(batchSize, total - start);
      const batch = treeMap(examples, (t) => tf.slice(t, start, count));
      const out = await compiled(params, batch, rng);
      for (const [name, value] of Object.entries(out)) {
        sums[name] = (sums[name] ?? 0) + (count / total) * (await value.data())[0]!;
      }
      treeDispose([batch, out]);
    }
  } finally {
    compiled.dispose();
  }
  return sums;
}
