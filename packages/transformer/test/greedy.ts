import type { Engine, Tree } from "@genai/core";
import { treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../src/index.ts";

/** Continues prompts of equal length to `total` tokens by the likeliest token, with a cache. */
export async function greedy<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  prompts: readonly (readonly number[])[],
  total: number,
): Promise<number[][]> {
  const step = engine.compile((params: P, ids: tf.Tensor2D, cache: ReturnType<typeof lm.createCache>) =>
    lm.step(params, ids, cache),
  );
  const rows = prompts.map((row) => [...row]);
  let cache = lm.createCache(rows.length, total);
  for (let read = rows; rows[0]!.length < total; read = rows.map((row) => row.slice(-1))) {
    const ids = tf.tensor2d(read, undefined, "int32");
    const next = await step(params, ids, cache);
    treeDispose(cache);
    cache = next.cache;
    const logits = (await next.logits.array()) as number[][];
    for (const [i, row] of rows.entries()) row.push(logits[i]!.indexOf(Math.max(...logits[i]!)));
    treeDispose([ids, next.logits]);
  }
  treeDispose(cache);
  step.dispose();
  return rows;
}
