import type { Compiled, Tree } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { copyKvCacheRows, type KvCache, type KvCacheRows, takeKvCacheRow } from "../kv-cache.ts";
import { consuming, type Decoder, newTokens } from "./decoder.ts";
import { BLOCK_TOKENS, PrefixCache, type PrefixCacheOptions, sharedBlocks } from "./prefix-cache.ts";
import { freshGroup, readWidth, slotsFor } from "./read-shapes.ts";
import { SpareCaches } from "./spare-caches.ts";

/** A cache that several rows may have a part in; who leaves it last frees it. */
interface SharedCache {
  readonly cache: KvCache;
  readonly slots: number;
  rows: number;
}

/** One request's keys and values on the engine: in a cache of its own or of a group while its prompt is read, then in the batch. */
export class StoredRow {
  readonly prompt: readonly number[];
  /** Tokens that were read. */
  readonly ids: number[] = [];
  /** Tokens of the prompt that others had read before. */
  cachedTokens = 0;
  /** Before it joins the batch: a cache, and the row there. */
  source: { readonly shared: SharedCache; readonly row: number } | undefined;
  /** Its place in the batch. */
  place: number | undefined;

  constructor(prompt: readonly number[]) {
    this.prompt = prompt;
  }

  /** Tokens of the prompt that are to be read. */
  get rest(): number {
    return this.prompt.length - this.ids.length;
  }
}

interface Batch {
  readonly cache: KvCache;
  /** Who has each row; rows without anybody go along. */
  readonly rows: (StoredRow | undefined)[];
  readonly slots: number;
}

/** Steps after which a batch that has become too large is made smaller. */
const stepsBeforeShrinking = 32;

/** The rows of a running batch, which join and leave it at any time, in few sizes, so that few graphs serve. */
export class RowStore<P extends Tree> {
  readonly #decoder: Decoder<P>;
  readonly #params: P;
  readonly #maxRows: number;
  /** Slots that a row can have at most. */
  readonly #maxSlots: number;
  readonly #copy: Compiled<[into: KvCache, from: KvCache, rows: KvCacheRows, slots: number], KvCache>;
  readonly #take: Compiled<[cache: KvCache, row: tf.Tensor1D, slots: number], KvCache>;
  readonly #prefixes: PrefixCache;
  readonly #spare: SpareCaches;
  readonly #rows = new Set<StoredRow>();
  #batch: Batch | undefined;
  #stepsTooLarge = 0;
  #turn = 0;

  constructor(
    decoder: Decoder<P>,
    params: P,
    options: { readonly maxRows: number; readonly maxTokens: number; readonly prefixCache: PrefixCacheOptions },
  ) {
    this.#prefixes = new PrefixCache(options.prefixCache);
    this.#spare = new SpareCaches((rows, slots) => decoder.lm.createCache(rows, slots));
    this.#decoder = decoder;
    this.#params = params;
    this.#maxRows = options.maxRows;
    this.#maxSlots = Math.min(Math.ceil(options.maxTokens / 16) * 16, decoder.lm.blockSize);
    this.#copy = decoder.engine.compile(copyKvCacheRows, { donated: [0] });
    this.#take = decoder.engine.compile(takeKvCacheRow);
  }

  create(prompt: readonly number[]): StoredRow {
    const row = new StoredRow(prompt);
    this.#rows.add(row);
    return row;
  }

  /**
   * Which of the rows whose prompts are not read are to be read next: one, or several short prompts together. Those with little
   * to read come first, and every other time the one that waits longest.
   *
   * @param limit of the tokens, padding included
   */
  next(waiting: readonly StoredRow[], limit: number): StoredRow[] {
    const found = new Map(waiting.map((row) => [row, this.#find(row)?.length ?? 0]));
    // Who begins as another does, waits until that one is read.
    const ready = waiting.filter((row, i) => {
      if (row.ids.length > 0 || !this.#prefixes.isOn) return true;
      const shares = (other: StoredRow) => sharedBlocks(row.prompt, other.prompt) > found.get(row)!;
      return !waiting.some((other, j) => other !== row && (j < i || other.ids.length > 0) && shares(other));
    });
    const restOf = (row: StoredRow) => row.rest - (row.ids.length === 0 ? found.get(row)! : 0);
    this.#turn += 1;
    const first = this.#turn % 2 === 0 ? ready[0]! : ready.reduce((a, b) => (restOf(b) < restOf(a) ? b : a));
    const isFresh = (row: StoredRow) => row.ids.length === 0 && found.get(row) === 0;
    if (!isFresh(first) || this.#decoder.lm.fixedCacheLength) return [first];
    const others = ready.filter((row) => row !== first && isFresh(row));
    const { rows, width } = freshGroup(
      [first, ...others].map(({ prompt }) => prompt.length),
      limit,
    );
    return [first, ...others.filter((row) => row.prompt.length <= width).slice(0, rows - 1)];
  }

  /**
   * Reads prompts that `next` chose: the next part of one, or several in whole.
   *
   * @returns `tokens` that were read, padding included, and when prompts have been read to their ends, `logits` of what follows,
   *   a row for each and perhaps more, which belong to the caller
   */
  async read(rows: readonly StoredRow[], limit: number): Promise<{ tokens: number; logits?: tf.Tensor2D }> {
    const [first] = rows;
    return rows.length > 1 ? this.#readTogether(rows, limit) : this.#readPart(first!, limit);
  }

  async #readTogether(rows: readonly StoredRow[], limit: number): Promise<{ tokens: number; logits: tf.Tensor2D }> {
    const lengths = rows.map(({ prompt }) => prompt.length);
    const size = freshGroup(
      lengths.sort((a, b) => b - a),
      limit,
    );
    const slots = Math.min(size.width, this.#maxSlots);
    const ids = Array.from({ length: size.rows }, (_, i) => rows[i]?.prompt ?? [0]);
    const cache = this.#spare.take(size.rows, slots);
    const read = await consuming(newTokens(ids, slots), (tokens) => this.#decoder.step(this.#params, tokens, cache));
    const shared = { cache: read.cache, slots, rows: rows.length };
    for (const [i, row] of rows.entries()) {
      row.source = { shared, row: i };
      row.ids.push(...row.prompt);
    }
    return { tokens: size.rows * slots, logits: read.logits };
  }

  async #readPart(row: StoredRow, limit: number): Promise<{ tokens: number; logits?: tf.Tensor2D }> {
    const slots = row.source?.shared.slots ?? this.#slotsFor(row.prompt.length);
    const own = row.source?.shared.cache ?? (await this.#begin(row, slots));
    const { length } = row.ids;
    const width = readWidth(row.rest, Math.min(limit, slots - length));
    const part = row.prompt.slice(length, length + width);
    row.source = undefined;
    const cache = { layers: own.layers, lengths: tf.tensor1d([length], "int32") };
    own.lengths.dispose();
    const read = await consuming(newTokens([part], width), (tokens) => this.#decoder.step(this.#params, tokens, cache));
    row.source = { shared: { cache: read.cache, slots, rows: 1 }, row: 0 };
    row.ids.push(...part);
    if (row.rest === 0) return { tokens: width, logits: read.logits };
    read.logits.dispose();
    return { tokens: width };
  }

  /** A cache of its own, with what others have read of its prompt. */
  async #begin(row: StoredRow, slots: number): Promise<KvCache> {
    const found = this.#find(row);
    const cache = this.#spare.take(1, slots);
    if (!found) return cache;
    const { length, source, at } = found;
    this.#prefixes.use(source);
    const copied = Math.min(powerOfFour(length), slots, source.layers[0]!.k.shape[2]);
    const filled = await this.#copyRows(cache, source, [[at, 0]], copied);
    row.ids.push(...row.prompt.slice(0, length));
    row.cachedTokens = length;
    return filled;
  }

  /** Where the first tokens of a prompt have been read. */
  #find(row: StoredRow): { length: number; source: KvCache; at: number } | undefined {
    if (!this.#prefixes.isOn || row.ids.length > 0) return undefined;
    const kept = this.#prefixes.find(row.prompt);
    let best = kept && { length: kept.length, source: kept.cache, at: 0 };
    for (const other of this.#rows) {
      const where = this.#whereIs(other);
      const length = where ? sharedBlocks(row.prompt, other.ids) : 0;
      if (where && length > (best?.length ?? 0)) best = { length, ...where };
    }
    return best;
  }

  #whereIs({ source, place }: StoredRow): { source: KvCache; at: number } | undefined {
    if (source) return { source: source.shared.cache, at: source.row };
    return place !== undefined && this.#batch ? { source: this.#batch.cache, at: place } : undefined;
  }

  /**
   * Reads one more token in each row whose prompt is read: the logits of what follows, in the places of the rows. When it
   * fails, all of them are gone.
   *
   * @param coming rows that are about to join
   */
  async step(rows: readonly StoredRow[], ids: readonly number[], coming: number): Promise<tf.Tensor2D> {
    try {
      const { cache, slots, rows: places } = await this.#gather(rows, coming);
      const last = new Int32Array(places.length);
      for (const [i, row] of rows.entries()) last[row.place!] = ids[i]!;
      // Rows without anybody write into their first slot again and again.
      const lengths = tf.tensor1d(
        places.map((row) => row?.ids.length ?? 0),
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
      for (const [i, row] of rows.entries()) row.ids.push(ids[i]!);
      return read.logits;
    } catch (error) {
      for (const row of rows) this.free(row);
      this.#clear();
      throw error;
    }
  }

  /** Keeps what the row has read for prompts that begin so, and frees it. */
  async leave(row: StoredRow): Promise<void> {
    const where = this.#whereIs(row);
    if (where) {
      const [, heads, length, headDim] = where.source.layers[0]!.k.shape;
      const slots = Math.min(Math.max(BLOCK_TOKENS, powerOfTwo(row.ids.length)), length);
      const bytes = where.source.layers.length * 2 * heads * slots * headDim * 4;
      if (this.#prefixes.wants(row.ids, bytes)) {
        const at = tf.tensor1d([where.at], "int32");
        // Whether it works or not, the request has what it wanted.
        const taken = await consuming(at, () => this.#take(where.source, at, slots)).catch(() => undefined);
        if (taken) this.#prefixes.add(row.ids.slice(), taken, bytes);
      }
    }
    this.free(row);
  }

  /** The row takes part no longer. */
  free(row: StoredRow): void {
    this.#rows.delete(row);
    this.#leaveSource(row);
    if (row.place === undefined) return;
    if (this.#batch) this.#batch.rows[row.place] = undefined;
    row.place = undefined;
    if (this.#batch?.rows.every((one) => one === undefined)) this.#clear();
  }

  dispose(): void {
    this.#clear();
    this.#spare.dispose();
    this.#prefixes.dispose();
    this.#copy.dispose();
    this.#take.dispose();
  }

  #leaveSource(row: StoredRow): void {
    const shared = row.source?.shared;
    row.source = undefined;
    if (shared && --shared.rows === 0) this.#spare.give(shared.cache);
  }

  #clear(): void {
    if (this.#batch) this.#spare.give(this.#batch.cache);
    this.#batch = undefined;
  }

  #slotsFor(tokens: number): number {
    return this.#decoder.lm.fixedCacheLength ? this.#maxSlots : slotsFor(tokens, this.#maxSlots);
  }

  /** The batch with these rows in it, and if it has to grow, with room for those that come. */
  async #gather(rows: readonly StoredRow[], coming: number): Promise<Batch> {
    const slots = this.#slotsFor(Math.max(...rows.map(({ ids }) => ids.length)) + 1);
    const size = Math.min(powerOfTwo(rows.length), this.#maxRows);
    const joining = rows.filter(({ source }) => source);
    const [only] = joining;
    if (!this.#batch && only && size === 1 && coming === 0) {
      const { shared, row } = only.source!;
      if (row === 0 && shared.slots === slots && shared.cache.lengths.shape[0] === 1) {
        only.source = undefined;
        only.place = 0;
        this.#batch = { cache: shared.cache, rows: [only], slots };
        return this.#batch;
      }
    }
    const { rows: places = [], slots: before = 0 } = this.#batch ?? {};
    this.#stepsTooLarge = size < places.length ? this.#stepsTooLarge + 1 : 0;
    if (size > places.length || slots > before || this.#stepsTooLarge > stepsBeforeShrinking) {
      const grown = Math.min(powerOfTwo(rows.length + coming), this.#maxRows);
      await this.#resize(size > places.length ? grown : size, Math.max(slots, before));
    }
    const bySource = new Map<SharedCache, StoredRow[]>();
    for (const row of joining) {
      const { shared } = row.source!;
      bySource.set(shared, [...(bySource.get(shared) ?? []), row]);
    }
    for (const [shared, members] of bySource) {
      const batch = this.#batch!;
      const free = batch.rows.flatMap((row, place) => (row === undefined ? [place] : []));
      const pairs = members.map((row, i): [number, number] => [row.source!.row, free[i]!]);
      const longest = Math.max(...members.map(({ ids }) => ids.length));
      this.#batch = undefined;
      const cache = await this.#copyRows(
        batch.cache,
        shared.cache,
        pairs,
        Math.min(powerOfFour(longest), shared.slots, batch.slots),
      );
      this.#batch = { ...batch, cache };
      for (const [i, row] of members.entries()) {
        row.place = free[i]!;
        batch.rows[row.place] = row;
        this.#leaveSource(row);
      }
    }
    return this.#batch!;
  }

  /** Moves the rows of the batch into one of another size, from the first place on. */
  async #resize(size: number, slots: number): Promise<void> {
    const before = this.#batch;
    const staying = before?.rows.filter((row) => row !== undefined) ?? [];
    let cache = this.#spare.take(size, slots);
    if (before && staying.length > 0) {
      this.#batch = undefined;
      const pairs = staying.map((row, i): [number, number] => [row.place!, i]);
      try {
        const longest = Math.max(...staying.map(({ ids }) => ids.length));
        cache = await this.#copyRows(cache, before.cache, pairs, Math.min(powerOfFour(longest), before.slots));
      } finally {
        this.#spare.give(before.cache);
      }
    } else this.#clear();
    for (const [i, row] of staying.entries()) row.place = i;
    this.#batch = { cache, rows: Array.from({ length: size }, (_, i) => staying[i]), slots };
    this.#stepsTooLarge = 0;
  }

  /** `into`, which is taken over, with rows of another cache: pairs of the row there and the row here. */
  async #copyRows(into: KvCache, from: KvCache, pairs: readonly [number, number][], slots: number): Promise<KvCache> {
    // The last pair again and again makes few graphs serve, and changes nothing.
    const all = Array.from({ length: powerOfFour(pairs.length) }, (_, i) => pairs[i] ?? pairs.at(-1)!);
    const side = (at: 0 | 1) =>
      tf.tensor1d(
        all.map((pair) => pair[at]),
        "int32",
      );
    return consuming({ of: side(0), to: side(1) }, (rows) => this.#copy(into, from, rows, slots));
  }
}

const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, n)));
const powerOfFour = (n: number): number => 4 ** Math.ceil(Math.log2(Math.max(1, n)) / 2);
