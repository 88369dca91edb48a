import type { Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// Tables of numbers and categories with gaps, as tensors: one matrix of cells and one that says which are known.

/** A column of a table as it comes from a file: NaN, and ids below 0, are missing cells. */
export type TableColumnData =
  | { readonly name: string; readonly kind: "numeric"; readonly values: ArrayLike<number> }
  | {
      readonly name: string;
      readonly kind: "categorical";
      /** Indices into `categories`. */
      readonly values: ArrayLike<number>;
      readonly categories: readonly string[];
    };

/** What a model knows of a column; plain JSON. Numeric cells are standardised with mean and std. */
export type TableColumn =
  | { readonly name: string; readonly kind: "numeric"; readonly mean: number; readonly std: number }
  | { readonly name: string; readonly kind: "categorical"; readonly categories: readonly string[] };

/** Rows of a table. Unknown cells hold 0. */
export type TableRows = {
  /** [B, M] float32: standardised numbers, and indices of categories. */
  cells: tf.Tensor2D;
  /** [B, M] float32: 1 where a cell is known, else 0. */
  observed: tf.Tensor2D;
};

const isMissing = (column: { readonly kind: string }, value: number) =>
  Number.isNaN(value) || (column.kind === "categorical" && value < 0);

/**
 * Describes the columns of a table: mean and standard deviation of the known numbers, the names of categories.
 *
 * @throws if there are no columns, columns differ in length, or one has no known cell or the same number in all of them.
 */
export function describeTableColumns(data: readonly TableColumnData[]): TableColumn[] {
  checkLengths("describeTableColumns", data);
  return data.map((column) => {
    const { name } = column;
    const known = Array.from(column.values).filter((value) => !isMissing(column, value));
    if (known.length === 0) throw new Error(`describeTableColumns: column '${name}' has no known cell`);
    if (column.kind === "categorical") {
      if (column.categories.length < 2) {
        throw new Error(
          `describeTableColumns: column '${name}' has ${column.categories.length} categories; expected two at least`,
        );
      }
      return { name, kind: "categorical", categories: [...column.categories] };
    }
    const mean = known.reduce((a, b) => a + b, 0) / known.length;
    const std = Math.sqrt(known.reduce((a, b) => a + (b - mean) ** 2, 0) / known.length);
    if (!Number.isFinite(std)) throw new Error(`describeTableColumns: column '${name}' holds an infinite number`);
    if (!(std > 1e-12 * Math.abs(mean))) {
      throw new Error(
        `describeTableColumns: column '${name}' has the one value ${known[0]} in all rows; expected two at least (leave it out)`,
      );
    }
    return { name, kind: "numeric", mean, std };
  });
}

/**
 * Turns rows of a table into tensors.
 *
 * @param columns what `describeTableColumns` said of the training data
 * @param data the same columns, in the same order
 * @throws if columns differ in number, name, kind or categories, or an index is no category.
 */
export function tableRows(columns: readonly TableColumn[], data: readonly TableColumnData[]): TableRows {
  checkLengths("tableRows", data);
  if (columns.length !== data.length) {
    throw new Error(`tableRows: got ${data.length} columns; expected ${columns.length}`);
  }
  const rows = data[0]!.values.length;
  const cells = new Float32Array(rows * columns.length);
  const observed = new Float32Array(rows * columns.length);
  for (const [m, column] of columns.entries()) {
    const from = data[m]!;
    if (from.name !== column.name || from.kind !== column.kind) {
      throw new Error(
        `tableRows: column ${m} is '${from.name}' (${from.kind}); expected '${column.name}' (${column.kind})`,
      );
    }
    if (from.kind === "categorical" && column.kind === "categorical") {
      const unknown = from.categories.find((name, i) => column.categories[i] !== name);
      if (unknown !== undefined) {
        throw new Error(
          `tableRows: column '${column.name}' has the category '${unknown}'; expected ${column.categories.join(", ")}`,
        );
      }
    }
    for (let row = 0; row < rows; row++) {
      const value = from.values[row]!;
      if (isMissing(from, value)) continue;
      const at = row * columns.length + m;
      if (column.kind === "categorical" && !(Number.isInteger(value) && value < column.categories.length)) {
        throw new Error(
          `tableRows: column '${column.name}' has ${value} in row ${row}; expected an index below ${column.categories.length}`,
        );
      }
      if (!Number.isFinite(value)) {
        throw new Error(`tableRows: column '${column.name}' has ${value} in row ${row}; expected a finite number`);
      }
      cells[at] = column.kind === "numeric" ? (value - column.mean) / column.std : value;
      observed[at] = 1;
    }
  }
  const shape: [number, number] = [rows, columns.length];
  return { cells: tf.tensor2d(cells, shape), observed: tf.tensor2d(observed, shape) };
}

/** A table as `@genai/datasets` loads it: numeric columns first, NaN and -1 where a cell is missing. */
export interface TableSource {
  readonly columns: readonly (
    | { readonly name: string; readonly kind: "numeric" }
    | { readonly name: string; readonly kind: "categorical"; readonly categories: readonly string[] }
  )[];
  /** Row-major, the numbers of all rows. */
  readonly numeric: ArrayLike<number>;
  /** Row-major, the ids of all rows. */
  readonly categorical: ArrayLike<number>;
  /** [rows, columns] */
  readonly shape: readonly [number, number];
}

/** The columns of a loaded table, one by one: what `describeTableColumns` and `tableRows` take. */
export function tableColumnData(table: TableSource): TableColumnData[] {
  const [rows] = table.shape;
  const widths = { numeric: 0, categorical: 0 };
  for (const { kind } of table.columns) widths[kind] += 1;
  const next = { numeric: 0, categorical: 0 };
  return table.columns.map((column) => {
    const { name, kind } = column;
    const at = next[kind]++;
    const values = Array.from({ length: rows }, (_, row) => table[kind][row * widths[kind] + at]!);
    return column.kind === "categorical" ? { ...column, values } : { name, kind: "numeric", values };
  });
}

/**
 * A batch of a loaded table as rows: for training steps on `batches(table, ...)` of `@genai/datasets`.
 *
 * @param columns numeric columns first
 * @param batch numeric [B, N], categorical int32 [B, C], mask [B, N + C]
 */
export function tableBatchRows(
  columns: readonly TableColumn[],
  batch: { readonly numeric?: tf.Tensor; readonly categorical?: tf.Tensor; readonly mask: tf.Tensor },
): TableRows {
  const numeric = columns.filter((column) => column.kind === "numeric");
  const ordered = columns.slice(0, numeric.length).every(({ kind }) => kind === "numeric");
  const parts = [batch.numeric, batch.categorical].filter((part) => part !== undefined && part.size > 0);
  const width = parts.reduce((total, part) => total + part!.shape[1]!, 0);
  if (!ordered || width !== columns.length || (batch.numeric?.shape[1] ?? 0) !== numeric.length) {
    throw new Error(
      `tableBatchRows: numeric [${batch.numeric?.shape}] and categorical [${batch.categorical?.shape}]; expected ` +
        `${numeric.length} and ${columns.length - numeric.length} columns, numbers first`,
    );
  }
  return tf.tidy(() => {
    const row = (value: (column: (typeof numeric)[number]) => number) => tf.tensor2d([numeric.map(value)]);
    const observed = batch.mask.toFloat() as tf.Tensor2D;
    const cells = parts.map((part) => {
      if (part !== batch.numeric) return part!.toFloat();
      return part!.sub(row((column) => column.mean)).div(row((column) => column.std));
    });
    return { cells: tf.concat(cells, 1).mul(observed) as tf.Tensor2D, observed };
  });
}

/**
 * Turns cells back into columns in their own units.
 *
 * @param cells [B, M] as in `TableRows`
 */
export async function tableFromCells(columns: readonly TableColumn[], cells: tf.Tensor2D): Promise<TableColumnData[]> {
  const [rows, width] = cells.shape;
  if (width !== columns.length) {
    throw new Error(`tableFromCells: cells have shape [${cells.shape}]; expected [rows, ${columns.length}]`);
  }
  const values = await cells.data();
  return columns.map((column, m) => {
    const read = (value: number) => (column.kind === "numeric" ? column.mean + column.std * value : Math.round(value));
    const own = Array.from({ length: rows }, (_, row) => read(values[row * width + m]!));
    return column.kind === "numeric"
      ? { name: column.name, kind: "numeric", values: own }
      : { name: column.name, kind: "categorical", values: own, categories: column.categories };
  });
}

/**
 * The step to which the numbers of each column were rounded: 1, 0.1, 0.01 or 0.001; 0 if to none of them, and for
 * categories.
 */
export function tableResolutions(data: readonly TableColumnData[]): number[] {
  return data.map((column) => {
    if (column.kind === "categorical") return 0;
    const known = Array.from(column.values).filter((value) => !isMissing(column, value));
    // Values may have passed through float32, whose rounding is below a hundredth of a step for five digits.
    const fits = (perUnit: number) => known.every((v) => Math.abs(v * perUnit - Math.round(v * perUnit)) < 0.01);
    const perUnit = [1, 10, 100, 1000].find(fits);
    return perUnit === undefined ? 0 : 1 / perUnit;
  });
}

/**
 * Spreads rounded numbers evenly over the interval that was rounded to them, x + u with u uniform on half a step to either
 * side. A density cannot profit from rounding then: its mean logarithm plus that of the step is a lower bound of the
 * log-probability of the rounded numbers (Theis et al., "A Note on the Evaluation of Generative Models", ICLR 2016, eq. 3-6).
 *
 * @param resolutions of each column, from `tableResolutions`; 0 leaves a column as it is
 * @param rng draws anew at each call
 */
export function dequantizeRows(
  columns: readonly TableColumn[],
  rows: TableRows,
  resolutions: readonly number[],
  rng: Rng,
): TableRows {
  if (resolutions.length !== columns.length) {
    throw new Error(`dequantizeRows: got ${resolutions.length} resolutions; expected ${columns.length}`);
  }
  return tf.tidy(() => {
    const steps = columns.map((column, m) => (column.kind === "numeric" ? resolutions[m]! / column.std : 0));
    const noise = rng.uniform(rows.cells.shape, -0.5, 0.5).mul(tf.tensor2d([steps]));
    return { cells: rows.cells.add(noise.mul(rows.observed)) as tf.Tensor2D, observed: rows.observed.clone() };
  });
}

/** Hides known cells at random, each with probability `rate`: for training with gaps, and for measuring imputation. */
export function hideCells(observed: tf.Tensor2D, rate: number, rng: Rng): tf.Tensor2D {
  if (!(rate >= 0 && rate <= 1)) throw new Error(`hideCells: rate (${rate}) must be in [0, 1]`);
  return tf.tidy(() => observed.mul(rng.uniform(observed.shape).greaterEqual(rate).toFloat()) as tf.Tensor2D);
}

function checkLengths(caller: string, data: readonly TableColumnData[]): void {
  const first = data[0];
  if (first === undefined || first.values.length === 0) {
    throw new Error(`${caller}: got ${first ? "columns without rows" : "no columns"}; expected one at least`);
  }
  for (const { name, values } of data) {
    if (values.length === first.values.length) continue;
    throw new Error(
      `${caller}: column '${name}' has ${values.length} rows; expected ${first.values.length}, as '${first.name}' has`,
    );
  }
}
