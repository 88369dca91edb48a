import { createEngine, type Engine, Rng, treeMap } from "@genai/core";
import { batches } from "@genai/datasets";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createTableVae,
  dequantizeRows,
  describeTableColumns,
  encodeTableVae,
  hideCells,
  imputeTableVae,
  sampleTableVae,
  type TableColumnData,
  type TableRows,
  tableBatchRows,
  tableColumnData,
  tableFromCells,
  tableResolutions,
  tableRows,
  tableVaeLogLikelihood,
  tableVaeLoss,
} from "../src/index.ts";
import { memorise } from "./memorise.ts";

const colours = ["red", "green", "blue"];
const table: TableColumnData[] = [
  { name: "length", kind: "numeric", values: [1, 2, 3, Number.NaN, 4] },
  { name: "colour", kind: "categorical", values: [0, 1, -1, 2, 0], categories: colours },
  { name: "weight", kind: "numeric", values: [10, 20, 30, 40, 40] },
];

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

const small = (rng = new Rng(0), changes = {}) =>
  createTableVae({ columns: describeTableColumns(table), hiddenDims: [8], latentDim: 2, minStd: 0.1, ...changes }, rng);

describe("tableRows", () => {
  it("standardises the known numbers and marks what is missing", () => {
    const columns = describeTableColumns(table);
    const { cells, observed } = tableRows(columns, table);
    expect(observed.arraySync()).toEqual([
      [1, 1, 1],
      [1, 1, 1],
      [1, 0, 1],
      [0, 1, 1],
      [1, 1, 1],
    ]);
    const length = cells.slice([0, 0], [5, 1]).dataSync();
    expect(length[0]! + length[1]! + length[2]! + length[4]!).toBeCloseTo(0, 5);
    expect(length[3]).toBe(0);
    expect(cells.slice([0, 1], [5, 1]).dataSync()).toEqual(Float32Array.of(0, 1, 0, 2, 0));
  });

  it("comes back in the columns' own units", async () => {
    const columns = describeTableColumns(table);
    const back = await tableFromCells(columns, tableRows(columns, table).cells);
    expect(back.map(({ name }) => name)).toEqual(["length", "colour", "weight"]);
    for (const [i, value] of Array.from(back[2]!.values).entries()) expect(value).toBeCloseTo(table[2]!.values[i]!, 4);
    expect(Array.from(back[1]!.values)).toEqual([0, 1, 0, 2, 0]);
  });

  it("takes tables and batches as the data sets have them: numbers first, then categories", async () => {
    const set = {
      columns: [table[0]!, table[2]!, table[1]!].map(({ values: _, ...column }) => column),
      numeric: Float32Array.of(1, 10, 2, 20, 3, 30, Number.NaN, 40, 4, 40),
      categorical: Int32Array.of(0, 1, -1, 2, 0),
      mask: Uint8Array.of(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1),
      shape: [5, 3] as const,
      name: "made up",
      source: "here",
      licence: "none",
    };
    const data = tableColumnData(set);
    expect(data).toEqual([table[0], table[2], table[1]].map((column) => ({ ...column })));
    const columns = describeTableColumns(data);
    const want = tableRows(columns, data);
    const stream = batches(set, { batchSize: 5, shuffle: false });
    const got = tableBatchRows(columns, (await stream.next()).value!);
    expect(got.observed.arraySync()).toEqual(want.observed.arraySync());
    const [a, b] = [got.cells.dataSync(), want.cells.dataSync()];
    for (let i = 0; i < b.length; i++) expect(a[i]).toBeCloseTo(b[i]!, 5);
    expect(() => tableBatchRows(columns.slice(1), got as never)).toThrow("numbers first");
  });

  it("names the column, the row and what was expected in bad tables", () => {
    const columns = describeTableColumns(table);
    const change = (m: number, column: Partial<TableColumnData>) =>
      table.map((c, i) => (i === m ? ({ ...c, ...column } as TableColumnData) : c));
    expect(() => tableRows(columns, change(1, { values: [0, 1, 3, 0, 0] }))).toThrow(
      "tableRows: column 'colour' has 3 in row 2; expected an index below 3",
    );
    expect(() => tableRows(columns, change(1, { categories: ["red", "pink"] } as Partial<TableColumnData>))).toThrow(
      "column 'colour' has the category 'pink'; expected red, green, blue",
    );
    expect(() => tableRows(columns, change(0, { values: [1] }))).toThrow("column 'colour' has 5 rows; expected 1");
    expect(() => tableRows(columns, change(0, { name: "depth" }))).toThrow(
      "column 0 is 'depth' (numeric); expected 'length'",
    );
    expect(() => tableRows(columns, change(0, { values: [1, 2, 3, 4, Number.POSITIVE_INFINITY] }))).toThrow(
      "column 'length' has Infinity in row 4",
    );
    expect(() => describeTableColumns(change(0, { values: [7, 7, 7, Number.NaN, 7] }))).toThrow(
      "column 'length' has the one value 7 in all rows; expected two at least",
    );
    expect(() => describeTableColumns(change(0, { values: Array(5).fill(Number.NaN) }))).toThrow("has no known cell");
    expect(() => describeTableColumns([])).toThrow("got no columns");
  });
});

describe("dequantizeRows", () => {
  it("finds the step to which numbers were rounded, and spreads them over it", () => {
    const data: TableColumnData[] = [
      { name: "carat", kind: "numeric", values: Float32Array.of(0.23, 0.7, 1.01, Number.NaN) },
      { name: "colour", kind: "categorical", values: [0, 1, 2, 2], categories: colours },
      { name: "price", kind: "numeric", values: [326, 2757, 18_823, 5] },
      { name: "root", kind: "numeric", values: [1, 2, 3, 5].map(Math.sqrt) },
    ];
    const steps = tableResolutions(data);
    expect(steps).toEqual([0.01, 0, 1, 0]);
    const columns = describeTableColumns(data);
    const rows = tableRows(columns, data);
    const values = (r: TableRows) => Array.from(r.cells.dataSync());
    const before = values(rows);
    let farthest = 0;
    for (let seed = 0; seed < 50; seed++) {
      for (const [i, x] of values(dequantizeRows(columns, rows, steps, new Rng(seed))).entries()) {
        const column = columns[i % 4]!;
        const moved = column.kind === "numeric" ? (x - before[i]!) * column.std : x - before[i]!;
        const half = steps[i % 4]! / 2;
        expect(Math.abs(moved)).toBeLessThanOrEqual(half + 1e-3);
        if (i === 12) expect(moved).toBe(0); // the missing one
        if (i % 4 === 2) farthest = Math.max(farthest, Math.abs(moved));
      }
    }
    expect(farthest).toBeGreaterThan(0.45);
    expect(() => dequantizeRows(columns, rows, [1], new Rng(0))).toThrow("got 1 resolutions; expected 4");
  });
});

describe("a VAE for tables", () => {
  it("does not look at missing cells", () => {
    const vae = small();
    const rows = tableRows(vae.config.columns, table);
    const noise = new Rng(1).uniform([5, 3], 0, 2).floor();
    const other = { ...rows, cells: tf.where(rows.observed.greater(0), rows.cells, noise) as tf.Tensor2D };
    const terms = (r: typeof rows) => [
      ...encodeTableVae(vae, r).mu.dataSync(),
      ...tableVaeLoss(vae, r, new Rng(2)).loss.dataSync(),
      ...tableVaeLogLikelihood(vae, r, { samples: 3, rng: new Rng(2) }).dataSync(),
    ];
    expect(terms(other)).toEqual(terms(rows));
  });

  it("has the likelihood of its likelihoods when the decoder ignores z: Gaussian cells and uniform categories", () => {
    const vae = small();
    const zero = { ...vae, params: treeMap(vae.params, (t) => tf.zerosLike(t)) };
    const rows = tableRows(vae.config.columns, table);
    const got = tableVaeLogLikelihood(zero, rows, { samples: 5, rng: new Rng(0) }).dataSync();
    // softplus(-least) + least of the raw 0, least = 2 log 0.1.
    const least = 2 * Math.log(0.1);
    const logvar = Math.log1p(Math.exp(-least)) + least;
    const [cells, observed] = [rows.cells.arraySync(), rows.observed.arraySync()];
    for (const [i, row] of cells.entries()) {
      let want = observed[i]![1] ? -Math.log(3) : 0;
      for (const m of [0, 2]) {
        if (observed[i]![m]) want -= 0.5 * (row[m]! ** 2 / Math.exp(logvar) + logvar + Math.log(2 * Math.PI));
      }
      expect(got[i]).toBeCloseTo(want, 4);
    }
  });

  it("estimates the likelihood of a linear Gaussian decoder, known in closed form", () => {
    // x = a z + noise of variance v is N(0, a^2 + v).
    const columns = [{ name: "x", kind: "numeric", mean: 0, std: 1 }] as const;
    const vae = createTableVae({ columns, hiddenDims: [1], latentDim: 1, minStd: 0.1 }, new Rng(0));
    const zeros = treeMap(vae.params, (t) => tf.zerosLike(t));
    // silu is odd up to its linear part: z / 2 + O(z^2) is avoided by a unit whose input is large, silu(z + 40) = z + 40.
    zeros.decoder.hidden[0] = { weight: tf.ones([1, 1]), bias: tf.tensor1d([40]) };
    zeros.decoder.output = { weight: tf.tensor2d([[2], [0]]), bias: tf.tensor1d([-80, 0]) };
    const least = 2 * Math.log(0.1);
    const variance = 4 + Math.exp(Math.log1p(Math.exp(-least)) + least);
    const rows = { cells: tf.tensor2d([[0.5], [-3]]), observed: tf.ones([2, 1]) as tf.Tensor2D };
    const got = tableVaeLogLikelihood({ ...vae, params: zeros }, rows, { samples: 20_000, rng: new Rng(1) }).dataSync();
    for (const [i, x] of [0.5, -3].entries()) {
      expect(got[i]).toBeCloseTo(-0.5 * (x ** 2 / variance + Math.log(2 * Math.PI * variance)), 1);
    }
  });

  it("mixes Gaussians for a number: a density that integrates to one and has as many peaks as the decoder says", () => {
    const columns = [{ name: "x", kind: "numeric", mean: 0, std: 1 }] as const;
    const vae = createTableVae({ columns, hiddenDims: [1], latentDim: 1, minStd: 0.1, mixtures: 3 }, new Rng(0));
    const zeros = treeMap(vae.params, (t) => tf.zerosLike(t));
    // Means -1 and 2, a standard deviation of about 0.1, weights 1/4 and 3/4; of the wide one at 0 next to nothing.
    const bias = [-1, 2, 0, -20, -20, -20, 0, Math.log(3), -12];
    zeros.decoder.output = { ...zeros.decoder.output, bias: tf.tensor1d(bias) };
    const model = { ...vae, params: zeros };
    const [from, step, count] = [-3, 0.01, 700];
    const cells = tf.tensor2d(
      Array.from({ length: count }, (_, i) => from + i * step),
      [count, 1],
    );
    const rows = { cells, observed: tf.ones([count, 1]) as tf.Tensor2D };
    const density = tableVaeLogLikelihood(model, rows, { samples: 1, rng: new Rng(0) })
      .exp()
      .dataSync();
    const mass = (low: number, high: number) =>
      Array.from(density).reduce(
        (sum, d, i) => (from + i * step >= low && from + i * step < high ? sum + d * step : sum),
        0,
      );
    expect(mass(-3, 4)).toBeCloseTo(1, 3);
    expect(mass(-3, 0)).toBeCloseTo(0.25, 3);
    const drawn = sampleTableVae(model, { count: 2000, rng: new Rng(1) }).dataSync();
    expect(drawn.filter((x) => x < 0).length / 2000).toBeCloseTo(0.25, 1);
    const gap = { cells: tf.zeros([1, 1]) as tf.Tensor2D, observed: tf.zeros([1, 1]) as tf.Tensor2D };
    expect(imputeTableVae(model, gap, { samples: 2, rng: new Rng(0) }).dataSync()[0]).toBeCloseTo(1.25, 4);
    // Eight deviations out, N(2, 0.1^2) has a log-density of -3200; the wide component, N(0, 1), one of -17 with its weight.
    const outlier = { cells: tf.tensor2d([[-3]]), observed: tf.ones([1, 1]) as tf.Tensor2D };
    const far = tableVaeLogLikelihood(model, outlier, { samples: 1, rng: new Rng(0) }).dataSync()[0]!;
    const weight = -12 - Math.log(4 + Math.exp(-12));
    expect(far).toBeCloseTo(weight - 0.5 * (9 + Math.log(2 * Math.PI)), 3);
  });

  it("bounds the likelihood more tightly with more samples", () => {
    const vae = small();
    const rows = tableRows(vae.config.columns, table);
    const mean = (samples: number) => {
      let total = 0;
      const rng = new Rng(4);
      for (let i = 0; i < 40; i++) total += tableVaeLogLikelihood(vae, rows, { samples, rng }).mean().dataSync()[0]!;
      return total / 40;
    };
    expect(mean(50)).toBeGreaterThan(mean(1));
  });

  it("draws rows of numbers and valid categories, the same for the same seed", () => {
    const draw = (seed: number) => sampleTableVae(small(), { count: 50, rng: new Rng(seed) }).arraySync();
    expect(draw(1)).toEqual(draw(1));
    expect(new Set(draw(1).map((row) => row[1]))).toEqual(new Set([0, 1, 2]));
  });

  it("memorises a table and fills its gaps from what goes together", async () => {
    const rng = new Rng(0);
    const kinds = rng.draw({ kind: "integers", size: 60, low: 0, high: 3 });
    const data: TableColumnData[] = [
      { name: "colour", kind: "categorical", values: kinds, categories: colours },
      { name: "length", kind: "numeric", values: Array.from(kinds, (k) => k * 10) },
      { name: "weight", kind: "numeric", values: Array.from(kinds, (k) => 5 - k) },
    ];
    const columns = describeTableColumns(data);
    const rows = tableRows(columns, data);
    const vae = createTableVae({ columns, hiddenDims: [16], latentDim: 2, minStd: 0.1 }, new Rng(1));
    const { first, last, params } = await memorise(
      engine,
      vae.params,
      (p, noise) => tableVaeLoss({ ...vae, params: p }, rows, noise, { hide: 0.3 }),
      { steps: 400 },
    );
    expect(last).toBeLessThan(first - 2);
    // Only one cell of each row is left.
    const only = (m: number) =>
      tf.tensor2d(rows.observed.arraySync().map((row) => row.map((_, i) => (i === m ? 1 : 0))));
    const trained = { ...vae, params };
    const fill = (m: number) =>
      imputeTableVae(trained, { ...rows, observed: only(m) }, { samples: 20, rng: new Rng(2) }).arraySync();
    const truth = rows.cells.arraySync();
    const byColour = fill(0);
    const error = byColour.reduce((sum, row, i) => sum + (row[1]! - truth[i]![1]!) ** 2, 0) / 60;
    expect(error).toBeLessThan(0.15); // 1 is the error of the mean
    expect(byColour.map((row) => row[0])).toEqual(truth.map((row) => row[0]));
    const byLength = fill(1).filter((row, i) => row[0] === truth[i]![0]).length;
    expect(byLength).toBeGreaterThan(54);
  });

  it("hides about as many cells as asked, and never shows missing ones", () => {
    const observed = tf.concat([tf.ones([1000, 2]), tf.zeros([1000, 1])], 1) as tf.Tensor2D;
    const shown = hideCells(observed, 0.3, new Rng(0)).sum(0).dataSync();
    expect(shown[2]).toBe(0);
    for (const m of [0, 1]) expect(Math.abs(shown[m]! - 700)).toBeLessThan(75); // five standard deviations
  });

  it("refuses sizes and shapes that do not fit", () => {
    expect(() => small(new Rng(0), { minStd: 0 })).toThrow("minStd (0) must be positive");
    expect(() => small(new Rng(0), { mixtures: 0 })).toThrow("mixtures (0) must be a positive integer");
    expect(() => small(new Rng(0), { hiddenDims: [] })).toThrow("hiddenDims is empty");
    const vae = small();
    expect(() => encodeTableVae(vae, { cells: tf.zeros([2, 2]), observed: tf.zeros([2, 2]) })).toThrow(
      "encodeTableVae: cells have shape [2,2]; expected [rows, 3]",
    );
    expect(() => sampleTableVae(vae, { count: 0, rng: new Rng(0) })).toThrow("count (0) must be a positive integer");
  });
});
