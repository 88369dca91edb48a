import { type Engine, logSoftmax, type Tree, throwIfAborted, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type CausalLm, checkIdRange } from "../causal-lm.ts";
import { gatherKvCacheRows, type KvCache } from "../kv-cache.ts";
import { cacheLength, consuming, type NewTokens, newTokens, promptWidth, type Reading } from "./decoder.ts";

// Beam search: the likeliest continuations as far as a beam of given width finds them.
//
//   Y. Wu et al., "Google's Neural Machine Translation System", 2016, section 7 (normalisation by length)
//
// Shapes: K beams, V vocabulary.

export interface BeamSearchOptions {
  /** How many continuations are followed, and returned; default 4. */
  readonly beams?: number;
  /** Default: what the context has room for. */
  readonly maxNewTokens?: number;
  /** Tokens that end a continuation. */
  readonly stopIds?: readonly number[];
  /** Scores are log-probabilities divided by length to this power: above 0 favours long continuations. Default 1. */
  readonly lengthPenalty?: number;
  readonly signal?: AbortSignal;
}

/** A continuation of the prompt. */
export interface Hypothesis {
  /** The new tokens, with the stop id if one ends it. */
  readonly ids: readonly number[];
  /** Log-probability of the new tokens, in nats. */
  readonly logProb: number;
  /** logProb / ids.length ^ lengthPenalty */
  readonly score: number;
  readonly finish: "stop" | "length";
}

/** A continuation that goes on: row `row` of the cache, ending in `ids`. */
interface Live {
  readonly row: number;
  readonly ids: readonly number[];
  readonly logProb: number;
}

/**
 * Continues one prompt by beam search. Each step takes the best 2K continuations by one token; those among the first K that
 * end are finished, and the first K of the others go on. There is no early stopping.
 *
 * @returns at most `beams` continuations, the best first
 * @throws for bad options, a prompt that is empty or too long or holds ids out of range, and logits that are NaN;
 *   AbortError when the signal fires
 */
export async function beamSearch<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  prompt: ArrayLike<number>,
  options: BeamSearchOptions = {},
): Promise<Hypothesis[]> {
  const { beams = 4, stopIds = [], lengthPenalty = 1, signal } = options;
  const { vocabSize, blockSize } = lm;
  const maxNewTokens = checkRequest(lm, prompt, options);
  const stop = new Set(stopIds);
  const finished: Hypothesis[] = [];
  const finish = (ids: readonly number[], logProb: number, how: Hypothesis["finish"]) =>
    finished.push({ ids, logProb, score: logProb / ids.length ** lengthPenalty, finish: how });

  throwIfAborted("beamSearch", signal);
  const advance = engine.compile(
    (p: P, { ids, counts }: NewTokens, cache: KvCache, rows: tf.Tensor1D | null): Reading =>
      lm.step(p, ids, rows ? gatherKvCacheRows(cache, rows) : cache, counts),
    { donated: [2] },
  );
  const rank = engine.compile(rankCandidates);
  const slots = cacheLength(prompt.length + maxNewTokens - 1, blockSize);
  const batch = newTokens([Array.from(prompt)], promptWidth(prompt.length, slots));
  let reading: Reading | undefined;
  try {
    reading = await consuming(batch, () => advance(params, batch, lm.createCache(1, slots), null));
    let live: Live[] = [{ row: 0, ids: [], logProb: 0 }];
    for (let n = 1; ; n++) {
      throwIfAborted("beamSearch", signal);
      // Rows of the batch without a beam are out of the race.
      const sums = new Float32Array(reading.logits.shape[0]).fill(Number.NEGATIVE_INFINITY);
      for (const { row, logProb } of live) sums[row] = logProb;
      const best = await bestOf(await consuming(tf.tensor1d(sums), (t) => rank(reading!.logits, t, 2 * beams)), n);
      const next: Live[] = [];
      for (const [place, { at, logProb }] of best.entries()) {
        const row = Math.floor(at / vocabSize);
        const id = at % vocabSize;
        const continued = [...live.find((beam) => beam.row === row)!.ids, id];
        if (stop.has(id)) {
          if (place < beams) finish(continued, logProb, "stop");
        } else if (next.length < beams) next.push({ row, ids: continued, logProb });
      }
      if (n === maxNewTokens) for (const { ids, logProb } of next) finish(ids, logProb, "length");
      if (n === maxNewTokens || next.length === 0) break;
      const rows = Array.from({ length: beams }, (_, i) => next[i]?.row ?? 0);
      const last = newTokens(
        rows.map((_, i) => [next[i]?.ids.at(-1) ?? 0]),
        1,
      );
      const { logits, cache }: Reading = reading;
      reading = undefined;
      reading = await consuming([last, logits, tf.tensor1d(rows, "int32")], ([, , from]) =>
        advance(params, last, cache, from as tf.Tensor1D),
      );
      live = next.map((beam, row) => ({ ...beam, row }));
    }
  } finally {
    treeDispose(reading);
    advance.dispose();
    rank.dispose();
  }
  return finished.sort((a, b) => b.score - a.score).slice(0, beams);
}

function checkRequest<P extends Tree>(
  { vocabSize, blockSize }: CausalLm<P>,
  prompt: ArrayLike<number>,
  { beams = 4, stopIds = [], lengthPenalty = 1, maxNewTokens }: BeamSearchOptions,
): number {
  if (!Number.isInteger(beams) || beams < 1) {
    throw new Error(`beamSearch: beams (${beams}) must be a positive integer`);
  }
  if (!Number.isFinite(lengthPenalty)) {
    throw new Error(`beamSearch: lengthPenalty (${lengthPenalty}) must be a finite number`);
  }
  if (prompt.length === 0) {
    throw new Error("beamSearch: the prompt is empty; expected at least one id, such as that of the text's beginning");
  }
  checkIdRange("beamSearch: prompt", prompt, vocabSize);
  checkIdRange("beamSearch: stopIds", stopIds, vocabSize);
  const room = blockSize - prompt.length + 1;
  if (room < 1) {
    throw new Error(
      `beamSearch: the prompt has ${prompt.length} tokens, ${prompt.length - blockSize} more than the context of ` +
        `${blockSize}; shorten it`,
    );
  }
  const count = maxNewTokens ?? room;
  if (!Number.isInteger(count) || count < 1 || count > room) {
    throw new Error(
      `beamSearch: maxNewTokens (${count}) must be from 1 to ${room}, which fit behind a prompt of ${prompt.length} ` +
        `tokens in the context of ${blockSize}`,
    );
  }
  return count;
}

type Ranked = { values: tf.Tensor1D; indices: tf.Tensor1D; nans: tf.Scalar };

/** The largest of logits' log-probabilities [K, V] plus the beams' sums [K], and their places in the flattened matrix. */
function rankCandidates(logits: tf.Tensor2D, sums: tf.Tensor1D, count: number): Ranked {
  return tf.tidy(() => {
    const totals = tf.add(logSoftmax(logits), sums.expandDims(1)).reshape([-1]);
    const { values, indices } = tf.topk(totals, Math.min(count, totals.size));
    return { values: values as tf.Tensor1D, indices: indices as tf.Tensor1D, nans: tf.isNaN(logits).toFloat().sum() };
  });
}

async function bestOf(ranked: Ranked, n: number): Promise<{ at: number; logProb: number }[]> {
  try {
    const nans = (await ranked.nans.data())[0]!;
    if (nans > 0) {
      throw new Error(
        `beamSearch: ${nans} logits are NaN at new token ${n - 1}; expected numbers. The parameters may have diverged ` +
          "in training or been read wrongly",
      );
    }
    const values = await ranked.values.data();
    const indices = await ranked.indices.data();
    return Array.from(values, (logProb, i) => ({ at: indices[i]!, logProb })).filter(
      ({ logProb }) => logProb > Number.NEGATIVE_INFINITY,
    );
  } finally {
    treeDispose(ranked);
  }
}
