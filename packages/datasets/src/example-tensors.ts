import * as tf from "@tensorflow/tfjs";
import { type ArraySet, type Column, type ColumnView, columnsOf } from "./dataset.ts";

/** The tensors of some examples of a set: one for every typed array of it. B examples along the first axis. */
export type BatchOf<D> = {
  [K in keyof D as D[K] extends Column ? K : never]: K extends "images"
    ? tf.Tensor4D
    : K extends "videos"
      ? tf.Tensor5D
      : K extends "points" | "numeric" | "categorical" | "mask"
        ? tf.Tensor2D
        : K extends "rolls"
          ? tf.Tensor3D
          : K extends "labels"
            ? tf.Tensor1D
            : tf.Tensor;
};

/** What the bytes 0 and 255 of `images` and `videos` become. */
export type PixelRange = readonly [low: number, high: number];

export interface ToTensorsOptions {
  /** Default [-1, 1]; Bernoulli likelihoods want [0, 1]. */
  readonly range?: PixelRange;
}

/**
 * A whole set as tensors, which the caller disposes of: of the names, dtypes and shapes of one batch of `batches` with all
 * examples in their order. Float32 takes four times the memory of a set of bytes; `batches` needs that of a batch only.
 *
 * @throws if the set holds no typed array or no example.
 */
export function toTensors<D extends ArraySet>(set: D, { range }: ToTensorsOptions = {}): BatchOf<D> {
  const reader = new ExampleReader("toTensors", set, range);
  return tf.tidy(() => reader.tensors(reader.gather(0, reader.count)) as tf.TensorContainer) as BatchOf<D>;
}

/** Some examples in host memory: an array for every column. */
export interface HostBatch {
  readonly size: number;
  readonly arrays: readonly Column[];
}

/** Reads examples of a set as the numbers of tensors. */
export class ExampleReader {
  readonly count: number;
  readonly #columns: readonly ColumnView[];
  /** What each byte of a pixel becomes. */
  readonly #pixel: Float32Array;
  readonly #isTable: boolean;

  constructor(caller: string, set: ArraySet, [low, high]: PixelRange = [-1, 1]) {
    const { count, columns } = columnsOf(caller, set);
    if (count === 0) throw new Error(`${caller}: the set has 0 examples; expected at least 1`);
    if (!Number.isFinite(low) || !Number.isFinite(high) || low >= high) {
      throw new Error(`${caller}: range [${low}, ${high}] must be two finite numbers, the lower one first`);
    }
    this.count = count;
    this.#columns = columns;
    this.#pixel = Float32Array.from({ length: 256 }, (_, byte) => low + ((high - low) * byte) / 255);
    this.#isTable = columns.some(({ key }) => key === "mask");
  }

  /** Copies the examples at places `start` to `start + size` of `order`, or of the set itself, into fresh arrays. */
  gather(start: number, size: number, order?: Int32Array): HostBatch {
    const rows = order?.subarray(start, start + size);
    const arrays = this.#columns.map(({ key, data, stride }) => {
      const isPixels = (key === "images" || key === "videos") && data instanceof Uint8Array;
      const isFloat = isPixels || data instanceof Float32Array || key === "mask" || key === "rolls";
      const out = new (isFloat ? Float32Array : Int32Array)(size * stride);
      const copy = (from: number, to: number, n: number) => {
        const source = data.subarray(from * stride, (from + n) * stride);
        const target = out.subarray(to * stride, (to + n) * stride);
        if (isPixels) scaleBytes(source as Uint8Array, this.#pixel, target as Float32Array);
        else target.set(source);
      };
      if (rows === undefined) copy(start, 0, size);
      else if (stride === 1 && !isPixels) for (let b = 0; b < size; b++) out[b] = data[rows[b]!]!;
      else for (let b = 0; b < size; b++) copy(rows[b]!, b, 1);
      if (this.#isTable && key === "numeric") replaceByZero(out, Number.isNaN);
      if (this.#isTable && key === "categorical") replaceByZero(out, (index) => index < 0);
      return out;
    });
    return { size, arrays };
  }

  /** Tensors that take over the arrays, by the columns' names. */
  tensors({ size, arrays }: HostBatch): Record<string, tf.Tensor> {
    const entries = this.#columns.map(({ key, exampleShape }, i) => {
      const data = arrays[i]!;
      const dtype = data instanceof Float32Array ? "float32" : "int32";
      return [key, tf.tensor(data, [size, ...exampleShape], dtype)] as const;
    });
    return Object.fromEntries(entries);
  }
}

/** Four bytes a turn: it runs over every byte of a set in every epoch. */
function scaleBytes(source: Uint8Array, pixel: Float32Array, target: Float32Array): void {
  const n = source.length;
  const whole = n - (n % 4);
  let i = 0;
  for (; i < whole; i += 4) {
    target[i] = pixel[source[i]!]!;
    target[i + 1] = pixel[source[i + 1]!]!;
    target[i + 2] = pixel[source[i + 2]!]!;
    target[i + 3] = pixel[source[i + 3]!]!;
  }
  for (; i < n; i++) target[i] = pixel[source[i]!]!;
}

function replaceByZero(values: Column, missing: (value: number) => boolean): void {
  for (let i = 0; i < values.length; i++) if (missing(values[i]!)) values[i] = 0;
}
