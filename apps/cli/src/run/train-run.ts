import { arch, cpus, platform } from "node:os";
import { countParams, type Engine, fileCheckpoints, fit, Rng, saveModel, treeDispose, treeEntries } from "@genai/core";
import { InterruptedError, UsageError } from "../exit-code.ts";
import type { Family, JobOutcome, JobRequest, TrainingJob, TrainingState } from "../families/family.ts";
import { kindNamed, resumeCommand } from "../families/index.ts";
import { installedVersions } from "../installed-versions.ts";
import { withInterrupt } from "../interrupt.ts";
import { openEngine } from "../open-engine.ts";
import { printNote } from "../terminal.ts";
import { withoutFrozen } from "./frozen-state.ts";
import { MetricsLog } from "./metrics-log.ts";
import { formatCount, formatDuration, startProgress } from "./progress.ts";
import { renderReport } from "./report.ts";
import { newRunFolder, type RunConfig, type RunFolder, type TrainSettings } from "./run-folder.ts";
import { loadTrainedRun } from "./trained-run.ts";

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

interface RunOptions {
  readonly device: string;
  readonly checkpointEvery: number;
}

export interface StartRequest extends RunOptions {
  readonly family: Family;
  readonly settings: TrainSettings;
  /** First part of the folder's name. */
  readonly name: string;
  readonly out: string | undefined;
}

/** Trains from the beginning in a new run folder. */
export async function startRun({ family, settings, name, out, ...options }: StartRequest): Promise<RunOutcome> {
  const folder = newRunFolder(name, out);
  return withJob({ family, settings, device: options.device }, async ({ job: fresh, engine, signal, startedAt }) => {
    const job = settings.from === null || fresh.startsFrom ? fresh : await beginWith(settings.from, fresh);
    const config: RunConfig = {
      format: "genai-run-1",
      name,
      family: family.name,
      settings,
      model: job.config,
      params: countParams(job.state.params),
      engine: engine.name,
      versions: { node: process.version, ...installedVersions() },
      createdAt: new Date().toISOString(),
    };
    await folder.writeConfig(config);
    await job.prepare?.({ folder, lines: [] });
    return train({ family, config, folder, job, engine, signal, startedAt, ...options });
  });
}

/** The job with the parameters of a trained run in the place of drawn ones. */
async function beginWith(dir: string, job: TrainingJob): Promise<TrainingJob> {
  const { params } = await loadTrainedRun(dir);
  const shapes = (tree: unknown) => treeEntries(tree).map(([path, { shape }]) => `${path} [${shape}]`);
  const [theirs, ours] = [shapes(params), shapes(job.state.params)];
  const other = ours.find((entry) => !theirs.includes(entry)) ?? theirs.find((entry) => !ours.includes(entry));
  if (other !== undefined) {
    treeDispose(params);
    throw new UsageError(
      `--from ${dir} holds another model: ${other} is in one of the two only; give the same options`,
    );
  }
  treeDispose(job.state.params);
  return { ...job, state: { ...job.state, params } };
}

export interface ResumeRequest extends RunOptions {
  readonly family: Family;
  readonly folder: RunFolder;
  readonly config: RunConfig;
  readonly steps: number | undefined;
  readonly seconds: number | undefined;
}

/** Goes on with a run from its newest checkpoint. */
export async function resumeRun(request: ResumeRequest): Promise<RunOutcome> {
  const { family, folder, config: old, steps, seconds, ...options } = request;
  const settings = { ...old.settings, ...(steps ? { steps } : {}), seconds: seconds ?? null };
  const job = { family, settings, device: options.device, resumed: { folder, config: old } };
  return withJob(job, async ({ job, engine, signal, startedAt }) => {
    const config = { ...old, settings, engine: engine.name };
    await folder.writeConfig(config);
    return train({ family, config, folder, job, engine, signal, startedAt, ...options });
  });
}

interface JobContext {
  readonly job: TrainingJob;
  readonly engine: Engine;
  readonly signal: AbortSignal;
  readonly startedAt: number;
}

async function withJob<T>(
  {
    family,
    settings,
    device,
    resumed,
  }: Pick<JobRequest, "settings" | "resumed"> & { readonly family: Family; readonly device: string },
  work: (context: JobContext) => Promise<T>,
): Promise<T> {
  return withInterrupt(async (signal) => {
    const startedAt = performance.now();
    const engine = await openEngine(device);
    try {
      const rng = new Rng(settings.seed).fork("job");
      const request: JobRequest = { settings, engine, rng, signal, note: printNote, ...(resumed ? { resumed } : {}) };
      const job = await kindNamed(family, settings.kind).createJob(request);
      return await work({ job, engine, signal, startedAt });
    } finally {
      engine.dispose();
    }
  });
}

interface TrainContext extends JobContext, RunOptions {
  readonly family: Family;
  readonly config: RunConfig;
  readonly folder: RunFolder;
}

async function train(context: TrainContext): Promise<RunOutcome> {
  const { job, engine, folder, config, signal, startedAt, checkpointEvery } = context;
  const { settings } = config;
  const files = fileCheckpoints(folder.checkpointsDir);
  const store = job.isFrozen ? withoutFrozen(files, job.state, job.isFrozen) : files;
  printNote(`Training ${config.name} on ${job.dataSummary}.`);
  printNote(`${config.params.toLocaleString("en")} parameters, engine ${engine.name}, run folder ${folder.dir}`);
  for (const note of job.notes ?? []) printNote(note);

  const log = await MetricsLog.open(folder.metricsFile);
  if ((await store.list()).length === 0) log.rewind(0);
  let earlierSeconds = 0;
  const progress = startProgress({ totalSteps: settings.steps, seconds: settings.seconds, work: job.work });
  const onInterrupt = () => {
    progress.stop();
    printNote("Stopping after this step; press Ctrl-C again to quit without saving.");
  };
  signal.addEventListener("abort", onInterrupt);
  // What fit calls a step is a batch.
  const { batchesPerStep = 1, evaluation } = job;
  const batchMetrics = new MeanMetrics();
  let evaluated: Readonly<Record<string, number>> = {};
  const secondsNow = () => Number((earlierSeconds + clock.seconds).toFixed(3));
  const outOfTime = new AbortController();
  const clock = new TrainingClock();
  let state: TrainingState;
  let step: number;
  try {
    ({ state, step } = await fit({
      engine,
      step: job.step,
      state: job.state,
      data: job.batches,
      steps: settings.steps * batchesPerStep,
      rng: new Rng(settings.seed).fork("train"),
      schedules: mapValues(
        job.schedules,
        (schedule) => (batch: number) => schedule(Math.floor(batch / batchesPerStep)),
      ),
      checkpoints: store,
      checkpointEvery: checkpointEvery * batchesPerStep,
      ...(evaluation
        ? {
            ...(evaluation.every > 0 ? { evaluateEvery: evaluation.every * batchesPerStep } : {}),
            evaluate: (now: TrainingState, at: { step: number; rng: Rng }) =>
              clock.apart(() =>
                evaluation.run(now, {
                  step: at.step / batchesPerStep,
                  rng: at.rng,
                  folder,
                  lines: log.lines,
                  show: progress.show,
                }),
              ),
            onEvaluate(at: { step: number; metrics: Readonly<Record<string, number>> }) {
              evaluated = at.metrics;
              log.append({ step: at.step / batchesPerStep, seconds: secondsNow(), ...at.metrics });
            },
          }
        : {}),
      signal: AbortSignal.any([signal, outOfTime.signal]),
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
        if (settings.seconds !== null && clock.seconds >= settings.seconds) outOfTime.abort();
      },
      onResume({ step: from, skipped }) {
        for (const { file, error } of skipped) printNote(`Skipped ${file}: ${error.message}`);
        const done = Math.floor(from / batchesPerStep);
        printNote(`Going on from step ${done}.`);
        log.rewind(done);
        earlierSeconds = log.lines.at(-1)?.seconds ?? 0;
      },
    }));
    step = Math.floor(step / batchesPerStep);
  } finally {
    signal.removeEventListener("abort", onInterrupt);
    progress.stop();
    log.close();
  }

  const interrupted = () => {
    const saved =
      step > 0 ? ` at step ${step} of ${settings.steps}; the checkpoint is saved` : " before the first step";
    return new InterruptedError(`Stopped${saved}; go on with: ${resumeCommand(config.family, folder.dir)}`);
  };
  let outcome: JobOutcome;
  const runContext = { folder, lines: log.lines };
  try {
    if (signal.aborted && step > 0) await job.save?.(state, runContext);
    if (signal.aborted) throw interrupted();
    if (job.save) await job.save(state, runContext);
    else await saveModel(folder.modelFile, { config: config.model, params: state.params });
    printNote(job.measuring ?? "Measuring on the test set and drawing pictures.");
    outcome = await job.finish(state, new Rng(settings.seed).fork("finish"), runContext);
  } catch (error) {
    throw signal.aborted ? interrupted() : error;
  } finally {
    treeDispose(state);
  }

  const result: RunOutcome = {
    name: config.name,
    family: config.family,
    kind: settings.kind,
    dir: folder.dir,
    report: folder.reportFile,
    engine: engine.name,
    data: job.dataSummary,
    steps: step,
    params: config.params,
    trainSeconds: Number((earlierSeconds + clock.seconds).toFixed(2)),
    totalSeconds: Number(((performance.now() - startedAt) / 1000).toFixed(2)),
    stepsPerSecond: Number((clock.stepsPerSecond / batchesPerStep).toFixed(2)),
    ...(job.work && {
      work: { unit: job.work.unit, perSecond: Math.round((clock.stepsPerSecond / batchesPerStep) * job.work.perStep) },
    }),
    results: outcome.results,
    headline: outcome.headline,
  };
  for (const { file, png } of outcome.pictures) await folder.write(file, png);
  for (const { file, contents } of outcome.files ?? []) await folder.write(file, contents);
  await folder.write("result.json", `${JSON.stringify(result, null, 2)}\n`);
  await folder.write("report.html", await reportOf(context, result, outcome, log));
  return result;
}

const mapValues = <A, B>(record: Readonly<Record<string, A>>, change: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));

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
    const means = mapValues(this.#sums, (sum) => sum / this.#count);
    this.#sums = {};
    this.#count = 0;
    return means;
  }
}

/** Seconds that training took, and its speed. */
class TrainingClock {
  readonly #start = performance.now();
  #ticks = 0;
  #first = 0;
  #apart = 0;
  #last = this.#start;

  /** Call after each step. */
  tick(): void {
    this.#last = performance.now() - this.#apart;
    if (this.#ticks === 0) this.#first = this.#last;
    this.#ticks += 1;
  }

  /** Does something that does not count. */
  async apart<T>(work: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    try {
      return await work();
    } finally {
      this.#apart += performance.now() - begin;
    }
  }

  get seconds(): number {
    return (this.#last - this.#start) / 1000;
  }

  /** Without the first step, which compiles. */
  get stepsPerSecond(): number {
    return this.#ticks > 1 ? (1000 * (this.#ticks - 1)) / (this.#last - this.#first) : 0;
  }
}

/** "12.3 steps/s", "41.2k tokens/s" */
export function speedOf({ stepsPerSecond, work }: RunOutcome): string {
  return work ? `${formatCount(work.perSecond)} ${work.unit}/s` : `${stepsPerSecond.toFixed(1)} steps/s`;
}

/** "latentDim 16, hiddenChannels 32 64" */
function describe(record: unknown): string {
  const text = (value: unknown): string => {
    if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(" ");
    if (typeof value !== "object" || value === null) return String(value);
    if (Array.isArray(value) && value.every((item) => typeof item?.name === "string")) {
      return value.map(({ name }) => name).join(" ");
    }
    if (!Array.isArray(value)) return `(${describe(value)})`;
    const json = JSON.stringify(value);
    return json.length > 200 ? `${json.slice(0, 200)}...` : json;
  };
  return Object.entries(record as object)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${text(value)}`)
    .join(", ");
}

function reportOf(
  { job, config, engine }: TrainContext,
  result: RunOutcome,
  outcome: JobOutcome,
  log: MetricsLog,
): Promise<string> {
  const { settings } = config;
  const speed = speedOf(result);
  return renderReport({
    title: `${config.family} (${settings.kind}) on ${settings.data}`,
    subtitle: `${config.name}, ${config.createdAt.slice(0, 16).replace("T", " ")} UTC`,
    figures: [
      ...outcome.headline,
      { label: "Training time", value: formatDuration(result.trainSeconds), note: `${result.steps} steps, ${speed}` },
    ],
    metrics: log.lines,
    charts: job.charts,
    plots: outcome.plots ?? [],
    pictures: outcome.pictures,
    texts: outcome.texts ?? [],
    details: [
      ["Data", result.data],
      ["Model", describe(config.model)],
      ["Parameters", config.params.toLocaleString("en")],
      ["Steps", `${result.steps} of ${settings.steps}, ${settings.batchSize} examples each`],
      ["Learning rate", String(settings.learningRate)],
      ...(settings.preset === undefined ? [] : [["Preset", settings.preset] as const]),
      ["Options", describe(settings.options)],
      ["Seed", String(settings.seed)],
      ["Engine", `${engine.name} (${speed})`],
      ["Machine", `${cpus()[0]?.model ?? platform()}, ${cpus().length} cores, ${platform()}-${arch()}`],
      [
        "Versions",
        Object.entries(config.versions)
          .map(([name, version]) => `${name} ${version}`)
          .join(", "),
      ],
    ],
  });
}
