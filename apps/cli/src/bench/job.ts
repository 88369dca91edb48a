import type { Engine } from "@genai/core";
import type { BenchResult } from "./measure.ts";

/** One benchmark. */
export interface BenchJob {
  /** As typed after `genai bench`. */
  readonly name: string;
  readonly summary: string;
  run(engine: Engine, request: BenchRequest): Promise<BenchResult>;
}

export interface BenchRequest {
  /** Timed steps; each job has its own default. */
  readonly steps?: number;
  /** Untimed steps before them. */
  readonly warmup?: number;
  readonly seed: number;
  readonly threads: number;
}
