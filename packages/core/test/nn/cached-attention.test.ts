import { applyRope, attention, cachedAttention, cachedRope, maskBias, Rng, ropeTables, treeDispose } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";

type Slots = { k: tf.Tensor4D; v: tf.Tensor4D };

const tolerance = { atol: 1e-5, rtol: 1e-5 };
const draw = (rng: Rng, shape: [number, number, number, number]) => rng.normal(shape) as tf.Tensor4D;

/** The same, written down plainly: row by row, over the keys that a query sees. */
function byRows(
  [q, k, v]: tf.Tensor4D[],
  past: Slots,
  lengths: number[],
  window = Number.POSITIVE_INFINITY,
): tf.Tensor {
  const t = q!.shape[2];
  const rows = lengths.map((n, b) => {
    const behind = (slots: tf.Tensor4D, x: tf.Tensor4D) =>
      tf.concat([tf.slice(slots, [b, 0, 0, 0], [1, -1, n, -1]), tf.slice(x, [b, 0, 0, 0], [1, -1, -1, -1])], 2);
    const seen = tf.buffer([t, n + t], "float32");
    for (let i = 0; i < t; i++) {
      for (let j = 0; j <= n + i; j++) if (j > n + i - window) seen.set(1, i, j);
    }
    const row = tf.slice(q!, [b, 0, 0, 0], [1, -1, -1, -1]);
    return attention(row, behind(past.k, k!), behind(past.v, v!), { bias: maskBias(seen.toTensor()) });
  });
  return tf.concat(rows, 0);
}

describeOnEngines("cachedAttention", (engine) => {
  for (const { name, b, h, g, t, d, lengths, window } of [
    { name: "one token a row, rows of unequal length", b: 3, h: 4, g: 4, t: 1, d: 8, lengths: [0, 3, 8] },
    { name: "grouped heads", b: 2, h: 4, g: 2, t: 1, d: 16, lengths: [5, 2] },
    { name: "a window", b: 2, h: 2, g: 1, t: 1, d: 8, lengths: [8, 1], window: 3 },
    { name: "a prompt into an empty cache", b: 1, h: 2, g: 2, t: 5, d: 8, lengths: [0] },
    { name: "a prompt with a window", b: 1, h: 2, g: 2, t: 6, d: 8, lengths: [0], window: 2 },
    { name: "several tokens behind others", b: 1, h: 2, g: 1, t: 3, d: 8, lengths: [4] },
    { name: "prompts behind others, in several rows", b: 2, h: 2, g: 2, t: 3, d: 8, lengths: [4, 1] },
    { name: "a head that no runtime operator takes", b: 2, h: 3, g: 1, t: 1, d: 5, lengths: [4, 0] },
  ]) {
    it(`attends like plain attention: ${name}`, async () => {
      const rng = new Rng(7);
      const past: Slots = { k: draw(rng, [b, g, 9, d]), v: draw(rng, [b, g, 9, d]) };
      const read = [draw(rng, [b, h, t, d]), draw(rng, [b, g, t, d]), draw(rng, [b, g, t, d])] as const;
      const fn = engine().compile((...[q, k, v, past, lengths]: [...typeof read, Slots, tf.Tensor1D]) =>
        cachedAttention(q, k, v, past, lengths, { window }),
      );
      const out = await fn(...read, past, tf.tensor1d(lengths, "int32"));
      await expectClose(out.mixed, byRows([...read], past, lengths, window), tolerance, "mixed");
      for (const [i, n] of lengths.entries()) {
        for (const [slots, x, before] of [
          [out.k, read[1], past.k],
          [out.v, read[2], past.v],
        ] as const) {
          const at = (y: tf.Tensor4D, begin: number, count: number) => tf.slice(y, [i, 0, begin, 0], [1, g, count, d]);
          await expectClose(at(slots, n, t), at(x, 0, t), { atol: 0, rtol: 0 }, "new slots");
          if (n > 0) await expectClose(at(slots, 0, n), at(before, 0, n), { atol: 0, rtol: 0 }, "old slots");
        }
      }
      fn.dispose();
    });
  }

  it("writes where there is room when a row is said to be fuller than it can be", async () => {
    const rng = new Rng(1);
    const past = { k: draw(rng, [1, 1, 4, 8]), v: draw(rng, [1, 1, 4, 8]) };
    const [q, k, v] = [draw(rng, [1, 1, 1, 8]), draw(rng, [1, 1, 1, 8]), draw(rng, [1, 1, 1, 8])];
    const fn = engine().compile((lengths: tf.Tensor1D) => cachedAttention(q, k, v, past, lengths));
    const over = await fn(tf.tensor1d([1000], "int32"));
    await expectClose(over.mixed, byRows([q, k, v], past, [3]), tolerance, "mixed");
    const under = await fn(tf.tensor1d([-5], "int32"));
    await expectClose(under.mixed, v, tolerance, "mixed below");
    fn.dispose();
  });

  it("grows a donated cache step by step, and leaves alone what others hold", async () => {
    const rng = new Rng(3);
    const reads = Array.from({ length: 4 }, () => [0, 1, 2].map(() => draw(rng, [1, 2, 1, 8])));
    const grow = engine().compile(
      (q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, cache: Slots, lengths: tf.Tensor1D) =>
        cachedAttention(q, k, v, cache, lengths),
      { donated: [3] },
    );
    let cache: Slots = { k: tf.zeros([1, 2, 6, 8]), v: tf.zeros([1, 2, 6, 8]) };
    const kept: { at: number; cache: Slots; values: number[] }[] = [];
    for (const [n, [q, k, v]] of reads.entries()) {
      const given = cache;
      if (n === 2) {
        const held = { k: cache.k.clone(), v: cache.v.clone() };
        kept.push({ at: n, cache: held, values: [...(await held.k.data())] });
      }
      const { mixed, ...next } = await grow(
        q as tf.Tensor4D,
        k as tf.Tensor4D,
        v as tf.Tensor4D,
        cache,
        tf.tensor1d([n], "int32"),
      );
      expect(given.k.isDisposed && given.v.isDisposed).toBe(true);
      const history = (i: number) =>
        tf.concat(
          reads.slice(0, n + 1).map((read) => read[i]!),
          2,
        );
      await expectClose(mixed, attention(q!, history(1), history(2)), tolerance, `token ${n}`);
      mixed.dispose();
      cache = next;
    }
    for (const { cache, values } of kept) expect([...(await cache.k.data())]).toEqual(values);
    treeDispose([cache, kept]);
    grow.dispose();
  });
});

it("cachedAttention names shapes that do not fit", () => {
  const x = tf.zeros([1, 2, 1, 8]) as tf.Tensor4D;
  const past = { k: tf.zeros([1, 2, 4, 8]) as tf.Tensor4D, v: tf.zeros([1, 2, 4, 8]) as tf.Tensor4D };
  const lengths = tf.tensor1d([0], "int32");
  expect(() => cachedAttention(x, tf.zeros([1, 1, 1, 8]), x, past, lengths)).toThrow("do not fit together");
  const long = tf.zeros([1, 2, 5, 8]) as tf.Tensor4D;
  expect(() => cachedAttention(long, long, long, past, lengths)).toThrow("5 new tokens; the cache has 4 slots");
});

describeOnEngines("cachedRope", (engine) => {
  for (const { name, h, d, at } of [
    { name: "a token a row", h: 3, d: 8, at: [[4], [0]] },
    { name: "several tokens", h: 2, d: 8, at: [[2, 3, 4]] },
    {
      name: "several rows of several tokens",
      h: 2,
      d: 16,
      at: [
        [5, 6, 6],
        [0, 1, 2],
      ],
    },
    { name: "an odd half", h: 1, d: 6, at: [[1], [6]] },
  ]) {
    it(`rotates each row by its positions: ${name}`, async () => {
      const x = draw(new Rng(8), [at.length, h, at[0]!.length, d]);
      const rotate = engine().compile((x: tf.Tensor4D, positions: tf.Tensor2D) =>
        cachedRope(x, ropeTables(7, d), positions),
      );
      const got = await rotate(x, tf.tensor2d(at, undefined, "int32"));
      const rows = at.map((positions, row) => applyRope(x.slice([row], [1]), ropeTables(positions, d)));
      await expectClose(got, tf.concat(rows), tolerance);
      treeDispose([got, rows, x]);
    });
  }

  it("says what does not fit together", () => {
    const [x, positions] = [tf.zeros([2, 1, 1, 8]) as tf.Tensor4D, tf.zeros([1, 1], "int32") as tf.Tensor2D];
    expect(() => cachedRope(x, ropeTables(4, 8), positions)).toThrow("cachedRope: x [2,1,1,8], positions [1,1]");
    expect(() => cachedRope(x, ropeTables(4, 6), tf.zeros([2, 1], "int32"))).toThrow("and tables [4,3] do not fit");
  });
});
