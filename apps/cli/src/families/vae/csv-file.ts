import type { TableColumnData } from "@genai/vae";
import Papa from "papaparse";

/** A table as the text of a CSV file; missing cells are empty. */
export function writeCsv(columns: readonly TableColumnData[]): string {
  const rows = columns[0]?.values.length ?? 0;
  const cell = (column: TableColumnData, row: number): string | number => {
    const value = column.values[row]!;
    if (column.kind === "categorical") return column.categories[value] ?? "";
    return Number.isFinite(value) ? Number(value.toPrecision(6)) : "";
  };
  const data = Array.from({ length: rows }, (_, row) => columns.map((column) => cell(column, row)));
  return `${Papa.unparse({ fields: columns.map(({ name }) => name), data }, { newline: "\n" })}\n`;
}
