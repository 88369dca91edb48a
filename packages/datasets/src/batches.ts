import { type BatchStream, Rng, type RngState } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { checkWhole } from "./check-options.ts";
import type { ArraySet } from "./dataset.ts";
import { type BatchOf, ExampleReader, type HostBatch, type PixelRange } from "./example-tensors.ts";

export interface BatchesOptions<B, T = B> {
  readonly batchSize: number;
  /** Source of the order and of `transform`'s randomness. Forked once, here. Required when shuffling. */
  readonly rng?: Rng;
  /** A new order every epoch. Default true. */
  readonly shuffle?: boolean;
  /** Leaves out the last batch of an epoch when it is not full. Default true. */
  readonly dropLast?: boolean;
  /** How often the set is gone through. Default Infinity. */
  readonly epochs?: number;
  /** What the bytes 0 and 255 of `images` and `videos` become. Default [-1, 1]; Bernoulli likelihoods want [0, 1]. */
  readonly range?: PixelRange;
  /** How many batches are prepared in host memory ahead, while the caller computes. Default 1; 0 prepares none. */
  readonly prefetch?: number;
  /** Changes every batch, in tfjs ops, inside a tidy. Its Rng depends on the epoch and position only. */
  readonly transform?: (batch: B, rng: Rng) => T;
}

/** Where a stream stands: plain JSON. */
interface Cursor {
  readonly kind: "batches";
  readonly count: number;
  readonly batchSize: number;
  readonly epoch: number;
  /** Index within the epoch of the batch that comes next. */
  readonly position: number;
  readonly rng: RngState | null;
}

/**
 * A stream of batches of a set's examples, as tensors that belong to the caller.
 *
 * Bytes named `images` become float32 NHWC [B, height, width, channels] scaled to `range`, `videos` likewise; `mask` and
 * `rolls` become float32 zeros and ones; other bytes and Int32Arrays become int32, Float32Arrays float32, each [B, ...].
 * Tables come as `numeric` float32 [B, N], `categorical` int32 [B, C] and `mask` float32 [B, N + C]; a missing cell is 0
 * there and in the mask, because a NaN would outlive multiplication by the mask and -1 is no row to gather. The order is
 * a function of (rng, epoch), so that a saved `state()` restored into an equal stream goes on bit-identically. Only host
 * memory is prepared ahead: a stream that is dropped, or stopped by `return()`, holds no tensors.
 *
 * @throws if sizes do not fit: batchSize below 1, or no full batch while dropLast is on.
 */
export function batches<D extends ArraySet, T = BatchOf<D>>(
  set: D,
  options: BatchesOptions<BatchOf<D>, T>,
): EpochStream<T> {
  return new EpochStream<T>(set, options as unknown as BatchesOptions<unknown, T>);
}

/** The stream made by `batches`. */
export class EpochStream<T> implements BatchStream<T>, AsyncIterableIterator<T, undefined> {
  /** Examples in the set. */
  readonly count: number;
  readonly batchSize: number;
  readonly batchesPerEpoch: number;
  readonly #reader: ExampleReader;
  readonly #options: BatchesOptions<unknown, T>;
  readonly #epochs: number;
  readonly #shuffle: boolean;
  #rng: RngState | null;
  #epoch = 0;
  #position = 0;
  #order: { readonly epoch: number; readonly indices: Int32Array } | undefined;
  readonly #prepared = new Map<number, HostBatch>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor(set: ArraySet, options: BatchesOptions<unknown, T>) {
    const {
      batchSize,
      rng,
      shuffle = true,
      dropLast = true,
      epochs = Number.POSITIVE_INFINITY,
      prefetch = 1,
    } = options;
    const reader = new ExampleReader("batches", set, options.range);
    const { count } = reader;
    checkWhole("batches", { batchSize }, 1);
    checkWhole("batches", { prefetch });
    if (shuffle && rng === undefined) throw new Error("batches: rng (undefined) must be an Rng when shuffling");
    if (dropLast && count < batchSize) {
      throw new Error(
        `batches: batchSize (${batchSize}) must be at most the number of examples (${count}) when dropLast is on`,
      );
    }
    if (epochs !== Number.POSITIVE_INFINITY && (!Number.isInteger(epochs) || epochs < 0)) {
      throw new Error(`batches: epochs (${epochs}) must be a whole number or Infinity`);
    }
    this.count = count;
    this.batchSize = batchSize;
    this.batchesPerEpoch = dropLast ? Math.floor(count / batchSize) : Math.ceil(count / batchSize);
    this.#reader = reader;
    this.#options = options;
    this.#epochs = epochs;
    this.#shuffle = shuffle;
    this.#rng = rng === undefined ? null : rng.fork("batches").state();
  }

  /** Resolves to the next batch, whose tensors the caller disposes of, or to `done` after the last epoch. */
  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.#stopped || this.#epoch >= this.#epochs) return { done: true, value: undefined };
    const serial = this.#serial();
    const host = this.#prepared.get(serial) ?? this.#prepare(serial);
    this.#prepared.delete(serial);
    const value = this.#deliver(host);
    this.#position += 1;
    if (this.#position === this.batchesPerEpoch) {
      this.#position = 0;
      this.#epoch += 1;
    }
    this.#schedule();
    return { done: false, value };
  }

  /** Ends the stream and frees what was prepared. */
  async return(): Promise<IteratorResult<T, undefined>> {
    this.#stopped = true;
    this.#forget();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Where the stream stands, as plain JSON. Batches prepared ahead do not count: only those handed out do. */
  state(): unknown {
    const { count, batchSize } = this;
    const cursor: Cursor = {
      kind: "batches",
      count,
      batchSize,
      epoch: this.#epoch,
      position: this.#position,
      rng: this.#rng,
    };
    return cursor;
  }

  /**
   * Goes to a saved place, of this stream or of one made with the same set and options.
   *
   * @throws if the state is of another kind, or of a stream with another number of examples or batch size.
   */
  restore(state: unknown): void {
    const saved = state as Partial<Cursor> | null;
    if (saved?.kind !== "batches" || saved.count !== this.count || saved.batchSize !== this.batchSize) {
      throw new Error(
        `batches.restore: state (${JSON.stringify(state)}) must be of a stream with count ${this.count} and batchSize ${this.batchSize}`,
      );
    }
    const { epoch, position, rng } = saved as Cursor;
    if (!Number.isSafeInteger(epoch) || epoch < 0) throw new Error(`batches.restore: epoch (${epoch}) must be whole`);
    if (!Number.isInteger(position) || position < 0 || position >= this.batchesPerEpoch) {
      throw new Error(`batches.restore: position (${position}) must be in [0, ${this.batchesPerEpoch})`);
    }
    if (rng === null ? this.#rng !== null : this.#rng === null) {
      throw new Error(
        `batches.restore: rng (${JSON.stringify(rng)}) must be ${this.#rng === null ? "null" : "a state"}`,
      );
    }
    this.#rng = rng === null ? null : Rng.fromState(rng).state();
    this.#epoch = epoch;
    this.#position = position;
    this.#order = undefined;
    this.#forget();
  }

  #serial(): number {
    return this.#epoch * this.batchesPerEpoch + this.#position;
  }

  #forget(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#prepared.clear();
  }

  /** Prepares the following batches as soon as the caller waits for something. */
  #schedule(): void {
    const ahead = this.#options.prefetch ?? 1;
    if (ahead === 0 || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const first = this.#serial();
      const end = Math.min(first + ahead, this.#epochs * this.batchesPerEpoch);
      for (let serial = first; serial < end; serial++) {
        if (this.#prepared.has(serial)) continue;
        this.#prepared.set(serial, this.#prepare(serial));
        // One at a time, so that the caller's own work is not kept waiting.
        if (serial + 1 < end) this.#schedule();
        return;
      }
    });
  }

  #indices(epoch: number): Int32Array | undefined {
    if (!this.#shuffle || this.#rng === null) return undefined;
    if (this.#order?.epoch !== epoch) {
      const rng = Rng.fromState(this.#rng).fork(`epoch ${epoch}`);
      this.#order = { epoch, indices: rng.draw({ kind: "permutation", size: this.count }) as Int32Array };
    }
    return this.#order.indices;
  }

  /** Gathers the examples of a batch into fresh arrays. */
  #prepare(serial: number): HostBatch {
    const epoch = Math.floor(serial / this.batchesPerEpoch);
    const start = (serial % this.batchesPerEpoch) * this.batchSize;
    const size = Math.min(this.batchSize, this.count - start);
    return this.#reader.gather(start, size, this.#indices(epoch));
  }

  #deliver(host: HostBatch): T {
    return tf.tidy(() => {
      const batch = this.#reader.tensors(host);
      const { transform } = this.#options;
      if (transform === undefined) return batch;
      const seed = this.#rng === null ? new Rng(0) : Rng.fromState(this.#rng).fork("transform");
      return transform(batch, seed.fork(this.#serial())) as tf.TensorContainer;
    }) as T;
  }
}
