import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type CheckpointStore, memoryCheckpoints } from "../../src/checkpoint/checkpoint-store.ts";
import { fileCheckpoints } from "../../src/checkpoint/file-checkpoints.ts";
import { opfsCheckpoints } from "../../src/checkpoint/opfs-checkpoints.ts";
import { FormatError } from "../../src/errors.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

let before: number;
let dir: string;
beforeEach(() => {
  before = tf.memory().numTensors;
  dir = mkdtempSync(join(tmpdir(), "genai-store-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
  expect(tf.memory().numTensors, "tensors leaked").toBe(before);
});

/** Saves a checkpoint with the tensor [value, value, ...]. */
async function save(store: CheckpointStore, step: number, value = step, size = 4, options = {}): Promise<void> {
  const state = { w: tf.fill([size], value) };
  try {
    await store.save({ step, state }, options);
  } finally {
    tf.dispose(state);
  }
}

async function readValue({ state }: { state: unknown }): Promise<number> {
  const { w } = state as { w: tf.Tensor };
  const [value] = await w.data();
  w.dispose();
  return value!;
}

const stepsOf = async (store: CheckpointStore) => (await store.list()).map(({ step }) => step);

describe.each([
  [
    "fileCheckpoints",
    () =>
      (options: object = {}) =>
        fileCheckpoints(join(dir, "run"), options),
  ],
  ["memoryCheckpoints", () => memoryOf()],
])("%s", (_, make) => {
  test("reads one tensor after another, and nothing is lost where one of them is gone", async () => {
    const store = make()();
    await save(store, 1, 7);
    const state = { a: tf.fill([1000], 1), b: tf.fill([1000], 2), c: tf.fill([3], 3, "int32") };
    const saving = store.save({ step: 2, state });
    tf.dispose(state);
    await expect(saving).rejects.toThrow(/disposed/);
    expect(await stepsOf(store)).toEqual([1]);
    expect(await readValue(await store.load(1))).toBe(7);
  });

  test("keeps the newest, and all that are marked", async () => {
    const store = make()({ keep: 2 });
    expect(await store.list()).toEqual([]);
    expect(await store.latest()).toBeUndefined();
    for (const step of [1, 2, 3, 4, 5]) await save(store, step, step, 4, { marked: step === 2 });
    expect((await store.list()).map(({ step, marked }) => [step, marked])).toEqual([
      [2, true],
      [4, false],
      [5, false],
    ]);
    expect(await readValue(await store.load(4))).toBe(4);
    const latest = (await store.latest())!;
    expect([latest.step, latest.skipped.length, await readValue(latest.checkpoint)]).toEqual([5, 0, 5]);
    await expect(store.load(3)).rejects.toThrow(/has no checkpoint of step 3; it has 2, 4, 5/);
  });

  test("replaces a checkpoint of the same step, which stays marked", async () => {
    const store = make()();
    await save(store, 7, 1);
    await save(store, 7, 2, 4, { marked: true });
    await save(store, 7, 3);
    expect((await store.list()).map(({ step, marked }) => [step, marked])).toEqual([[7, true]]);
    expect(await readValue(await store.load(7))).toBe(3);
  });

  test("keeps steps in the order of numbers, and newer ones of a longer run", async () => {
    const store = make()({ keep: 1 });
    for (const step of [9, 10, 100_000_000_000]) await save(store, step);
    expect(await stepsOf(store)).toEqual([100_000_000_000]);
    await save(store, 11);
    expect(await stepsOf(store)).toEqual([11, 100_000_000_000]);
  });

  test("two saves of one step at once leave one whole checkpoint", async () => {
    const store = make()({ keep: 2 });
    await Promise.all([3, 3, 3, 3, 4].map((step, i) => save(store, step, i, 10_000)));
    expect(await stepsOf(store)).toEqual([3, 4]);
    expect([0, 1, 2, 3]).toContain(await readValue(await store.load(3)));
    expect(await readValue(await store.load(4))).toBe(4);
  });

  test("refuses options that make no sense", () => {
    expect(() => make()({ keep: 0 })).toThrow("keep (0) must be at least 1");
    expect(() => make()({ prefix: "../x" })).toThrow('prefix ("../x") must be of letters');
  });
});

/** One memory per test, seen by each store that is made. */
function memoryOf() {
  return (options: object = {}) => memoryCheckpoints(options);
}

describe("fileCheckpoints", () => {
  const file = (step: number) => join(dir, `checkpoint-${String(step).padStart(8, "0")}.safetensors`);

  test("latest skips damaged files, reports them, and takes the one before", async () => {
    const store = fileCheckpoints(dir);
    for (const step of [1, 2, 3]) await save(store, step);
    truncateSync(file(3), 100);
    const bytes = readFileSync(file(2));
    bytes[20] = 0;
    writeFileSync(file(2), bytes);
    const latest = (await store.latest())!;
    expect([latest.step, await readValue(latest.checkpoint)]).toEqual([1, 1]);
    expect(latest.skipped.map(({ step }) => step)).toEqual([3, 2]);
    expect(latest.skipped[0]!.error).toBeInstanceOf(FormatError);
    expect(latest.skipped[0]!.error.message).toMatch(
      /checkpoint-00000003.safetensors: header of \d+ bytes in a file of 100 bytes/,
    );
  });

  test("latest throws rather than start anew when there are files and none can be read", async () => {
    const store = fileCheckpoints(dir);
    await save(store, 1);
    writeFileSync(file(1), "");
    const error = await store.latest().catch((e) => e);
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/has no checkpoint that can be read: checkpoint-00000001.safetensors \(.*0 bytes/);
  });

  test("keeps runs of several prefixes in one folder apart, and leaves other files alone", async () => {
    const a = fileCheckpoints(dir, { prefix: "a", keep: 1 });
    const b = fileCheckpoints(dir, { prefix: "a-b", keep: 1 });
    writeFileSync(join(dir, "a-notes.txt"), "");
    writeFileSync(join(dir, "a-1.safetensors"), "");
    for (const step of [1, 2]) for (const store of [a, b]) await save(store, step);
    expect([await stepsOf(a), await stepsOf(b)]).toEqual([[2], [2]]);
    expect(readdirSync(dir).sort()).toEqual([
      "a-00000002.safetensors",
      "a-1.safetensors",
      "a-b-00000002.safetensors",
      "a-notes.txt",
    ]);
  });

  test("removes the temporaries of processes that are gone, and of nobody else", async () => {
    const host = hostname().replace(/[^\w-]/g, "-");
    const dead = Number(execFileSync(process.execPath, ["-p", "process.pid"]).toString());
    const temporary = (h: string, pid: number, target = "checkpoint-00000001.safetensors") =>
      `.${target}.${h}.${pid}-0.1.tmp`;
    const names = {
      dead: temporary(host, dead),
      alive: temporary(host, process.ppid),
      otherHost: temporary(`${host}x`, dead),
      otherHostOld: temporary(`${host}y`, dead),
      otherTarget: temporary(host, dead, "model.safetensors"),
    };
    for (const name of Object.values(names)) writeFileSync(join(dir, name), "half");
    const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 3600;
    utimesSync(join(dir, names.otherHostOld), twoDaysAgo, twoDaysAgo);
    await save(fileCheckpoints(dir), 2);
    const left = readdirSync(dir).filter((name) => name.startsWith("."));
    expect(left.sort()).toEqual([names.alive, names.otherHost, names.otherTarget].sort());
  });

  test("says so when the folder cannot be written", async () => {
    writeFileSync(join(dir, "plain"), "");
    await expect(save(fileCheckpoints(join(dir, "plain")), 1)).rejects.toThrow(/EEXIST|ENOTDIR/);
  });

  test("a full disk is a clear error; old checkpoints stay whole and nothing half is left", async (context) => {
    const disk = join(dir, "disk");
    mkdirSync(disk);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], { stdio: "ignore" });
    } catch {
      // A small file system of one's own needs rights that not every machine gives.
      context.skip("mounting a tmpfs is not permitted here");
    }
    try {
      const store = fileCheckpoints(disk, { keep: 5 });
      await save(store, 1, 1, 10_000); // 40 kB of 96
      await save(store, 2, 2, 10_000);
      const error = await save(store, 3, 3, 10_000).catch((e) => e);
      expect(error).toBeInstanceOf(Error);
      expect(error.message).toMatch(
        /^fileCheckpoints\.save: no space left for .*checkpoint-00000003\.safetensors \(\d+ bytes\); free some .* intact$/,
      );
      expect(error.cause.code).toBe("ENOSPC");
      expect(readdirSync(disk).sort()).toEqual(["checkpoint-00000001.safetensors", "checkpoint-00000002.safetensors"]);
      const latest = (await store.latest())!;
      expect([latest.step, latest.skipped.length, await readValue(latest.checkpoint)]).toEqual([2, 0, 2]);
      rmSync(join(disk, "checkpoint-00000001.safetensors"));
      await save(store, 3, 3, 10_000);
      expect(await stepsOf(store)).toEqual([2, 3]);
    } finally {
      execFileSync("umount", [disk]);
    }
  });
});

test("opfsCheckpoints says that it needs a browser", async () => {
  await expect(opfsCheckpoints("run").list()).rejects.toThrow(/no origin private file system here; expected a browser/);
});
