import { Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { holdsSeveral, type PackedRows, packDocuments, packedBatches, packStream } from "../src/index.ts";

const X = -100;

const table = ({ count, length }: PackedRows, values: Int32Array) =>
  Array.from({ length: count }, (_, row) => [...values.subarray(row * length, (row + 1) * length)]);

describe("packStream", () => {
  it("cuts the joined documents into rows in which every token but the first is a target once", () => {
    const rows = packStream([{ ids: [1, 2, 3] }, { ids: [] }, { ids: [4] }, { ids: [5, 6] }], {
      length: 4,
      separatorId: 9,
      padId: 7,
    });
    expect(table(rows, rows.ids)).toEqual([
      [1, 2, 3, 9],
      [4, 9, 5, 6],
    ]);
    expect(table(rows, rows.targets)).toEqual([
      [2, 3, 9, 4],
      [9, 5, 6, 9],
    ]);
    expect(table(rows, rows.segments)).toEqual([
      [1, 1, 1, 1],
      [1, 1, 2, 2],
    ]);
  });

  it("pads the last row alone, and learns neither padding nor what is only read", () => {
    const rows = packStream([{ ids: [1, 2, 3, 4, 5, 6], learned: [1, 1, 0, 0, 1, 1] }], { length: 4, padId: 7 });
    expect(table(rows, rows.ids)).toEqual([
      [1, 2, 3, 4],
      [5, 7, 7, 7],
    ]);
    expect(table(rows, rows.targets)).toEqual([
      [2, X, X, 5],
      [6, X, X, X],
    ]);
    expect(table(rows, rows.segments)[1]).toEqual([1, 0, 0, 0]);
  });

  it("refuses what leaves nothing to learn, and masks of another length", () => {
    expect(() => packStream([{ ids: [1] }], { length: 4 })).toThrow("packStream: the documents hold 1 tokens");
    expect(() => packStream([{ ids: [1, 2], learned: [1] }], { length: 4 })).toThrow(
      "packStream: document 0 has 2 ids and 1 entries in learned",
    );
    expect(() => packStream([{ ids: [1, 2] }], { length: 0 })).toThrow("length (0) must be a positive integer");
  });
});

describe("packDocuments", () => {
  it("lays whole documents side by side and learns nothing across them", () => {
    const rows = packDocuments([{ ids: [1, 2] }, { ids: [3, 4, 5, 6] }, { ids: [8, 9, 10], learned: [0, 0, 1] }], {
      length: 5,
    });
    expect(table(rows, rows.ids)).toEqual([
      [3, 4, 5, 8, 9],
      [1, 0, 0, 0, 0],
    ]);
    expect(table(rows, rows.targets)).toEqual([
      [4, 5, 6, X, 10],
      [2, X, X, X, X],
    ]);
    expect(table(rows, rows.segments)).toEqual([
      [1, 1, 1, 2, 2],
      [1, 0, 0, 0, 0],
    ]);
  });

  it("says whether rows hold several documents", () => {
    const rowsOf = (length: number) => packDocuments([{ ids: [1, 2, 3] }, { ids: [4, 5] }], { length });
    expect([2, 3].map((length) => holdsSeveral(rowsOf(length)))).toEqual([false, true]);
  });

  it("cuts documents that are longer than a row, each token but the first a target once", () => {
    const rows = packDocuments([{ ids: [1, 2, 3, 4, 5, 6, 7] }], { length: 4, separatorId: 9 });
    expect(table(rows, rows.ids)).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 0],
    ]);
    expect(table(rows, rows.targets)).toEqual([
      [2, 3, 4, 5],
      [6, 7, 9, X],
    ]);
  });

  it("keeps every transition of many documents and leaves little room unused", () => {
    const rng = new Rng(0);
    const sizes = [...rng.draw({ kind: "integers", size: 300, low: 2, high: 40 })];
    let id = 1;
    const documents = sizes.map((size) => ({ ids: Array.from({ length: size }, () => id++) }));
    const rows = packDocuments(documents, { length: 32 });
    const got = [...rows.ids].map((from, i) => `${from} ${rows.targets[i]}`).filter((pair) => !pair.endsWith(`${X}`));
    const want = documents.flatMap(({ ids }) => ids.slice(1).map((to, i) => `${ids[i]} ${to}`));
    expect(got.sort()).toEqual(want.sort());
    expect(want.length / rows.ids.length).toBeGreaterThan(0.97);
  });

  it("refuses documents that leave nothing to learn", () => {
    expect(() => packDocuments([{ ids: [1] }, { ids: [] }], { length: 4 })).toThrow("no document has two tokens");
  });
});

describe("packedBatches", () => {
  const rows = packStream([{ ids: Array.from({ length: 22 }, (_, i) => i) }], { length: 3 }); // 7 rows
  const take = async (stream: ReturnType<typeof packedBatches>) => {
    const { ids, targets } = (await stream.next()).value!;
    expect(targets.arraySync()).toEqual(ids.add(1).arraySync());
    return ids.arraySync();
  };

  it("gives each row once in a pass, in another order in each", async () => {
    const stream = packedBatches(rows, { batchSize: 2, rng: new Rng(1) });
    const passes = [];
    for (let pass = 0; pass < 2; pass++) {
      const firsts = [];
      for (let i = 0; i < 3; i++) firsts.push(...(await take(stream)).map((row) => row[0]!));
      expect(new Set(firsts).size).toBe(6);
      passes.push(firsts);
    }
    expect(passes[0]).not.toEqual(passes[1]);
  });

  it("says which document a token belongs to if asked", async () => {
    const packed = packDocuments([{ ids: [1, 2, 3] }, { ids: [4, 5] }], { length: 4 });
    const { value } = await packedBatches(packed, { batchSize: 1, rng: new Rng(1), segments: true }).next();
    expect(value!.segments!.arraySync()).toEqual([[1, 1, 2, 0]]);
  });

  it("goes on from a saved place", async () => {
    const stream = packedBatches(rows, { batchSize: 2, rng: new Rng(1) });
    for (let i = 0; i < 4; i++) await take(stream);
    const state = JSON.parse(JSON.stringify(stream.state()));
    const want = [await take(stream), await take(stream), await take(stream)];
    const other = packedBatches(rows, { batchSize: 2, rng: new Rng(5) });
    other.restore(state);
    expect([await take(other), await take(other), await take(other)]).toEqual(want);
    expect(() => other.restore({ cursor: 99 })).toThrow("is no place in a stream of 7 rows");
  });

  it("refuses batches larger than there are rows", () => {
    expect(() => packedBatches(rows, { batchSize: 8, rng: new Rng(0) })).toThrow("batchSize (8) must be from 1 to");
  });
});
