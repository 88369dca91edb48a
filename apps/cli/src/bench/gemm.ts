import { Rng, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { EngineBenchJob } from "./job.ts";
import { median, peakRssMib, round } from "./measure.ts";

/** The raw rate of one matrix product through the engine: [1024, 1024] x [1024, 1024], inputs and output included. */
export const gemm: EngineBenchJob = {
  name: "gemm",
  summary: "one matrix product, 1024^3",
  async run(engine, { steps = 60, warmup = 5, seed, threads }) {
    const n = 1024;
    const rng = new Rng(seed);
    const product = engine.compile((a: tf.Tensor2D, b: tf.Tensor2D) => tf.matMul(a, b));
    // As in training, the operands are results of the engine, which stay where it computes.
    const copy = engine.compile(
      (a: tf.Tensor, b: tf.Tensor) => [tf.add(a, 0.5), tf.add(b, 0.5)] as [tf.Tensor2D, tf.Tensor2D],
    );
    const drawn = [rng.normal([n, n]), rng.normal([n, n])] as const;
    const [a, b] = await copy(...drawn);
    const wallMs: number[] = [];
    for (let i = 0; i < warmup + steps; i++) {
      const start = performance.now();
      const out = await product(a, b);
      if (i >= warmup) wallMs.push(performance.now() - start);
      out.dispose();
    }
    treeDispose([a, b, drawn]);
    const rate = (ms: number) => round((2 * n ** 3) / ms / 1e6, 1);
    return {
      bench: "gemm",
      engine: engine.name,
      threads,
      steps,
      step_ms_median: round(median(wallMs), 3),
      step_ms_min: round(Math.min(...wallMs), 3),
      gflops_median: rate(median(wallMs)),
      gflops_best: rate(Math.min(...wallMs)),
      peak_rss_mib: peakRssMib(),
      config: { m: n, k: n, n },
    };
  },
};
