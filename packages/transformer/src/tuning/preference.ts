import {
  type BatchStream,
  crossEntropy,
  type Engine,
  logSigmoid,
  type Rng,
  stopGradient,
  type Tree,
  throwIfAborted,
  treeDispose,
  withoutGradients,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "../causal-lm.ts";
import type { TokenBatch, TokenDocument } from "../packing.ts";
import { bucketedBatches, bucketWidth, checkDocument, type PaddedBatchesOptions, padRows } from "./padded-batches.ts";

// Preference tuning: a model learns from pairs of answers which of two people liked better, without a reward model.
//
//   R. Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model", NeurIPS 2023,
//   arXiv:2305.18290
//   E. Mitchell, "A note on DPO with noisy preferences and relationship to IPO", 2023 (label smoothing)
//
// Shapes: N pairs, T tokens. Rows of a batch are the N chosen answers, then the N rejected ones.

/** Two answers to one prompt; `learned` marks the answers' tokens, as `joinParts` does. */
export interface PreferencePair {
  readonly chosen: TokenDocument;
  readonly rejected: TokenDocument;
  /** Log-probabilities of the two answers under the model that is tuned, before that; see `withReference`. */
  readonly reference?: { readonly chosen: number; readonly rejected: number };
}

export type PreferenceBatch = TokenBatch & {
  // ids and targets int32 [2 N, T]
  reference?: tf.Tensor1D; // [2 N], log-probabilities
};

/**
 * An endless stream of batches of pairs, as `paddedBatches` gives documents.
 *
 * @throws as `paddedBatches`, and if some pairs have a reference and others have none
 */
export function preferenceBatches(
  pairs: readonly PreferencePair[],
  options: PaddedBatchesOptions,
): BatchStream<PreferenceBatch> {
  const caller = "preferenceBatches";
  const rows = checkPairs(caller, pairs, options.length);
  const referenced = pairs.filter(({ reference }) => reference).length;
  if (referenced !== 0 && referenced !== pairs.length) {
    throw new Error(`${caller}: ${referenced} of ${pairs.length} pairs have a reference; expected all or none`);
  }
  return bucketedBatches(
    caller,
    rows.map(([chosen, rejected]) => Math.max(chosen!.ids.length, rejected!.ids.length)),
    options,
    (members, width) => {
      const both = [0, 1].flatMap((side) => members.map((i) => rows[i]![side]!));
      const batch = padRows(both, width, options.padId);
      if (referenced === 0) return batch;
      const sides = (["chosen", "rejected"] as const).flatMap((side) => members.map((i) => pairs[i]!.reference![side]));
      return { ...batch, reference: tf.tensor1d(sides) };
    },
  );
}

const checkPairs = (caller: string, pairs: readonly PreferencePair[], length: number) =>
  pairs.map((pair, i) =>
    (["chosen", "rejected"] as const).map((side) => checkDocument(caller, pair[side], `${side} answer ${i}`, length)),
  );

/**
 * The log-probability of each row's targets.
 *
 * @param logits [B, T, V]
 * @param targets int32 [B, T], -100 where nothing is asked for
 * @returns [B], in nats
 */
export function sequenceLogProbs(logits: tf.Tensor, targets: tf.Tensor): tf.Tensor1D {
  return tf.tidy(() => tf.neg(tf.sum(crossEntropy(logits, targets, { reduction: "none" }), 1)) as tf.Tensor1D);
}

export interface DpoOptions {
  /** How far the model may move from the reference: less with more; default 0.1. */
  readonly beta?: number;
  /** The share of pairs that are the wrong way round (conservative DPO); default 0. */
  readonly labelSmoothing?: number;
}

export type DpoResult = {
  loss: tf.Scalar;
  /** The share of pairs whose chosen answer has the higher implicit reward; ties count half. */
  accuracy: tf.Scalar;
  /** Mean difference of the implicit rewards beta log(pi / reference) of the chosen and the rejected answers. */
  margin: tf.Scalar;
};

/**
 * Direct preference optimisation, eq. 7: -log sigmoid(h), with h = beta (log pi(chosen) / ref(chosen) - log pi(rejected) /
 * ref(rejected)); with label smoothing e, -(1 - e) log sigmoid(h) - e log sigmoid(-h).
 *
 * @param logProbs [2 N], of the chosen answers, then of the rejected ones
 * @param reference [2 N], the same of the reference; none for a reference that finds all answers as likely
 */
export function dpoLoss(logProbs: tf.Tensor1D, reference?: tf.Tensor1D, options: DpoOptions = {}): DpoResult {
  const { beta = 0.1, labelSmoothing = 0 } = options;
  if (!(beta > 0)) throw new Error(`dpoLoss: beta (${beta}) must be positive`);
  if (!(labelSmoothing >= 0 && labelSmoothing < 0.5)) {
    throw new Error(`dpoLoss: labelSmoothing (${labelSmoothing}) must be in [0, 0.5)`);
  }
  const [rows] = logProbs.shape;
  if (logProbs.rank !== 1 || rows % 2 !== 0 || (reference && reference.shape.join() !== logProbs.shape.join())) {
    throw new Error(
      `dpoLoss: logProbs [${logProbs.shape}]${reference ? ` and reference [${reference.shape}]` : ""}; ` +
        "expected [2 N], the chosen answers before the rejected ones",
    );
  }
  return tf.tidy(() => {
    const ratios = reference ? logProbs.sub(stopGradient(reference)) : logProbs;
    const [chosen, rejected] = tf.split(ratios, 2) as [tf.Tensor, tf.Tensor];
    const h = chosen.sub(rejected).mul(beta);
    const right = logSigmoid(h).mul(1 - labelSmoothing);
    const loss = labelSmoothing > 0 ? right.add(logSigmoid(h.neg()).mul(labelSmoothing)) : right;
    return {
      loss: loss.mean().neg() as tf.Scalar,
      accuracy: stopGradient(h).sign().add(1).div(2).mean() as tf.Scalar,
      margin: stopGradient(h).mean() as tf.Scalar,
    };
  });
}

export interface PreferenceLossOptions<R extends Tree = Tree> extends DpoOptions {
  /**
   * The model that the tuned one began as, run beside it without gradients: for an adapter, the model without it. Not
   * needed where the batch has the reference's log-probabilities; with neither, the reference is uniform.
   */
  readonly reference?: { readonly lm: CausalLm<R>; readonly params: R };
  /** Its presence means training: it draws the dropout. The reference drops nothing. */
  readonly rng?: Rng;
  /** Saves memory: see `CausalLogitsOptions`. */
  readonly recompute?: boolean;
}

/** `dpoLoss` of a batch of pairs. */
export function preferenceLoss<P extends Tree, R extends Tree>(
  lm: CausalLm<P>,
  params: P,
  batch: PreferenceBatch,
  options: PreferenceLossOptions<R> = {},
): DpoResult {
  const { reference: model, rng, recompute = false, ...dpo } = options;
  const { ids, targets } = batch;
  return tf.tidy(() => {
    const logProbs = sequenceLogProbs(lm.logits(params, ids, { recompute, ...(rng && { rng }) }), targets);
    const reference = model
      ? withoutGradients(() => sequenceLogProbs(model.lm.logits(model.params, ids), targets))
      : batch.reference;
    return dpoLoss(logProbs, reference, dpo);
  });
}

/**
 * The pairs with the log-probabilities that a model gives their answers: worked out once, so that training need not hold
 * the reference.
 *
 * @throws if a pair fits no row of the model's blockSize
 */
export async function withReference<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  pairs: readonly PreferencePair[],
  options: { readonly batchSize?: number; readonly signal?: AbortSignal } = {},
): Promise<PreferencePair[]> {
  const { batchSize = 8, signal } = options;
  const rows = checkPairs("withReference", pairs, lm.blockSize).flat();
  const order = rows.map((_, i) => i).sort((a, b) => rows[a]!.ids.length - rows[b]!.ids.length);
  const logProbs = new Float64Array(rows.length);
  const score = engine.compile((params: P, { ids, targets }: TokenBatch) =>
    sequenceLogProbs(lm.logits(params, ids), targets),
  );
  try {
    for (let first = 0; first < order.length; first += batchSize) {
      throwIfAborted("withReference", signal);
      const members = order.slice(first, first + batchSize);
      const width = bucketWidth(rows[members.at(-1)!]!.ids.length, lm.blockSize);
      const batch = padRows(
        members.map((i) => rows[i]!),
        width,
      );
      const result = await score(params, batch).finally(() => treeDispose(batch));
      const values = await result.data().finally(() => result.dispose());
      for (const [n, i] of members.entries()) logProbs[i] = values[n]!;
    }
  } finally {
    score.dispose();
  }
  return pairs.map((pair, i) => ({
    ...pair,
    reference: { chosen: logProbs[2 * i]!, rejected: logProbs[2 * i + 1]! },
  }));
}
