import { type Engine, Rng, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { EngineBenchJob } from "./job.ts";
import { median, peakRssMib, round } from "./measure.ts";

const SIZE = 1024;

/** Milliseconds that products of two [1024, 1024] matrices take, inputs and output included, one by one. */
export async function timeProducts(engine: Engine, counts: { steps: number; warmup: number; seed: number }) {
  const rng = new Rng(counts.seed);
  const product = engine.compile((a: tf.Tensor2D, b: tf.Tensor2D) => tf.matMul(a, b));
  // As in training, the operands are results of the engine, which stay where it computes.
  const copy = engine.compile(
    (a: tf.Tensor, b: tf.Tensor) => [tf.add(a, 0.5), tf.add(b, 0.5)] as [tf.Tensor2D, tf.Tensor2D],
  );
  const drawn = [rng.normal([SIZE, SIZE]), rng.normal([SIZE, SIZE])] as const;
  const [a, b] = await copy(...drawn);
  const wallMs: number[] = [];
  for (let i = 0; i < counts.warmup + counts.steps; i++) {
    const start = performance.now();
    const out = await product(a, b);
    if (i >= counts.warmup) wallMs.push(performance.now() - start);
    out.dispose();
  }
  treeDispose([a, b, drawn]);
  product.dispose();
  copy.dispose();
  return wallMs;
}

/** GFLOP/s of a product that took so long. */
export const productRate = (ms: number) => round((2 * SIZE ** 3) / ms / 1e6, 1);

/** The raw rate of one matrix product through the engine: [1024, 1024] x [1024, 1024], inputs and output included. */
export const gemm: EngineBenchJob = {
  name: "gemm",
  summary: "one matrix product, 1024^3",
  async run(engine, { steps = 60, warmup = 5, seed, threads }) {
    const wallMs = await timeProducts(engine, { steps, warmup, seed });
    return {
      bench: "gemm",
      engine: engine.name,
      threads,
      steps,
      step_ms_median: round(median(wallMs), 3),
      step_ms_min: round(Math.min(...wallMs), 3),
      gflops_median: productRate(median(wallMs)),
      gflops_best: productRate(Math.min(...wallMs)),
      peak_rss_mib: peakRssMib(),
      config: { m: SIZE, k: SIZE, n: SIZE },
    };
  },
};
