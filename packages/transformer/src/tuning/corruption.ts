import type { Rng } from "@genai/core";

// Texts with parts taken out, which a model learns to fill in. On the host, before they become tensors.

/** What a model reads and what it is to say. */
export interface CorruptedIds {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

export interface MaskTokensOptions {
  readonly rng: Rng;
  /** The id of [MASK]. */
  readonly maskId: number;
  readonly vocabSize: number;
  /** Ids that stay as they are: [CLS], [SEP], [PAD]. */
  readonly keptIds: readonly number[];
  /** The share of tokens that is asked for; default 0.15. */
  readonly rate?: number;
}

/**
 * Masked language modelling (Devlin et al. 2019, section 3.1): each token is asked for with probability `rate`; of these 80%
 * become [MASK], 10% a random token, and 10% stay.
 *
 * @param ids of a text, or of a whole batch, one row behind the other
 * @returns ids of the same length, and targets for `bertMaskedLmLoss`: -100 where nothing is asked for
 */
export function maskTokens(ids: ArrayLike<number>, options: MaskTokensOptions): CorruptedIds {
  const { rng, maskId, vocabSize, keptIds, rate = 0.15 } = options;
  checkShare("maskTokens", "rate", rate);
  const size = ids.length;
  const kept = new Set(keptIds);
  const asked = rng.draw({ kind: "uniform", size, low: 0, high: 1 });
  const how = rng.draw({ kind: "uniform", size, low: 0, high: 1 });
  const other = rng.draw({ kind: "integers", size, low: 0, high: vocabSize });
  const out = Int32Array.from(ids);
  const targets = new Int32Array(size).fill(-100);
  for (let i = 0; i < size; i++) {
    if (asked[i]! >= rate || kept.has(out[i]!)) continue;
    targets[i] = out[i]!;
    if (how[i]! < 0.8) out[i] = maskId;
    else if (how[i]! < 0.9) out[i] = other[i]!;
  }
  return { ids: out, targets };
}

export interface CorruptSpansOptions {
  readonly rng: Rng;
  /** The ids that stand for spans, in order: those of T5's <extra_id_0>, <extra_id_1>, ... */
  readonly sentinelIds: readonly number[];
  /** Ends both texts; default none. */
  readonly endId?: number;
  /** The share of tokens that is taken out; default 0.15. */
  readonly rate?: number;
  /** Mean tokens of a span; default 3. */
  readonly meanSpan?: number;
}

/**
 * Span corruption (Raffel et al. 2020, section 3.1.4): spans are taken out, each leaving a sentinel in its place, and the
 * model writes each sentinel and what it stands for, with one more sentinel behind the last. As in the authors' code, how
 * much is taken out depends on the length alone, and the text begins with a token that stays.
 *
 * @param ids of a text of at least two tokens, without its end
 * @returns what T5 reads and what it writes: rows of lengths of their own
 */
export function corruptSpans(ids: ArrayLike<number>, options: CorruptSpansOptions): CorruptedIds {
  const { rng, sentinelIds, endId, rate = 0.15, meanSpan = 3 } = options;
  checkShare("corruptSpans", "rate", rate);
  if (!(meanSpan >= 1)) throw new Error(`corruptSpans: meanSpan (${meanSpan}) must be at least 1`);
  const size = ids.length;
  if (size < 2) throw new Error(`corruptSpans: the text has ${size} tokens; expected at least 2`);
  const noise = Math.min(Math.max(Math.round(size * rate), 1), size - 1);
  const spans = Math.min(Math.max(Math.round(noise / meanSpan), 1), size - noise);
  if (sentinelIds.length < spans + 1) {
    throw new Error(
      `corruptSpans: ${spans} spans of a text of ${size} tokens want ${spans + 1} sentinelIds; got ${sentinelIds.length}`,
    );
  }
  const removed = parts(noise, spans, rng);
  const kept = parts(size - noise, spans, rng);
  const read: number[] = [];
  const written: number[] = [];
  let at = 0;
  const take = (into: number[], count: number) => {
    for (let i = 0; i < count; i++) into.push(ids[at++]!);
  };
  for (let i = 0; i < spans; i++) {
    take(read, kept[i]!);
    read.push(sentinelIds[i]!);
    written.push(sentinelIds[i]!);
    take(written, removed[i]!);
  }
  written.push(sentinelIds[spans]!);
  const ended = (list: number[]) => Int32Array.from(endId === undefined ? list : [...list, endId]);
  return { ids: ended(read), targets: ended(written) };
}

/** `count` positive numbers that sum to `total`, all ways alike. */
function parts(total: number, count: number, rng: Rng): number[] {
  const borders = rng
    .draw({ kind: "permutation", size: total - 1 })
    .slice(0, count - 1)
    .map((border) => border + 1)
    .sort();
  const ends = [...borders, total];
  return ends.map((end, i) => end - (ends[i - 1] ?? 0));
}

function checkShare(caller: string, name: string, value: number): void {
  if (!(value > 0 && value < 1)) throw new Error(`${caller}: ${name} (${value}) must be between 0 and 1`);
}
