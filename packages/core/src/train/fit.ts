import type { Tensor } from "@tensorflow/tfjs";
import type { CheckpointInfo, CheckpointStore, SkippedCheckpoint } from "../checkpoint/checkpoint-store.ts";
import type { Engine } from "../engine/engine.ts";
import { Rng } from "../rng.ts";
import { assertSameStructure, isRecord, type Tree, treeDispose } from "../tree.ts";
import type { BatchStream } from "./batch-stream.ts";
import {
  applySchedules,
  assertFiniteMetrics,
  assertFiniteState,
  assertSameState,
  checkSchedules,
  readMetrics,
  replaceState,
  type ScalarSchedules,
} from "./training-state.ts";

type Metrics = Record<string, number>;

/** What a training step returns: the next state, and scalars to report, `loss` among them. */
export interface StepResult<S extends Tree> {
  state: S;
  metrics: Record<string, Tensor | number>;
}

/** Where training stands, after a step whose metrics were read. */
export interface FitProgress<S extends Tree = Tree> {
  /** Steps done, counted from the beginning of the run and not of this process. */
  readonly step: number;
  readonly steps: number;
  readonly metrics: Readonly<Metrics>;
  /** Smoothed; evaluation and checkpoints are not counted. */
  readonly stepsPerSecond: number;
  readonly secondsLeft: number;
  /** The state as it is now: to be read during the callback only. */
  readonly state: S;
}

export interface FitOptions<S extends Tree, B extends Tree> {
  readonly engine: Engine;
  /** One step, compiled once by the engine: pure, in tfjs ops, with all its randomness from `rng`. */
  readonly step: (state: S, batch: B, rng: Rng) => StepResult<S>;
  /**
   * The state to start from: a tree of tensors and plain values. `fit` owns it from the call on, and disposes of it in
   * the course of training, when it resumes from a checkpoint and when it throws; go on with the state of the result.
   */
  readonly state: S;
  readonly data: BatchStream<B>;
  /** Steps from the beginning of the run: a resumed run does what is missing. */
  readonly steps: number;
  /** Advanced by one fork; the draws of the steps come from that stream, which checkpoints save. */
  readonly rng: Rng;
  /** Scalars of the state, by path, that are set before each step; called with the number of steps done, 0 at first. */
  readonly schedules?: ScalarSchedules;
  /** Measures the state on other data: every `evaluateEvery` steps and at the end. Its stream is the same each time. */
  readonly evaluate?: (state: S, at: { readonly step: number; readonly rng: Rng }) => Metrics | Promise<Metrics>;
  readonly evaluateEvery?: number;
  /** Where to keep checkpoints: every `checkpointEvery` steps, at the end, and when the signal fires. */
  readonly checkpoints?: CheckpointStore;
  readonly checkpointEvery?: number;
  /** Goes on from the newest checkpoint that can be read, if there is one. Default true. */
  readonly resume?: boolean;
  /** Plain JSON to keep in each checkpoint. */
  readonly meta?: unknown;
  /** Reads metrics, checks them and calls `onStep` at every n-th step. Default 1; more spares GPUs the wait. */
  readonly readMetricsEvery?: number;
  readonly onStep?: (progress: FitProgress<S>) => unknown;
  readonly onEvaluate?: (at: { readonly step: number; readonly metrics: Readonly<Metrics> }) => unknown;
  readonly onCheckpoint?: (info: CheckpointInfo) => unknown;
  /** Called when training goes on from a checkpoint, with the newer ones that could not be read. */
  readonly onResume?: (
    info: CheckpointInfo & { readonly skipped: readonly SkippedCheckpoint[]; readonly meta: unknown },
  ) => unknown;
  /**
   * Asked after each step whether training shall end here, as if all steps were done: for limits of time, or losses that
   * fall no more. `metrics` are the last that were read.
   */
  readonly stopWhen?: (at: { readonly step: number; readonly metrics: Readonly<Metrics> }) => boolean;
  /** Stops training between two steps, without a last evaluation; the result then says `stopped: "aborted"`. */
  readonly signal?: AbortSignal;
}

export interface FitResult<S extends Tree> {
  /** Owned by the caller. */
  readonly state: S;
  /** Steps done since the beginning of the run. */
  readonly step: number;
  /** Why training ended: all steps are done, `stopWhen` said so, the signal fired, or the data came to their end. */
  readonly stopped: "done" | "early" | "aborted" | "data";
  /** Of the last step that was read. */
  readonly metrics: Metrics;
  /** Metrics of this call's steps, as far as they were read. */
  readonly history: { step: number; metrics: Metrics }[];
  readonly evaluations: { step: number; metrics: Metrics }[];
}

/**
 * Trains: runs `step` on batch after batch, with schedules, evaluation, checkpoints, exact resume and abort.
 *
 * With `checkpoints`, a run that was stopped at any moment goes on where its last checkpoint was: state, random stream,
 * place in the data and step all come from there, so that the result has the same bits as that of a run without a break
 * on the same engine.
 *
 * @throws DivergenceError if a metric that is read, or the state before a checkpoint, is not finite; the last good state
 *   is in the last checkpoint. FormatError if a checkpoint does not fit the state given. Whatever callbacks throw. In each
 *   case everything that fit holds is disposed of.
 */
export async function fit<S extends Tree, B extends Tree>(options: FitOptions<S, B>): Promise<FitResult<S>> {
  const run = new Run(options);
  try {
    return await run.train();
  } catch (error) {
    treeDispose(run.state);
    throw error;
  }
}

/** One call of `fit`: the state that it carries from step to step. */
class Run<S extends Tree, B extends Tree> {
  readonly options: FitOptions<S, B>;
  state: S;
  step = 0;
  rng: Rng;
  metrics: Metrics = {};
  readonly history: FitResult<S>["history"] = [];
  readonly evaluations: FitResult<S>["evaluations"] = [];
  savedAt = -1;
  readonly clock = new StepClock();

  constructor(options: FitOptions<S, B>) {
    this.options = options;
    this.state = options.state;
    this.rng = options.rng.fork("fit");
  }

  async train(): Promise<FitResult<S>> {
    const { engine, step, steps, checkpoints, schedules = {}, stopWhen } = this.options;
    checkOptions(this.options);
    checkSchedules("fit", this.state, schedules);
    if (checkpoints !== undefined) await this.resume(checkpoints);
    const first = this.step;
    const compiled = engine.compile(step, { donated: [0] });
    let stopped: FitResult<S>["stopped"] = "done";
    try {
      this.clock.start(this.step);
      while (this.step < steps) {
        if (this.options.signal?.aborted) {
          stopped = "aborted";
          break;
        }
        const batch = await this.options.data.next();
        if (batch.done) {
          stopped = "data";
          break;
        }
        await this.advance(compiled, batch.value, first);
        if (this.step < steps && stopWhen?.({ step: this.step, metrics: this.metrics })) {
          stopped = "early";
          break;
        }
      }
    } finally {
      compiled.dispose();
    }
    if (this.step > first) await this.save();
    if (stopped !== "aborted" && this.evaluations.at(-1)?.step !== this.step) await this.evaluate();
    const { state, metrics, history, evaluations } = this;
    return { state, step: this.step, stopped, metrics, history, evaluations };
  }

  /** One step, and whatever is due after it. */
  async advance(compiled: (...args: [S, B, Rng]) => Promise<StepResult<S>>, batch: B, first: number): Promise<void> {
    const { steps, schedules = {}, readMetricsEvery = 1, evaluateEvery, checkpointEvery, onStep } = this.options;
    let result: StepResult<S>;
    try {
      this.state = applySchedules("fit", this.state, schedules, this.step);
      result = await compiled(this.state, batch, this.rng);
      checkResult(result, this.step === first ? this.state : undefined);
      this.state = replaceState(this.state, result.state);
    } finally {
      replaceState(batch, this.state);
    }
    this.step += 1;
    const isDue = (every: number | undefined) => every !== undefined && this.step % every === 0;
    const saves = isDue(checkpointEvery) && this.options.checkpoints !== undefined;
    const evaluates = isDue(evaluateEvery) && this.options.evaluate !== undefined;
    try {
      const reads = isDue(readMetricsEvery) || saves || evaluates || this.step === steps;
      if (!reads) return;
      this.metrics = await readMetrics("fit", result.metrics);
    } finally {
      replaceState(result.metrics, this.state);
    }
    assertFiniteMetrics(this.metrics, this.step, this.lastGood());
    this.history.push({ step: this.step, metrics: this.metrics });
    const stepsPerSecond = this.clock.lap(this.step);
    await onStep?.({
      step: this.step,
      steps,
      metrics: this.metrics,
      stepsPerSecond,
      secondsLeft: (steps - this.step) / stepsPerSecond,
      state: this.state,
    });
    // First what can be lost.
    if (saves) await this.save();
    if (evaluates) await this.evaluate();
    this.clock.start(this.step);
  }

  async resume(store: CheckpointStore): Promise<void> {
    const { resume = true, data, onResume } = this.options;
    if (!resume) {
      // Their checkpoints would outlive the new run's and be taken for its own.
      const [found] = (await store.list()).reverse();
      if (found === undefined) return;
      throw new Error(
        `fit: resume is false and ${store.name} holds a checkpoint of step ${found.step}; expected an empty store`,
      );
    }
    const latest = await store.latest();
    if (latest === undefined) return;
    const { checkpoint, ...info } = latest;
    const what = `checkpoint ${info.file} of ${store.name}`;
    try {
      assertSameState("fit", this.state, checkpoint.state, what);
      this.state = replaceState(this.state, checkpoint.state as S);
    } catch (error) {
      treeDispose(checkpoint.state);
      throw error;
    }
    this.step = checkpoint.step;
    this.savedAt = checkpoint.step;
    this.metrics = { ...checkpoint.metrics };
    if (checkpoint.rng !== undefined) this.rng = Rng.fromState(checkpoint.rng);
    if (checkpoint.data !== undefined) data.restore(checkpoint.data);
    await onResume?.({ ...info, meta: checkpoint.meta });
  }

  async save(): Promise<void> {
    const { checkpoints, data, meta, onCheckpoint } = this.options;
    if (checkpoints === undefined || this.savedAt === this.step) return;
    const { step, state, metrics } = this;
    await assertFiniteState(state, step, this.lastGood());
    const info = await checkpoints.save({ step, state, rng: this.rng.state(), data: data.state(), metrics, meta });
    this.savedAt = step;
    await onCheckpoint?.(info);
  }

  async evaluate(): Promise<void> {
    const { evaluate, onEvaluate } = this.options;
    if (evaluate === undefined) return;
    const { step } = this;
    // Depends on the key of the run's stream alone, so that all evaluations of a run see the same noise.
    const rng = Rng.fromState({ ...this.rng.state(), counter: 0 }).fork("fit.evaluate");
    const metrics = await evaluate(this.state, { step, rng });
    this.evaluations.push({ step, metrics });
    await onEvaluate?.({ step, metrics });
  }

  lastGood(): string {
    if (this.options.checkpoints === undefined) return "No checkpoints are kept";
    return this.savedAt >= 0
      ? `The last good state is the checkpoint of step ${this.savedAt} in ${this.options.checkpoints.name}`
      : "There was no checkpoint yet";
  }
}

/** Measures the speed of steps between laps, smoothed exponentially. */
class StepClock {
  #since = 0;
  #step = 0;
  #secondsPerStep = 0;
  #laps = 0;

  /** Begins a lap: what was between is not counted. */
  start(step: number): void {
    this.#since = performance.now();
    this.#step = step;
  }

  /** Ends a lap and returns steps per second. */
  lap(step: number): number {
    const seconds = Math.max(1e-9, (performance.now() - this.#since) / 1000 / (step - this.#step));
    // The first lap holds compilation and warm-up, and is forgotten with the second.
    this.#secondsPerStep = this.#laps < 2 ? seconds : 0.9 * this.#secondsPerStep + 0.1 * seconds;
    this.#laps += 1;
    this.start(step);
    return 1 / this.#secondsPerStep;
  }
}

function checkOptions<S extends Tree, B extends Tree>(options: FitOptions<S, B>): void {
  const { steps, evaluateEvery, checkpointEvery, readMetricsEvery, evaluate, checkpoints } = options;
  if (!Number.isSafeInteger(steps) || steps < 0) throw new Error(`fit: steps (${steps}) must be a whole number`);
  for (const [name, value] of Object.entries({ evaluateEvery, checkpointEvery, readMetricsEvery })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) {
      throw new Error(`fit: ${name} (${value}) must be a positive whole number`);
    }
  }
  if (evaluateEvery !== undefined && evaluate === undefined) {
    throw new Error(`fit: evaluateEvery (${evaluateEvery}) is given without evaluate`);
  }
  if (checkpointEvery !== undefined && checkpoints === undefined) {
    throw new Error(`fit: checkpointEvery (${checkpointEvery}) is given without checkpoints`);
  }
}

function checkResult(result: unknown, old: Tree): void {
  if (!isRecord(result) || !("state" in result) || !isRecord(result.metrics)) {
    const keys = isRecord(result) ? `a record of ${Object.keys(result).join(", ") || "nothing"}` : typeof result;
    treeDispose(result);
    throw new Error(`fit: step returned ${keys}; expected { state, metrics }`);
  }
  if (old === undefined) return;
  try {
    assertSameStructure("fit: the state that step returns", old, result.state);
  } catch (error) {
    treeDispose(result);
    throw error;
  }
}
