import { countParams, createEagerEngine, Rng, treeDispose } from "@genai/core";
import { describeModelContract } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  checkIdRange,
  concatKvCaches,
  createGpt2,
  createKvCache,
  type Gpt2Config,
  gatherKvCacheRows,
  gpt2HiddenStates,
  gpt2Lm,
  gpt2Logits,
  gpt2Loss,
  gpt2Presets,
  nextTokens,
} from "../src/index.ts";
import { describeCausalLm } from "./describe-causal-lm.ts";

const tiny: Gpt2Config = { vocabSize: 12, blockSize: 10, nEmbd: 16, nHead: 2, nLayer: 2 };
const someIds = (rng: Rng, batch = 2, length = 10) =>
  tf.tidy(() => tf.cast(rng.uniform([batch, length], 0, 12), "int32")) as tf.Tensor2D;

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describeModelContract({
  name: "gpt2",
  create: (rng) => createGpt2({ ...tiny, dropout: 0.2 }, rng),
  batch: (rng) => someIds(rng),
  loss: (gpt, ids, rng) => gpt2Loss(gpt, ids, nextTokens(ids), { rng }),
  outputs: { run: (gpt, ids) => ({ logits: gpt2Logits(gpt, ids) }), shapes: { logits: [2, 10, 12] } },
});

describeCausalLm("gpt2", gpt2Lm({ ...tiny, dropout: 0.2 }), (rng) => createGpt2(tiny, rng).params);

describe("createGpt2", () => {
  it("has as many parameters as nanoGPT's model for a CPU", () => {
    const gpt = createGpt2(gpt2Presets.nanoCpu, new Rng(0));
    // nanoGPT prints 0.80M, which leaves out the positions.
    expect(countParams(gpt.params) - 64 * 128).toBe(65 * 128 + 4 * (12 * 128 * 128 + 2 * 128) + 128);
    treeDispose(gpt);
  });

  it("computes the published numbers of parameters for the presets", () => {
    const count = ({ vocabSize, blockSize, nEmbd, nLayer }: Gpt2Config) =>
      (vocabSize + blockSize + 2) * nEmbd + nLayer * (12 * nEmbd ** 2 + 13 * nEmbd);
    expect(count(gpt2Presets.gpt2)).toBe(124_439_808);
    expect(count(gpt2Presets["gpt2-medium"])).toBe(354_823_168);
    expect(count(gpt2Presets["gpt2-large"])).toBe(774_030_080);
    expect(count(gpt2Presets["gpt2-xl"])).toBe(1_557_611_200);
    const small = createGpt2(tiny, new Rng(0));
    expect(countParams(small.params)).toBe(count(tiny));
  });

  it("starts near the loss of a uniform guess", async () => {
    const ids = someIds(new Rng(3), 4);
    const loss = gpt2Loss(createGpt2(tiny, new Rng(1)), ids, nextTokens(ids));
    expect((await loss.data())[0]).toBeCloseTo(Math.log(12), 1);
  });

  it("refuses sizes that do not fit", () => {
    const create = (change: Partial<Gpt2Config>) => () => createGpt2({ ...tiny, ...change }, new Rng(1));
    expect(create({ nEmbd: 9 })).toThrow("createGpt2: nEmbd (9) must be a multiple of nHead (2)");
    expect(create({ nLayer: 0 })).toThrow("nLayer (0) must be a positive integer");
    expect(create({ dropout: 1 })).toThrow("dropout (1) must be in [0, 1)");
    expect(create({ activation: "swish" as "silu" })).toThrow("activation (swish) must be one of gelu");
  });
});

describe("gpt2", () => {
  it("drops out with an Rng only", async () => {
    const gpt = createGpt2({ ...tiny, dropout: 0.5 }, new Rng(1));
    const ids = someIds(new Rng(2));
    const [a, b] = [await gpt2Logits(gpt, ids).data(), await gpt2Logits(gpt, ids).data()];
    expect(a).toEqual(b);
    expect(await gpt2Logits(gpt, ids, { rng: new Rng(3) }).data()).not.toEqual(a);
  });

  it("gives no gradient to embeddings of later ids", async () => {
    const { params } = createGpt2({ ...tiny, tieWordEmbeddings: false }, new Rng(1));
    const ids = tf.tensor2d([[1, 2, 3, 4, 5]], undefined, "int32");
    const grad = tf.grad((weight: tf.Tensor) =>
      gpt2HiddenStates({ config: { ...tiny, tieWordEmbeddings: false }, params: { ...params, wte: { weight } } }, ids)
        .at(-1)!
        .slice([0, 0, 0], [1, 3, 16])
        .square()
        .mul(tf.range(1, 17))
        .sum(),
    )(params.wte.weight);
    const rows = (await grad.abs().sum(1).array()) as number[];
    for (const id of [1, 2, 3]) expect(rows[id]).toBeGreaterThan(0);
    for (const id of [4, 5]) expect(rows[id]).toBe(0);
  });
});

describe("createKvCache", () => {
  it("refuses sizes that are none", () => {
    const shape = { batchSize: 2, layers: 1, heads: 1, length: 4, headDim: 2 };
    expect(() => createKvCache({ ...shape, length: 0 })).toThrow("length (0) must be a positive integer");
  });

  it("has rows that can be picked and put below others", async () => {
    const shape = { batchSize: 3, layers: 1, heads: 1, length: 4, headDim: 2 };
    const cache = { ...createKvCache(shape), lengths: tf.tensor1d([0, 1, 2], "int32") };
    const picked = gatherKvCacheRows(cache, tf.tensor1d([2, 0], "int32"));
    expect(await picked.lengths.array()).toEqual([2, 0]);
    expect(picked.layers[0]!.k.shape).toEqual([2, 1, 4, 2]);
    const joined = concatKvCaches(picked, cache);
    expect(await joined.lengths.array()).toEqual([2, 0, 0, 1, 2]);
    expect(joined.layers[0]!.v.shape).toEqual([5, 1, 4, 2]);
  });
});

describe("checkIdRange", () => {
  it("names the first id out of range", () => {
    expect(() => checkIdRange("encode", [0, 11, 12], 12)).toThrow(
      "encode: id 12 at 2; expected an integer from 0 to 11",
    );
    expect(() => checkIdRange("encode", Int32Array.of(0, 11), 12)).not.toThrow();
  });
});
