import type { Rng } from "@genai/core";
import type { NumericColumn, TableSet } from "./dataset.ts";
import { split } from "./split.ts";

/** Mean and standard deviation of each numeric column, as plain JSON. */
export interface TableScaling {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface SplitTableOptions {
  /** Share of the rows that is tested on. */
  readonly testFraction: number;
  readonly rng: Rng;
  /** Whether both parts are standardized, by the statistics of the training part. Default true. */
  readonly standardize?: boolean;
}

export interface SplitTable {
  readonly train: TableSet;
  readonly test: TableSet;
  /** Statistics of the training part, which `standardizeTable` and `unstandardizeTable` take. */
  readonly scaling: TableScaling;
}

/**
 * Parts a table at random into rows to train on and rows to test on. Statistics are those of the training part only, so
 * that nothing of the test part leaks into it.
 *
 * @throws if a part would be empty, or as `fitScaling` if a column cannot be standardized.
 */
export function splitTable(table: TableSet, { testFraction, rng, standardize = true }: SplitTableOptions): SplitTable {
  const n = table.shape[0];
  const tested = Math.round(testFraction * n);
  if (!(testFraction > 0 && testFraction < 1) || tested < 1 || tested >= n) {
    throw new Error(`splitTable: testFraction (${testFraction}) must leave at least one of the ${n} rows in each part`);
  }
  const [train, test] = split(table, [1 - testFraction, testFraction], rng) as [TableSet, TableSet];
  const scaling = standardize ? fitScaling(train) : statistics(train);
  if (!standardize) return { train, test, scaling };
  return { train: standardizeTable(train, scaling), test: standardizeTable(test, scaling), scaling };
}

const numericColumns = (table: TableSet) =>
  table.columns.filter((column): column is NumericColumn => column.kind === "numeric");

function statistics(table: TableSet): { mean: number[]; std: number[]; count: number[] } {
  const N = numericColumns(table).length;
  const [mean, std, count] = [0, 0, 0].map(() => new Array<number>(N).fill(0)) as [number[], number[], number[]];
  const each = (visit: (c: number, value: number) => void) => {
    for (const [i, value] of table.numeric.entries()) if (!Number.isNaN(value)) visit(i % N, value);
  };
  each((c, value) => {
    count[c]! += 1;
    mean[c]! += (value - mean[c]!) / count[c]!;
  });
  each((c, value) => {
    std[c]! += (value - mean[c]!) ** 2 / count[c]!;
  });
  for (let c = 0; c < N; c++) std[c] = Math.sqrt(std[c]!);
  return { mean, std, count };
}

/**
 * Mean and standard deviation (of the population) of the numeric columns, over the values that are there.
 *
 * @throws if a column has no value, or only one, which cannot be scaled to variance 1.
 */
export function fitScaling(table: TableSet): TableScaling {
  const { mean, std, count } = statistics(table);
  for (const [c, { name }] of numericColumns(table).entries()) {
    if (count[c] === 0) throw new Error(`fitScaling: column "${name}" has no value in ${table.shape[0]} rows`);
    if (!(std[c]! > 1e-12 * Math.abs(mean[c]!))) {
      throw new Error(`fitScaling: column "${name}" has one value (${mean[c]}); expected at least two`);
    }
  }
  return { mean, std };
}

/** The table with (x - mean) / std in its numeric columns; the others are shared with the input. */
export function standardizeTable(table: TableSet, scaling: TableScaling): TableSet {
  const { mean, std } = checkScaling("standardizeTable", table, scaling);
  return { ...table, numeric: table.numeric.map((x, i) => (x - mean[i % mean.length]!) / std[i % std.length]!) };
}

/** Undoes `standardizeTable`. */
export function unstandardizeTable(table: TableSet, scaling: TableScaling): TableSet {
  const { mean, std } = checkScaling("unstandardizeTable", table, scaling);
  return { ...table, numeric: table.numeric.map((x, i) => x * std[i % std.length]! + mean[i % mean.length]!) };
}

function checkScaling(caller: string, table: TableSet, scaling: TableScaling): TableScaling {
  const N = numericColumns(table).length;
  if (scaling.mean.length !== N || scaling.std.length !== N) {
    throw new Error(`${caller}: scaling has ${scaling.mean.length} columns; expected ${N}`);
  }
  return scaling;
}
