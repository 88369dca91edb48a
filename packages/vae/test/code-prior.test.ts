import { createEngine, type Engine, Rng, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type CodePriorConfig,
  codePriorLogits,
  codePriorLoss,
  createCodePrior,
  createVqVae,
  encodeVqVae,
  sampleCodePrior,
  sampleVqVae,
  type VqVaeConfig,
  vqVaeLoss,
  vqVaeNll,
} from "../src/index.ts";
import { memorise } from "./memorise.ts";

const config: CodePriorConfig = { codes: 5, mapSize: [2, 3], nEmbd: 8, nHead: 2, nLayer: 1 };
const vqConfig: VqVaeConfig = {
  imageSize: [4, 6],
  channels: 1,
  hiddenChannels: 4,
  residualChannels: 2,
  residualBlocks: 1,
  downsamples: 1,
  codes: 5,
  codeDim: 2,
  codebook: "ema",
  likelihood: { kind: "bernoulli" },
};

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

describe("a prior over codes", () => {
  it("sees the codes before a place and none from it on", () => {
    const prior = createCodePrior(config, new Rng(0));
    const ids = [0, 1, 2, 3, 4, 0];
    const at = (changed: number) =>
      codePriorLogits(prior, tf.tensor3d(ids.with(changed, (ids[changed]! + 1) % 5), [1, 2, 3], "int32")).dataSync();
    const base = codePriorLogits(prior, tf.tensor3d(ids, [1, 2, 3], "int32")).dataSync();
    for (let place = 0; place < 6; place++) {
      const other = at(place);
      expect(other.slice(0, (place + 1) * 5)).toEqual(base.slice(0, (place + 1) * 5));
      if (place < 5) expect(other.slice((place + 1) * 5)).not.toEqual(base.slice((place + 1) * 5));
    }
  });

  it("gives the codes' uniform entropy when its head is zero", () => {
    const prior = createCodePrior(config, new Rng(0));
    prior.params.head = { weight: tf.zeros([5, 8]), bias: tf.zeros([5]) };
    const { loss, nll } = codePriorLoss(prior, new Rng(1).integers([4, 2, 3], 0, 5) as tf.Tensor3D);
    expect(loss.dataSync()[0]).toBeCloseTo(Math.log(5), 5);
    expect(nll.dataSync()[0]).toBeCloseTo(6 * Math.log(5), 4);
  });

  it("memorises two maps and then draws them, each about as often as it was seen", async () => {
    const maps = tf.tensor3d([0, 1, 2, 3, 4, 0, 4, 4, 1, 1, 2, 2], [2, 2, 3], "int32");
    const prior = createCodePrior({ ...config, nEmbd: 16 }, new Rng(0));
    const { last, params } = await memorise(engine, prior.params, (p) => codePriorLoss({ ...prior, params: p }, maps), {
      steps: 150,
    });
    expect(last).toBeLessThan((Math.log(2) / 6) * 1.1); // The choice between them costs log 2.
    const drawn = await sampleCodePrior(engine, { ...prior, params }, { count: 40, rng: new Rng(1) });
    const rows = drawn.reshape([40, 6]).arraySync() as number[][];
    const texts = rows.map((row) => row.join(""));
    const share = texts.filter((text) => text === "012340").length;
    expect(texts.filter((text) => text === "441122").length + share).toBeGreaterThan(35);
    expect(share).toBeGreaterThan(8);
    expect(share).toBeLessThan(32);
  });

  it("draws the same maps from the same seed, and leaks no tensors", async () => {
    const prior = createCodePrior(config, new Rng(0));
    const draw = async (seed: number) => {
      const ids = await sampleCodePrior(engine, prior, { count: 3, rng: new Rng(seed) });
      const numbers = Array.from(await ids.data());
      ids.dispose();
      return numbers;
    };
    const first = await draw(1);
    const before = tf.memory().numTensors;
    expect(await draw(1)).toEqual(first);
    expect(await draw(2)).not.toEqual(first);
    expect(tf.memory().numTensors).toBe(before);
    expect(Math.max(...first)).toBeLessThan(5);
  });

  it("draws images with a VQ-VAE, and bounds their likelihood by pixels and codes", async () => {
    const vae = createVqVae(vqConfig, new Rng(0));
    const prior = createCodePrior(config, new Rng(0));
    const images = await sampleVqVae(engine, vae, prior, { count: 4, rng: new Rng(2), temperature: 0.8 });
    expect(images.shape).toEqual([4, 4, 6, 1]);
    const x = new Rng(3).uniform([2, 4, 6, 1]) as tf.Tensor4D;
    const { nll, recon, codes } = vqVaeNll(vae, prior, x);
    expect(recon.dataSync()).toEqual(vqVaeLoss(vae, x).recon.dataSync());
    expect(codes.dataSync()).toEqual(codePriorLoss(prior, encodeVqVae(vae, x)).nll.dataSync());
    expect(nll.dataSync()[0]).toBeCloseTo(recon.dataSync()[0]! + codes.dataSync()[0]!, 4);
    treeDispose(images);
  });

  it("refuses a VQ-VAE with other codes or maps", async () => {
    const vae = createVqVae({ ...vqConfig, codes: 7 }, new Rng(0));
    const prior = createCodePrior(config, new Rng(0));
    await expect(sampleVqVae(engine, vae, prior, { count: 1, rng: new Rng(0) })).rejects.toThrow(
      "sampleVqVae: the prior is over 2x3 maps of 5 codes; expected 2x3 maps of 7",
    );
    expect(() => createCodePrior({ ...config, nHead: 3 }, new Rng(0))).toThrow(
      "nEmbd (8) must be a multiple of nHead (3)",
    );
  });
});
