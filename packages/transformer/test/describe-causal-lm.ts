import { Rng, type Tree, treeDispose, treeEntries, valueAndGrad } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import {
  type CausalLm,
  concatKvCaches,
  copyKvCacheRows,
  gatherKvCacheRows,
  type KvCache,
  languageModelLoss,
  type TokenBatch,
  takeKvCacheRow,
} from "../src/index.ts";

const tolerance = { atol: 2e-5, rtol: 2e-4 };
const idsOf = (rows: number[][]) => tf.tensor2d(rows, undefined, "int32");

/** The tests that every causal language model passes: vocabSize >= 12, blockSize >= 10. */
export function describeCausalLm<P extends Tree>(name: string, lm: CausalLm<P>, create: (rng: Rng) => P): void {
  const prompt = [3, 1, 4, 1, 5, 9, 2];
  const other = [2, 7, 1, 8, 2, 8, 1];
  const length = prompt.length;

  describeOnEngines(`${name} as a causal language model`, (engine) => {
    it("never sees the future", async () => {
      const params = create(new Rng(1));
      const logits = engine().compile((params: P, ids: tf.Tensor2D) => lm.logits(params, ids));
      const a = await logits(params, idsOf([prompt]));
      for (let t = 0; t < length - 1; t++) {
        const changed = prompt.map((id, i) => (i > t ? (id + 1) % 11 : id));
        const b = await logits(params, idsOf([changed]));
        const upTo = (x: tf.Tensor3D) => x.slice([0, 0, 0], [1, t + 1, lm.vocabSize]);
        await expectClose(upTo(b), upTo(a), { atol: 1e-6, rtol: 1e-6 }, `logits up to ${t}`);
        const after = (x: tf.Tensor3D) => x.slice([0, t + 1, 0], [1, 1, lm.vocabSize]);
        expect(await after(a).data(), "and what comes later does change").not.toEqual(await after(b).data());
      }
      logits.dispose();
    });

    it("gives the same logits with and without a cache, whatever the first step reads", async () => {
      const params = create(new Rng(1));
      const logits = engine().compile((params: P, ids: tf.Tensor2D) => lm.logits(params, ids));
      const step = engine().compile((params: P, ids: tf.Tensor2D, cache: KvCache) => lm.step(params, ids, cache));
      const rows = [prompt, other];
      const want = await logits(params, idsOf(rows));
      for (const first of [1, 4, length]) {
        let cache = lm.createCache(2, length + 2);
        for (let read = 0; read < length; ) {
          const count = read === 0 ? first : 1;
          const next = await step(params, idsOf(rows.map((row) => row.slice(read, read + count))), cache);
          treeDispose(cache);
          cache = next.cache;
          read += count;
          const at = want.slice([0, read - 1, 0], [2, 1, lm.vocabSize]).reshape([2, lm.vocabSize]);
          await expectClose(next.logits, at, tolerance, `logits after ${read} tokens, ${first} at once`);
          expect([...(await cache.lengths.data())]).toEqual([read, read]);
        }
        treeDispose(cache);
      }
      logits.dispose();
      step.dispose();
    });

    it("does not change when a prompt is padded on the left", async () => {
      const params = create(new Rng(1));
      const logits = engine().compile((params: P, ids: tf.Tensor2D, start?: tf.Tensor1D) =>
        lm.logits(params, ids, start ? { start } : {}),
      );
      const short = prompt.slice(0, 4);
      const alone = await logits(params, idsOf([short]));
      const rows = [other, [6, 10, 6, ...short]];
      const start = tf.tensor1d([0, 3], "int32");
      const padded = await logits(params, idsOf(rows), start);
      await expectClose(padded.slice([1, 3, 0], [1, 4, lm.vocabSize]), alone, tolerance, "logits");
      const whole = await logits(params, idsOf([other]));
      await expectClose(padded.slice([0, 0, 0], [1, 7, lm.vocabSize]), whole, tolerance, "logits of the long row");

      logits.dispose();
    });

    it("reads rows of unequal length into one cache as it reads them alone", async () => {
      const params = create(new Rng(1));
      const logits = engine().compile((params: P, ids: tf.Tensor2D) => lm.logits(params, ids));
      const step = engine().compile(
        (params: P, ids: tf.Tensor2D, cache: KvCache, counts?: tf.Tensor1D) => lm.step(params, ids, cache, counts),
        { donated: [2] },
      );
      const after = async (row: number[]) =>
        (await logits(params, idsOf([row]))).slice([0, row.length - 1, 0], [1, 1, lm.vocabSize]).reshape([-1]);
      const rowsAre = async (got: tf.Tensor2D, rows: number[][], what: string) => {
        for (const [i, row] of rows.entries()) {
          await expectClose(got.slice([i, 0], [1, lm.vocabSize]).reshape([-1]), await after(row), tolerance, what);
        }
      };
      const rows = [other, prompt.slice(0, 4)];
      const padded = idsOf([other, [...prompt.slice(0, 4), 6, 10, 6]]);
      const read = await step(params, padded, lm.createCache(2, 9), tf.tensor1d([7, 4], "int32"));
      await rowsAre(read.logits, rows, "logits of the prompts");
      expect([...(await read.cache.lengths.data())]).toEqual([7, 4]);
      const next = await step(params, idsOf([[5], [5]]), read.cache);
      const longer = rows.map((row) => [...row, 5]);
      await rowsAre(next.logits, longer, "logits of the next step");

      // A row leaves and another joins.
      const kept = gatherKvCacheRows(next.cache, tf.tensor1d([1], "int32"));
      const joining = await step(params, idsOf([other.slice(0, 2)]), lm.createCache(1, 9));
      const both = concatKvCaches(kept, joining.cache);
      const last = await step(params, idsOf([[7], [8]]), both);
      await rowsAre(
        last.logits,
        [
          [...longer[1]!, 7],
          [...other.slice(0, 2), 8],
        ],
        "logits after a row has joined",
      );

      // Rows of one cache in places of another, of other length.
      const taken = takeKvCacheRow(last.cache, tf.tensor1d([0], "int32"), 6);
      const places = { of: tf.tensor1d([1, 0], "int32"), to: tf.tensor1d([2, 0], "int32") };
      const larger = copyKvCacheRows(lm.createCache(3, 10), last.cache, places, 9);
      const filled = copyKvCacheRows(
        larger,
        taken,
        { of: tf.tensor1d([0], "int32"), to: tf.tensor1d([1], "int32") },
        6,
      );
      const moved = await step(params, idsOf([[3], [4], [6]]), filled);
      await rowsAre(
        moved.logits,
        [
          [...longer[1]!, 7, 3],
          [...longer[1]!, 7, 4],
          [...other.slice(0, 2), 8, 6],
        ],
        "logits after rows have moved",
      );
      logits.dispose();
      step.dispose();
    });

    it("keeps packed documents apart, as if each were alone, and their gradients too", async () => {
      const params = create(new Rng(1));
      const [first, second, third] = [prompt.slice(0, 4), other.slice(0, 2), prompt.slice(3, 6)];
      const pack = (...documents: number[][]): TokenBatch => {
        const row = documents.flat();
        const targets = documents.flatMap((ids) => [...ids.slice(1), -100]);
        const segments = documents.flatMap((ids, i) => ids.map(() => i + 1));
        const fill = (list: number[], value: number) => [
          ...list,
          ...new Array<number>(length - list.length).fill(value),
        ];
        return {
          ids: idsOf([fill(row, 7)]),
          targets: idsOf([fill(targets, -100)]),
          segments: idsOf([fill(segments, 0)]),
        };
      };
      const run = engine().compile((params: P, batch: TokenBatch) => ({
        logits: lm.logits(params, batch.ids, { segments: batch.segments! }),
        ...valueAndGrad((p: P) => languageModelLoss(lm, p, batch), params),
      }));
      const batchOf = (...batches: TokenBatch[]): TokenBatch => ({
        ids: tf.concat(batches.map(({ ids }) => ids)),
        targets: tf.concat(batches.map(({ targets }) => targets)),
        segments: tf.concat(batches.map(({ segments }) => segments!)),
      });
      // The second row differs, so that positions differ between rows.
      const packed = await run(params, batchOf(pack(first!, second!), pack(third!)));
      const apart = await run(params, batchOf(pack(first!), pack(second!), pack(third!)));
      const part = (x: tf.Tensor3D, row: number, from: number, count: number) =>
        x.slice([row, from, 0], [1, count, lm.vocabSize]);
      await expectClose(part(packed.logits, 0, 0, 4), part(apart.logits, 0, 0, 4), tolerance, "first document");
      await expectClose(part(packed.logits, 0, 4, 2), part(apart.logits, 1, 0, 2), tolerance, "second document");
      await expectClose(part(packed.logits, 1, 0, 3), part(apart.logits, 2, 0, 3), tolerance, "third document");
      await expectClose(packed.loss, apart.loss, tolerance, "loss");
      const want = new Map(treeEntries(apart.grads));
      for (const [path, grad] of treeEntries(packed.grads)) await expectClose(grad, want.get(path)!, tolerance, path);
      run.dispose();
    });

    it("has the same gradients when it computes activations again, with dropout and packed documents", async () => {
      const params = create(new Rng(1));
      const batch: TokenBatch = {
        ids: idsOf([prompt, other]),
        targets: idsOf([other, prompt]),
        segments: idsOf([prompt.map((_, i) => (i < 3 ? 1 : 2)), prompt.map(() => 1)]),
      };
      const gradients = (recompute: boolean) =>
        engine().compile((params: P, batch: TokenBatch, rng: Rng) =>
          valueAndGrad((p: P) => languageModelLoss(lm, p, batch, { rng, recompute }), params),
        );
      const want = await gradients(false)(params, batch, new Rng(5));
      const got = await gradients(true)(params, batch, new Rng(5));
      await expectClose(got.loss, want.loss, { atol: 1e-6, rtol: 1e-6 }, "loss");
      const byPath = new Map(treeEntries(want.grads));
      for (const [path, grad] of treeEntries(got.grads)) {
        await expectClose(grad, byPath.get(path)!, { atol: 1e-5, rtol: 1e-4 }, path);
      }
    });

    it("leaks nothing while it decodes", async () => {
      const params = create(new Rng(1));
      const step = engine().compile((params: P, ids: tf.Tensor2D, cache: KvCache) => lm.step(params, ids, cache));
      let cache = lm.createCache(1, 9);
      const counts: number[] = [];
      for (let i = 0; i < 5; i++) {
        const ids = idsOf([[i + 1]]);
        const next = await step(params, ids, cache);
        treeDispose([cache, ids, next.logits]);
        cache = next.cache;
        counts.push(tf.memory().numTensors);
      }
      expect(counts.slice(2).every((n) => n === counts[1])).toBe(true);
      step.dispose();
    });
  });

  it(`${name} refuses ids that it cannot read`, () => {
    const params = create(new Rng(1));
    const tooLong = tf.zeros([1, lm.blockSize + 3], "int32") as tf.Tensor2D;
    expect(() => lm.logits(params, tooLong)).toThrow(`3 more than the context of ${lm.blockSize}`);
    expect(() => lm.logits(params, tf.zeros([1, 0], "int32"))).toThrow("no tokens");
    expect(() => lm.logits(params, tf.zeros([1, 3]))).toThrow("expected int32");
    expect(() => lm.step(params, tf.zeros([1, 4], "int32"), lm.createCache(1, 3))).toThrow("room for 3");
    expect(() => lm.logits(params, idsOf([prompt]), { start: tf.tensor1d([0, 0], "int32") })).toThrow("start is");
    expect(() => lm.logits(params, idsOf([prompt]), { segments: idsOf([[1, 2]]) })).toThrow(
      "segments are int32 of shape",
    );
  });
}
