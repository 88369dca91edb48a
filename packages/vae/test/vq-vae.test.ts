import { adam, createEngine, type Engine, Rng, replaceState, treeDispose, valueAndGrad } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createVqVae,
  decodeVqVae,
  encodeVqVae,
  initVqCodebook,
  reconstructVqVae,
  updateVqCodebook,
  type VqVaeConfig,
  type VqVaeParams,
  vqCodebookUsage,
  vqVaeLoss,
  vqVaePresets,
} from "../src/index.ts";

const tiny: VqVaeConfig = {
  imageSize: [8, 8],
  channels: 1,
  hiddenChannels: 8,
  residualChannels: 4,
  residualBlocks: 1,
  downsamples: 2,
  codes: 6,
  codeDim: 2,
  codebook: "ema",
  likelihood: { kind: "bernoulli" },
};

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

const values = (x: tf.Tensor) => Array.from(x.dataSync());

describe("createVqVae", () => {
  it.each<[Partial<VqVaeConfig>, RegExp]>([
    [{ imageSize: [8, 10] }, /imageSize \(8,10\) must hold multiples of 4, for 2 downsamples/],
    [{ hiddenChannels: 7 }, /hiddenChannels \(7\) must be even/],
    [{ codes: 1 }, /codes \(1\) must be an integer of at least 2/],
    [{ codebook: "no" as "ema" }, /codebook \(no\) must be "ema" or "gradient"/],
  ])("refuses %j", (change, message) => {
    expect(() => createVqVae({ ...tiny, ...change }, new Rng(0))).toThrow(message);
  });

  it("makes 7x7 codes of 28x28 images and 8x8 of 32x32", () => {
    for (const [name, side] of [
      ["mnist", 7],
      ["cifar", 8],
    ] as const) {
      const config = { ...vqVaePresets[name], hiddenChannels: 4, residualChannels: 2, codeDim: 2 };
      const ids = encodeVqVae(
        createVqVae(config, new Rng(0)),
        tf.zeros([1, ...config.imageSize, config.channels]) as tf.Tensor4D,
      );
      expect(ids.shape).toEqual([1, side, side]);
    }
  });
});

describe("a VQ-VAE", () => {
  it("rebuilds images from their ids alone", () => {
    const vae = createVqVae(tiny, new Rng(0));
    const x = new Rng(1).uniform([3, 8, 8, 1]) as tf.Tensor4D;
    expect(values(decodeVqVae(vae, encodeVqVae(vae, x)))).toEqual(values(reconstructVqVae(vae, x)));
  });

  it("lets the reconstruction's gradient straight through to the encoder, and none of it to the codes", () => {
    const vae = createVqVae({ ...tiny, codebook: "gradient" }, new Rng(0));
    const x = new Rng(1).uniform([2, 8, 8, 1]) as tf.Tensor4D;
    const { grads } = valueAndGrad((params: VqVaeParams) => vqVaeLoss({ ...vae, params }, x).recon, vae.params);
    expect(values(grads.encoder.project.weight.abs().sum())[0]).toBeGreaterThan(0);
    expect(values(grads.codebook.weight.abs().sum())[0]).toBe(0);
  });

  it("adds up its loss from the parts it reports", () => {
    const x = new Rng(1).uniform([2, 8, 8, 1]) as tf.Tensor4D;
    for (const codebook of ["ema", "gradient"] as const) {
      const parts = vqVaeLoss(createVqVae({ ...tiny, codebook }, new Rng(0)), x, { commitmentCost: 0.5 });
      const [loss, recon, moved, commitment] = [parts.loss, parts.recon, parts.codebookLoss, parts.commitmentLoss].map(
        (t) => values(t)[0]!,
      ) as [number, number, number, number];
      expect(loss).toBeCloseTo(recon / 64 + 0.5 * commitment + (codebook === "gradient" ? moved : 0), 5);
    }
  });

  it("names the function, the shape and what was expected when shapes do not fit", () => {
    const vae = createVqVae(tiny, new Rng(0));
    expect(() => vqVaeLoss(vae, tf.zeros([2, 8, 8, 3]))).toThrow(
      "vqVaeLoss: images have shape [2,8,8,3]; expected [batch, 8, 8, 1]",
    );
    expect(() => decodeVqVae(vae, tf.zeros([2, 2, 2]))).toThrow("decodeVqVae: ids are float32 of shape [2,2,2]");
  });

  it.each(["ema", "gradient"] as const)("memorises one batch with codes that learn by %s", async (codebook) => {
    const x = tf.tidy(() => new Rng(7).uniform([4, 8, 8, 1]).less(0.5).toFloat()) as tf.Tensor4D;
    const vae = createVqVae({ ...tiny, codebook, codes: 16, codeDim: 4, hiddenChannels: 16 }, new Rng(1));
    const optimizer = adam({ learningRate: 1e-2 });
    let state = { params: vae.params, opt: optimizer.init(vae.params), codes: initVqCodebook(vae) };
    const step = engine.compile((s: typeof state, images: tf.Tensor4D, rng: Rng) => {
      const { grads, recon, encoded, ids, perplexity } = valueAndGrad(
        (params: VqVaeParams) => vqVaeLoss({ ...vae, params }, images),
        s.params,
      );
      const next = optimizer.update(grads, s.opt, s.params);
      const update = updateVqCodebook(next.params.codebook.weight, s.codes, { encoded, ids }, rng, { decay: 0.9 });
      const params: VqVaeParams = { ...next.params, codebook: update.codebook };
      return { state: { params, opt: next.state, codes: update.state }, recon, perplexity };
    });
    const rng = new Rng(2);
    let [first, last, perplexity] = [0, 0, 0];
    for (let i = 0; i < 250; i++) {
      const result = await step(state, x, rng);
      state = replaceState(state, result.state);
      last = (await result.recon.data())[0]!;
      perplexity = (await result.perplexity.data())[0]!;
      if (i === 0) first = last;
      treeDispose([result.recon, result.perplexity]);
    }
    expect(first).toBeGreaterThan(40);
    expect(last).toBeLessThan(first / 8);
    expect(perplexity).toBeGreaterThan(4); // 16 places of 16 codes
  });
});

describe("updateVqCodebook", () => {
  const encoded = tf.tensor2d([
    [1, 0],
    [3, 0],
    [0, 2],
  ]);
  const ids = tf.tensor1d([0, 0, 1], "int32");
  const weight = tf.tensor2d([
    [9, 9],
    [9, 9],
    [5, 5],
  ]);

  it("moves codes to the means of their vectors when nothing is remembered", () => {
    const state = { usage: tf.zeros([3]), sums: tf.zeros([3, 2]) };
    const { codebook } = updateVqCodebook(weight, state, { encoded, ids }, undefined, { decay: 0, eps: 0 });
    expect(values(codebook.weight).slice(0, 4)).toEqual([2, 0, 0, 2]);
  });

  it("follows the paper's averages with smoothed counts", () => {
    const state = {
      usage: tf.tensor1d([4, 1, 1]),
      sums: tf.tensor2d([
        [4, 0],
        [0, 1],
        [2, 2],
      ]),
    };
    const { codebook, state: next } = updateVqCodebook(weight, state, { encoded, ids }, undefined, {
      decay: 0.5,
      eps: 0.1,
    });
    const usage = [3, 1, 0.5];
    expect(values(next.usage)).toEqual(usage);
    expect(values(next.sums!)).toEqual([4, 0, 0, 1.5, 1, 1]);
    const smoothed = usage.map((n) => ((n + 0.1) / (4.5 + 0.3)) * 4.5);
    const want = [4, 0, 0, 1.5, 1, 1].map((sum, i) => sum / smoothed[Math.floor(i / 2)]!);
    for (const [i, got] of values(codebook.weight).entries()) expect(got).toBeCloseTo(want[i]!, 5);
  });

  it("restarts at vectors of the batch the codes that nothing uses, and only those, if it gets an Rng", () => {
    for (const sums of [
      undefined,
      tf.tensor2d([
        [9, 9],
        [9, 9],
        [0.05, 0.05],
      ]),
    ]) {
      const state = { usage: tf.tensor1d([1, 1, 0.01]), ...(sums ? { sums } : {}) };
      const options = { decay: 0.99 };
      const without = updateVqCodebook(weight, state, { encoded, ids }, undefined, options);
      const {
        codebook,
        state: next,
        restarted,
      } = updateVqCodebook(weight, state, { encoded, ids }, new Rng(3), options);
      expect(values(without.restarted)).toEqual([0]);
      expect(values(restarted)).toEqual([1]);
      const [kept, drawn] = [values(codebook.weight).slice(0, 4), values(codebook.weight).slice(4)];
      expect(kept).toEqual(values(without.codebook.weight).slice(0, 4));
      expect(encoded.arraySync()).toContainEqual(drawn);
      expect(values(next.usage)[2]).toBe(1);
      if (sums) expect(values(next.sums!).slice(4)).toEqual(drawn);
    }
  });

  it("leaves the codes alone when they learn by gradient and all are in use", () => {
    const { codebook } = updateVqCodebook(weight, { usage: tf.ones([3]) }, { encoded, ids }, new Rng(0));
    expect(values(codebook.weight)).toEqual(values(weight));
  });
});

describe("vqCodebookUsage", () => {
  it("counts codes, and has a perplexity of 1 for one code and of K for K alike", () => {
    const one = vqCodebookUsage(
      tf.tensor2d(
        [
          [2, 2],
          [2, 2],
        ],
        [2, 2],
        "int32",
      ),
      4,
    );
    expect(values(one.counts)).toEqual([0, 0, 4, 0]);
    expect([values(one.used)[0], values(one.perplexity)[0]]).toEqual([1, 1]);
    const all = vqCodebookUsage(tf.tensor1d([3, 2, 1, 0], "int32"), 4);
    expect(values(all.used)).toEqual([4]);
    expect(values(all.perplexity)[0]).toBeCloseTo(4, 5);
  });
});
