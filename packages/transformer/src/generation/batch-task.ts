import { AbortError, type Rng } from "@genai/core";
import { type BatchRequest, type BatchToken, checkAllowedIds } from "./batch-request.ts";
import type { DrawnRow } from "./draw-rows.ts";
import { type SamplingOptions, samplingOptionsOf } from "./draw-tokens.ts";
import type { PromptScore } from "./prompt-scores.ts";
import type { StoredRow } from "./row-store.ts";
import { TokenQueue } from "./token-queue.ts";

/** A request on its way through the scheduler: it waits, runs in a row of the batch, and ends. */
export class BatchTask {
  readonly prompt: readonly number[];
  readonly maxNewTokens: number;
  readonly tokens: TokenQueue<BatchToken>;
  /** While the task runs. */
  row: StoredRow | undefined;
  /** Of the prompt, once it is scored. */
  promptScores: readonly PromptScore[] | undefined;
  readonly #generated: number[] = [];
  readonly #sampling: SamplingOptions;
  readonly #request: BatchRequest;
  readonly #vocabSize: number;
  readonly #stop: ReadonlySet<number>;
  /** What is added to the logits of every step. */
  readonly #bias: Float32Array | undefined;
  readonly #onEnd: (task: BatchTask) => void;
  #ended = false;

  /** @param onEnd called once, when the task ends, however it does */
  constructor(
    request: BatchRequest,
    checked: { readonly prompt: readonly number[]; readonly maxNewTokens: number },
    vocabSize: number,
    onEnd: (task: BatchTask) => void,
  ) {
    this.prompt = checked.prompt;
    this.maxNewTokens = checked.maxNewTokens;
    this.#sampling = samplingOptionsOf(request);
    this.#request = request;
    this.#vocabSize = vocabSize;
    this.#stop = new Set(request.stopIds);
    this.#bias = biasOf(request, vocabSize);
    this.#onEnd = onEnd;
    this.tokens = new TokenQueue(() => this.#end());
    request.signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** How many of the likeliest tokens are asked for with the prompt's scores, if those are asked for and not there. */
  get scoresWanted(): number | undefined {
    const { promptScores = false, likeliest = 0 } = this.#request;
    return promptScores && !this.promptScores ? likeliest : undefined;
  }

  get lastId(): number {
    return this.#generated.at(-1)!;
  }

  get index(): number {
    return this.#generated.length;
  }

  /** The task as the next draw sees it. @throws what the request's own functions throw */
  drawn(): DrawnRow {
    const { rng, logProbs = false, likeliest = 0 } = this.#request;
    return {
      prompt: this.prompt,
      generated: this.#generated,
      sampling: this.#sampling,
      rng: rng as Rng | undefined,
      bias: this.#stepBias(),
      likeliest: likeliest > 0 ? likeliest : logProbs ? 0 : -1,
    };
  }

  /** Takes the token that was drawn, and ends when it is the last. */
  take(id: number, logProb: number | undefined, likeliest: BatchToken["likeliest"]): void {
    const { logProbs = false, likeliest: count = 0, stopWhen } = this.#request;
    const index = this.#generated.length;
    this.#generated.push(id);
    let stopped: boolean;
    try {
      stopped = this.#stop.has(id) || (stopWhen?.(this.#generated) ?? false);
    } catch (error) {
      this.fail(error);
      return;
    }
    const finish = stopped ? "stop" : index + 1 === this.maxNewTokens ? "length" : undefined;
    this.tokens.push({
      id,
      index,
      ...(index === 0 && this.promptScores && { promptScores: this.promptScores }),
      ...(index === 0 && this.row?.cachedTokens && { cachedTokens: this.row.cachedTokens }),
      ...(finish && { finish }),
      ...(logProbs && logProb !== undefined && { logProb }),
      ...(count > 0 && likeliest && { likeliest: likeliest.slice(0, count) }),
    });
    if (finish) {
      this.tokens.end();
      this.#end();
    }
  }

  fail(error: unknown): void {
    this.tokens.fail(error);
    this.#end();
  }

  readonly #onAbort = () => this.fail(new AbortError("submit", { cause: this.#request.signal?.reason }));

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#request.signal?.removeEventListener("abort", this.#onAbort);
    this.#onEnd(this);
  }

  /** [V] or nothing: biases, allowed ids and the limit on n-grams. */
  #stepBias(): Float32Array | undefined {
    const { allowedIds } = this.#request;
    const allowed = typeof allowedIds === "function" ? allowedIds(this.#generated) : undefined;
    if (allowed) checkAllowedIds(allowed, this.#vocabSize);
    const repeats = this.#ngramEnds();
    if (allowed === undefined && repeats.length === 0) return this.#bias;
    const bias = this.#bias ? this.#bias.slice() : new Float32Array(this.#vocabSize);
    if (allowed) forbidOthers(bias, allowed);
    for (const id of repeats) bias[id] = Number.NEGATIVE_INFINITY;
    return bias;
  }

  /** Tokens that would complete an n-gram for the second time. */
  #ngramEnds(): number[] {
    const n = this.#sampling.noRepeatNgramSize;
    if (n === undefined) return [];
    const ids = [...this.prompt, ...this.#generated];
    const ends: number[] = [];
    for (let end = n - 1; end < ids.length; end++) {
      let same = true;
      for (let i = 1; i < n && same; i++) same = ids[end - i] === ids[ids.length - i];
      if (same) ends.push(ids[end]!);
    }
    return ends;
  }
}

function biasOf({ logitBias, allowedIds }: BatchRequest, vocabSize: number): Float32Array | undefined {
  const allowed = typeof allowedIds === "function" ? undefined : allowedIds;
  if ((logitBias === undefined || logitBias.size === 0) && allowed === undefined) return undefined;
  const bias = new Float32Array(vocabSize);
  for (const [id, value] of logitBias ?? []) bias[id] = value;
  if (allowed) forbidOthers(bias, allowed);
  return bias;
}

function forbidOthers(bias: Float32Array, allowed: readonly number[]): void {
  const kept = allowed.map((id) => bias[id]!);
  bias.fill(Number.NEGATIVE_INFINITY);
  for (const [i, id] of allowed.entries()) bias[id] = kept[i]!;
}
