import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FormatError, Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  batches,
  columnValues,
  fitScaling,
  loadCsv,
  loadTextFiles,
  readCsv,
  splitTable,
  standardizeTable,
  subset,
  take,
  unstandardizeTable,
} from "../src/index.ts";

const small = `height,colour,width,size
1.5,red,10,big
NA,blue,20,small
-2e1,red,30,
`;

const refuse = async (text: string, message: string | RegExp, options = {}) => {
  await expect(readCsv(text, { name: "a.csv", ...options })).rejects.toThrow(FormatError);
  await expect(readCsv(text, { name: "a.csv", ...options })).rejects.toThrow(message);
};

describe("readCsv", () => {
  it("types the columns, and marks what is missing", async () => {
    const table = await readCsv(small);
    expect(table.columns).toEqual([
      { name: "height", kind: "numeric" },
      { name: "width", kind: "numeric" },
      { name: "colour", kind: "categorical", categories: ["blue", "red"] },
      { name: "size", kind: "categorical", categories: ["big", "small"] },
    ]);
    expect(table.shape).toEqual([3, 4]);
    expect(table.numeric).toEqual(Float32Array.of(1.5, 10, Number.NaN, 20, -20, 30));
    expect(table.categorical).toEqual(Int32Array.of(1, 0, 0, 1, 1, -1));
    expect(table.mask).toEqual(Uint8Array.of(1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0));
  });

  it("takes types, units, categories and names for the columns", async () => {
    const table = await readCsv("3;x;1\n10;y;2\n9;x;1\n", {
      header: ["grade", "note", "mm"],
      columns: { grade: "categorical", note: "skip", mm: { kind: "numeric", unit: "mm" } },
    });
    expect(table.columns).toEqual([
      { name: "mm", kind: "numeric", unit: "mm" },
      { name: "grade", kind: "categorical", categories: ["3", "9", "10"] },
    ]);
    const ordered = { kind: "categorical", categories: ["y", "x"] } as const;
    expect((await readCsv("a\nx\ny\n", { columns: { a: ordered } })).categorical).toEqual(Int32Array.of(1, 0));
    expect((await readCsv("1,2\n3,4\n", { header: false })).columns.map(({ name }) => name)).toEqual([
      "column1",
      "column2",
    ]);
  });

  it("reads quotes, line ends of Windows, a byte order mark and blank lines", async () => {
    const table = await readCsv('\uFEFFa,b\r\n"x, ""y""\r\nz",1\r\n\r\nw,2\r\n');
    expect(table.columns[1]).toMatchObject({ categories: ["w", 'x, "y"\r\nz'] });
    expect(table.shape).toEqual([2, 2]);
  });

  it("says on which line a row is ragged, also below quoted line ends", async () => {
    await refuse("a,b\n1,2\n3\n", 'a.csv, line 3: 1 cells at ","; expected 2, one for each of "a", "b"');
    await refuse('a,b\n"x\ny\nz",2\n\n1,2,3\n', "a.csv, line 6: 3 cells; expected 2", { delimiter: "," });
    await refuse("a,b\n1,2\n3\n4,5,6\n7,8\n", 'one for each of "a", "b"; 2 of 4 rows are ragged');
    // Decimal commas: the guess shows.
    await refuse("a;b\n1,5;2,5\n3,5;4,5\n", 'line 2: 3 cells at ","; expected 1, one for each of "a;b"');
    await refuse('a,b\n1,2\n"x,3\n', "line 3: Quoted field unterminated");
  });

  it("refuses a column of one value or none, or drops or keeps it", async () => {
    const text = "a,b,c\n1,x,\n1,y,\n";
    await refuse(text, 'column "a" has one value ("1"); expected at least two');
    await refuse("a,b\nx,1\nx,2\n", 'column "a" has one value ("x")');
    await refuse("a,c\n1,\n2,\n", 'column "c" has no value');
    expect((await readCsv(text, { onConstant: "drop" })).columns.map(({ name }) => name)).toEqual(["b"]);
    expect((await readCsv("a,b\n1,x\n1,y\n", { onConstant: "keep" })).shape).toEqual([2, 2]);
    await refuse("a\n1\n1\n", "no column is left", { onConstant: "drop" });
  });

  it("refuses labels and numbers that do not belong, by line", async () => {
    const columns = { a: { kind: "categorical", categories: ["x", "y"] } } as const;
    await refuse(
      "a,b\nx,1\ny,2\nz,3\n",
      'a.csv, line 4: column "a" holds the unknown label "z"; expected one of "x", "y"',
      { columns },
    );
    await refuse("a,b\n1,1\n1.2.3,2\n", 'line 3: column "a" holds "1.2.3"; expected a number', {
      columns: { a: "numeric" },
    });
    await refuse("a\n1e99\n2\n", 'line 2: column "a" holds "1e99"', { columns: { a: "numeric" } });
    const notes = `a\n1\n${Array.from({ length: 300 }, (_, i) => `text ${i}`).join("\n")}\n`;
    await refuse(notes, 'line 3: column "a" holds "text 0", and 301 different texts in all');
    await refuse(small, 'column "weight" is typed but not there', { columns: { weight: "numeric" } });
    await refuse(small, 'target "weight" is no column', { target: "weight" });
  });

  it("refuses tables without rows, or with names that are no names", async () => {
    await refuse("", "a.csv: no rows");
    await refuse("a,b\n", "a.csv: no rows below the names");
    await refuse("a,a\n1,2\n", 'two columns are called "a"');
    await refuse("a,\n1,2\n", "column 2 has no name");
  });

  it("meets 5,000 mutated files with a table that fits or a FormatError, nothing else", async () => {
    const rng = new Rng(3);
    const seeds = [small, 'a;b\n"x;1";2\n"y\nz";3\n', "__proto__,constructor\n1,x\n2,y\n"];
    const alphabet = [...'",;\t\n\r|1.-eNA \uFEFF\0x\u{1F600}'];
    let read = 0;
    for (let round = 0; round < 5000; round++) {
      const n = rng.draw({ kind: "integers", size: 12, low: 0, high: 2 ** 31 - 1 });
      let text = seeds[n[0]! % seeds.length]!;
      for (let change = 0; change <= n[1]! % 4; change++) {
        const [at, value] = [n[2 + 2 * change]! % (text.length + 1), n[3 + 2 * change]!];
        const cut = value % 5 === 0 ? value % 7 : 0;
        text = text.slice(0, at) + (value % 3 === 0 ? "" : alphabet[value % alphabet.length]!) + text.slice(at + cut);
      }
      try {
        const { shape, numeric, categorical, mask, columns } = await readCsv(
          text,
          n[11]! % 2 ? {} : { onConstant: "keep" },
        );
        expect(columns).toHaveLength(shape[1]);
        expect(mask).toHaveLength(shape[0] * shape[1]);
        expect(numeric.length + categorical.length).toBe(mask.length);
        read += 1;
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    }
    expect(read).toBeGreaterThan(500);
    expect(read).toBeLessThan(4500);
  });
});

describe("columnValues", () => {
  it("gives every column with its values and gaps", async () => {
    expect(columnValues(await readCsv(small))).toEqual([
      { name: "height", kind: "numeric", values: Float32Array.of(1.5, Number.NaN, -20) },
      { name: "width", kind: "numeric", values: Float32Array.of(10, 20, 30) },
      { name: "colour", kind: "categorical", categories: ["blue", "red"], values: Int32Array.of(1, 0, 1) },
      { name: "size", kind: "categorical", categories: ["big", "small"], values: Int32Array.of(0, 1, -1) },
    ]);
  });
});

describe("tables", () => {
  const rows = Array.from({ length: 50 }, (_, i) => `${i},${i % 7 === 0 ? "NA" : i * i},${i % 5 === 0 ? "" : i % 3}`);
  const table = () => readCsv(`a,b,c\n${rows.join("\n")}\n`, { columns: { c: "categorical" } });

  it("come in batches of numbers, ids and a mask, with 0 where a cell is missing", async () => {
    await tf.setBackend("cpu");
    const before = tf.memory().numTensors;
    const stream = batches(take(await table(), 8), { batchSize: 8, shuffle: false, epochs: 1 });
    for await (const { numeric, categorical, mask } of stream) {
      expect([numeric.dtype, categorical.dtype, mask.dtype]).toEqual(["float32", "int32", "float32"]);
      expect([numeric.shape, categorical.shape, mask.shape]).toEqual([
        [8, 2],
        [8, 1],
        [8, 3],
      ]);
      expect(Array.from(numeric.dataSync())).toEqual([0, 0, 1, 1, 2, 4, 3, 9, 4, 16, 5, 25, 6, 36, 7, 0]);
      expect(Array.from(categorical.dataSync())).toEqual([0, 1, 2, 0, 1, 0, 0, 1]);
      expect(Array.from(mask.dataSync().slice(0, 6))).toEqual([1, 0, 0, 1, 1, 1]);
      tf.dispose([numeric, categorical, mask]);
    }
    const onlyNumbers = batches(await readCsv("a\n1\n2\n"), { batchSize: 2, shuffle: false });
    const { value } = await onlyNumbers.next();
    expect(value!.numeric.shape).toEqual([2, 1]);
    expect(value!.categorical.shape).toEqual([2, 0]);
    tf.dispose(value!);
    await onlyNumbers.return();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("split by seed, with the statistics of the training part only", async () => {
    const whole = await table();
    const { train, test, scaling } = splitTable(whole, { testFraction: 0.2, rng: new Rng(1) });
    expect([train.shape[0], test.shape[0]]).toEqual([40, 10]);
    for (const column of [0, 1]) {
      const values = Array.from(train.numeric).filter((x, i) => i % 2 === column && !Number.isNaN(x));
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      expect(mean).toBeCloseTo(0, 5);
      expect(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length).toBeCloseTo(1, 5);
    }
    const raw = splitTable(whole, { testFraction: 0.2, rng: new Rng(1), standardize: false });
    expect(fitScaling(raw.train)).toEqual({ mean: scaling.mean, std: scaling.std });
    expect(standardizeTable(raw.test, scaling).numeric).toEqual(test.numeric);
    const back = unstandardizeTable(test, scaling).numeric;
    for (const [i, x] of raw.test.numeric.entries()) {
      if (Number.isNaN(x)) expect(back[i]).toBeNaN();
      else expect(back[i]).toBeCloseTo(x, 2);
    }
    const ids = [...raw.train.numeric, ...raw.test.numeric].filter((_, i) => i % 2 === 0).sort((a, b) => a - b);
    expect(ids).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(splitTable(whole, { testFraction: 0.2, rng: new Rng(2) }).test.numeric).not.toEqual(test.numeric);
  });

  it("refuse scaling that has no meaning", async () => {
    const whole = await table();
    expect(() => fitScaling(subset(whole, [3, 3]))).toThrow('fitScaling: column "a" has one value (3)');
    expect(() => fitScaling(subset(whole, [0]))).toThrow('fitScaling: column "a" has one value (0)');
    expect(() => splitTable(whole, { testFraction: 1, rng: new Rng(1) })).toThrow("testFraction (1)");
    expect(() => standardizeTable(whole, { mean: [0], std: [1] })).toThrow("scaling has 1 columns; expected 2");
  });
});

describe("files of one's own", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "genai-files-"));
    await writeFile(join(dir, "a.csv"), small);
    await writeFile(join(dir, "a.txt"), "\uFEFFone\r\ntwo");
    await writeFile(join(dir, "bad.txt"), Uint8Array.of(0x61, 0xc3, 0xa9, 0xff, 0x62));
    await writeFile(join(dir, "blank.txt"), "\n");
    await writeFile(join(dir, "empty"), "");
    await writeFile(join(dir, "utf16"), Uint8Array.of(0xff, 0xfe, 0x61, 0, 0x2c, 0, 0x62, 0));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it("are read by path, by File and by address", async () => {
    expect((await loadCsv(join(dir, "a.csv"))).shape).toEqual([3, 4]);
    expect((await loadCsv(new File([small], "a.csv"))).name).toBe("a.csv");
    expect((await loadCsv(`data:text/csv,${encodeURIComponent(small)}`)).shape).toEqual([3, 4]);
    const { text } = await loadTextFiles([join(dir, "a.txt"), new File(["three"], "b.txt")]);
    expect(text).toBe("one\ntwo\nthree");
  });

  it("are named when they are not there, are not text or hold nothing", async () => {
    await expect(loadCsv(join(dir, "b.csv"))).rejects.toThrow(/^loadCsv: .*b\.csv cannot be read \(it is not there\)$/);
    await expect(loadTextFiles(dir)).rejects.toThrow("it is a folder");
    await expect(loadTextFiles(join(dir, "bad.txt"))).rejects.toThrow(/bad\.txt is not UTF-8 text, from byte 3 on$/);
    await expect(loadTextFiles(join(dir, "blank.txt"))).rejects.toThrow(/1 files hold no text \(.*blank\.txt\)$/);
    await expect(loadTextFiles(join(dir, "empty"))).rejects.toThrow(FormatError);
    await expect(loadTextFiles([])).rejects.toThrow("0 files hold no text");
    await expect(loadCsv(join(dir, "empty"))).rejects.toThrow(/^readCsv: .*empty: no rows$/);
    for (const load of [loadCsv, loadTextFiles]) {
      await expect(load(join(dir, "utf16"))).rejects.toThrow(/utf16 is not UTF-8 text, it begins as UTF-16 does$/);
      await expect(load(undefined as unknown as string)).rejects.toThrow(/: undefined is no file; expected a path, /);
    }
    await expect(readCsv(undefined as unknown as string)).rejects.toThrow("CSV is no text (undefined)");
    await expect(loadCsv(new File([Uint8Array.of(0xff)], "x.csv"))).rejects.toThrow(FormatError);
  });
});
