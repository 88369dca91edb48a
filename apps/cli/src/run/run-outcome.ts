import type { JobOutcome } from "../families/family.ts";
import { formatCount } from "./progress.ts";

/** What a finished run has come to; plain JSON. */
export interface RunOutcome {
  readonly name: string;
  readonly family: string;
  readonly kind: string;
  readonly dir: string;
  readonly report: string;
  readonly engine: string;
  readonly data: string;
  /** Steps since the beginning of the run. */
  readonly steps: number;
  readonly params: number;
  /** Of all processes that trained the run. */
  readonly trainSeconds: number;
  /** Of this process, with loading, measuring and drawing. */
  readonly totalSeconds: number;
  /** Mean over this process's steps, without the first, which compiles. */
  readonly stepsPerSecond: number;
  /** The same in what the model reads, where its family says what that is. */
  readonly work?: { readonly unit: string; readonly perSecond: number };
  readonly results: JobOutcome["results"];
  readonly headline: JobOutcome["headline"];
}

/** "12.3 steps/s", "41.2k tokens/s" */
export function speedOf({ stepsPerSecond, work }: RunOutcome): string {
  return work ? `${formatCount(work.perSecond)} ${work.unit}/s` : `${stepsPerSecond.toFixed(1)} steps/s`;
}
