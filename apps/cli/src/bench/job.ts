import type { Engine } from "@genai/core";
import type { BenchResult } from "./measure.ts";

/** One benchmark. */
export type BenchJob = EngineBenchJob | HostBenchJob;

interface NamedJob {
  /** As typed after `genai bench`. */
  readonly name: string;
  readonly summary: string;
}

/** Measures an engine, which the caller opens. */
export interface EngineBenchJob extends NamedJob {
  readonly needsEngine?: true;
  run(engine: Engine, request: BenchRequest): Promise<BenchResult>;
}

/** Measures plain JavaScript. */
export interface HostBenchJob extends NamedJob {
  readonly needsEngine: false;
  run(engine: null, request: BenchRequest): Promise<BenchResult>;
}

export interface BenchRequest {
  /** Timed steps; each job has its own default. */
  readonly steps?: number;
  /** Untimed steps before them. */
  readonly warmup?: number;
  readonly seed: number;
  readonly threads: number;
}
