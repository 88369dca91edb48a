import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { DataUnavailableError, datasets, loadMnist, loadTinyShakespeare } from "../src/index.ts";
import { closedPort } from "./file-server.ts";

const dataDir = process.env.GENAI_DATA_DIR;

describe.runIf(dataDir)("the real sets in GENAI_DATA_DIR", () => {
  it("has MNIST's published counts, labels and mean", async () => {
    const [train, test] = await Promise.all([loadMnist({ split: "train" }), loadMnist({ split: "test" })]);
    expect(train.shape).toEqual([60_000, 28, 28, 1]);
    expect(test.shape).toEqual([10_000, 28, 28, 1]);
    const histogram = (labels: Uint8Array) => {
      const counts = new Array<number>(10).fill(0);
      for (const label of labels) counts[label]! += 1;
      return counts;
    };
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

  it("refuse splits that were never published", async () => {
    await expect(loadMnist({ split: "val" as "test" })).rejects.toThrow('split ("val") must be "train" or "test"');
    await expect(loadTinyShakespeare({ split: "test" as "val" })).rejects.toThrow("loadTinyShakespeare: split");
  });
});
