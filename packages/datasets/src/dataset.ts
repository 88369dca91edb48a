/** The typed arrays that hold one value or more for every example. */
export type Column = Uint8Array | Int32Array | Float32Array;

/** What every set says about itself. */
export interface DatasetInfo {
  readonly name: string;
  /** Where the data comes from: the page of its authors, or how it was drawn. */
  readonly source: string;
  readonly licence: string;
}

/** Images with class labels, in host memory: one byte per value. */
export interface ImageSet extends DatasetInfo {
  /** Pixels 0 to 255, NHWC, row-major: n * height * width * channels values. */
  readonly images: Uint8Array;
  /** Class index of every image: n values. */
  readonly labels: Uint8Array;
  /** [n, height, width, channels] */
  readonly shape: readonly [number, number, number, number];
  /** Names of the classes, by index. */
  readonly classes: readonly string[];
}

/** Points in space with class labels. */
export interface PointSet extends DatasetInfo {
  /** Row-major: n * dims values. */
  readonly points: Float32Array;
  readonly labels: Uint8Array;
  /** [n, dims] */
  readonly shape: readonly [number, number];
  readonly classes: readonly string[];
}

/** One split of a text. */
export interface TextSet extends DatasetInfo {
  readonly text: string;
}

/** Short strings, such as names. */
export interface WordSet extends DatasetInfo {
  readonly words: readonly string[];
  /** The distinct characters of the whole set, whatever the split, in order of their code points. */
  readonly alphabet: readonly string[];
}

/** Video clips, in host memory: one byte per value. */
export interface VideoSet extends DatasetInfo {
  /** Pixels 0 to 255, row-major: n * frames * height * width * channels values. */
  readonly videos: Uint8Array;
  /** [n, frames, height, width, channels] */
  readonly shape: readonly [number, number, number, number, number];
}

/** A column of numbers. */
export interface NumericColumn {
  readonly name: string;
  readonly kind: "numeric";
  /** What its numbers count, such as "cm"; missing if they are ratios or not known. */
  readonly unit?: string;
}

/** A column of one out of several categories. */
export interface CategoricalColumn {
  readonly name: string;
  readonly kind: "categorical";
  readonly categories: readonly string[];
}

export type TableColumn = NumericColumn | CategoricalColumn;

/** A table of N numeric and C categorical columns. */
export interface TableSet extends DatasetInfo {
  /** The numeric columns, then the categorical ones, each in the order of the file. */
  readonly columns: readonly TableColumn[];
  /** Row-major: n * N values; NaN where the value is missing. */
  readonly numeric: Float32Array;
  /** Row-major: n * C indices into the categories of their column; -1 where the value is missing. */
  readonly categorical: Int32Array;
  /** Row-major: n * (N + C) values, in the order of `columns`: 1 where there is a value, 0 where it is missing. */
  readonly mask: Uint8Array;
  /** [n, N + C] */
  readonly shape: readonly [number, number];
  /** Name of the column that is commonly predicted from the others. */
  readonly target?: string;
}

/**
 * Anything that can be batched: a record whose typed arrays have the examples along their first axis. The number of
 * examples is `shape[0]` or, without a shape, the length of `labels` or else of the first array. Fields that are not
 * typed arrays are carried along.
 */
export interface ArraySet {
  readonly images?: Uint8Array | Float32Array;
  readonly videos?: Uint8Array;
  readonly points?: Float32Array;
  readonly labels?: Column;
  readonly shape?: readonly number[];
}

/** Fields whose examples have the shape `shape.slice(1)`. */
const shapedFields: ReadonlySet<string> = new Set(["images", "videos", "points", "mask", "rolls"]);

/** Fields that are rows of a table: an example has one axis even if it holds one value or none. */
const tableFields: ReadonlySet<string> = new Set(["numeric", "categorical", "mask"]);

/** One typed array of a set, with the shape of one example. */
export interface ColumnView {
  readonly key: string;
  readonly data: Column;
  readonly exampleShape: readonly number[];
  /** Values per example. */
  readonly stride: number;
}

const isColumn = (value: unknown): value is Column =>
  value instanceof Uint8Array || value instanceof Int32Array || value instanceof Float32Array;

/**
 * The typed arrays of a set and its number of examples.
 *
 * @throws if the set holds no typed array, or one whose length is no whole multiple of the number of examples.
 */
export function columnsOf(caller: string, set: ArraySet): { count: number; columns: ColumnView[] } {
  const arrays = Object.entries(set).filter((entry): entry is [string, Column] => isColumn(entry[1]));
  const first = arrays[0];
  if (first === undefined) {
    throw new Error(`${caller}: the set has the fields [${Object.keys(set)}]; at least one must be a typed array`);
  }
  const count = set.shape?.[0] ?? set.labels?.length ?? first[1].length;
  if (!Number.isInteger(count) || count < 0) throw new Error(`${caller}: count (${count}) must be a whole number`);
  const columns = arrays.map(([key, data]): ColumnView => {
    const shaped = set.shape !== undefined && shapedFields.has(key);
    const stride = shaped ? set.shape.slice(1).reduce((a, b) => a * b, 1) : count === 0 ? 1 : data.length / count;
    if (!Number.isInteger(stride) || data.length !== stride * count) {
      throw new Error(
        `${caller}: ${key} has ${data.length} values; expected ${shaped ? `${count * stride}, the product of shape [${set.shape}]` : `a multiple of the ${count} examples`}`,
      );
    }
    const exampleShape = shaped ? set.shape.slice(1) : stride === 1 && !tableFields.has(key) ? [] : [stride];
    return { key, data, exampleShape, stride };
  });
  return { count, columns };
}
