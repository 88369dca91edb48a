import { fitPca, type Pca, type TableColumn, type TableRows } from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";

// Tables as plain numbers, for principal components: standardised numbers, and a 0 or 1 for each category.

export interface NumberedRows {
  /** Row-major, rows * dims; 0 where a cell is missing. */
  readonly values: Float64Array;
  /** As long: 1 where the cell is known. */
  readonly known: Float64Array;
  readonly dims: number;
  /** Where each column starts. */
  readonly starts: readonly number[];
}

const widthOf = (column: TableColumn) => (column.kind === "numeric" ? 1 : column.categories.length);

/** The numbers of rows whose cells are known where `observed` says so. */
export async function numberRows(
  columns: readonly TableColumn[],
  { cells, observed }: { readonly cells: tf.Tensor2D; readonly observed: tf.Tensor2D },
): Promise<NumberedRows> {
  const [values, mask] = await Promise.all([cells.data(), observed.data()]);
  const starts: number[] = [];
  let dims = 0;
  for (const column of columns) {
    starts.push(dims);
    dims += widthOf(column);
  }
  const rows = cells.shape[0];
  const out = new Float64Array(rows * dims);
  const known = new Float64Array(rows * dims);
  for (let row = 0; row < rows; row++) {
    for (const [m, column] of columns.entries()) {
      const at = row * columns.length + m;
      if (!mask[at]) continue;
      const to = row * dims + starts[m]!;
      known.fill(1, to, to + widthOf(column));
      if (column.kind === "numeric") out[to] = values[at]!;
      else out[to + values[at]!] = 1;
    }
  }
  return { values: out, known, dims, starts };
}

/** Principal components of training rows, of at most 5000. */
export async function fitTablePca(columns: readonly TableColumn[], rows: TableRows): Promise<Pca> {
  const { values, dims } = await numberRows(columns, rows);
  const shown = values.subarray(0, 5000 * dims);
  return fitPca(shown, { dims, components: Math.max(1, Math.min(8, dims - 1, shown.length / dims - 2)) });
}
