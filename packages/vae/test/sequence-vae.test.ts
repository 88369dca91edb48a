import { createEngine, type Engine, Rng, treeMap } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  characterAlphabet,
  createSequenceVae,
  decodeSequenceVae,
  decodeStrings,
  encodeSequenceVae,
  encodeStrings,
  interpolateSequenceVae,
  reconstructSequenceVae,
  type SequenceVaeConfig,
  sampleSequenceVae,
  sequenceVaeLoss,
} from "../src/index.ts";
import { memorise } from "./memorise.ts";

const names = ["ada", "bob", "cleo", "dan"];
const alphabet = characterAlphabet(names);
const config: SequenceVaeConfig = {
  vocabSize: alphabet.length + 1,
  length: 6,
  nEmbd: 8,
  hiddenSize: 24,
  latentDim: 4,
};
const tokens = () => encodeStrings(names, { alphabet, length: 6 });

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

describe("encodeStrings", () => {
  it("gives rows of ids that come back as the same strings", async () => {
    const strings = ["ada", "", "élan ✓😀"];
    const letters = characterAlphabet(strings);
    const rows = encodeStrings(strings, { alphabet: letters, length: 9 });
    expect(rows.shape).toEqual([3, 9]);
    expect(await decodeStrings(rows, letters)).toEqual(strings);
  });

  it("names the string that does not fit", () => {
    expect(() => encodeStrings(["abcdef"], { alphabet, length: 6 })).toThrow(
      "encodeStrings: 'abcdef' has 6 characters; expected at most 5",
    );
    expect(() => encodeStrings(["xa"], { alphabet, length: 6 })).toThrow("'xa' holds 'x'; expected characters of");
    expect(() => encodeStrings([], { alphabet, length: 6 })).toThrow("got no strings");
  });
});

describe("a VAE for strings", () => {
  it("costs log V for every character and the end when all logits are 0, and no KL", () => {
    const vae = createSequenceVae(config, new Rng(0));
    const zero = { config, params: treeMap(vae.params, (t) => tf.zerosLike(t)) };
    const { recon, kl } = sequenceVaeLoss(zero, tokens(), new Rng(1));
    expect(recon.dataSync()[0]).toBeCloseTo(((4 + 4 + 5 + 4) / 4) * Math.log(config.vocabSize), 4);
    expect(kl.dataSync()[0]).toBe(0);
  });

  it("encodes a string alike however much room is left behind it", () => {
    const vae = createSequenceVae(config, new Rng(0));
    const longer = { ...vae, config: { ...config, length: 9 } };
    const a = encodeSequenceVae(vae, tokens()).mu.dataSync();
    const b = encodeSequenceVae(longer, encodeStrings(names, { alphabet, length: 9 })).mu.dataSync();
    for (let i = 0; i < a.length; i++) expect(b[i]).toBeCloseTo(a[i]!, 6);
  });

  it("weighs the KL with beta, given as a number or as a scalar", () => {
    const vae = createSequenceVae(config, new Rng(0));
    const at = (beta: number | tf.Scalar) => sequenceVaeLoss(vae, tokens(), new Rng(5), { beta });
    const { recon, kl } = at(1);
    const want = recon.dataSync()[0]! + 3 * kl.dataSync()[0]!;
    expect(at(3).loss.dataSync()[0]).toBeCloseTo(want, 4);
    expect(at(tf.scalar(3)).loss.dataSync()[0]).toBeCloseTo(want, 4);
  });

  it("writes nothing after a string's end, and draws the same strings from the same seed", () => {
    const vae = createSequenceVae(config, new Rng(0));
    const draw = (seed: number) => sampleSequenceVae(vae, { count: 40, rng: new Rng(seed) }).arraySync();
    const rows = draw(1);
    expect(draw(1)).toEqual(rows);
    expect(draw(2)).not.toEqual(rows);
    for (const row of rows) {
      const end = row.indexOf(0);
      if (end >= 0) expect(row.slice(end).every((id) => id === 0)).toBe(true);
    }
    expect(Math.max(...rows.flat())).toBeLessThan(config.vocabSize);
  });

  it("draws what greedy decoding gives when the temperature is near 0", () => {
    const vae = createSequenceVae(config, new Rng(0));
    const z = new Rng(1).normal([5, 4]) as tf.Tensor2D;
    const drawn = decodeSequenceVae(vae, z, { rng: new Rng(2), temperature: 1e-4 });
    expect(drawn.dataSync()).toEqual(decodeSequenceVae(vae, z).dataSync());
  });

  it("memorises names with word dropout, and walks from one to another", async () => {
    const vae = createSequenceVae(config, new Rng(0));
    const { first, last, params } = await memorise(
      engine,
      vae.params,
      (p, rng) => sequenceVaeLoss({ config, params: p }, tokens(), rng, { beta: 0.01, wordDropout: 0.5 }),
      { steps: 250, learningRate: 2e-2 },
    );
    expect(last).toBeLessThan(first / 8);
    const trained = { config, params };
    expect(await decodeStrings(reconstructSequenceVae(trained, tokens()), alphabet)).toEqual(names);
    const [ada, bob] = [tokens().slice([0, 0], [1, 6]), tokens().slice([1, 0], [1, 6])];
    const walk = interpolateSequenceVae(trained, ada, bob, { steps: 3 });
    expect(walk.shape).toEqual([1, 3, 6]);
    const texts = await decodeStrings(walk.reshape([3, 6]), alphabet);
    expect([texts[0], texts[2]]).toEqual(["ada", "bob"]);
  });

  it("refuses values that do not fit", () => {
    const vae = createSequenceVae(config, new Rng(0));
    expect(() => createSequenceVae({ ...config, length: 1 }, new Rng(0))).toThrow(
      "length (1) must be an integer of at least 2",
    );
    expect(() => encodeSequenceVae(vae, tf.zeros([2, 6]))).toThrow("tokens are float32 of shape [2,6]; expected int32");
    expect(() => sequenceVaeLoss(vae, tokens(), new Rng(0), { wordDropout: 2 })).toThrow("wordDropout (2)");
    expect(() => decodeSequenceVae(vae, tf.zeros([2, 3]))).toThrow("z has shape [2,3]; expected [batch, 4]");
  });
});
