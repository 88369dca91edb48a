import { type Compiled, type Engine, type Tree, throwIfAborted, treeDispose } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import { type BatchRequest, type BatchToken, checkBatchRequest } from "./batch-request.ts";
import { BatchTask } from "./batch-task.ts";
import { cacheLength, createDecoder, type Decoder } from "./decoder.ts";
import {
  type DrawnRow,
  type DrawnRows,
  drawRows,
  type RowDrawInputs,
  type RowDrawShape,
  rowDrawInputs,
} from "./draw-rows.ts";
import { RowStore } from "./row-store.ts";

// Continuous batching: requests that run at the same time share the steps of one batch. They join it when there is room and
// leave it when they end, token by token.
//
//   G.-I. Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022

export interface BatchSchedulerOptions<P extends Tree = Tree> {
  /** Most requests that run at once; default 8. */
  readonly maxRows?: number;
  /** Most tokens of a request, prompt and new ones; default the model's blockSize. Memory is set aside for as many. */
  readonly maxTokens?: number;
  /** Most requests that wait; default 64. */
  readonly maxQueue?: number;
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

/** Tokens of prompts that are read between two steps of the batch: more of them would hold up those that run. */
const promptTokensBetweenSteps = 256;

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
  readonly #queue: BatchTask[] = [];
  #tasks: BatchTask[] = [];
  #loop: Promise<void> | undefined;
  #isDisposed = false;

  constructor(engine: Engine, lm: CausalLm<P>, params: P, options: BatchSchedulerOptions<P>) {
    const { maxRows = 8, maxQueue = 64, maxTokens = lm.blockSize, decoder } = options;
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
    this.#draw = engine.compile(drawRows);
    this.#store = new RowStore(this.#decoder, params, cacheLength(maxTokens, lm.blockSize));
  }

  get running(): number {
    return this.#tasks.length;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  submit(request: BatchRequest): AsyncIterableIterator<BatchToken> {
    if (this.#isDisposed) throw new Error("submit: the scheduler is disposed of; expected one in use");
    throwIfAborted("submit", request.signal);
    const checked = checkBatchRequest(request, { vocabSize: this.#vocabSize, length: this.maxTokens });
    if (this.#tasks.length + this.#queue.length >= this.#maxRows + this.#maxQueue) {
      throw new QueueFullError(
        `submit: ${this.#tasks.length} requests run and ${this.#queue.length} wait; expected at most ${this.#maxQueue} to wait`,
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
    for (const task of [...this.#queue, ...this.#tasks]) task.fail(error);
    await this.#loop;
    this.#draw.dispose();
    if (this.#ownsDecoder) this.#decoder.dispose();
  }

  /** Goes on as long as there is somebody to serve. */
  async #serve(): Promise<void> {
    // Requests that come at the same moment start together.
    await Promise.resolve();
    while (this.#queue.length > 0 || this.#tasks.length > 0) {
      await this.#admit();
      this.#dropEnded();
      if (this.#tasks.length > 0) await this.#step();
      this.#dropEnded();
      // Engines that compute on this thread must not keep the program from its other work.
      await otherWork();
    }
    this.#loop = undefined;
  }

  /** Reads the prompts of waiting requests and draws their first tokens, as far as there is room and time. */
  async #admit(): Promise<void> {
    let budget = this.#tasks.length > 0 ? promptTokensBetweenSteps : Number.POSITIVE_INFINITY;
    while (budget > 0 && this.#queue.length > 0 && this.#tasks.length < this.#maxRows) {
      const task = this.#queue.shift()!;
      this.#tasks.push(task);
      budget -= task.prompt.length;
      let logits: tf.Tensor2D | undefined;
      try {
        const read = await this.#store.read(task.prompt);
        task.row = read.row;
        logits = read.logits;
        await this.#drawFor([task], logits);
      } catch (error) {
        task.fail(error);
      } finally {
        treeDispose(logits);
      }
      this.#dropEnded();
    }
  }

  /** Reads the last token of every running request, and draws the next. */
  async #step(): Promise<void> {
    const tasks = this.#tasks;
    let logits: tf.Tensor2D | undefined;
    try {
      logits = await this.#store.step(
        tasks.map(({ row }) => row!),
        tasks.map(({ lastId }) => lastId),
      );
      await this.#drawFor(tasks, logits);
    } catch (error) {
      for (const task of tasks) task.fail(error);
    } finally {
      treeDispose(logits);
    }
  }

  /** Draws a token for each task, row i of the logits for the i-th. */
  async #drawFor(tasks: readonly BatchTask[], logits: tf.Tensor2D): Promise<void> {
    const rows = tasks.map((task): DrawnRow => {
      try {
        if (!task.ended) return task.drawn();
      } catch (error) {
        task.fail(error);
      }
      return nobody;
    });
    if (rows.every((row) => row === nobody)) return;
    const { inputs, shape } = rowDrawInputs(rows, {
      size: logits.shape[0],
      length: this.maxTokens,
      vocabSize: this.#vocabSize,
    });
    let drawn: DrawnRows | undefined;
    try {
      drawn = await this.#draw(logits, inputs, shape);
      const [ids, logProbs, likeliest, likeliestLogProbs] = await Promise.all(
        [drawn.ids, drawn.logProbs, drawn.likeliest, drawn.likeliestLogProbs].map((x) => x?.data()),
      );
      const count = drawn.likeliest?.shape[1] ?? 0;
      for (const [i, task] of tasks.entries()) {
        if (task.ended) continue;
        if (ids![i]! < 0) {
          task.fail(await noToken(logits, i, task.index));
          continue;
        }
        const list =
          likeliest &&
          Array.from({ length: count }, (_, n) => ({
            id: likeliest[i * count + n]!,
            logProb: likeliestLogProbs![i * count + n]!,
          }));
        task.take(ids![i]!, logProbs?.[i], list);
      }
    } finally {
      treeDispose([inputs, drawn]);
    }
  }

  #dropEnded(): void {
    for (const task of this.#tasks) {
      if (task.ended && task.row) {
        this.#store.free(task.row);
        task.row = undefined;
      }
    }
    this.#tasks = this.#tasks.filter((task) => !task.ended);
  }
}

/** Lets timers, files and the network have their turn. */
function otherWork(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (then: () => void) => unknown };
  return new Promise((resolve) => void (setImmediate ? setImmediate(resolve) : setTimeout(resolve, 0)));
}

/** In the place of a row that has ended. */
const nobody: DrawnRow = { sampling: {}, rng: undefined, prompt: [], generated: [], bias: undefined, likeliest: -1 };

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
