import { countParams, createEagerEngine, Rng } from "@genai/core";
import { describeModelContract } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { createT5, type T5, type T5Config, t5DecoderIds, t5Logits, t5Loss, t5Presets } from "../src/index.ts";

const tiny: T5Config = {
  vocabSize: 12,
  nEmbd: 8,
  nHead: 2,
  headDim: 3,
  nInner: 10,
  nLayer: 2,
  buckets: 8,
  maxDistance: 12,
};
const gated: T5Config = {
  ...tiny,
  feedForward: "gated-gelu",
  tieWordEmbeddings: false,
  nDecoderLayer: 1,
  dropout: 0.1,
};
const someIds = (rng: Rng, batch: number, length: number) =>
  tf.tidy(() => tf.cast(rng.uniform([batch, length], 1, 12), "int32")) as tf.Tensor2D;
const batch = (rng: Rng) => ({ ids: someIds(rng, 2, 7), targets: someIds(rng, 2, 8) });

beforeAll(async () => {
  await createEagerEngine("cpu");
});

for (const [name, config] of Object.entries({ t5: tiny, "gated t5": gated })) {
  describeModelContract({
    name,
    create: (rng) => createT5(config, rng),
    batch,
    loss: (t5: T5, { ids, targets }, rng) => t5Loss(t5, ids, targets, { rng }),
    outputs: {
      run: (t5, { ids, targets }) => ({ logits: t5Logits(t5, ids, targets) }),
      shapes: { logits: [2, 8, 12] },
    },
  });
}

describe("t5", () => {
  it("never sees what it has yet to write, and sees all of what it reads", async () => {
    const t5 = createT5(tiny, new Rng(1));
    const { ids, targets } = batch(new Rng(2));
    const first = async (ids: tf.Tensor2D, targets: tf.Tensor2D) =>
      (await t5Logits(t5, ids, targets).slice([0, 0, 0], [2, 4, 12]).data()).slice();
    const change = async (x: tf.Tensor2D, at: number) =>
      tf.tensor2d(
        ((await x.array()) as number[][]).map((row) => row.map((id, i) => (i === at ? (id % 11) + 1 : id))),
        undefined,
        "int32",
      );
    const want = await first(ids, targets);
    expect(await first(ids, await change(targets, 4))).toEqual(want);
    expect(await first(ids, await change(targets, 3))).not.toEqual(want);
    expect(await first(await change(ids, 6), targets)).not.toEqual(want);
  });

  it("shifts targets to the right behind the start", async () => {
    const targets = tf.tensor2d([[5, 6, 1, -100, -100]], undefined, "int32");
    expect(await t5DecoderIds({ ...tiny, decoderStartId: 2 }, targets).array()).toEqual([[2, 5, 6, 1, 0]]);
  });

  it("has the published numbers of parameters", () => {
    const count = (c: T5Config) => {
      const inner = c.nHead * c.headDim;
      const { nDecoderLayer = c.nLayer, buckets = 32 } = c;
      const ff = (c.feedForward === "gated-gelu" ? 3 : 2) * c.nEmbd * c.nInner + c.nEmbd;
      const attention = 4 * c.nEmbd * inner + c.nEmbd;
      const layers = c.nLayer * (attention + ff) + nDecoderLayer * (2 * attention + ff);
      const tables = ((c.tieWordEmbeddings ?? true) ? 1 : 2) * c.vocabSize * c.nEmbd;
      return tables + layers + 2 * buckets * c.nHead + 2 * c.nEmbd;
    };
    expect(count(t5Presets["t5-small"])).toBe(60_506_624);
    expect(count(t5Presets["t5-base"])).toBe(222_903_552);
    expect(count(t5Presets["t5-v1_1-small"])).toBe(76_961_152);
    expect(count(t5Presets["t5-v1_1-base"])).toBe(247_577_856);
    for (const config of [tiny, gated]) expect(countParams(createT5(config, new Rng(0)).params)).toBe(count(config));
  });

  it("refuses what does not fit", () => {
    const create = (change: Partial<T5Config>) => () => createT5({ ...tiny, ...change }, new Rng(1));
    expect(create({ headDim: 0 })).toThrow("createT5: headDim (0) must be a positive integer");
    expect(create({ buckets: 6 })).toThrow("buckets (6) must be a multiple of 4");
    expect(create({ maxDistance: 4 })).toThrow("maxDistance (4) must exceed half of buckets (8)");
    expect(create({ decoderStartId: 12 })).toThrow("decoderStartId (12) must be from 0 to 11");
    const t5 = createT5(tiny, new Rng(1));
    const { ids, targets } = batch(new Rng(2));
    expect(() => t5Logits(t5, ids, targets, { attentionMask: tf.ones([2, 3]) })).toThrow(
      "attentionMask has shape [2,3]",
    );
  });
});
