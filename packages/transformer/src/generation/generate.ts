import { type Engine, type Rng, type Tree, throwIfAborted, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type CausalLm, checkIdRange } from "../causal-lm.ts";
import {
  type Continued,
  cacheLength,
  consuming,
  createDecoder,
  type Decoder,
  newTokens,
  promptWidth,
} from "./decoder.ts";
import {
  checkSamplingOptions,
  type DrawInputs,
  historiesOf,
  type SamplingOptions,
  samplingOptionsOf,
} from "./draw-tokens.ts";

export interface GenerateOptions<P extends Tree = Tree> extends SamplingOptions {
  /**
   * Draws the tokens; without it the likeliest one is taken. One for all prompts, or one for each: then what a prompt gets
   * does not depend on the others of its batch.
   */
  readonly rng?: Rng | readonly Rng[];
  /** At most this many tokens for each prompt. Default: what the context has room for; blockSize with `slide`. */
  readonly maxNewTokens?: number;
  /** Tokens that end a row. They are yielded, with `finish: "stop"`. */
  readonly stopIds?: readonly number[];
  /** Ends a row when it returns true after a token, for instance because the text ends in a stop string. */
  readonly stopWhen?: (row: number, generated: readonly number[]) => boolean;
  /**
   * Lets the context slide: of longer prompts the end counts, and when the context is full the model reads the later half
   * of it afresh and goes on. Without it what does not fit is refused.
   */
  readonly slide?: boolean;
  /** The ids to choose among, for all steps or asked for at each step; undefined allows all. */
  readonly allowedIds?:
    | readonly number[]
    | ((row: number, generated: readonly number[]) => readonly number[] | undefined);
  /** A pure tensor function over logits [B, V], compiled into the draw: biases, or filters of your own. */
  readonly adjustLogits?: (logits: tf.Tensor2D) => tf.Tensor2D;
  /** Also gives each token's log-probability under the unfiltered logits. */
  readonly logProbs?: boolean;
  readonly signal?: AbortSignal;
  /**
   * Compiled functions to be used again; see `createDecoder`, which also takes `adjustLogits`. Without it they are made and
   * freed by the call.
   */
  readonly decoder?: Decoder<P>;
}

export interface GeneratedToken {
  /** Which prompt. */
  readonly row: number;
  readonly id: number;
  /** 0 for the first token after the prompt. */
  readonly index: number;
  /** Set on the last token of a row: "stop" for a stop id or stopWhen, "length" for maxNewTokens. */
  readonly finish?: "stop" | "length";
  /** In nats; there with the option logProbs. */
  readonly logProb?: number;
}

/**
 * Continues prompts, yielding tokens as they are drawn. Keys and values stay on the engine, and one compiled step serves
 * all lengths. Leaving the loop frees everything.
 *
 * @param prompts ids of each, in any lengths
 * @throws at once for bad options, and prompts that are empty, hold ids out of range or are too long; while iterating if
 *   logits are NaN or no token is left to choose, and AbortError when the signal fires
 */
export function generate<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions<P> = {},
): AsyncGenerator<GeneratedToken, void> {
  const { decoder } = options;
  if (decoder && (decoder.engine !== engine || decoder.lm !== lm)) {
    throw new Error("generate: the decoder was made for another engine or model; expected one made for those given");
  }
  if (decoder && options.adjustLogits) {
    throw new Error("generate: adjustLogits is given with a decoder; expected it among the decoder's own options");
  }
  return decode(engine, lm, params, checkRequest(lm, prompts, options), options);
}

/** Continues prompts as `generate` does and returns the new ids of each row, without stop ids. */
export async function generateIds<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions<P> = {},
): Promise<number[][]> {
  const rows: number[][] = prompts.map(() => []);
  const stop = new Set(options.stopIds);
  for await (const { row, id } of generate(engine, lm, params, prompts, options)) {
    if (!stop.has(id)) rows[row]!.push(id);
  }
  return rows;
}

/** What a call asks for, checked. */
interface Request {
  readonly prompts: readonly number[][];
  readonly maxNewTokens: number;
  /** Slots of the cache. */
  readonly length: number;
}

function checkRequest<P extends Tree>(
  { vocabSize, blockSize }: CausalLm<P>,
  given: readonly ArrayLike<number>[],
  options: GenerateOptions<P>,
): Request {
  const { rng, slide = false, stopIds = [], allowedIds } = options;
  checkSamplingOptions("generate", options);
  if (given.length === 0) throw new Error("generate: prompts are empty; expected at least one");
  const prompts = given.map((prompt, row) => {
    if (prompt.length === 0) {
      throw new Error(
        `generate: prompt ${row} is empty; expected at least one id, such as that of the text's beginning`,
      );
    }
    checkIdRange(`generate: prompt ${row}`, prompt, vocabSize);
    return Array.from(prompt);
  });
  checkIdRange("generate: stopIds", stopIds, vocabSize);
  if (Array.isArray(allowedIds)) checkAllowed(allowedIds, vocabSize);
  if (Array.isArray(rng) && rng.length !== prompts.length) {
    throw new Error(
      `generate: rng holds ${rng.length} streams; expected one, or one for each of ${prompts.length} prompts`,
    );
  }
  const needsRng = (["topK", "topP", "minP", "typicalP"] as const).find((name) => options[name] !== undefined);
  if (rng === undefined && (needsRng || (options.temperature ?? 0) > 0)) {
    throw new Error(`generate: ${needsRng ?? "temperature"} is set without an rng; expected one to draw tokens with`);
  }

  let longest = Math.max(...prompts.map((prompt) => prompt.length));
  if (longest > blockSize) {
    const row = prompts.findIndex((prompt) => prompt.length === longest);
    if (!slide) {
      throw new Error(
        `generate: prompt ${row} has ${longest} tokens, ${longest - blockSize} more than the context of ${blockSize}; ` +
          "shorten it or set slide, which keeps its end",
      );
    }
    longest = blockSize;
  }
  // The last token drawn is not read, so that it needs no place.
  const room = blockSize - longest + 1;
  const { maxNewTokens = slide ? blockSize : room } = options;
  if (!Number.isSafeInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new Error(`generate: maxNewTokens (${maxNewTokens}) must be a positive integer`);
  }
  if (maxNewTokens > room && !slide) {
    throw new Error(
      `generate: maxNewTokens (${maxNewTokens}) is ${maxNewTokens - room} more than fit behind a prompt of ${longest} ` +
        `tokens in the context of ${blockSize}; expected at most ${room}, or slide`,
    );
  }
  const length = cacheLength(longest + maxNewTokens - 1, blockSize);
  return { prompts, maxNewTokens, length };
}

function checkAllowed(ids: readonly number[], vocabSize: number): void {
  if (ids.length === 0) throw new Error("generate: allowedIds are empty; expected at least one id to choose");
  checkIdRange("generate: allowedIds", ids, vocabSize);
}

async function* decode<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  { prompts, maxNewTokens, length }: Request,
  options: GenerateOptions<P>,
): AsyncGenerator<GeneratedToken, void> {
  const { stopWhen, adjustLogits, signal, logProbs: withLogProbs = false } = options;
  const stop = new Set(options.stopIds);
  const sampling = samplingOptionsOf(options);
  const streams = rowStreams(options, prompts.length);
  const history = prompts.map((prompt) => [...prompt]);
  const generated: number[][] = prompts.map(() => []);
  const finished = prompts.map(() => false);

  throwIfAborted("generate", signal);
  const decoder = options.decoder ?? createDecoder(engine, lm, { adjustLogits });
  /** The model's state; its cache passes on to the next step. */
  let state: Continued | undefined;
  /** Slots in use in the fullest row. */
  let used = 0;
  /** Reads rows of tokens, behind those read before or afresh, and draws those that follow. */
  const read = async (rows: readonly (readonly number[])[], afresh: boolean) => {
    const inputs = drawInputs({ history, generated, streams, length, vocabSize: lm.vocabSize }, sampling, options);
    const longest = Math.max(...rows.map((row) => row.length));
    const cache = state && !afresh ? state.cache : lm.createCache(prompts.length, length);
    const rest = afresh ? state : { ...state, cache: null };
    state = undefined;
    const tokens = newTokens(rows, promptWidth(longest, length));
    state = await consuming([tokens, inputs, rest], () =>
      decoder.advance(params, tokens, cache, { inputs, options: sampling, withLogProbs }),
    );
    used = afresh ? longest : used + longest;
  };
  try {
    await read(
      history.map((ids) => ids.slice(-length)),
      true,
    );
    for (let index = 0; ; index++) {
      const ids = (await state!.ids.data()) as Int32Array;
      const logs = (await state!.logProbs?.data()) as Float32Array | undefined;
      throwIfAborted("generate", signal);
      for (const [row, id] of ids.entries()) {
        if (finished[row]) continue;
        if (id < 0) throw await noToken(state!.logits, row, index);
        history[row]!.push(id);
        generated[row]!.push(id);
        const stopped = stop.has(id) || (stopWhen?.(row, generated[row]!) ?? false);
        const finish = stopped ? "stop" : index + 1 === maxNewTokens ? "length" : undefined;
        finished[row] = finish !== undefined;
        yield { row, id, index, ...(finish && { finish }), ...(logs && { logProb: logs[row]! }) };
      }
      if (finished.every(Boolean)) return;
      throwIfAborted("generate", signal);
      // Rows that have ended read their last token again: nobody looks at what follows.
      const full = used === length;
      const kept = full ? Math.max(1, Math.floor(length / 2)) : 1;
      await read(
        history.map((ids) => ids.slice(-kept)),
        full,
      );
    }
  } finally {
    treeDispose(state);
    if (!options.decoder) decoder.dispose();
  }
}

/** A stream of random numbers for each row, or nothing for greedy decoding. */
function rowStreams({ rng, temperature }: { rng?: Rng | readonly Rng[]; temperature?: number }, rows: number) {
  if (rng === undefined || temperature === 0) return undefined;
  return Array.isArray(rng)
    ? (rng as readonly Rng[])
    : Array.from({ length: rows }, (_, row) => (rng as Rng).fork(row));
}

function drawInputs<P extends Tree>(
  state: {
    readonly history: readonly number[][];
    readonly generated: readonly number[][];
    readonly streams: readonly Rng[] | undefined;
    readonly length: number;
    readonly vocabSize: number;
  },
  sampling: SamplingOptions,
  { allowedIds }: GenerateOptions<P>,
): DrawInputs {
  const { history, generated, streams, length, vocabSize } = state;
  const rows = history.length;
  const needs = historiesOf(sampling);
  const lastOf = (lists: readonly number[][]) => {
    const values = new Int32Array(rows * length).fill(-1);
    for (const [row, ids] of lists.entries()) {
      const last = ids.slice(-length);
      values.set(last, (row + 1) * length - last.length);
    }
    return tf.tensor2d(values, [rows, length], "int32");
  };
  // Asked before tensors are made: it is the caller's function and may throw.
  const allowed = allowedIds && allowedMask(allowedIds, generated, vocabSize);
  return {
    ...(streams && {
      uniform: tf.tensor2d(
        streams.map((rng) => rng.draw(UNIFORM)[0]!),
        [rows, 1],
      ),
    }),
    ...(needs.previous && { previous: lastOf(history) }),
    ...(needs.generated && { generated: lastOf(generated) }),
    ...(allowed && { allowed: tf.tensor2d(allowed, [rows, vocabSize]) }),
  };
}

const UNIFORM = { kind: "uniform", size: 1, low: 0, high: 1 } as const;

function allowedMask(
  allowedIds: NonNullable<GenerateOptions["allowedIds"]>,
  generated: readonly number[][],
  vocabSize: number,
): Float32Array {
  const mask = new Float32Array(generated.length * vocabSize);
  for (const [row, ids] of generated.entries()) {
    const here = mask.subarray(row * vocabSize, (row + 1) * vocabSize);
    const allowed = typeof allowedIds === "function" ? allowedIds(row, ids) : allowedIds;
    if (allowed === undefined) here.fill(1);
    else {
      if (typeof allowedIds === "function") checkAllowed(allowed, vocabSize);
      for (const id of allowed) here[id] = 1;
    }
  }
  return mask;
}

/** Why no token could be drawn for a row. */
async function noToken(logits: tf.Tensor2D, row: number, index: number): Promise<Error> {
  const vocab = logits.shape[1];
  const values = ((await logits.data()) as Float32Array).subarray(row * vocab, (row + 1) * vocab);
  const nans = values.filter(Number.isNaN).length;
  return new Error(
    nans > 0
      ? `generate: ${nans} of ${vocab} logits are NaN for prompt ${row} at new token ${index}; expected numbers. The ` +
          "parameters may have diverged in training or been read wrongly"
      : `generate: no token is left to draw for prompt ${row} at new token ${index}; expected the allowed ids, n-gram ` +
          "limit and adjustLogits to leave one with a finite logit",
  );
}
