import { arch, cpus, platform } from "node:os";
import { countParams, type Engine, fileCheckpoints, fit, Rng, saveModel, treeDispose, treeEntries } from "@genai/core";
import { InterruptedError, UsageError } from "../exit-code.ts";
import type { Family, JobOutcome, TrainingJob, TrainingState } from "../families/family.ts";
import { kindNamed } from "../families/index.ts";
import { installedVersions } from "../installed-versions.ts";
import { withInterrupt } from "../interrupt.ts";
import { openEngine } from "../open-engine.ts";
import { printNote } from "../terminal.ts";
import { MetricsLog } from "./metrics-log.ts";
import { formatDuration, startProgress } from "./progress.ts";
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
  return withJob(family, settings, options, async ({ job: fresh, engine, signal, startedAt }) => {
    const job = settings.from === null ? fresh : await beginWith(settings.from, fresh);
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
  return withJob(family, settings, options, async ({ job, engine, signal, startedAt }) => {
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
  family: Family,
  settings: TrainSettings,
  { device }: RunOptions,
  work: (context: JobContext) => Promise<T>,
): Promise<T> {
  return withInterrupt(async (signal) => {
    const startedAt = performance.now();
    const engine = await openEngine(device);
    try {
      const rng = new Rng(settings.seed).fork("job");
      const job = await kindNamed(family, settings.kind).createJob({ settings, engine, rng, signal, note: printNote });
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
  const store = fileCheckpoints(folder.checkpointsDir);
  printNote(`Training ${config.name} on ${job.dataSummary}.`);
  printNote(`${config.params.toLocaleString("en")} parameters, engine ${engine.name}, run folder ${folder.dir}`);

  const log = await MetricsLog.open(folder.metricsFile);
  if ((await store.list()).length === 0) log.rewind(0);
  let earlierSeconds = 0;
  const progress = startProgress({ totalSteps: settings.steps, seconds: settings.seconds });
  const onInterrupt = () => {
    progress.stop();
    printNote("Stopping after this step; press Ctrl-C again to quit without saving.");
  };
  signal.addEventListener("abort", onInterrupt);
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
      steps: settings.steps,
      rng: new Rng(settings.seed).fork("train"),
      schedules: job.schedules,
      checkpoints: store,
      checkpointEvery,
      signal: AbortSignal.any([signal, outOfTime.signal]),
      onStep({ step: done, metrics, stepsPerSecond }) {
        clock.tick();
        const seconds = Number((earlierSeconds + clock.seconds).toFixed(3));
        log.append({ step: done, seconds, ...metrics });
        const shown = Object.fromEntries(job.shownMetrics.map((name) => [name, metrics[name]!]));
        progress.update(done, shown, stepsPerSecond);
        if (settings.seconds !== null && clock.seconds >= settings.seconds) outOfTime.abort();
      },
      onResume({ step: from, skipped }) {
        for (const { file, error } of skipped) printNote(`Skipped ${file}: ${error.message}`);
        printNote(`Going on from step ${from}.`);
        log.rewind(from);
        earlierSeconds = log.lines.at(-1)?.seconds ?? 0;
      },
    }));
  } finally {
    signal.removeEventListener("abort", onInterrupt);
    progress.stop();
    log.close();
  }

  const interrupted = () => {
    const saved =
      step > 0 ? ` at step ${step} of ${settings.steps}; the checkpoint is saved` : " before the first step";
    return new InterruptedError(`Stopped${saved}; go on with: genai train ${config.family} --resume ${folder.dir}`);
  };
  let outcome: JobOutcome;
  try {
    if (signal.aborted) throw interrupted();
    await saveModel(folder.modelFile, { config: config.model, params: state.params });
    printNote("Measuring on the test set and drawing pictures.");
    outcome = await job.finish(state, new Rng(settings.seed).fork("finish"));
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
    stepsPerSecond: Number(clock.stepsPerSecond.toFixed(2)),
    results: outcome.results,
    headline: outcome.headline,
  };
  for (const { file, png } of outcome.pictures) await folder.write(file, png);
  for (const { file, contents } of outcome.files ?? []) await folder.write(file, contents);
  await folder.write("result.json", `${JSON.stringify(result, null, 2)}\n`);
  await folder.write("report.html", await reportOf(context, result, outcome, log));
  return result;
}

/** Seconds that training took, and its speed. */
class TrainingClock {
  readonly #start = performance.now();
  #ticks = 0;
  #first = 0;
  #last = this.#start;

  /** Call after each step. */
  tick(): void {
    this.#last = performance.now();
    if (this.#ticks === 0) this.#first = this.#last;
    this.#ticks += 1;
  }

  get seconds(): number {
    return (this.#last - this.#start) / 1000;
  }

  /** Without the first step, which compiles. */
  get stepsPerSecond(): number {
    return this.#ticks > 1 ? (1000 * (this.#ticks - 1)) / (this.#last - this.#first) : 0;
  }
}

/** "latentDim 16, hiddenChannels 32 64" */
function describe(record: unknown): string {
  const text = (value: unknown): string => {
    if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(" ");
    if (typeof value !== "object" || value === null) return String(value);
    if (Array.isArray(value) && value.every((item) => typeof item?.name === "string")) {
      return value.map(({ name }) => name).join(" ");
    }
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
  const speed = `${result.stepsPerSecond.toFixed(1)} steps/s`;
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
    details: [
      ["Data", result.data],
      ["Model", describe(config.model)],
      ["Parameters", config.params.toLocaleString("en")],
      ["Steps", `${result.steps} of ${settings.steps}, ${settings.batchSize} examples each`],
      ["Learning rate", String(settings.learningRate)],
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
