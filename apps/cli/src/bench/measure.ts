/** One measured job, with the fields of the PyTorch counterparts, so that the two can be compared line by line. */
export type BenchResult = Readonly<Record<string, unknown>> & { readonly bench: string; readonly engine: string };

export interface StepTimes {
  readonly wallMs: readonly number[];
  readonly cpuMs: readonly number[];
  readonly losses: readonly number[];
}

/** Runs `warmup` steps untimed and `steps` timed, one by one; each step resolves to its loss. */
export async function timeSteps(
  step: () => Promise<number>,
  counts: { steps: number; warmup: number },
): Promise<StepTimes> {
  const losses: number[] = [];
  for (let i = 0; i < counts.warmup; i++) losses.push(await step());
  const wallMs: number[] = [];
  const cpuMs: number[] = [];
  for (let i = 0; i < counts.steps; i++) {
    const cpu = cpuTimeMs();
    const start = performance.now();
    losses.push(await step());
    wallMs.push(performance.now() - start);
    cpuMs.push(cpuTimeMs() - cpu);
  }
  return { wallMs, cpuMs, losses };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

// Jobs run in browsers too (scripts/bench-browser.mjs), where a page cannot measure its process: NaN there, null in JSON.
const inNode = typeof process !== "undefined" && typeof process.cpuUsage === "function";

/** Processor time of the process so far, over all threads. */
export function cpuTimeMs(): number {
  if (!inNode) return Number.NaN;
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** The largest resident size that the process has had, in MiB. */
export const peakRssMib = (): number => (inNode ? round(process.resourceUsage().maxRSS / 1024, 1) : Number.NaN);

export const round = (value: number, digits: number): number => Number(value.toFixed(digits));

/** The fields that every training job reports. */
export function stepReport(times: StepTimes, perStep: number, unit: string): Record<string, unknown> {
  const middle = median(times.wallMs);
  const best = Math.min(...times.wallMs);
  return {
    steps: times.wallMs.length,
    step_ms_median: round(middle, 3),
    step_ms_min: round(best, 3),
    cpu_ms_median: round(median(times.cpuMs), 3),
    [`${unit}_per_s`]: round((perStep / middle) * 1000, 2),
    [`${unit}_per_s_best`]: round((perStep / best) * 1000, 2),
    loss_first: times.losses[0] ?? null,
    loss_last: times.losses.at(-1) ?? null,
    peak_rss_mib: peakRssMib(),
  };
}
