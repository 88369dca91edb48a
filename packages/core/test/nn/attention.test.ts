import {
  alibiBias,
  alibiSlopes,
  applyRope,
  attention,
  causalBias,
  mergeHeads,
  Rng,
  ropeTables,
  sinusoidalEmbedding,
  splitHeads,
} from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";

const tolerance = { atol: 1e-5, rtol: 1e-5 };

describe("attention", () => {
  beforeAll(async () => {
    await tf.setBackend("cpu");
  });

  it("cannot see the future when causal", async () => {
    const rng = new Rng(1);
    const [q, k, v] = [rng.normal([1, 2, 5, 4]), rng.normal([1, 2, 5, 4]), rng.normal([1, 2, 5, 4])];
    const replaceLast = (x: tf.Tensor) =>
      tf.concat([tf.slice(x, [0, 0, 0, 0], [1, 2, 4, 4]), tf.fill([1, 2, 1, 4], 50)], 2);
    const past = (y: tf.Tensor) => tf.slice(y, [0, 0, 0, 0], [1, 2, 4, 4]);
    const [a, b] = [
      attention(q, k, v, { causal: true }),
      attention(q, replaceLast(k), replaceLast(v), { causal: true }),
    ];
    await expectClose(past(b), past(a), { atol: 0, rtol: 0 });
  });

  it("computes long causal sequences by blocks with the values and gradients of the whole", async () => {
    const rng = new Rng(6);
    const t = 259; // Not a multiple of the blocks.
    const args = [rng.normal([1, 2, t, 3]), rng.normal([1, 1, t, 3]), rng.normal([1, 1, t, 2])] as const;
    for (const bias of [alibiBias(2, t), rng.normal([1, 1, 1, t])]) {
      const loss = (causal: boolean) => (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => {
        const added = causal ? bias : tf.add(bias, causalBias(t));
        return tf.sum(tf.square(attention(q, k, v, { causal, bias: added })));
      };
      const [byBlocks, whole] = [true, false].map((causal) => tf.valueAndGrads(loss(causal))([...args]));
      await expectClose(byBlocks!.value, whole!.value, { atol: 1e-3, rtol: 1e-5 });
      for (const i of [0, 1, 2]) await expectClose(byBlocks!.grads[i]!, whole!.grads[i]!, { atol: 1e-4, rtol: 1e-4 });
    }
  });

  it("lets the last query of a continued sequence see every key", async () => {
    const rng = new Rng(2);
    const [q, k, v] = [rng.normal([1, 1, 6, 4]), rng.normal([1, 1, 6, 4]), rng.normal([1, 1, 6, 4])];
    const whole = attention(q, k, v, { causal: true, bias: alibiBias(1, 6) });
    const tail = attention(tf.slice(q, [0, 0, 4, 0], [1, 1, 2, 4]), k, v, { causal: true, bias: alibiBias(1, 2, 6) });
    await expectClose(tail, tf.slice(whole, [0, 0, 4, 0], [1, 1, 2, 4]), tolerance);
  });

  it("serves consecutive query heads from each shared key/value head", async () => {
    const rng = new Rng(3);
    const [q, k, v] = [rng.normal([2, 6, 3, 4]), rng.normal([2, 2, 3, 4]), rng.normal([2, 2, 3, 4])];
    const repeat = (x: tf.Tensor) => tf.gather(x, tf.tensor1d([0, 0, 0, 1, 1, 1], "int32"), 1);
    await expectClose(attention(q, k, v), attention(q, repeat(k), repeat(v)), tolerance);
  });

  it("averages the values when all keys are alike", async () => {
    const v = new Rng(4).normal([1, 1, 8, 2]);
    const same = tf.ones([1, 1, 8, 3]);
    await expectClose(attention(same, same, v), tf.tile(tf.mean(v, 2, true), [1, 1, 8, 1]), tolerance);
  });

  it("drops weights only when it gets an Rng", async () => {
    const rng = new Rng(5);
    const [q, k, v] = [rng.normal([1, 1, 4, 4]), rng.normal([1, 1, 4, 4]), tf.ones([1, 1, 4, 4])];
    await expectClose(attention(q, k, v, { dropout: 0.5 }), v, tolerance);
    const dropped = await attention(q, k, v, { dropout: 0.5, rng }).data();
    expect(Array.from(dropped).some((x) => Math.abs(x - 1) > 0.01)).toBe(true);
  });

  it("says what does not fit", () => {
    const x = tf.zeros([1, 3, 4, 2]);
    expect(() => attention(x, tf.zeros([1, 2, 4, 2]), tf.zeros([1, 2, 4, 2]))).toThrow(
      "the 2 heads of k and v must divide",
    );
    expect(() => attention(x, tf.zeros([1, 3, 4, 5]), x)).toThrow("do not fit together");
    expect(() => splitHeads(tf.zeros([1, 2, 5]), 2)).toThrow("splitHeads: x has shape [1,2,5]");
  });

  it("takes heads apart and puts them together", async () => {
    const x = new Rng(6).normal([2, 3, 8]);
    expect(splitHeads(x, 4).shape).toEqual([2, 4, 3, 2]);
    await expectClose(mergeHeads(splitHeads(x, 4)), x, { atol: 0, rtol: 0 });
  });
});

describe("positions", () => {
  it.each([false, true])("rotary scores depend on the distance alone (interleaved: %s)", async (interleaved) => {
    const rng = new Rng(7);
    const [q, k] = [rng.normal([1, 1, 1, 8]), rng.normal([1, 1, 1, 8])];
    const score = (i: number, j: number) =>
      tf.sum(
        tf.mul(applyRope(q, ropeTables([i], 8), { interleaved }), applyRope(k, ropeTables([j], 8), { interleaved })),
      );
    await expectClose(score(7, 3), score(104, 100), { atol: 1e-4, rtol: 1e-4 });
  });

  it("ALiBi's slopes halve for eight heads, and interpolate for other numbers", () => {
    expect(alibiSlopes(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((i) => 2 ** -i));
    expect(alibiSlopes(12)).toHaveLength(12);
    expect(alibiSlopes(12).slice(0, 8)).toEqual(alibiSlopes(8));
    expect(alibiSlopes(12)[8]).toBeCloseTo(2 ** -0.5);
  });

  it("sinusoidal embeddings start with zeros and ones", async () => {
    const [row] = (await sinusoidalEmbedding([0], 6).array()) as number[][];
    expect(row).toEqual([0, 1, 0, 1, 0, 1]);
    expect(() => sinusoidalEmbedding([0], 5)).toThrow("sinusoidalEmbedding: dim (5) must be even and positive");
  });
});
