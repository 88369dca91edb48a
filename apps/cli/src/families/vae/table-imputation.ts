import { type Rng, treeDispose } from "@genai/core";
import {
  assertSomeObserved,
  imputePca,
  imputeTableVae,
  type TableColumn,
  type TableRows,
  type TableVae,
  tableColumnData,
  tableFromCells,
  tableRows,
} from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import { loadTable, loadTableToJudge } from "../../data/table-data.ts";
import { UsageError } from "../../exit-code.ts";
import type { Imputation, ImputeRequest } from "../family.ts";
import { writeCsv } from "./csv-file.ts";
import { fitTablePca, numberRows } from "./table-cells.ts";

const draws = 100;

/** Fills the empty cells of a table; cells that are hidden on purpose are filled too and compared. */
export async function imputeTable(request: ImputeRequest): Promise<Imputation> {
  const { run, engine, rng, data, hide } = request;
  const { config, params } = { config: run.config.model, params: run.params } as TableVae;
  const { columns } = config;
  const { train, test } = await loadTable(run.config.settings.data, request);
  const table = data === undefined ? test : await loadTableToJudge(data, columns, request);
  if (hide === 0 && !table.mask.includes(0)) {
    throw new UsageError(
      `${data ?? run.config.settings.data} has no empty cells; say with --missing which share of its cells to hide and fill in`,
    );
  }
  const rows = tableRows(columns, tableColumnData(table));
  await assertSomeObserved("genai impute", rows.observed);
  const seen =
    hide === 0 ? rows : { cells: rows.cells, observed: await hideSome(rows.observed, hide, rng.fork("gaps")) };
  const fill = engine.compile((p: TableVae["params"], batch: TableRows, noise: Rng) =>
    imputeTableVae({ config, params: p }, batch, { samples: draws, rng: noise }),
  );
  const parts: tf.Tensor2D[] = [];
  const size = 200;
  for (let start = 0; start < table.shape[0]; start += size) {
    request.signal.throwIfAborted();
    const count = Math.min(size, table.shape[0] - start);
    const batch = {
      cells: tf.slice(seen.cells, [start, 0], [count, -1]),
      observed: tf.slice(seen.observed, [start, 0], [count, -1]),
    };
    parts.push(await fill(params, batch, rng));
    treeDispose(batch);
  }
  fill.dispose();
  const filled = tf.concat(parts, 0);
  const errors = hide === 0 ? [] : await errorsOf(columns, train, { rows, seen, filled });
  const contents = writeCsv(await tableFromCells(columns, filled));
  const gaps = tf.tidy(() => tf.sub(1, seen.observed).sum().dataSync()[0]!);
  treeDispose([parts, filled, rows, ...(hide === 0 ? [] : [seen.observed])]);
  return { file: { extension: "csv", contents }, examples: table.shape[0], filled: gaps, errors };
}

/** Hides known cells at random, but never all of a row. */
async function hideSome(observed: tf.Tensor2D, share: number, rng: Rng): Promise<tf.Tensor2D> {
  const known = Float32Array.from(await observed.data());
  const draws = rng.draw({ kind: "uniform", size: known.length, low: 0, high: 1 });
  const [rows, width] = observed.shape;
  for (let row = 0; row < rows; row++) {
    let left = 0;
    for (let at = row * width; at < (row + 1) * width; at++) left += known[at]!;
    for (let at = row * width; at < (row + 1) * width; at++) {
      if (!known[at] || draws[at]! >= share || left === 1) continue;
      known[at] = 0;
      left -= 1;
    }
  }
  return tf.tensor2d(known, observed.shape);
}

interface Filled {
  readonly rows: TableRows;
  readonly seen: TableRows;
  readonly filled: tf.Tensor2D;
}

async function errorsOf(
  columns: readonly TableColumn[],
  train: Parameters<typeof tableColumnData>[0],
  { rows, seen, filled }: Filled,
): Promise<Imputation["errors"]> {
  const [truth, known, shown, model] = await Promise.all(
    [rows.cells, rows.observed, seen.observed, filled].map((t) => t.data()),
  );
  const trained = tableRows(columns, tableColumnData(train));
  const modes = await modesOf(columns, trained);
  const pca = await fitTablePca(columns, trained);
  treeDispose(trained);
  const numbered = await numberRows(columns, seen);
  const byPca = imputePca(pca, numbered.values, numbered.known);
  const width = columns.length;
  const pcaCell = (row: number, m: number): number => {
    const start = row * numbered.dims + numbered.starts[m]!;
    const column = columns[m]!;
    if (column.kind === "numeric") return byPca[start]!;
    const scores = byPca.subarray(start, start + column.categories.length);
    return scores.indexOf(Math.max(...scores));
  };
  const over = (kind: TableColumn["kind"], error: (guess: number, truth: number) => number) => {
    const sums = { model: 0, mean: 0, pca: 0 };
    let count = 0;
    for (let at = 0; at < truth!.length; at++) {
      const m = at % width;
      if (columns[m]!.kind !== kind || !known![at] || shown![at]) continue;
      count += 1;
      sums.model += error(model![at]!, truth![at]!);
      sums.mean += error(modes[m]!, truth![at]!);
      sums.pca += error(pcaCell(Math.floor(at / width), m), truth![at]!);
    }
    return { count, sums };
  };
  const numbers = over("numeric", (guess, value) => (guess - value) ** 2);
  const categories = over("categorical", (guess, value) => (Math.round(guess) === value ? 0 : 1));
  const mapped = ({ count, sums }: typeof numbers, f: (x: number) => number) => ({
    model: f(sums.model / count),
    mean: f(sums.mean / count),
    pca: f(sums.pca / count),
  });
  return [
    ...(numbers.count > 0
      ? [
          {
            measure: "root mean squared error of hidden numbers, in standard deviations",
            ...mapped(numbers, Math.sqrt),
          },
        ]
      : []),
    ...(categories.count > 0
      ? [{ measure: "share of hidden categories that are wrong", ...mapped(categories, (x) => x) }]
      : []),
  ];
}

/** The mean of each column of numbers, which is 0, and the most common category of the others. */
async function modesOf(columns: readonly TableColumn[], { cells, observed }: TableRows): Promise<number[]> {
  const [values, known] = await Promise.all([cells.data(), observed.data()]);
  return columns.map((column, m) => {
    if (column.kind === "numeric") return 0;
    const counts = new Array<number>(column.categories.length).fill(0);
    for (let at = m; at < values.length; at += columns.length) if (known[at]) counts[values[at]!]! += 1;
    return counts.indexOf(Math.max(...counts));
  });
}
