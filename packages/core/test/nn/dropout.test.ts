import { dropout, Rng } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";

describeOnEngines("dropout", (engine) => {
  it("zeroes the given share, scales the rest, and passes the gradient where it passed the value", async () => {
    const run = engine().compile((x: tf.Tensor, rng: Rng) => {
      const g = tf.grad((x: tf.Tensor) => tf.sum(dropout(x, 0.25, rng)))(x);
      return { y: dropout(x, 0.25, rng), g };
    });
    const { y, g } = await run(tf.ones([200, 50]), new Rng(1));
    const values = Array.from(await y.data());
    const kept = values.filter((v) => v !== 0);
    expect(kept.length / values.length).toBeCloseTo(0.75, 1);
    for (const v of kept) expect(v).toBeCloseTo(4 / 3, 5);
    expect(new Set(Array.from(await g.data(), (v) => v.toFixed(4)))).toEqual(new Set(["0.0000", "1.3333"]));
  });

  it("drops the same elements for the same seed and others at the next call", async () => {
    const run = engine().compile((x: tf.Tensor, rng: Rng) => dropout(x, 0.5, rng));
    const x = tf.ones([100]);
    const rng = new Rng(7);
    const [a, b, c] = [await run(x, rng), await run(x, rng), await run(x, new Rng(7))];
    await expectClose(c, a, { atol: 0, rtol: 0 });
    expect(await b.data()).not.toEqual(await a.data());
  });

  it("changes nothing without an Rng, and refuses a rate of one", async () => {
    const x = tf.tensor1d([1, 2]);
    await expectClose(dropout(x, 0.9), x, { atol: 0, rtol: 0 });
    expect(() => dropout(x, 1, new Rng(1))).toThrow("dropout: rate (1) must be in [0, 1)");
  });
});
