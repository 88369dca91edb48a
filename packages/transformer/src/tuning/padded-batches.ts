import { type BatchStream, Rng, type RngState } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { TokenBatch } from "../packing.ts";
import { type TokenDocument, tokenPairs } from "../packing.ts";

// Documents of unequal lengths, one in each row of a batch. Rows of a batch are of similar length, and are padded on the
// right, where a causal model does not see it, to one of few widths: each width is a graph that is compiled once.
//
// Shapes: B batch, T tokens of a row.

export interface PaddedBatchesOptions {
  readonly batchSize: number;
  /** The most tokens of a row; a model's blockSize. */
  readonly length: number;
  readonly rng: Rng;
  /** Fills rows up; default 0. */
  readonly padId?: number;
}

/**
 * An endless stream of batches of documents, shuffled anew in every pass over them; what fills no batch is left for
 * another pass. Use `packDocuments` instead where rows may hold several documents: it wastes less.
 *
 * @throws if there are fewer documents than a batch has, or one has less than two tokens, more than length + 1, or nothing
 *   to learn
 */
export function paddedBatches(
  documents: readonly TokenDocument[],
  options: PaddedBatchesOptions,
): BatchStream<TokenBatch> {
  const caller = "paddedBatches";
  const rows = documents.map((document, i) => checkDocument(caller, document, `document ${i}`, options.length));
  return bucketedBatches(
    caller,
    rows.map(({ ids }) => ids.length),
    options,
    (chosen, width) => padRows(chosen.map((i) => rows[i]!) as Row[], width, options.padId),
  );
}

/** Ids read and what follows each, on the host. */
export type Row = ReturnType<typeof tokenPairs>;

/** @throws unless a row can be made of the document and something of it is learned. */
export function checkDocument(caller: string, document: TokenDocument, name: string, length: number): Row {
  const row = tokenPairs(caller, document, name);
  const n = row.ids.length;
  if (n < 1) throw new Error(`${caller}: ${name} has ${document.ids.length} tokens; expected at least 2`);
  if (n > length) {
    throw new Error(
      `${caller}: ${name} has ${n + 1} tokens, ${n - length} more than rows of ${length} and a last target hold; ` +
        "shorten it or leave it out",
    );
  }
  if (row.targets.every((id) => id === -100)) throw new Error(`${caller}: ${name} has nothing to learn`);
  return row;
}

/** Rows padded on the right to one width. */
export function padRows(rows: readonly Row[], width: number, padId = 0): TokenBatch {
  const ids = new Int32Array(rows.length * width).fill(padId);
  const targets = new Int32Array(rows.length * width).fill(-100);
  for (const [i, row] of rows.entries()) {
    ids.set(row.ids, i * width);
    targets.set(row.targets, i * width);
  }
  const shape: [number, number] = [rows.length, width];
  return { ids: tf.tensor2d(ids, shape, "int32"), targets: tf.tensor2d(targets, shape, "int32") };
}

/** The next of the widths 8, 12, 16, 24, 32, 48, ... that holds `longest` tokens, at most `limit`. */
export function bucketWidth(longest: number, limit: number): number {
  let width = 8;
  while (width < longest) width = width % 3 === 0 ? (width / 3) * 4 : (width / 2) * 3;
  return Math.min(width, limit);
}

/** How many batches' worth of items are sorted by size at a time: more pads less, fewer shuffles better. */
const POOL = 32;

/**
 * An endless stream of batches of items of similar size. Each pass shuffles the items, sorts them by size within pools and
 * gives the batches in random order.
 *
 * @param make a batch of the items chosen, by index, each padded to `width`
 */
export function bucketedBatches<B>(
  caller: string,
  sizes: readonly number[],
  options: PaddedBatchesOptions,
  make: (chosen: readonly number[], width: number) => B,
): BatchStream<B> {
  const { batchSize, length } = options;
  const count = sizes.length;
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > count) {
    throw new Error(`${caller}: batchSize (${batchSize}) must be from 1 to the number of documents, ${count}`);
  }
  let rng = options.rng;
  let passBegan: RngState = rng.state();
  let batches = shuffled();
  let cursor = 0;

  function shuffled(): number[][] {
    const order = [...rng.draw({ kind: "permutation", size: count })].slice(0, count - (count % batchSize));
    const made: number[][] = [];
    for (let first = 0; first < order.length; first += POOL * batchSize) {
      const pool = order.slice(first, first + POOL * batchSize).sort((a, b) => sizes[a]! - sizes[b]!);
      for (let at = 0; at < pool.length; at += batchSize) made.push(pool.slice(at, at + batchSize));
    }
    return [...rng.draw({ kind: "permutation", size: made.length })].map((i) => made[i]!);
  }

  return {
    async next() {
      if (cursor === batches.length) {
        passBegan = rng.state();
        batches = shuffled();
        cursor = 0;
      }
      const chosen = batches[cursor++]!;
      const longest = Math.max(...chosen.map((i) => sizes[i]!));
      return { done: false, value: make(chosen, bucketWidth(longest, length)) };
    },
    state: () => ({ passBegan, cursor }),
    restore(saved) {
      const state = saved as { passBegan: RngState; cursor: number };
      if (!Number.isInteger(state?.cursor) || state.cursor < 0 || state.cursor > batches.length) {
        throw new Error(`${caller}: ${JSON.stringify(saved)} is no place in a stream of ${batches.length} batches`);
      }
      rng = Rng.fromState(state.passBegan);
      passBegan = state.passBegan;
      batches = shuffled();
      cursor = state.cursor;
    },
  };
}
