import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  DataUnavailableError,
  datasets,
  fashionMnistFiles,
  loadBreastCancer,
  loadDiamonds,
  loadFashionMnist,
  loadFashionSprite900,
  loadIris,
  loadJsbChorales,
  loadMnist,
  loadNames,
  loadNotoEmoji,
  loadOpticalDigits,
  loadPenguins,
  loadTinyShakespeare,
  loadWikitext2,
  loadWine,
  pianoRoll,
  pianoRollWindows,
  pitchesOfRoll,
  readIdx,
  resolveFile,
  type TableSet,
} from "../src/index.ts";
import { closedPort } from "./file-server.ts";

const dataDir = process.env.GENAI_DATA_DIR;

const histogram = (labels: ArrayLike<number>, classes = 10) => {
  const counts = new Array<number>(classes).fill(0);
  for (const label of Array.from(labels)) counts[label]! += 1;
  return counts;
};

/** How often each category of a column occurs; the last number counts what is missing. */
function categories(table: TableSet, name: string): number[] {
  const columns = table.columns.filter(({ kind }) => kind === "categorical");
  const at = columns.findIndex((column) => column.name === name);
  const column = columns[at] as { categories: readonly string[] };
  const ids = table.categorical.filter((_, i) => i % columns.length === at);
  const missing = ids.filter((id) => id < 0).length;
  return [
    ...histogram(
      ids.filter((id) => id >= 0),
      column.categories.length,
    ),
    missing,
  ];
}

/** Mean of a numeric column over the values that are there. */
function mean(table: TableSet, name: string): number {
  const columns = table.columns.filter(({ kind }) => kind === "numeric");
  const at = columns.findIndex((column) => column.name === name);
  const values = table.numeric.filter((x, i) => i % columns.length === at && !Number.isNaN(x));
  return values.reduce((a, b) => a + b, 0) / values.length;
}

describe.runIf(dataDir)("the real sets in GENAI_DATA_DIR", () => {
  it("has MNIST's published counts, labels and mean", async () => {
    const [train, test] = await Promise.all([loadMnist({ split: "train" }), loadMnist({ split: "test" })]);
    expect(train.shape).toEqual([60_000, 28, 28, 1]);
    expect(test.shape).toEqual([10_000, 28, 28, 1]);
    expect(histogram(train.labels)).toEqual([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    expect(histogram(test.labels)).toEqual([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    expect(Array.from(train.labels.subarray(0, 5))).toEqual([5, 0, 4, 1, 9]);
    let sum = 0;
    for (const pixel of train.images) sum += pixel;
    expect(sum / train.images.length / 255).toBeCloseTo(0.1307, 4);
  });

  it("splits tiny Shakespeare by characters as nanoGPT does", async () => {
    const [train, val, all] = await Promise.all(
      (["train", "val", "all"] as const).map((split) => loadTinyShakespeare({ split })),
    );
    expect(train!.text).toHaveLength(1_003_854);
    expect(val!.text).toHaveLength(111_540);
    expect(train!.text + val!.text).toBe(all!.text);
    expect(new Set(all!.text).size).toBe(65);
    expect(train!.text.startsWith("First Citizen:\nBefore we proceed any further")).toBe(true);
    const fromTable = await datasets["tiny-shakespeare"].load({ split: "test" });
    expect(fromTable.text).toBe(val!.text);
  });

  it("cuts Fashion-MNIST's sprite into 900 images, as the IDX file made from it holds them", async () => {
    const [all, train, test] = await Promise.all(
      (["all", "train", "test"] as const).map((split) => loadFashionSprite900({ split })),
    );
    const path = join(dataDir!, "fashion-mnist", "sprite900-images-idx3-ubyte.gz");
    const expected = readIdx(gunzipSync(await readFile(path)), { dtype: "uint8", shape: [900, 28, 28] });
    expect(Buffer.compare(all!.images, expected.data)).toBe(0);
    expect(histogram(all!.labels)).toEqual(new Array(10).fill(90));
    expect(histogram(train!.labels)).toEqual(new Array(10).fill(70));
    expect(histogram(test!.labels)).toEqual(new Array(10).fill(20));
    expect(all!.classes[all!.labels[899]!]).toBe("Ankle boot");
  });

  it("knows Fashion-MNIST's labels, and says which images are missing where only labels are", async () => {
    const offline = { mirrors: [await closedPort()], retries: 0, cacheDir: join(tmpdir(), "genai-no-cache") };
    const path = join(dataDir!, "fashion-mnist", "train-images-idx3-ubyte.gz");
    const complete = await readFile(path).catch(() => undefined);
    if (complete !== undefined) {
      const { labels } = await loadFashionMnist({ split: "train" });
      expect(histogram(labels)).toEqual(new Array(10).fill(6000));
    } else {
      await expect(loadFashionMnist({ split: "train", ...offline })).rejects.toThrow(
        /^loadFashionMnist: fashion-mnist\/train-images-idx3-ubyte\.gz cannot be had: not in /,
      );
    }
  });

  it("has UCI's optical digits with their published counts", async () => {
    const [train, test] = await Promise.all([
      loadOpticalDigits({ split: "train" }),
      loadOpticalDigits({ split: "test" }),
    ]);
    expect(train.shape).toEqual([3823, 8, 8, 1]);
    expect(histogram(train.labels)).toEqual([376, 389, 380, 389, 387, 376, 377, 387, 380, 382]);
    expect(histogram(test.labels)).toEqual([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    // The first image of scikit-learn's load_digits.
    expect(Array.from(test.images.subarray(0, 8), (byte) => Math.round((byte * 16) / 255))).toEqual([
      0, 0, 5, 13, 9, 1, 0, 0,
    ]);
  });

  it("parts the names so that each is in one part", async () => {
    const [train, val, test, all] = await Promise.all(
      (["train", "val", "test", "all"] as const).map((split) => loadNames({ split })),
    );
    expect([train!.words.length, val!.words.length, test!.words.length]).toEqual([25_626, 3_204, 3_203]);
    expect([...train!.words, ...val!.words, ...test!.words].sort()).toEqual([...all!.words].sort());
    expect(all!.words.slice(0, 3)).toEqual(["emma", "olivia", "ava"]);
    expect(new Set(all!.words.join(""))).toEqual(new Set(all!.alphabet));
  });

  it("has the chorales' published splits on every grid, and their piano rolls", async () => {
    for (const grid of ["16th", "quarter", "16th-voices"] as const) {
      const parts = await Promise.all(
        (["train", "valid", "test"] as const).map((split) => loadJsbChorales({ split, grid })),
      );
      expect(parts.map(({ pieces }) => pieces.length)).toEqual([229, 76, 77]);
      const piece = parts[0]!.pieces[0]!;
      const sounding = piece.map((pitches) =>
        [...new Set(pitches.filter((pitch) => pitch >= 0))].sort((a, b) => a - b),
      );
      expect(pitchesOfRoll(pianoRoll(piece))).toEqual(sounding);
      if (grid === "16th-voices") expect(piece.every((pitches) => pitches.length === 4)).toBe(true);
    }
    const train = await loadJsbChorales({ split: "train", grid: "quarter" });
    const windows = pianoRollWindows(train, { steps: 32, hop: 16 });
    expect(windows.shape.slice(1)).toEqual([32, 88]);
    expect(windows.rolls).toHaveLength(windows.shape[0] * 32 * 88);
    expect(windows.rolls.subarray(0, 32 * 88)).toEqual(pianoRoll(train.pieces[0]!.slice(0, 32)));
  });

  it("has the emoji in RGBA, and over white", async () => {
    const [rgba, rgb, test] = await Promise.all([
      loadNotoEmoji({ split: "all", channels: "rgba" }),
      loadNotoEmoji({ split: "all" }),
      loadNotoEmoji({ split: "test" }),
    ]);
    expect(rgba.shape).toEqual([1433, 32, 32, 4]);
    expect(rgb.shape).toEqual([1433, 32, 32, 3]);
    expect(test.shape).toEqual([143, 32, 32, 3]);
    for (let i = 0; i < 1433 * 1024; i += 97) {
      const alpha = rgba.images[4 * i + 3]! / 255;
      for (let c = 0; c < 3; c++) {
        const over = rgba.images[4 * i + c]! * alpha + 255 * (1 - alpha);
        expect(Math.abs(rgb.images[3 * i + c]! - over)).toBeLessThanOrEqual(0.5);
      }
    }
    expect(rgb.characterNames.get(0x1f600)).toBe("GRINNING FACE");
    const at = rgb.codePoints.indexOf(test.codePoints[5]!);
    expect(test.images.subarray(5 * 3072, 6 * 3072)).toEqual(rgb.images.subarray(at * 3072, (at + 1) * 3072));
  });

  it("has WikiText-2's published number of tokens", async () => {
    const [validation, test] = await Promise.all([
      loadWikitext2({ split: "validation" }),
      loadWikitext2({ split: "test" }),
    ]);
    const tokens = (text: string) => text.split(/ +|\n/).filter((token) => token !== "").length;
    expect(tokens(validation.text)).toBe(213_886);
    expect(tokens(test.text)).toBe(241_211);
  });

  it("has the tables' published rows, categories, means and missing cells", async () => {
    const iris = await loadIris();
    expect(iris.shape).toEqual([150, 5]);
    expect(categories(iris, "species")).toEqual([50, 50, 50, 0]);
    expect(mean(iris, "petal_length")).toBeCloseTo(3.7587, 3); // the file has UCI's two known errors in sepals and petals
    expect(iris.columns[0]).toEqual({ name: "sepal_length", kind: "numeric", unit: "cm" });

    const wine = await loadWine();
    expect(wine.shape).toEqual([178, 14]);
    expect(categories(wine, "cultivar")).toEqual([59, 71, 48, 0]);
    expect(mean(wine, "alcohol")).toBeCloseTo(13.0006, 3);

    const cancer = await loadBreastCancer();
    expect(cancer.shape).toEqual([569, 31]);
    expect(categories(cancer, "diagnosis")).toEqual([357, 212, 0]);
    expect(mean(cancer, "radius_mean")).toBeCloseTo(14.1273, 3);

    const penguins = await loadPenguins();
    expect(penguins.shape).toEqual([344, 7]);
    expect(categories(penguins, "species")).toEqual([152, 68, 124, 0]);
    expect(categories(penguins, "sex")).toEqual([165, 168, 11]);
    expect(penguins.mask.filter((there) => there === 0)).toHaveLength(19);
    expect(penguins.numeric.filter(Number.isNaN)).toHaveLength(8);
    expect(mean(penguins, "body_mass_g")).toBeCloseTo(4201.75, 1);

    const diamonds = await loadDiamonds();
    expect(diamonds.shape).toEqual([53_940, 10]);
    expect(categories(diamonds, "cut")).toEqual([1610, 4906, 12_082, 13_791, 21_551, 0]);
    expect(mean(diamonds, "price")).toBeCloseTo(3932.8, 0);
  });

  it("are in the table of sets at their stated sizes", async () => {
    for (const [name, entry] of Object.entries(datasets)) {
      if (entry.downloadBytes === 0 || name === "fashion-mnist" || name === "mnist") continue;
      for (const split of ["train", "validation", "test"] as const) {
        if (!entry.size[split]) continue;
        const set = await entry.load({ split });
        const counts: Partial<Record<string, number>> = {
          images: "images" in set ? set.shape[0] : 0,
          text: "text" in set ? set.text.length : 0,
          words: "words" in set ? set.words.length : 0,
          music: "pieces" in set ? set.pieces.length : 0,
          table: "numeric" in set ? set.shape[0] : 0,
        };
        expect([name, split, counts[entry.kind]]).toEqual([name, split, entry.size[split]]);
      }
    }
    const [train, test] = await Promise.all((["train", "test"] as const).map((split) => datasets.iris.load({ split })));
    const both = [...train!.numeric, ...test!.numeric].sort();
    expect(both).toEqual([...(await loadIris()).numeric].sort());
  });
});

describe("the real sets without data", () => {
  let cacheDir: string;
  let mirrors: string[];
  beforeAll(async () => {
    vi.stubEnv("GENAI_DATA_DIR", "");
    cacheDir = await mkdtemp(join(tmpdir(), "genai-datasets-"));
    mirrors = [await closedPort()];
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await rm(cacheDir, { recursive: true, force: true });
  });

  it("say in one sentence that they cannot be had", async () => {
    await expect(loadMnist({ split: "train", cacheDir, mirrors })).rejects.toThrow(DataUnavailableError);
    await expect(loadMnist({ split: "train", cacheDir, mirrors })).rejects.toThrow(
      /^loadMnist: mnist\/train-(images-idx3|labels-idx1)-ubyte\.gz cannot be had: no GENAI_DATA_DIR, not in the cache, and the download failed \(http.*ECONNREFUSED\)$/,
    );
    await expect(datasets.mnist.load({ split: "test", cacheDir, mirrors })).rejects.toThrow(DataUnavailableError);
    await expect(loadTinyShakespeare({ split: "val", cacheDir, mirrors })).rejects.toThrow(/^loadTinyShakespeare: /);
  });

  it("say so also where there is no public address", async () => {
    await expect(loadNotoEmoji({ split: "test", cacheDir })).rejects.toThrow(
      /^loadNotoEmoji: noto-emoji\/.* cannot be had: no GENAI_DATA_DIR, .* \(no address is known\)$/,
    );
    for (const [name, entry] of Object.entries(datasets)) {
      if (entry.downloadBytes === 0) continue;
      await expect(entry.load({ split: "test", cacheDir, mirrors }), name).rejects.toThrow(DataUnavailableError);
    }
  });

  it("verify a .gz file as it is served where only that was published", async () => {
    const dir = await mkdtemp(join(tmpdir(), "genai-fashion-"));
    await mkdir(join(dir, "fashion-mnist"));
    const name = "fashion-mnist/t10k-images-idx3-ubyte.gz";
    await writeFile(join(dir, name), gzipSync(new Uint8Array(7_840_016)));
    await expect(resolveFile(fashionMnistFiles.test.images, { dataDir: dir, cacheDir, mirrors })).rejects.toThrow(
      /expected 346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073$/,
    );
    const raw = gzipSync(Uint8Array.of(1, 2, 3));
    const sha256 = createHash("sha256").update(raw).digest("hex");
    await writeFile(join(dir, "small.gz"), raw);
    const file = { path: "small.gz", urls: [], bytes: 3, sha256, sha256Of: "file" } as const;
    expect((await resolveFile(file, { dataDir: dir })).bytes).toEqual(Uint8Array.of(1, 2, 3));
    await rm(dir, { recursive: true });
  });

  it("refuse splits that were never published", async () => {
    await expect(loadFashionMnist({ split: "val" as "test" })).rejects.toThrow("loadFashionMnist: split");
    await expect(loadNames({ split: "x" as "test" })).rejects.toThrow('split ("x") must be "train", "val", "test" or');
    await expect(loadJsbChorales({ split: "test", grid: "8th" as "16th" })).rejects.toThrow('grid ("8th")');
    await expect(loadWikitext2({ split: "train" as "test" })).rejects.toThrow('must be "validation" or "test"');
    await expect(datasets["wikitext-2"].load({ split: "train" })).rejects.toThrow(
      `load: split of "articles of Wikipedia: WikiText-2's validation and test parts" ("train") must be "validation" or`,
    );
    for (const name of ["mnist", "iris", "drawn-digits"] as const) {
      await expect(datasets[name].load({ split: "validation" })).rejects.toThrow('must be "train" or "test"');
    }
    await expect(loadMnist({ split: "val" as "test" })).rejects.toThrow('split ("val") must be "train" or "test"');
    await expect(loadTinyShakespeare({ split: "test" as "val" })).rejects.toThrow("loadTinyShakespeare: split");
  });
});
