import { Presets, SingleBar } from "cli-progress";
import { printNote } from "../terminal.ts";

export interface ProgressOptions {
  readonly totalSteps: number;
  /** Seconds of training after which it stops; null for no limit. */
  readonly seconds: number | null;
  /** What a step reads, to show the speed in; steps if not given. */
  readonly work?: { readonly unit: string; readonly perStep: number } | undefined;
}

export interface Progress {
  /** Shows how far training is. `terms` are the loss terms, in nats or whatever the family measures in. */
  update(step: number, terms: Readonly<Record<string, number>>, stepsPerSecond: number): void;
  /** Prints a text without tearing the display. */
  show(text: string): void;
  /** Ends the display; later calls do nothing. */
  stop(): void;
}

const plainLineEverySeconds = 5;

/** A live bar on a terminal, and a line every few seconds elsewhere; both on stderr. */
export function startProgress(options: ProgressOptions): Progress {
  const { totalSteps, seconds, work } = options;
  const rateOf = (stepsPerSecond: number) =>
    work ? `${formatCount(stepsPerSecond * work.perStep)} ${work.unit}/s` : `${formatRate(stepsPerSecond)} steps/s`;
  const start = performance.now();

  /** The fraction that is done and the seconds that are left, by whichever of the two limits comes first. */
  const remaining = (step: number, stepsPerSecond: number) => {
    const elapsed = (performance.now() - start) / 1000;
    const bySteps = (totalSteps - step) / stepsPerSecond;
    const byTime = seconds === null ? Number.POSITIVE_INFINITY : Math.max(0, seconds - elapsed);
    const left = Math.min(bySteps, byTime);
    const fraction = byTime < bySteps ? elapsed / (elapsed + byTime) : step / totalSteps;
    return { fraction: Math.min(1, fraction), left: formatDuration(left) };
  };

  if (process.stderr.isTTY) return liveBar(totalSteps, remaining, rateOf);

  let lastLine = start;
  return {
    update(step, terms, stepsPerSecond) {
      const now = performance.now();
      if (now - lastLine < plainLineEverySeconds * 1000 && step !== totalSteps) return;
      lastLine = now;
      printNote(
        `step ${step}/${totalSteps}  ${rateOf(stepsPerSecond)}  ${formatTerms(terms)}  ${remaining(step, stepsPerSecond).left} left`,
      );
    },
    show: printNote,
    stop() {},
  };
}

function liveBar(
  totalSteps: number,
  remaining: (step: number, stepsPerSecond: number) => { fraction: number; left: string },
  rateOf: (stepsPerSecond: number) => string,
): Progress {
  const resolution = 1000;
  const bar = new SingleBar(
    {
      format: `{bar} {percentage}%  step {step}/${totalSteps}  {rate}  {terms}  {left} left`,
      barsize: 24,
      fps: 10,
      hideCursor: true,
      gracefulExit: false,
      // What is shown above it overwrites the bar, though it has not changed.
      forceRedraw: true,
      stream: process.stderr,
    },
    Presets.shades_classic,
  );
  let started = false;
  let stopped = false;
  return {
    update(step, terms, stepsPerSecond) {
      if (stopped) return;
      const { fraction, left } = remaining(step, stepsPerSecond);
      const shown = { step, rate: rateOf(stepsPerSecond), terms: formatTerms(terms), left };
      // From the first step on: what is said before it does not tear the bar.
      if (started) bar.update(Math.round(fraction * resolution), shown);
      else bar.start(resolution, Math.round(fraction * resolution), shown);
      started = true;
    },
    show(text) {
      if (!started || stopped) return printNote(text);
      // Over the line of the bar, which is drawn anew below.
      process.stderr.write(`\r\u001b[K${text}\n\n`);
      bar.render();
    },
    stop() {
      if (!stopped) bar.stop();
      stopped = true;
    },
  };
}

/** "loss 103.2  recon 78.1  kl 25.1" */
export function formatTerms(terms: Readonly<Record<string, number>>): string {
  return Object.entries(terms)
    .map(([name, value]) => `${name} ${formatNumber(value)}`)
    .join("  ");
}

/** Four significant digits, without an exponent where a person would not write one. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

/** "812", "34.5k", "1.2M" */
export function formatCount(value: number): string {
  if (value < 1000) return value.toFixed(value < 10 ? 1 : 0);
  return value < 1e6 ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k` : `${(value / 1e6).toFixed(1)}M`;
}

const formatRate = (perSecond: number) => perSecond.toFixed(perSecond >= 10 ? 0 : perSecond >= 1 ? 1 : 2);

/** "1 h 05 min", "3 min 20 s", "12 s" */
export function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}
