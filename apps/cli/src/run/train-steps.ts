import { type Engine, fileCheckpoints, fit, Rng } from "@genai/core";
import type { TrainingJob, TrainingState } from "../families/family.ts";
import { printNote } from "../terminal.ts";
import { withoutFrozen } from "./frozen-state.ts";
import { type MetricsLine, MetricsLog } from "./metrics-log.ts";
import { startProgress } from "./progress.ts";
import type { RunFolder, TrainSettings } from "./run-folder.ts";
import { TrainingClock } from "./training-clock.ts";

export interface StepsRequest {
  readonly job: TrainingJob;
  readonly settings: TrainSettings;
  readonly engine: Engine;
  readonly folder: RunFolder;
  readonly signal: AbortSignal;
  /** In steps. */
  readonly checkpointEvery: number;
}

/** Where training ended. */
export interface TrainedSteps {
  readonly state: TrainingState;
  /** Since the beginning of the run. */
  readonly step: number;
  /** The metrics of each step and evaluation. */
  readonly lines: readonly MetricsLine[];
  /** Of all processes that trained the run. */
  readonly seconds: number;
  /** Mean over this process's steps, without the first, which compiles. */
  readonly stepsPerSecond: number;
}

/**
 * Takes the steps of a job, from its newest checkpoint if it has one, until they are done, its seconds are over or `signal`
 * aborts: shows how far it is, logs what is measured and writes checkpoints.
 */
export async function trainSteps(request: StepsRequest): Promise<TrainedSteps> {
  const { job, settings, engine, folder, signal, checkpointEvery } = request;
  const files = fileCheckpoints(folder.checkpointsDir);
  const store = job.isFrozen ? withoutFrozen(files, job.state, job.isFrozen) : files;
  const log = await MetricsLog.open(folder.metricsFile);
  if ((await store.list()).length === 0) log.rewind(0);
  const progress = startProgress({ totalSteps: settings.steps, seconds: settings.seconds, work: job.work });
  const onInterrupt = () => {
    progress.stop();
    printNote("Stopping after this step; press Ctrl-C again to quit without saving.");
  };
  signal.addEventListener("abort", onInterrupt);
  const clock = new TrainingClock();
  let earlierSeconds = 0;
  const secondsNow = () => Number((earlierSeconds + clock.seconds).toFixed(3));
  // What fit calls a step is a batch.
  const { batchesPerStep = 1 } = job;
  const batchMetrics = new MeanMetrics();
  let evaluated: Readonly<Record<string, number>> = {};
  try {
    const { state, step: batches } = await fit({
      engine,
      step: job.step,
      state: job.state,
      data: job.batches,
      steps: settings.steps * batchesPerStep,
      rng: new Rng(settings.seed).fork("train"),
      schedules: ofBatches(job.schedules, batchesPerStep),
      checkpoints: store,
      checkpointEvery: checkpointEvery * batchesPerStep,
      ...evaluations(request, {
        lines: log.lines,
        show: progress.show,
        measure: (work) => clock.apart(work),
        take(step, metrics) {
          evaluated = metrics;
          log.append({ step, seconds: secondsNow(), ...metrics });
        },
      }),
      signal,
      stopWhen: ({ step: batch }) =>
        batch % batchesPerStep === 0 && settings.seconds !== null && clock.seconds >= settings.seconds,
      onStep({ step: batch, metrics: ofBatch, stepsPerSecond: batchesPerSecond }) {
        clock.tick();
        batchMetrics.add(ofBatch);
        if (batch % batchesPerStep !== 0) return;
        const done = batch / batchesPerStep;
        const metrics = batchMetrics.take();
        log.append({ step: done, seconds: secondsNow(), ...metrics });
        const known: Readonly<Record<string, number>> = { ...evaluated, ...metrics };
        const shown = job.shownMetrics.filter((name) => name in known).map((name) => [name, known[name]!]);
        progress.update(done, Object.fromEntries(shown), batchesPerSecond / batchesPerStep);
      },
      onResume({ step: from, skipped }) {
        for (const { file, error } of skipped) printNote(`Skipped ${file}: ${error.message}`);
        const done = Math.floor(from / batchesPerStep);
        printNote(`Going on from step ${done}.`);
        log.rewind(done);
        earlierSeconds = log.lines.at(-1)?.seconds ?? 0;
      },
    });
    return {
      state,
      step: Math.floor(batches / batchesPerStep),
      lines: log.lines,
      seconds: earlierSeconds + clock.seconds,
      stepsPerSecond: clock.stepsPerSecond / batchesPerStep,
    };
  } finally {
    signal.removeEventListener("abort", onInterrupt);
    progress.stop();
    log.close();
  }
}

/** Functions of the step as functions of the batch. */
function ofBatches(schedules: TrainingJob["schedules"], batchesPerStep: number): TrainingJob["schedules"] {
  return Object.fromEntries(
    Object.entries(schedules).map(([path, schedule]) => [
      path,
      (batch: number) => schedule(Math.floor(batch / batchesPerStep)),
    ]),
  );
}

type Metrics = Readonly<Record<string, number>>;

/** What `fit` is told of the job's evaluation. */
function evaluations(
  { job: { evaluation, batchesPerStep = 1 }, folder }: StepsRequest,
  {
    lines,
    show,
    measure,
    take,
  }: {
    readonly lines: readonly MetricsLine[];
    readonly show: (text: string) => void;
    /** Runs what does not count as training. */
    readonly measure: (work: () => Promise<Metrics>) => Promise<Metrics>;
    readonly take: (step: number, metrics: Metrics) => void;
  },
) {
  if (!evaluation) return {};
  return {
    ...(evaluation.every > 0 ? { evaluateEvery: evaluation.every * batchesPerStep } : {}),
    evaluate: (state: TrainingState, { step, rng }: { step: number; rng: Rng }) =>
      measure(() => evaluation.run(state, { step: step / batchesPerStep, rng, folder, lines, show })),
    onEvaluate: ({ step, metrics }: { step: number; metrics: Metrics }) => take(step / batchesPerStep, metrics),
  };
}

/** The mean of the metrics of some batches. */
class MeanMetrics {
  #sums: Record<string, number> = {};
  #count = 0;

  add(metrics: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(metrics)) this.#sums[name] = (this.#sums[name] ?? 0) + value;
    this.#count += 1;
  }

  /** The mean of what was added since the last time. */
  take(): Record<string, number> {
    const means = Object.fromEntries(Object.entries(this.#sums).map(([name, sum]) => [name, sum / this.#count]));
    this.#sums = {};
    this.#count = 0;
    return means;
  }
}
