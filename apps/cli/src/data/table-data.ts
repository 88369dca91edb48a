import { existsSync } from "node:fs";
import { Rng } from "@genai/core";
import { type DatasetEntry, datasets, loadCsv, splitTable, type TableColumn, type TableSet } from "@genai/datasets";
import { type DataRequest, downloadNotes, inEnglish, unknownData } from "./data-names.ts";

export interface TableSplits {
  readonly train: TableSet;
  readonly test: TableSet;
  readonly summary: string;
}

const entryNamed = (source: string): DatasetEntry<TableSet> | undefined => {
  const entry = (datasets as Readonly<Record<string, DatasetEntry>>)[source];
  return entry?.kind === "table" ? (entry as DatasetEntry<TableSet>) : undefined;
};

/** Both parts of a named table, or of a CSV file: a fifth of the rows is tested on. */
export async function loadTable(source: string, { signal, note }: DataRequest): Promise<TableSplits> {
  const entry = entryNamed(source);
  if (!entry && !existsSync(source)) throw unknownData("table", source);
  const onProgress = downloadNotes(note);
  const { train, test } = entry
    ? {
        train: await entry.load({ split: "train", signal, onProgress }),
        test: await entry.load({ split: "test", signal, onProgress }),
      }
    : splitTable(await loadCsv(source, { onConstant: "drop", signal }), {
        testFraction: 0.2,
        rng: new Rng(0),
        standardize: false,
      });
  const count = (kind: string) => train.columns.filter((column) => column.kind === kind).length;
  const what = `${source}: ${count("numeric")} columns of numbers, ${count("categorical")} of categories`;
  return {
    train,
    test,
    summary: `${what}; ${inEnglish(train.shape[0])} rows to train on and ${inEnglish(test.shape[0])} to test on`,
  };
}

/** All rows of a CSV file with the columns that a model knows, or the test part of a named table. */
export async function loadTableToJudge(
  source: string,
  known: readonly TableColumn[],
  { signal, note }: DataRequest,
): Promise<TableSet> {
  const entry = entryNamed(source);
  if (entry) return entry.load({ split: "test", signal, onProgress: downloadNotes(note) });
  if (!existsSync(source)) throw unknownData("table", source);
  const columns = Object.fromEntries(
    known.map((column) => [
      column.name,
      column.kind === "numeric"
        ? ({ kind: "numeric" } as const)
        : ({ kind: "categorical", categories: column.categories } as const),
    ]),
  );
  return loadCsv(source, { columns, onConstant: "keep", signal });
}
