import * as tf from "@tensorflow/tfjs";
import { beforeAll, beforeEach, expect, test } from "vitest";
import type { CheckpointStore } from "../../src/checkpoint/checkpoint-store.ts";
import { opfsCheckpoints } from "../../src/checkpoint/opfs-checkpoints.ts";
import { FormatError } from "../../src/errors.ts";

const FOLDER = "genai-opfs-test";

beforeAll(async () => {
  await tf.setBackend("cpu");
});
beforeEach(async () => {
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(FOLDER, { recursive: true }).catch(() => {});
});

async function save(store: CheckpointStore, step: number, options = {}): Promise<void> {
  const state = { w: tf.fill([1000], step) };
  await store.save({ step, state, meta: { step } }, options);
  tf.dispose(state);
}

test("checkpoints in the browser's file system are kept, found, marked and read back", async () => {
  const before = tf.memory().numTensors;
  const store = opfsCheckpoints(FOLDER, { keep: 2 });
  expect(await store.latest()).toBeUndefined();
  for (const step of [1, 2, 3, 4]) await save(store, step, { marked: step === 1 });
  expect((await store.list()).map(({ step, marked }) => [step, marked])).toEqual([
    [1, true],
    [3, false],
    [4, false],
  ]);
  const again = opfsCheckpoints(FOLDER);
  const { checkpoint, skipped } = (await again.latest())!;
  expect([checkpoint.step, checkpoint.meta, skipped]).toEqual([4, { step: 4 }, []]);
  const { w } = checkpoint.state as { w: tf.Tensor };
  expect([w.size, ...(await w.data()).slice(0, 2)]).toEqual([1000, 4, 4]);
  w.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

test("an empty file of a closed tab is no checkpoint, and a damaged one is skipped and reported", async () => {
  const store = opfsCheckpoints(FOLDER);
  await save(store, 1);
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(FOLDER);
  await folder.getFileHandle("checkpoint-00000003.safetensors", { create: true });
  const damaged = await folder.getFileHandle("checkpoint-00000002.safetensors", { create: true });
  const stream = await damaged.createWritable();
  await stream.write("half");
  await stream.close();
  expect((await store.list()).map(({ step }) => step)).toEqual([1, 2]);
  const latest = (await store.latest())!;
  expect(latest.step).toBe(1);
  expect(latest.skipped.map(({ step }) => step)).toEqual([2]);
  expect(latest.skipped[0]!.error).toBeInstanceOf(FormatError);
  tf.dispose(latest.checkpoint.state as tf.TensorContainerObject);
});

test("two saves of one step at once leave one whole checkpoint", async () => {
  const store = opfsCheckpoints(FOLDER);
  await Promise.all([save(store, 5), save(store, 5), save(store, 6)]);
  expect((await store.list()).map(({ step }) => step)).toEqual([5, 6]);
  tf.dispose((await store.load(5)).state as tf.TensorContainerObject);
});

test("a write that fails leaves the older checkpoint of the step, or no file", async () => {
  const store = opfsCheckpoints(FOLDER);
  await save(store, 1);
  const createWritable = FileSystemFileHandle.prototype.createWritable;
  FileSystemFileHandle.prototype.createWritable = async function (this: FileSystemFileHandle) {
    const stream = await createWritable.call(this);
    // What a full quota does to a write.
    stream.write = async () => {
      throw new DOMException(
        "The operation failed because it would cause the application to exceed its quota",
        "QuotaExceededError",
      );
    };
    return stream;
  };
  try {
    await expect(save(store, 1)).rejects.toThrow(/opfsCheckpoints.save: cannot write checkpoint-00000001.*quota/);
    await expect(save(store, 2)).rejects.toThrow(/Older checkpoints are intact/);
  } finally {
    FileSystemFileHandle.prototype.createWritable = createWritable;
  }
  expect((await store.list()).map(({ step }) => step)).toEqual([1]);
  const { state } = await store.load(1);
  tf.dispose(state as tf.TensorContainerObject);
});
