import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { SpareCaches } from "../../src/generation/spare-caches.ts";
import { createKvCache } from "../../src/index.ts";

it("gives a cache out again, without tokens, keeps one of each shape and frees the others", () => {
  const before = tf.memory().numTensors;
  const spare = new SpareCaches((rows, slots) =>
    createKvCache({ batchSize: rows, layers: 2, heads: 1, length: slots, headDim: 2 }),
  );
  const [first, second, wide] = [spare.take(1, 8), spare.take(1, 8), spare.take(4, 8)];
  spare.give({ layers: first.layers, lengths: tf.tensor1d([5], "int32") });
  first.lengths.dispose();
  spare.give(second);
  spare.give(wide);
  const again = spare.take(1, 8);
  expect(again.layers).toBe(first.layers);
  expect([...again.lengths.dataSync()]).toEqual([0]);
  expect(second.layers[0]!.k.isDisposed).toBe(true);
  expect(spare.take(4, 8).layers).toBe(wide.layers);
  expect(spare.take(1, 8).layers).not.toBe(first.layers);
  spare.dispose();
  expect(tf.memory().numTensors).toBe(before + 3 * 5);
});
