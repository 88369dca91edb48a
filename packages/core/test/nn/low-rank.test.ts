import { addLowRank, embedding, type LowRankTerm, linear, Rng } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";

const tolerance = { atol: 1e-5, rtol: 1e-5 };
const termOf = (inDim: number, outDim: number) => {
  const rng = new Rng(3);
  return { a: rng.normal([2, inDim]), b: rng.normal([outDim, 2]), scale: 1.5 };
};
const formed = (weight: tf.Tensor, { a, b, scale }: LowRankTerm) =>
  tf.add(weight, tf.mul(tf.matMul(b as tf.Tensor2D, a as tf.Tensor2D), scale));

describeOnEngines("a low-rank term", (engine) => {
  it("is what it is when added to the weight of a linear layer or a table", async () => {
    const weight = new Rng(1).normal([5, 4]);
    const term = termOf(4, 5);
    const x = new Rng(2).normal([2, 3, 4]);
    const ids = tf.tensor2d([[4, 0, 4]], [1, 3], "int32");
    const run = engine().compile((weight: tf.Tensor, term: LowRankTerm, x: tf.Tensor, ids: tf.Tensor) => ({
      attached: { y: linear({ weight, lowRank: term }, x), rows: embedding({ weight, lowRank: term }, ids) },
      formed: {
        y: linear({ weight: formed(weight, term) }, x),
        rows: embedding({ weight: formed(weight, term) }, ids),
      },
    }));
    const got = await run(weight, term, x, ids);
    await expectClose(got.attached.y, got.formed.y, tolerance, "linear");
    await expectClose(got.attached.rows, got.formed.rows, tolerance, "embedding");
  });

  it("drops what A reads in training", async () => {
    const run = engine().compile((x: tf.Tensor, rng?: Rng) => {
      const term = { a: tf.ones([1, 400]), b: tf.ones([1, 1]), scale: 1, dropout: 0.5, ...(rng && { rng }) };
      return addLowRank(term, x, tf.zeros([1, 1]));
    });
    const x = tf.ones([1, 400]);
    expect((await (await run(x)).data())[0]).toBeCloseTo(400, 2);
    const dropped = (await (await run(x, new Rng(0))).data())[0]!;
    expect(dropped % 2).toBeCloseTo(0, 4);
    expect(Math.abs(dropped - 400)).toBeGreaterThan(1);
    expect(Math.abs(dropped - 400)).toBeLessThan(100); // five standard deviations
  });

  it("refuses factors of other sides", () => {
    expect(() => linear({ weight: tf.zeros([5, 4]), lowRank: termOf(3, 5) }, tf.zeros([2, 4]))).toThrow(
      "addLowRank: a has shape [2,3] and b [5,2]; expected [r, 4] and [5, r]",
    );
  });
});
