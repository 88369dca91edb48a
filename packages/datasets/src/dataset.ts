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

/**
 * Anything that can be batched: a record whose typed arrays have the examples along their first axis. The number of
 * examples is `shape[0]` or, without a shape, the length of `labels` or else of the first array. Fields that are not
 * typed arrays are carried along.
 */
export interface ArraySet {
  readonly images?: Uint8Array | Float32Array;
  readonly points?: Float32Array;
  readonly labels?: Column;
  readonly shape?: readonly number[];
}

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
    const shaped = set.shape !== undefined && (key === "images" || key === "points");
    const stride = shaped ? set.shape.slice(1).reduce((a, b) => a * b, 1) : count === 0 ? 1 : data.length / count;
    if (!Number.isInteger(stride) || data.length !== stride * count) {
      throw new Error(
        `${caller}: ${key} has ${data.length} values; expected ${shaped ? `${count * stride}, the product of shape [${set.shape}]` : `a multiple of the ${count} examples`}`,
      );
    }
    const exampleShape = shaped ? set.shape.slice(1) : stride === 1 ? [] : [stride];
    return { key, data, exampleShape, stride };
  });
  return { count, columns };
}
