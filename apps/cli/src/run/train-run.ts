import { countParams, type Engine, Rng, saveModel, treeDispose, treeEntries } from "@genai/core";
import { InterruptedError, UsageError } from "../exit-code.ts";
import type { Family, JobOutcome, JobRequest, TrainingJob } from "../families/family.ts";
import { kindNamed, resumeCommand } from "../families/index.ts";
import { installedVersions } from "../installed-versions.ts";
import { withInterrupt } from "../interrupt.ts";
import { openEngine } from "../open-engine.ts";
import { printNote } from "../terminal.ts";
import { newRunFolder, type RunConfig, type RunFolder, type TrainSettings } from "./run-folder.ts";
import type { RunOutcome } from "./run-outcome.ts";
import { reportOf } from "./run-report.ts";
import { type TrainedSteps, trainSteps } from "./train-steps.ts";
import { loadTrainedRun } from "./trained-run.ts";

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
    return train({ config, folder, job, engine, signal, startedAt, ...options });
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
    return train({ config, folder, job, engine, signal, startedAt, ...options });
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
  readonly config: RunConfig;
  readonly folder: RunFolder;
}

async function train(context: TrainContext): Promise<RunOutcome> {
  const { job, engine, folder, config, startedAt } = context;
  printNote(`Training ${config.name} on ${job.dataSummary}.`);
  printNote(`${config.params.toLocaleString("en")} parameters, engine ${engine.name}, run folder ${folder.dir}`);
  for (const note of job.notes ?? []) printNote(note);
  const trained = await trainSteps({ ...context, settings: config.settings });
  const outcome = await finish(context, trained);
  const { step, lines, seconds, stepsPerSecond } = trained;
  const result: RunOutcome = {
    name: config.name,
    family: config.family,
    kind: config.settings.kind,
    dir: folder.dir,
    report: folder.reportFile,
    engine: engine.name,
    data: job.dataSummary,
    steps: step,
    params: config.params,
    trainSeconds: Number(seconds.toFixed(2)),
    totalSeconds: Number(((performance.now() - startedAt) / 1000).toFixed(2)),
    stepsPerSecond: Number(stepsPerSecond.toFixed(2)),
    ...(job.work && { work: { unit: job.work.unit, perSecond: Math.round(stepsPerSecond * job.work.perStep) } }),
    results: outcome.results,
    headline: outcome.headline,
  };
  for (const { file, png } of outcome.pictures) await folder.write(file, png);
  for (const { file, contents } of outcome.files ?? []) await folder.write(file, contents);
  await folder.write("result.json", `${JSON.stringify(result, null, 2)}\n`);
  await folder.write("report.html", await reportOf({ config, charts: job.charts, lines, result, outcome }));
  return result;
}

/** Writes the trained model, measures it and frees it. Throws an InterruptedError that says how to go on. */
async function finish(context: TrainContext, { state, step, lines }: TrainedSteps): Promise<JobOutcome> {
  const { job, folder, config, signal } = context;
  const { settings } = config;
  const interrupted = () => {
    const saved =
      step > 0 ? ` at step ${step} of ${settings.steps}; the checkpoint is saved` : " before the first step";
    return new InterruptedError(`Stopped${saved}; go on with: ${resumeCommand(config.family, folder.dir)}`);
  };
  const runContext = { folder, lines };
  try {
    if (signal.aborted && step > 0) await job.save?.(state, runContext);
    if (signal.aborted) throw interrupted();
    if (job.save) await job.save(state, runContext);
    else await saveModel(folder.modelFile, { config: config.model, params: state.params });
    printNote(job.measuring ?? "Measuring on the test set and drawing pictures.");
    return await job.finish(state, new Rng(settings.seed).fork("finish"), runContext);
  } catch (error) {
    throw signal.aborted ? interrupted() : error;
  } finally {
    treeDispose(state);
  }
}
