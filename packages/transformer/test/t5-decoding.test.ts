import { createEagerEngine, logSoftmax, Rng, treeDispose, treeMap } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  createT5,
  createT5Cache,
  generateIds,
  type KvCache,
  perplexity,
  type T5,
  type T5Config,
  type T5Memory,
  t5BeamSearch,
  t5Generate,
  t5GenerateIds,
  t5Lm,
  t5Logits,
  t5Read,
  t5Step,
} from "../src/index.ts";

const config: T5Config = {
  vocabSize: 12,
  nEmbd: 8,
  nHead: 2,
  headDim: 3,
  nInner: 10,
  nLayer: 2,
  buckets: 8,
  maxDistance: 12,
  decoderStartId: 0,
};
/** Drawn larger than for training, so that what it writes depends on what it reads. */
const model = (): T5 => {
  const drawn = createT5({ ...config, tieWordEmbeddings: false }, new Rng(3));
  const params = tf.tidy(
    () =>
      treeMap(drawn.params, (x, path) => x.mul(/shared/.test(path) ? 1 : 1.5)) as unknown as tf.TensorContainerObject,
  ) as unknown as T5["params"];
  treeDispose(drawn.params);
  return { ...drawn, params };
};
const tolerance = { atol: 2e-5, rtol: 2e-4 };
const texts = [
  [5, 3, 8, 1],
  [2, 7, 1],
  [9, 9, 4, 6, 2, 10, 1],
];
const int2d = (rows: number[][]) => tf.tensor2d(rows, undefined, "int32");

/** Log-probabilities of what follows, by the whole decoder. */
async function following(t5: T5, text: readonly number[], written: readonly number[]): Promise<number[]> {
  const ids = int2d([[...text]]);
  const logits = t5Logits(t5, ids, int2d([[0, ...written]]));
  const last = logits.slice([0, written.length, 0], [1, 1, 12]).reshape([1, 12]);
  return Array.from(await logSoftmax(last).data());
}

async function greedy(t5: T5, text: readonly number[], count: number): Promise<number[]> {
  const written: number[] = [];
  while (written.length < count) {
    const next = await following(t5, text, written);
    written.push(next.indexOf(Math.max(...next)));
  }
  return written;
}

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describeOnEngines("t5 with a cache", (engine) => {
  it("gives the same logits as without, past padding in the text read and behind what is written", async () => {
    const t5 = createT5(config, new Rng(1));
    const ids = int2d([
      [3, 4, 5, 6, 7, 8, 9],
      [9, 8, 7, 6, 1, 2, 3],
    ]);
    const written = int2d([
      [0, 4, 7, 2, 9, 5],
      [0, 8, 3, 3, 1, 6],
    ]);
    const attentionMask = tf.tensor2d([
      [1, 1, 1, 1, 1, 1, 1],
      [1, 1, 1, 1, 0, 0, 0],
    ]);
    const whole = engine().compile((t5: T5, ids: tf.Tensor2D, decoderIds: tf.Tensor2D, attentionMask: tf.Tensor2D) =>
      t5Logits(t5, ids, decoderIds, { attentionMask }),
    );
    const read = engine().compile((t5: T5, ids: tf.Tensor2D, attentionMask: tf.Tensor2D) =>
      t5Read(t5, ids, { attentionMask }),
    );
    const step = engine().compile(
      (t5: T5, memory: T5Memory, ids: tf.Tensor2D, cache: KvCache, counts: tf.Tensor1D | null) =>
        t5Step(t5, memory, ids, cache, counts ?? undefined),
    );
    const want = await whole(t5, ids, written, attentionMask);
    const memory = await read(t5, ids, attentionMask);
    let cache = createT5Cache(config, 2, 9);
    for (const [at, count] of [
      [0, 3],
      [3, 1],
      [4, 1],
    ] as const) {
      const next = await step(t5, memory, written.slice([0, at], [2, count]), cache, null);
      treeDispose(cache);
      cache = next.cache;
      const logits = want.slice([0, at + count - 1, 0], [2, 1, 12]).reshape([2, 12]);
      await expectClose(next.logits, logits, tolerance, `logits after ${at + count}`);
    }
    // Rows of unequal length.
    const ragged = await step(
      t5,
      memory,
      written.slice([0, 0], [2, 4]),
      createT5Cache(config, 2, 9),
      tf.tensor1d([4, 2], "int32"),
    );
    const ends = tf.concat([want.slice([0, 3, 0], [1, 1, 12]), want.slice([1, 1, 0], [1, 1, 12])]).reshape([2, 12]);
    await expectClose(ragged.logits, ends, tolerance, "logits of unequal rows");
    // One text that two rows write about.
    const one = await read(t5, ids.slice([0, 0], [1, 7]), tf.ones([1, 7]));
    const both = await step(t5, one, int2d([[0], [0]]), createT5Cache(config, 2, 9), null);
    const first = want.slice([0, 0, 0], [1, 1, 12]).reshape([1, 12]);
    await expectClose(both.logits, tf.concat([first, first]), tolerance, "logits of two rows about one text");
  });

  it("writes what the whole decoder finds likeliest, for texts of any lengths at once", async () => {
    const t5 = model();
    const want = [];
    for (const text of texts) want.push(await greedy(t5, text, 6));
    const before = tf.memory().numTensors;
    expect(await t5GenerateIds(engine(), t5, texts, { maxNewTokens: 6 })).toEqual(want);
    expect(tf.memory().numTensors).toBe(before);
    expect(new Set(want.flat()).size).toBeGreaterThan(2);
  });

  it("finds with wide beams what is best of all", async () => {
    const t5 = model();
    const all: { ids: number[]; logProb: number }[] = [];
    for (const [a, first] of (await following(t5, texts[0]!, [])).entries()) {
      if (a === 1) all.push({ ids: [a], logProb: first });
      else {
        const rest = await following(t5, texts[0]!, [a]);
        for (const [b, second] of rest.entries()) all.push({ ids: [a, b], logProb: first + second });
      }
    }
    all.sort((a, b) => b.logProb - a.logProb);
    const before = tf.memory().numTensors;
    const options = { beams: 12, maxNewTokens: 2, stopIds: [1], lengthPenalty: 0 };
    const got = await t5BeamSearch(engine(), t5, texts[0]!, options);
    expect(tf.memory().numTensors).toBe(before);
    expect(got.slice(0, 4).map(({ ids }) => ids)).toEqual(all.slice(0, 4).map(({ ids }) => ids));
    for (const [i, { logProb }] of got.slice(0, 4).entries()) expect(logProb).toBeCloseTo(all[i]!.logProb, 3);
  });
});

describe("t5Generate", () => {
  it("draws with a seed, ends at a stop id, and frees everything when left", async () => {
    const engine = await createEagerEngine("cpu");
    const t5 = model();
    const draw = (seed: number) =>
      t5GenerateIds(engine, t5, texts, { rng: new Rng(seed), temperature: 1.5, maxNewTokens: 8 });
    expect(await draw(1)).toEqual(await draw(1));
    expect(await draw(1)).not.toEqual(await draw(2));
    const [first] = (await t5GenerateIds(engine, t5, texts, { maxNewTokens: 8 }))[0]!;
    const stopped = await t5GenerateIds(engine, t5, [texts[0]!], { maxNewTokens: 8, stopIds: [first!] });
    expect(stopped).toEqual([[]]);
    const before = tf.memory().numTensors;
    for await (const { row } of t5Generate(engine, t5, texts, { maxNewTokens: 8 })) {
      expect(row).toBe(0);
      break;
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses what it cannot read", async () => {
    const engine = await createEagerEngine("cpu");
    const t5 = model();
    const write = (texts: number[][], options = {}) => t5GenerateIds(engine, t5, texts, options);
    const before = tf.memory().numTensors;
    await expect(write([])).rejects.toThrow("t5Generate: texts are empty; expected at least one");
    await expect(write([[1], []])).rejects.toThrow("t5Generate: text 1 is empty");
    await expect(write([[1, 12]])).rejects.toThrow("t5Generate: text 0: id 12 at 1; expected an integer from 0 to 11");
    await expect(write([[1]], { maxNewTokens: 0 })).rejects.toThrow("maxNewTokens (0) must be a positive integer");
    await expect(write([[1]], { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    await expect(t5BeamSearch(engine, t5, [])).rejects.toThrow("t5BeamSearch: text 0 is empty");
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("t5Lm", () => {
  it("is a causal model to whatever takes one", async () => {
    const engine = await createEagerEngine("cpu");
    const t5 = model();
    const memory = t5Read(t5, int2d([texts[0]!]));
    const lm = t5Lm(t5.config, 16);
    const params = { model: t5.params, memory };
    const want = await greedy(t5, texts[0]!, 5);
    expect(await generateIds(engine, lm, params, [[0]], { maxNewTokens: 5 })).toEqual([want]);
    const logits = lm.logits(params, int2d([[0, ...want]]));
    await expectClose(logits, t5Logits(t5, int2d([texts[0]!]), int2d([[0, ...want]])), tolerance, "logits");
    const { loss } = await perplexity(engine, lm, params, [0, ...want]);
    let sum = 0;
    for (const [n, id] of want.entries()) sum -= (await following(t5, texts[0]!, want.slice(0, n)))[id]!;
    expect(loss).toBeCloseTo(sum / want.length, 4);
    expect(() => lm.logits(params, int2d([[0]]), { start: tf.tensor1d([0], "int32") })).toThrow("t5Lm: start is given");
  });
});
