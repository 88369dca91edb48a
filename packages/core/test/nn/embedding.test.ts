import { embedding, Rng } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";

describeOnEngines("embedding", (engine) => {
  it("adds up the gradients of a table of one row", async () => {
    const run = engine().compile((weight: tf.Tensor, ids: tf.Tensor) =>
      tf.grad((weight: tf.Tensor) => tf.sum(tf.square(embedding({ weight }, ids))))(weight),
    );
    const grad = await run(tf.tensor2d([[1, -2]]), tf.zeros([3], "int32"));
    expect([...(await grad.data())]).toEqual([6, -12]);
  });

  // Few rows are summed by a product, many by a scatter.
  it.each([5, 30_000])("adds up the gradients of repeated ids in a table of %i rows", async (rows) => {
    const ids = tf.tensor2d([3, 1, 3, 0, 3, 4], [2, 3], "int32");
    const dy = new Rng(1).normal([2, 3, 4]);
    const run = engine().compile((weight: tf.Tensor, ids: tf.Tensor, dy: tf.Tensor) =>
      tf.grad((weight: tf.Tensor) => tf.sum(tf.mul(embedding({ weight }, ids), dy)))(weight),
    );
    const got = Array.from(await (await run(tf.zeros([rows, 4]), ids, dy)).data());
    const want = new Array<number>(rows * 4).fill(0);
    const d = await dy.data();
    [3, 1, 3, 0, 3, 4].forEach((id, n) => {
      for (let c = 0; c < 4; c++) want[id * 4 + c]! += d[n * 4 + c]!;
    });
    await expectClose(got, want, { atol: 1e-5, rtol: 1e-5 });
  });

  it("returns the rows in the shape of the ids", async () => {
    const weight = new Rng(2).normal([7, 3]);
    const ids = tf.tensor2d([[6, 0]], [1, 2], "int32");
    const run = engine().compile((weight: tf.Tensor, ids: tf.Tensor) => embedding({ weight }, ids));
    const got = await run(weight, ids);
    expect(got.shape).toEqual([1, 2, 3]);
    const all = await weight.data();
    await expectClose(Array.from(await got.data()), [...all.slice(18), ...all.slice(0, 3)], { atol: 0, rtol: 0 });
  });

  it("refuses ids that are not integers", () => {
    expect(() => embedding({ weight: tf.zeros([3, 2]) }, tf.tensor1d([1]))).toThrow("ids have dtype float32");
  });
});
