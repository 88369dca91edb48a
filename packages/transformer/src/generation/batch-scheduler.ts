import { type Compiled, type Engine, type Tree, throwIfAborted, treeDispose } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import { type BatchRequest, type BatchToken, checkBatchRequest } from "./batch-request.ts";
import { BatchTask } from "./batch-task.ts";
import { createDecoder, type Decoder } from "./decoder.ts";
import {
  type DrawnRow,
  type DrawnRows,
  drawRows,
  type RowDrawInputs,
  type RowDrawShape,
  rowDrawInputs,
} from "./draw-rows.ts";
import type { PrefixCacheOptions } from "./prefix-cache.ts";
import { PromptScorer } from "./prompt-scores.ts";
import { RowStore } from "./row-store.ts";

// Continuous batching: requests that run at the same time share the steps of one batch. They join it when there is room and
// leave it when they end, token by token.
//
//   G.-I. Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022

export interface BatchSchedulerOptions<P extends Tree = Tree> {
  /** Most requests that run at once; default 8. */
  readonly maxRows?: number;
  /** Most tokens of a request, prompt and new ones; default the model's blockSize. */
  readonly maxTokens?: number;
  /** Most requests that wait; default 64. */
  readonly maxQueue?: number;
  /**
   * Prefix caching: the keys and values of requests that have ended are kept, within these limits, and a prompt that begins as
   * one of them, or as one that runs, is read from there on, in blocks of 16 tokens. What is written stays the same.
   */
  readonly prefixCache?: PrefixCacheOptions;
  /** Compiled functions to be used again; without it they are made and freed by the scheduler. */
  readonly decoder?: Decoder<P>;
}

/** Thrown by `submit` when as many requests wait as may. */
export class QueueFullError extends Error {
  override name = "QueueFullError";
}

export interface BatchScheduler {
  /** Most tokens of a request, prompt and new ones. */
  readonly maxTokens: number;
  /** Requests that hold a row. */
  readonly running: number;
  /** Requests that wait for one. */
  readonly waiting: number;
  /**
   * Continues a prompt, beside others. What it gets is what `generate` gives it alone, with `rng` as the stream of its row.
   * Leaving the loop, or the signal, frees its row; tokens that are not read in time wait, and hold nobody up.
   *
   * @throws at once for bad options, a prompt that is empty, too long or holds ids out of range, and QueueFullError; while
   *   iterating if logits are NaN, no token is left to choose or the engine fails, and AbortError when the signal fires
   */
  submit(request: BatchRequest): AsyncIterableIterator<BatchToken>;
  /** Ends every request with an error and frees everything. */
  dispose(): Promise<void>;
}

/** Tokens of prompts that are read at once, padding included. Long prompts are read in parts ("chunked prefill"). */
const mostTokensAtOnce = 256;
const leastTokensAtOnce = 64;
/**
 * How long those who are being written wait for prompts to be read, and for the read that is under way then; longer by as much as
 * there are more who wait for their first token than who are written.
 */
const pauseMilliseconds = 250;

/** Starts serving a model; see `BatchScheduler`. The caller keeps engine and parameters until it has disposed of it. */
export function createBatchScheduler<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  options: BatchSchedulerOptions<P> = {},
): BatchScheduler {
  return new Scheduler(engine, lm, params, options);
}

class Scheduler<P extends Tree> implements BatchScheduler {
  readonly maxTokens: number;
  readonly #vocabSize: number;
  readonly #maxRows: number;
  readonly #maxQueue: number;
  readonly #decoder: Decoder<P>;
  readonly #ownsDecoder: boolean;
  readonly #draw: Compiled<[logits: tf.Tensor2D, inputs: RowDrawInputs, shape: RowDrawShape], DrawnRows>;
  readonly #store: RowStore<P>;
  readonly #scorer: PromptScorer<P>;
  readonly #queue: BatchTask[] = [];
  /** Those with a row whose prompt is not read yet. */
  #reading: BatchTask[] = [];
  /** Those whose tokens are being written. */
  #writing: BatchTask[] = [];
  /** What reading a token of a prompt takes at best. */
  #tokenMilliseconds = Number.POSITIVE_INFINITY;
  #loop: Promise<void> | undefined;
  #isDisposed = false;

  constructor(engine: Engine, lm: CausalLm<P>, params: P, options: BatchSchedulerOptions<P>) {
    const { maxRows = 8, maxQueue = 64, maxTokens = lm.blockSize, prefixCache = {}, decoder } = options;
    for (const [name, value, least] of [
      ["maxRows", maxRows, 1],
      ["maxQueue", maxQueue, 0],
      ["maxTokens", maxTokens, 2],
    ] as const) {
      if (Number.isSafeInteger(value) && value >= least) continue;
      throw new Error(`createBatchScheduler: ${name} (${value}) must be an integer of at least ${least}`);
    }
    if (maxTokens > lm.blockSize) {
      throw new Error(
        `createBatchScheduler: maxTokens (${maxTokens}) is more than the context of ${lm.blockSize}; expected at most that`,
      );
    }
    if (decoder && (decoder.engine !== engine || decoder.lm !== lm)) {
      throw new Error(
        "createBatchScheduler: the decoder was made for another engine or model; expected one made for those given",
      );
    }
    this.maxTokens = maxTokens;
    this.#vocabSize = lm.vocabSize;
    this.#maxRows = maxRows;
    this.#maxQueue = maxQueue;
    this.#ownsDecoder = decoder === undefined;
    this.#decoder = decoder ?? createDecoder(engine, lm);
    this.#store = new RowStore(this.#decoder, params, { maxRows, maxTokens, prefixCache });
    this.#scorer = new PromptScorer(this.#decoder, params);
    this.#draw = engine.compile(drawRows);
  }

  get running(): number {
    return this.#reading.length + this.#writing.length;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  submit(request: BatchRequest): AsyncIterableIterator<BatchToken> {
    if (this.#isDisposed) throw new Error("submit: the scheduler is disposed of; expected one in use");
    throwIfAborted("submit", request.signal);
    const checked = checkBatchRequest(request, { vocabSize: this.#vocabSize, length: this.maxTokens });
    if (this.running + this.waiting >= this.#maxRows + this.#maxQueue) {
      throw new QueueFullError(
        `submit: ${this.running} requests run and ${this.#queue.length} wait; expected at most ${this.#maxQueue} to wait`,
      );
    }
    const task = new BatchTask(request, checked, this.#vocabSize, (ended) => {
      const at = this.#queue.indexOf(ended);
      if (at >= 0) this.#queue.splice(at, 1);
    });
    this.#queue.push(task);
    this.#loop ??= this.#serve();
    return task.tokens;
  }

  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    const error = new Error("submit: the scheduler was disposed of before the text was complete");
    for (const task of [...this.#queue, ...this.#reading, ...this.#writing]) task.fail(error);
    await this.#loop;
    this.#draw.dispose();
    this.#scorer.dispose();
    this.#store.dispose();
    if (this.#ownsDecoder) this.#decoder.dispose();
  }

  /** Goes on as long as there is somebody to serve. */
  async #serve(): Promise<void> {
    // Requests that come at the same moment start together.
    await Promise.resolve();
    while (this.running + this.waiting > 0) {
      await this.#readPrompts();
      if (this.#writing.length > 0) await this.#step();
      // Engines that compute on this thread must not keep the program from its other work.
      await otherWork();
    }
    this.#loop = undefined;
  }

  /** Gives rows to those who wait and reads prompts: one part, or for as long as those who are written may wait. */
  async #readPrompts(): Promise<void> {
    const started = performance.now();
    do {
      await this.#dropEnded();
      while (this.#queue.length > 0 && this.running < this.#maxRows) {
        const task = this.#queue.shift()!;
        task.row = this.#store.create(task.prompt);
        this.#reading.push(task);
      }
      if (this.#reading.length === 0) return;
      await this.#readNext();
    } while (this.#writing.length > 0 && performance.now() - started < this.#pause);
    await this.#dropEnded();
  }

  get #pause(): number {
    return pauseMilliseconds * (1 + this.#reading.length / Math.max(1, this.#writing.length));
  }

  /** Reads a part of the prompts, and draws the first tokens of those that were read. */
  async #readNext(): Promise<void> {
    const within = Math.max(leastTokensAtOnce, this.#pause / this.#tokenMilliseconds);
    const limit = this.#writing.length > 0 ? Math.min(within, mostTokensAtOnce) : mostTokensAtOnce;
    const waiting = new Map(this.#reading.map((task) => [task.row!, task]));
    const unscored = this.#reading.find((task) => task.scoresWanted !== undefined);
    if (unscored) return this.#scorePrompt(unscored);
    const rows = this.#store.next([...waiting.keys()], limit);
    const tasks = rows.map((row) => waiting.get(row)!);
    let logits: tf.Tensor2D | undefined;
    try {
      const started = performance.now();
      const read = await this.#store.read(rows, limit);
      // The fastest read: others may have been compiled first.
      this.#tokenMilliseconds = Math.min(this.#tokenMilliseconds, (performance.now() - started) / read.tokens);
      logits = read.logits;
      if (logits) {
        this.#reading = this.#reading.filter((task) => !tasks.includes(task));
        this.#writing.push(...tasks);
        const size = logits.shape[0];
        await this.#drawFor(
          Array.from({ length: size }, (_, i) => tasks[i]),
          logits,
        );
      }
    } catch (error) {
      for (const task of tasks) task.fail(error);
    } finally {
      treeDispose(logits);
    }
  }

  async #scorePrompt(task: BatchTask): Promise<void> {
    try {
      task.promptScores = await this.#scorer.score(task.prompt, task.scoresWanted!);
    } catch (error) {
      task.fail(error);
    }
  }

  /** Reads the last token of every request that is being written, and draws the next. */
  async #step(): Promise<void> {
    const tasks = this.#writing;
    let logits: tf.Tensor2D | undefined;
    try {
      logits = await this.#store.step(
        tasks.map(({ row }) => row!),
        tasks.map(({ lastId }) => lastId),
        this.#reading.length,
      );
      const places: (BatchTask | undefined)[] = new Array(logits.shape[0]).fill(undefined);
      for (const task of tasks) places[task.row!.place!] = task;
      await this.#drawFor(places, logits);
    } catch (error) {
      for (const task of tasks) task.fail(error);
    } finally {
      treeDispose(logits);
    }
    await this.#dropEnded();
  }

  /** Draws a token for each task, from the row of the logits that has its place. */
  async #drawFor(tasks: readonly (BatchTask | undefined)[], logits: tf.Tensor2D): Promise<void> {
    const rows = tasks.map((task): DrawnRow | undefined => {
      try {
        return task?.ended ? undefined : task?.drawn();
      } catch (error) {
        task?.fail(error);
        return undefined;
      }
    });
    if (rows.every((row) => row === undefined)) return;
    const { inputs, shape } = rowDrawInputs(rows, { length: this.maxTokens, vocabSize: this.#vocabSize });
    let drawn: DrawnRows | undefined;
    try {
      drawn = await this.#draw(logits, inputs, shape);
      const [ids, logProbs, likeliest, likeliestLogProbs] = await Promise.all(
        [drawn.ids, drawn.logProbs, drawn.likeliest, drawn.likeliestLogProbs].map((x) => x?.data()),
      );
      const count = drawn.likeliest?.shape[1] ?? 0;
      for (const [i, task] of tasks.entries()) {
        if (!task || task.ended) continue;
        const id = ids![i]!;
        if (id < 0) {
          task.fail(await noToken(logits, i, task.index));
          continue;
        }
        const entry = (n: number) => ({ id: likeliest![n]!, logProb: likeliestLogProbs![n]! });
        const list = likeliest && Array.from({ length: count }, (_, n) => entry(i * count + n));
        task.take(id, logProbs?.[i], list);
      }
    } finally {
      treeDispose([inputs, drawn]);
    }
  }

  /** Takes the rows of requests that have ended. */
  async #dropEnded(): Promise<void> {
    const ended = [...this.#reading, ...this.#writing].filter((task) => task.ended);
    this.#reading = this.#reading.filter((task) => !ended.includes(task));
    this.#writing = this.#writing.filter((task) => !ended.includes(task));
    for (const task of ended) {
      if (task.row) await (this.#isDisposed ? this.#store.free(task.row) : this.#store.leave(task.row));
      task.row = undefined;
    }
  }
}

/** Lets timers, files and the network have their turn. */
function otherWork(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (then: () => void) => unknown };
  return new Promise((resolve) => void (setImmediate ? setImmediate(resolve) : setTimeout(resolve, 0)));
}

/** Why no token could be drawn for a row. */
async function noToken(logits: tf.Tensor2D, row: number, index: number): Promise<Error> {
  const vocab = logits.shape[1];
  const values = ((await logits.data()) as Float32Array).subarray(row * vocab, (row + 1) * vocab);
  const nans = values.filter(Number.isNaN).length;
  return new Error(
    nans > 0
      ? `submit: ${nans} of ${vocab} logits are NaN at new token ${index}; expected numbers. The parameters may have ` +
          "diverged in training or been read wrongly"
      : `submit: no token is left to draw at new token ${index}; expected the allowed ids, biases and n-gram limit to ` +
          "leave one with a finite logit",
  );
}
