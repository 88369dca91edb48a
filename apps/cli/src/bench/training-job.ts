import { countParams, type Engine, type Rng, replaceState, treeDispose } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";
import { productRate, timeProducts } from "./gemm.ts";
import type { BenchRequest } from "./job.ts";
import { type BenchResult, median, round, stepReport, timeSteps } from "./measure.ts";

export interface TrainingBench<S, B> {
  readonly name: string;
  /** What one step processes, and how many of them. */
  readonly unit: "samples" | "tokens";
  readonly perStep: number;
  readonly steps: number;
  readonly warmup: number;
  readonly state: S & { readonly params: unknown };
  readonly step: (state: S, batch: B, rng: Rng) => { state: S; loss: tf.Scalar };
  readonly nextBatch: () => B | Promise<B>;
  readonly rng: Rng;
  readonly config: Readonly<Record<string, unknown>>;
  /** Floating-point operations of the matrix products in one step, gradients included, if they are known. */
  readonly flops?: number;
}

/**
 * Times whole training steps: making the batch, the compiled step, reading the loss and freeing the old state. The first
 * call, which traces and compiles, is reported apart.
 */
export async function runTrainingBench<S, B>(
  engine: Engine,
  job: TrainingBench<S, B>,
  request: BenchRequest,
): Promise<BenchResult> {
  const params = countParams(job.state.params);
  // As fit does.
  const compiled = engine.compile(job.step, { donated: [0] });
  let state: S = job.state;
  const step = async () => {
    const batch = await job.nextBatch();
    const next = await compiled(state, batch, job.rng);
    const [loss] = await next.loss.data();
    treeDispose([batch, next.loss]);
    state = replaceState(state, next.state);
    return loss!;
  };
  const start = performance.now();
  const first = await step();
  const compileMs = performance.now() - start;
  const counts = { steps: request.steps ?? job.steps, warmup: (request.warmup ?? job.warmup) - 1 };
  const times = await timeSteps(step, counts);
  treeDispose(state);
  compiled.dispose();
  const report = stepReport({ ...times, losses: [first, ...times.losses] }, job.perStep, job.unit);
  return {
    bench: job.name,
    engine: engine.name,
    threads: request.threads,
    ...report,
    ...(job.flops === undefined ? {} : await productShare(engine, job.flops, times.wallMs, request.seed)),
    first_step_ms: Math.round(compileMs),
    params,
    config: job.config,
  };
}

/** The rate that a step's matrix products reach within the whole step, beside that of one large product by itself. */
async function productShare(engine: Engine, flops: number, wallMs: readonly number[], seed: number) {
  const gemm = productRate(median(await timeProducts(engine, { steps: 20, warmup: 5, seed })));
  const step = flops / median(wallMs) / 1e6;
  return { gemm_gflops: gemm, step_gflops: round(step, 1), gemm_share: round(step / gemm, 3) };
}
