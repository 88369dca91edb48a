import { type BatchStream, Rng, type RngState } from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// Documents of any length become rows of one length, with the targets of next-token prediction.
//
// Shapes: N rows, T tokens of a row, B batch.

/** Targets that losses ignore. */
const IGNORED = -100;

/** A text as ids. */
export interface TokenDocument {
  readonly ids: ArrayLike<number>;
  /** For each id whether it is to be learned (1 or true) or only read, as a question before its answer. Default: all. */
  readonly learned?: ArrayLike<number | boolean>;
}

/** A piece of a text as ids: a question that is only read, or an answer that is learned. */
export interface TextPart {
  readonly ids: ArrayLike<number>;
  readonly learned: boolean;
}

/** The pieces of a conversation as one document, in which the loss is on what is learned alone. */
export function joinParts(parts: readonly TextPart[]): TokenDocument {
  return {
    ids: parts.flatMap(({ ids }) => Array.from(ids)),
    learned: parts.flatMap(({ ids, learned }) => new Array<boolean>(ids.length).fill(learned)),
  };
}

/** Rows on the host, row-major. */
export interface PackedRows {
  /** N */
  readonly count: number;
  /** T */
  readonly length: number;
  /** [N, T] */
  readonly ids: Int32Array;
  /** [N, T]: what follows each id, or -100 where nothing is to be learned. */
  readonly targets: Int32Array;
  /** [N, T]: which document of its row a token belongs to, from 1; 0 for padding. */
  readonly segments: Int32Array;
}

/** Whether rows hold several documents, which models keep apart only if they are given the segments. */
export const holdsSeveral = ({ segments }: PackedRows): boolean => segments.some((segment) => segment > 1);

export interface PackingOptions {
  /** T: tokens of a row; a model's blockSize. */
  readonly length: number;
  /** Put behind every document and learned, such as the id of the text's end. Default: none. */
  readonly separatorId?: number;
  /** Fills rows up; default 0. Neither read by what comes before it nor learned. */
  readonly padId?: number;
}

/**
 * Joins documents to one stream and cuts it into rows: only the last row is padded, and a row may begin in the middle of a
 * document. Every token but the first is a target once. The usual way to train from scratch.
 *
 * @throws if there are fewer than two tokens, or a document's `learned` has another length than its ids
 */
export function packStream(documents: Iterable<TokenDocument>, options: PackingOptions): PackedRows {
  const pieces = separated("packStream", documents, options);
  const total = pieces.reduce((n, piece) => n + piece.ids.length, 0);
  if (total < 2) throw new Error(`packStream: the documents hold ${total} tokens; expected at least 2`);
  const stream: Piece = { ids: new Int32Array(total), learned: new Uint8Array(total) };
  const documentOf = new Int32Array(total);
  let at = 0;
  for (const [i, piece] of pieces.entries()) {
    stream.ids.set(piece.ids, at);
    stream.learned.set(piece.learned, at);
    documentOf.fill(i, at, at + piece.ids.length);
    at += piece.ids.length;
  }
  const { length } = options;
  const rows = emptyRows(Math.ceil((total - 1) / length), options);
  for (let row = 0; row < rows.count; row++) {
    const begin = row * length;
    const end = Math.min(begin + length, total - 1);
    writePiece(rows, row * length, slicePiece(stream, begin, end + 1), 0);
    for (let i = begin; i < end; i++) rows.segments[i] = documentOf[i]! - documentOf[begin]! + 1;
  }
  return rows;
}

/**
 * Lays whole documents into rows, several where they fit (best fit, longest first): a document is cut only if it is longer
 * than a row, and nothing is learned across documents. The usual way to fine-tune. Documents with nothing to predict, of
 * fewer than two tokens, are left out.
 *
 * @throws if all are left out, or a document's `learned` has another length than its ids
 */
export function packDocuments(documents: Iterable<TokenDocument>, options: PackingOptions): PackedRows {
  const { length } = options;
  const pieces = separated("packDocuments", documents, options).flatMap((piece) => cutPiece(piece, length));
  if (pieces.length === 0) throw new Error("packDocuments: no document has two tokens or more; expected at least one");
  // A piece of n tokens takes n - 1 places: its last token is a target only.
  const order = pieces.map((_, i) => i).sort((a, b) => pieces[b]!.ids.length - pieces[a]!.ids.length || a - b);
  const byRoom: number[][] = Array.from({ length: length + 1 }, () => []); // rows by how many places they have left
  const contents: number[][] = [];
  for (const i of order) {
    const need = pieces[i]!.ids.length - 1;
    let room = need;
    while (room <= length && byRoom[room]!.length === 0) room += 1;
    const row = room <= length ? byRoom[room]!.pop()! : contents.push([]) - 1;
    contents[row]!.push(i);
    byRoom[Math.min(room, length) - need]!.push(row);
  }
  const rows = emptyRows(contents.length, options);
  for (const [row, members] of contents.entries()) {
    let at = row * length;
    for (const [n, i] of members.entries()) {
      writePiece(rows, at, pieces[i]!, n + 1);
      at += pieces[i]!.ids.length - 1;
    }
  }
  return rows;
}

/** Tokens and what is to be learned of them. */
export type TokenBatch = {
  ids: tf.Tensor2D; // int32 [B, T]
  targets: tf.Tensor2D; // int32 [B, T]: what follows each token, or -100 where nothing is to be learned
  segments?: tf.Tensor2D; // int32 [B, T]: the document of each token, where rows hold several that are kept apart
};

/**
 * An endless stream of batches of rows, shuffled anew in every pass over them; the rows that fill no batch are left for
 * another pass.
 *
 * @param options.segments whether batches say which document a token belongs to, so that a model can keep packed
 *   documents apart; default false
 * @throws if there are fewer rows than a batch has
 */
export function packedBatches(
  rows: PackedRows,
  options: { readonly batchSize: number; readonly rng: Rng; readonly segments?: boolean },
): BatchStream<TokenBatch> {
  const { batchSize } = options;
  const { count, length } = rows;
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > count) {
    throw new Error(`packedBatches: batchSize (${batchSize}) must be from 1 to the number of rows, ${count}`);
  }
  let rng = options.rng;
  let passBegan: RngState = rng.state();
  let order = shuffled();
  let cursor = 0;

  function shuffled() {
    return rng.draw({ kind: "permutation", size: count });
  }
  function pick(values: Int32Array, chosen: ArrayLike<number>): tf.Tensor2D {
    const out = new Int32Array(batchSize * length);
    for (let i = 0; i < batchSize; i++) {
      out.set(values.subarray(chosen[i]! * length, (chosen[i]! + 1) * length), i * length);
    }
    return tf.tensor2d(out, [batchSize, length], "int32");
  }

  return {
    async next() {
      if (cursor + batchSize > count) {
        passBegan = rng.state();
        order = shuffled();
        cursor = 0;
      }
      const chosen = order.subarray(cursor, cursor + batchSize);
      cursor += batchSize;
      const value = { ids: pick(rows.ids, chosen), targets: pick(rows.targets, chosen) };
      return {
        done: false,
        value: options.segments ? { ...value, segments: pick(rows.segments, chosen) } : value,
      };
    },
    state: () => ({ passBegan, cursor }),
    restore(saved) {
      const state = saved as { passBegan: RngState; cursor: number };
      if (!Number.isInteger(state?.cursor) || state.cursor < 0 || state.cursor > count) {
        throw new Error(`packedBatches: ${JSON.stringify(saved)} is no place in a stream of ${count} rows`);
      }
      rng = Rng.fromState(state.passBegan);
      passBegan = state.passBegan;
      order = shuffled();
      cursor = state.cursor;
    },
  };
}

/** All tokens of a document but the last, and what follows each: -100 where that is not learned. */
export function tokenPairs(
  caller: string,
  document: TokenDocument,
  name: string,
): { ids: Int32Array; targets: Int32Array } {
  checkLearned(caller, document, name);
  const { ids, learned } = document;
  const count = Math.max(ids.length - 1, 0);
  const targetOf = (i: number) => (!learned || learned[i] ? ids[i]! : IGNORED);
  return {
    ids: Int32Array.from({ length: count }, (_, i) => ids[i]!),
    targets: Int32Array.from({ length: count }, (_, i) => targetOf(i + 1)),
  };
}

function checkLearned(caller: string, { ids, learned }: TokenDocument, name: string): void {
  if (!learned || learned.length === ids.length) return;
  throw new Error(
    `${caller}: ${name} has ${ids.length} ids and ${learned.length} entries in learned; expected one for each`,
  );
}

/** A document, or a part of one. */
interface Piece {
  readonly ids: Int32Array;
  readonly learned: Uint8Array;
}

/** The documents that are not empty, each with the separator behind it. */
function separated(caller: string, documents: Iterable<TokenDocument>, options: PackingOptions): Piece[] {
  const { length, separatorId } = options;
  if (!Number.isInteger(length) || length < 1) {
    throw new Error(`${caller}: length (${length}) must be a positive integer`);
  }
  const pieces: Piece[] = [];
  let index = 0;
  for (const document of documents) {
    const { ids, learned } = document;
    checkLearned(caller, document, `document ${index}`);
    index += 1;
    if (ids.length === 0) continue;
    const size = ids.length + (separatorId === undefined ? 0 : 1);
    const piece: Piece = { ids: new Int32Array(size), learned: new Uint8Array(size).fill(1) };
    piece.ids.set(Array.from(ids));
    if (learned) piece.learned.set(Array.from(learned, Number));
    if (separatorId !== undefined) piece.ids[size - 1] = separatorId;
    pieces.push(piece);
  }
  return pieces;
}

const slicePiece = ({ ids, learned }: Piece, begin: number, end: number): Piece => ({
  ids: ids.subarray(begin, end),
  learned: learned.subarray(begin, end),
});

/** Parts of at most length + 1 tokens; each begins with the last token of the one before, which is its target. */
function cutPiece(piece: Piece, length: number): Piece[] {
  const parts: Piece[] = [];
  for (let begin = 0; begin < piece.ids.length - 1; begin += length) {
    parts.push(slicePiece(piece, begin, Math.min(begin + length + 1, piece.ids.length)));
  }
  return parts;
}

function emptyRows(count: number, { length, padId = 0 }: PackingOptions): PackedRows {
  const size = count * length;
  return {
    count,
    length,
    ids: new Int32Array(size).fill(padId),
    targets: new Int32Array(size).fill(IGNORED),
    segments: new Int32Array(size),
  };
}

/** Writes all tokens of a piece but the last, and as targets all but the first. */
function writePiece(rows: PackedRows, at: number, { ids, learned }: Piece, segment: number): void {
  for (let i = 0; i < ids.length - 1; i++) {
    rows.ids[at + i] = ids[i]!;
    rows.targets[at + i] = learned[i + 1] ? ids[i + 1]! : IGNORED;
    rows.segments[at + i] = segment;
  }
}
