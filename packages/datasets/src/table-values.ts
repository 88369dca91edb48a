import type { TableColumn, TableSet } from "./dataset.ts";

/** A column with its values: numbers (NaN where missing), or indices of categories (-1 where missing). */
export type ColumnValues = TableColumn & { readonly values: Float32Array | Int32Array };

/** The columns of a table, one by one and in its order: what `tableRows` of @genai/vae takes, for example. */
export function columnValues(table: TableSet): ColumnValues[] {
  const { columns, numeric, categorical, shape } = table;
  const N = columns.filter(({ kind }) => kind === "numeric").length;
  const C = columns.length - N;
  return columns.map((column, i) => {
    if (column.kind === "numeric") {
      return { ...column, values: Float32Array.from({ length: shape[0] }, (_, row) => numeric[row * N + i]!) };
    }
    return { ...column, values: Int32Array.from({ length: shape[0] }, (_, row) => categorical[row * C + i - N]!) };
  });
}
