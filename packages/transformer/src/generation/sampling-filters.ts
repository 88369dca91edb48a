import { logSoftmax } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { rowElements } from "./row-elements.ts";

// What is done to next-token logits before a token is drawn. A token that may not be drawn has the logit -Infinity.
//
//   A. Fan et al., "Hierarchical Neural Story Generation", ACL 2018 (top-k)
//   A. Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020 (top-p)
//   M. Nguyen et al., "Turning Up the Heat: Min-p Sampling", ICLR 2025
//   C. Meister et al., "Locally Typical Sampling", TACL 2023
//   N. S. Keskar et al., "CTRL", 2019 (repetition penalty)
//
// Shapes: B batch, V vocabulary, L previous tokens. Ids of previous tokens are int32; negative ones stand for nothing.
// Where a value may differ from row to row, it is a number or float32 [B, 1].

/** A number for all rows, or float32 [B, 1] with one for each, whose range nobody checks. */
export type PerRow = number | tf.Tensor2D;

/** Divides logits [B, V] by a positive temperature: below 1 likely tokens become likelier. */
export function temperature(logits: tf.Tensor2D, value: PerRow): tf.Tensor2D {
  checkLogits("temperature", logits);
  if (typeof value === "number" && !(value > 0))
    throw new Error(`temperature: value (${value}) must be positive; for 0 take the argmax`);
  return tf.tidy(() => (value === 1 ? tf.clone(logits) : tf.div(logits, value)));
}

/** Keeps the k largest logits of each row of [B, V], and those that equal the k-th. */
export function topK(logits: tf.Tensor2D, k: number): tf.Tensor2D {
  checkLogits("topK", logits);
  if (!Number.isInteger(k) || k < 1) throw new Error(`topK: k (${k}) must be a positive integer`);
  if (k >= logits.shape[1]) return tf.tidy(() => tf.clone(logits));
  return tf.tidy(() => {
    const least = tf.min(tf.topk(logits, k).values, -1, true);
    return keepWhere(logits, tf.greaterEqual(logits, least));
  });
}

/**
 * `topK` with a number of its own for each row.
 *
 * @param k float32 [B, 1] of whole numbers up to `most`; 0 keeps all
 */
export function topKPerRow(logits: tf.Tensor2D, k: tf.Tensor2D, most: number): tf.Tensor2D {
  return tf.tidy(() => {
    const sorted = tf.topk(logits, Math.min(most, logits.shape[1])).values;
    const rank = tf.range(0, sorted.shape[1]!, 1).expandDims(0);
    const least = tf.min(tf.where(tf.less(rank, k), sorted, tf.fill(sorted.shape, Number.POSITIVE_INFINITY)), -1, true);
    const all = tf.fill(least.shape, Number.NEGATIVE_INFINITY);
    return keepWhere(logits, tf.greaterEqual(logits, tf.where(tf.greater(k, 0), least, all)));
  });
}

/**
 * Keeps the likeliest tokens of each row of [B, V] up to and with the one whose probability makes the sum reach p, and
 * those as likely as it. At least one token stays.
 *
 * @param p in (0, 1]; in a tensor, what is above 1 keeps all
 * @param among looks at this many of the likeliest tokens only, which saves sorting the others: use it after `topK`
 */
export function topP(logits: tf.Tensor2D, p: PerRow, among?: number): tf.Tensor2D {
  checkLogits("topP", logits);
  if (typeof p === "number") checkShare("topP", "p", p);
  if (p === 1) return tf.tidy(() => tf.clone(logits));
  return tf.tidy(() => {
    const sorted = tf.topk(tf.softmax(logits), Math.min(among ?? logits.shape[1], logits.shape[1])).values;
    const before = tf.cumsum(sorted, 1, true); // the probability of all likelier tokens
    const kept = tf.less(before, p);
    // The least probability that is kept; the first one always is.
    const least = tf.min(tf.where(kept, sorted, tf.onesLike(sorted)), -1, true);
    const bound = typeof p === "number" ? least : tf.where(tf.greater(p, 1), tf.zerosLike(least), least);
    return keepWhere(logits, tf.greaterEqual(tf.softmax(logits), bound));
  });
}

/** Keeps the tokens of each row of [B, V] whose probability is at least `share` of the likeliest one's; 0 < share <= 1. */
export function minP(logits: tf.Tensor2D, share: number): tf.Tensor2D {
  checkLogits("minP", logits);
  checkShare("minP", "share", share);
  return minPByLog(logits, Math.log(share));
}

/** `minP` given the logarithm of the share, -Infinity keeps all. */
export function minPByLog(logits: tf.Tensor2D, logShare: PerRow): tf.Tensor2D {
  return tf.tidy(() => keepWhere(logits, tf.greaterEqual(logits, tf.add(tf.max(logits, -1, true), logShare))));
}

/**
 * Keeps the tokens of each row of [B, V] whose surprisal is nearest to the entropy, until their probability reaches `mass`
 * (the token that crosses it is kept); 0 < mass <= 1. In a tensor, what is above 1 keeps all.
 */
export function typical(logits: tf.Tensor2D, mass: PerRow): tf.Tensor2D {
  checkLogits("typical", logits);
  if (typeof mass === "number") checkShare("typical", "mass", mass);
  if (mass === 1) return tf.tidy(() => tf.clone(logits));
  return tf.tidy(() => {
    const probs = tf.softmax(logits);
    // 0 log 0 is 0: removed tokens have no part in the entropy.
    const logProbs = tf.where(tf.greater(probs, 0), logSoftmax(logits), tf.zerosLike(logits));
    const entropy = tf.neg(tf.sum(tf.mul(probs, logProbs), -1, true));
    const distance = tf.where(
      tf.greater(probs, 0),
      tf.abs(tf.add(logProbs, entropy)),
      tf.fill(logits.shape, Number.POSITIVE_INFINITY),
    );
    const { values, indices } = tf.topk(tf.neg(distance), logits.shape[1]);
    const sorted = rowElements(probs, indices as tf.Tensor2D);
    const kept = tf.less(tf.cumsum(sorted, 1, true), mass);
    const farthest = tf.min(tf.where(kept, values, tf.zerosLike(values)), -1, true); // the negated distance
    return keepWhere(logits, tf.greaterEqual(tf.neg(distance), farthest));
  });
}

/** How often each token is among the previous ones: [B, L] to float32 [B, V]. */
export function tokenCounts(previous: tf.Tensor2D, vocabSize: number): tf.Tensor2D {
  return tf.tidy(() => scatterCounts(previous, tf.greaterEqual(previous, 0).toFloat(), vocabSize));
}

/**
 * Divides the positive logits of tokens that were there before by the penalty and multiplies the negative ones with it,
 * once for each token, however often it was there.
 *
 * @param previous int32 [B, L]
 * @param penalty above 1 repetitions become rarer
 */
export function repetitionPenalty(logits: tf.Tensor2D, previous: tf.Tensor2D, penalty: PerRow): tf.Tensor2D {
  checkPrevious("repetitionPenalty", logits, previous);
  if (typeof penalty === "number" && !(penalty > 0))
    throw new Error(`repetitionPenalty: penalty (${penalty}) must be positive`);
  return tf.tidy(() => {
    const penalised = tf.where(tf.less(logits, 0), tf.mul(logits, penalty), tf.div(logits, penalty));
    return tf.where(tf.greater(tokenCounts(previous, logits.shape[1]), 0), penalised, logits) as tf.Tensor2D;
  });
}

/**
 * Subtracts from the logits of previous tokens: `frequency` times how often each was there, and `presence` once.
 *
 * @param previous int32 [B, L]
 */
export function frequencyPresencePenalty(
  logits: tf.Tensor2D,
  previous: tf.Tensor2D,
  options: { readonly frequency?: PerRow; readonly presence?: PerRow },
): tf.Tensor2D {
  checkPrevious("frequencyPresencePenalty", logits, previous);
  const { frequency = 0, presence = 0 } = options;
  if (![frequency, presence].every((value) => typeof value !== "number" || Number.isFinite(value))) {
    throw new Error(`frequencyPresencePenalty: frequency (${frequency}) and presence (${presence}) must be finite`);
  }
  return tf.tidy(() => {
    const counts = tokenCounts(previous, logits.shape[1]);
    const penalty = tf.add(tf.mul(counts, frequency), tf.mul(tf.greater(counts, 0).toFloat(), presence));
    return tf.sub(logits, penalty);
  });
}

/**
 * Removes the tokens that would complete an n-gram that is already there.
 *
 * @param previous int32 [B, L]; the last column holds the latest token, and negative ids come before the first one
 * @param n at least 1; with 1 no token comes twice
 */
export function noRepeatNgrams(logits: tf.Tensor2D, previous: tf.Tensor2D, n: number): tf.Tensor2D {
  checkPrevious("noRepeatNgrams", logits, previous);
  if (!Number.isInteger(n) || n < 1) throw new Error(`noRepeatNgrams: n (${n}) must be a positive integer`);
  const [rows, length] = previous.shape;
  const windows = length - n + 1;
  if (windows < 1) return tf.tidy(() => tf.clone(logits));
  return tf.tidy(() => {
    const last = previous.slice([0, n - 1], [rows, windows]); // of each n-gram
    let matches = tf.greaterEqual(last, 0).toFloat();
    for (let i = 0; i < n - 1; i++) {
      const seen = previous.slice([0, i], [rows, windows]);
      const now = previous.slice([0, windows + i], [rows, 1]);
      matches = tf.mul(matches, tf.logicalAnd(tf.equal(seen, now), tf.greaterEqual(now, 0)).toFloat());
    }
    return keepWhere(logits, tf.equal(scatterCounts(last, matches, logits.shape[1]), 0));
  });
}

/** Keeps the tokens where `allowed`, float32 [B or 1, V], is not 0: a constrained choice. */
export function allowTokens(logits: tf.Tensor2D, allowed: tf.Tensor2D): tf.Tensor2D {
  checkLogits("allowTokens", logits);
  if (allowed.rank !== 2 || allowed.shape[1] !== logits.shape[1]) {
    throw new Error(`allowTokens: allowed has shape [${allowed.shape}]; expected [B or 1, ${logits.shape[1]}]`);
  }
  return tf.tidy(() => keepWhere(logits, tf.broadcastTo(tf.notEqual(allowed, 0), logits.shape)));
}

/** The likeliest token of each row of [B, V], the first of equals: int32 [B]; -1 where a logit is NaN or none is finite. */
export function drawGreedily(logits: tf.Tensor2D): tf.Tensor1D {
  checkLogits("drawGreedily", logits);
  return tf.tidy(() => likeliest(logits, logits));
}

/** The place of the largest score in each row [B, V]: int32 [B]; -1 where nothing can be drawn from the logits. */
function likeliest(scores: tf.Tensor2D, logits: tf.Tensor2D): tf.Tensor1D {
  const ids = tf.argMax(scores, -1).toInt() as tf.Tensor1D;
  // Its logit says whether there is any: another pass over the vocabulary for the maximum is not needed.
  const best = rowElements(logits, ids);
  return orNothing(logits, ids.expandDims(1), best.expandDims(1)).squeeze([1]);
}

/**
 * Draws tokens by inverting the distribution function: the first whose cumulative probability, in the order of the
 * vocabulary, exceeds the uniform number. One number a token, however large the vocabulary.
 *
 * @param logits [B, V]
 * @param uniform [B, N] in [0, 1)
 * @returns int32 [B, N]; -1 where a logit of the row is NaN or none is finite
 */
export function drawByInverseCdf(logits: tf.Tensor2D, uniform: tf.Tensor2D): tf.Tensor2D {
  checkLogits("drawByInverseCdf", logits);
  if (uniform.rank !== 2 || uniform.shape[0] !== logits.shape[0]) {
    throw new Error(`drawByInverseCdf: uniform has shape [${uniform.shape}]; expected [${logits.shape[0]}, N]`);
  }
  return tf.tidy(() => {
    const cumulative = tf.cumsum(tf.softmax(logits), 1);
    const total = tf.max(cumulative, -1, true);
    // Rounding must not lift a number to the total, which no token exceeds.
    const target = tf.minimum(tf.mul(uniform, total), tf.mul(total, 1 - 2 ** -22));
    const below = tf.lessEqual(tf.expandDims(cumulative, 1), tf.expandDims(target, 2)); // [B, N, V]
    return orNothing(logits, tf.sum(below.toFloat(), -1).toInt(), tf.max(logits, -1, true));
  });
}

/**
 * Draws tokens by the Gumbel-max trick.
 *
 * @param logits [B, V]
 * @param uniform [B, V] in (0, 1)
 * @returns int32 [B]: argmax(logit - log(-log(uniform))); -1 where a logit of the row is NaN or none is finite
 */
export function drawByGumbel(logits: tf.Tensor2D, uniform: tf.Tensor2D): tf.Tensor1D {
  checkLogits("drawByGumbel", logits);
  return tf.tidy(() => {
    const noise = tf.neg(tf.log(tf.neg(tf.log(uniform))));
    return likeliest(tf.add(logits, noise), logits);
  });
}

/**
 * `ids` [B, N] for the rows of logits that can be drawn from, -1 for the others; also where Infinity meets what was filtered out.
 *
 * @param best [B, 1] the logit of a likeliest token of each row
 */
function orNothing(logits: tf.Tensor2D, ids: tf.Tensor, best: tf.Tensor): tf.Tensor2D {
  // One NaN makes a sum NaN, and what has been filtered out, -Infinity, does not.
  const isNumber = tf.logicalNot(tf.isNaN(tf.sum(logits, -1, true)));
  // Compared with NaN only where the result is discarded anyway.
  const drawable = tf.logicalAnd(isNumber, tf.greater(best, Number.NEGATIVE_INFINITY));
  return tf.where(tf.broadcastTo(drawable, ids.shape), ids, tf.fill(ids.shape, -1, "int32")) as tf.Tensor2D;
}

function keepWhere(logits: tf.Tensor2D, kept: tf.Tensor): tf.Tensor2D {
  return tf.where(kept, logits, tf.fill(logits.shape, Number.NEGATIVE_INFINITY));
}

/** Adds up `weights` [B, L] by the ids of the same shape: [B, V]. Ids of weight 0 may be negative. */
function scatterCounts(ids: tf.Tensor2D, weights: tf.Tensor, vocabSize: number): tf.Tensor2D {
  const [rows, length] = ids.shape;
  const row = tf.tensor1d(
    Int32Array.from({ length: rows * length }, (_, i) => Math.floor(i / length)),
    "int32",
  );
  const column = tf.maximum(ids, tf.scalar(0, "int32")).reshape([-1]).toInt();
  return tf.scatterND(tf.stack([row, column], 1), weights.reshape([-1]), [rows, vocabSize]) as tf.Tensor2D;
}

function checkLogits(caller: string, logits: tf.Tensor): void {
  if (logits.rank !== 2) throw new Error(`${caller}: logits have shape [${logits.shape}]; expected [B, V]`);
}

function checkPrevious(caller: string, logits: tf.Tensor, previous: tf.Tensor): void {
  checkLogits(caller, logits);
  if (previous.rank === 2 && previous.shape[0] === logits.shape[0] && previous.dtype === "int32") return;
  throw new Error(
    `${caller}: previous is ${previous.dtype} of shape [${previous.shape}]; expected int32 [${logits.shape[0]}, L]`,
  );
}

function checkShare(caller: string, name: string, value: number): void {
  if (!(value > 0 && value <= 1)) throw new Error(`${caller}: ${name} (${value}) must be in (0, 1]`);
}
