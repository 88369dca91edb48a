import { type Compiled, type Tree, treeDispose, treeMap } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { concatKvCaches, gatherKvCacheRows, type KvCache } from "../kv-cache.ts";
import { consuming, type Decoder, newTokens } from "./decoder.ts";

/** One request's keys and values on the engine: by themselves while the prompt is read, then in a row of the batch. */
export interface StoredRow {
  readonly prompt: readonly number[];
  /** Slots that it needs. */
  readonly slots: number;
  /** Tokens that were read. */
  length: number;
  /** Before it joins the batch. */
  own: KvCache | undefined;
  /** Its place in the batch. */
  place: number | undefined;
}

interface Batch {
  readonly cache: KvCache;
  /** Who has each row; rows without anybody go along. */
  readonly rows: (StoredRow | undefined)[];
  readonly slots: number;
}

/** Most tokens of a prompt that are read at once. */
const chunkTokens = 128;

/** The rows of a running batch, which join and leave it at any time. Sizes are powers of two, so that few graphs serve. */
export class RowStore<P extends Tree> {
  readonly #decoder: Decoder<P>;
  readonly #params: P;
  readonly #maxRows: number;
  readonly #compose: Compiled<[caches: KvCache[], from: tf.Tensor1D, slots: number], KvCache>;
  #batch: Batch | undefined;

  constructor(decoder: Decoder<P>, params: P, maxRows: number) {
    this.#decoder = decoder;
    this.#params = params;
    this.#maxRows = maxRows;
    this.#compose = decoder.engine.compile(composeCaches, { donated: [0] });
  }

  /** A row for a prompt and the tokens behind it, of `tokens` in all. */
  create(prompt: readonly number[], tokens: number): StoredRow {
    const { blockSize } = this.#decoder.lm;
    const slots = Math.min(Math.max(64, powerOfTwo(tokens)), blockSize);
    return { prompt, slots, length: 0, own: undefined, place: undefined };
  }

  /** Reads the next part of the prompt; gives the logits [1, V] of what follows, which belong to the caller, at its end. */
  async read(row: StoredRow): Promise<tf.Tensor2D | undefined> {
    const { prompt, slots, length } = row;
    const width = Math.min(Math.max(8, powerOfTwo(prompt.length - length)), chunkTokens, slots - length);
    const part = prompt.slice(length, length + width);
    const cache = row.own ?? this.#decoder.lm.createCache(1, slots);
    row.own = undefined;
    const read = await consuming(newTokens([part], width), (tokens) => this.#decoder.step(this.#params, tokens, cache));
    row.own = read.cache;
    row.length += part.length;
    if (row.length === prompt.length) return read.logits;
    read.logits.dispose();
    return undefined;
  }

  /**
   * Reads one more token in each row whose prompt is read: the logits of what follows, in the places of the rows. When it
   * fails, all of them are gone.
   */
  async step(rows: readonly StoredRow[], ids: readonly number[]): Promise<tf.Tensor2D> {
    try {
      const { cache, slots, rows: places } = await this.#gather(rows);
      const last = new Int32Array(places.length);
      for (const [i, row] of rows.entries()) last[row.place!] = ids[i]!;
      // Rows without anybody write into their first slot again and again.
      const lengths = tf.tensor1d(
        places.map((row) => row?.length ?? 0),
        "int32",
      );
      cache.lengths.dispose();
      this.#batch = undefined;
      const tokens = newTokens(
        Array.from(last, (id) => [id]),
        1,
      );
      const read = await consuming(tokens, () =>
        this.#decoder.step(this.#params, tokens, { layers: cache.layers, lengths }),
      );
      this.#batch = { cache: read.cache, rows: places, slots };
      for (const row of rows) row.length += 1;
      return read.logits;
    } catch (error) {
      for (const row of rows) this.free(row);
      this.#clear();
      throw error;
    }
  }

  /** The row takes part no longer. */
  free(row: StoredRow): void {
    treeDispose(row.own);
    row.own = undefined;
    if (row.place === undefined) return;
    if (this.#batch) this.#batch.rows[row.place] = undefined;
    row.place = undefined;
    if (this.#batch?.rows.every((one) => one === undefined)) this.#clear();
  }

  dispose(): void {
    this.#clear();
    this.#compose.dispose();
  }

  #clear(): void {
    treeDispose(this.#batch?.cache);
    this.#batch = undefined;
  }

  /** The batch with these rows in it, in one of the few sizes. */
  async #gather(rows: readonly StoredRow[]): Promise<Batch> {
    const before = this.#batch;
    const joining = rows.filter(({ own }) => own);
    const size = Math.min(powerOfTwo(rows.length), this.#maxRows);
    if (before && joining.length === 0 && before.rows.length === size) return before;
    const slots = Math.max(before?.slots ?? 0, ...joining.map((row) => row.slots));
    this.#batch = undefined;
    // One after the other, the first with those who stay: few combinations of sizes, so that few graphs are compiled.
    const from = Int32Array.from({ length: size }, (_, i) => rows[i]?.place ?? 0);
    let cache = before?.cache;
    if (cache && joining.length === 0) cache = await this.#arrange([cache], from, slots);
    for (const row of joining) {
      const own = row.own!;
      row.own = undefined;
      const at = rows.indexOf(row);
      if (!cache && size === 1) cache = own;
      else if (!cache) cache = await this.#arrange([own], from, slots);
      else {
        from[at] = cache.lengths.shape[0];
        cache = await this.#arrange([cache, own], from, slots);
      }
      // By now each row is in its place.
      for (let i = 0; i < size; i++) from[i] = i;
    }
    for (const [i, row] of rows.entries()) row.place = i;
    this.#batch = { cache: cache!, rows: Array.from(from, (_, i) => rows[i]), slots };
    return this.#batch;
  }

  #arrange(caches: KvCache[], from: Int32Array, slots: number): Promise<KvCache> {
    return consuming(tf.tensor1d(from, "int32"), (rows) => this.#compose(caches, rows, slots));
  }
}

/** Row i of the result is row `from[i]` of all caches one below the other, with empty slots up to `slots`. */
function composeCaches(caches: KvCache[], from: tf.Tensor1D, slots: number): KvCache {
  return tf.tidy(() => {
    const [first, ...others] = caches.map((cache) => treeMap(cache, (x) => withSlots(x, slots)));
    return gatherKvCacheRows(concatKvCaches(first!, ...others), from) as unknown as tf.TensorContainerObject;
  }) as unknown as KvCache;
}

function withSlots(x: tf.Tensor, slots: number): tf.Tensor {
  if (x.rank !== 4 || x.shape[2] === slots) return x;
  const [rows, heads, length, headDim] = x.shape as [number, number, number, number];
  return tf.concat([x, tf.zeros([rows, heads, slots - length, headDim])], 2);
}

const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, n)));
