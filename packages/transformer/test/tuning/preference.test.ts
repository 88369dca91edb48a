import { adamw, createEagerEngine, createEngine, gradientStep, Rng, treeDispose, valueAndGrad } from "@genai/core";
import { describeOnEngines, expectClose, expectGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  createGpt2,
  createLora,
  dpoLoss,
  type Gpt2Config,
  type Gpt2Params,
  gpt2Lm,
  joinParts,
  type LoraTree,
  loraLm,
  type PreferenceBatch,
  type PreferencePair,
  preferenceBatches,
  preferenceLoss,
  scoreContinuations,
  sequenceLogProbs,
  trainsLora,
  withReference,
} from "../../src/index.ts";

beforeAll(async () => {
  await createEagerEngine("cpu");
});

const pairOf = (prompt: number[], chosen: number[], rejected: number[]): PreferencePair => ({
  chosen: joinParts([
    { ids: prompt, learned: false },
    { ids: chosen, learned: true },
  ]),
  rejected: joinParts([
    { ids: prompt, learned: false },
    { ids: rejected, learned: true },
  ]),
});
const pairs = [pairOf([1, 2], [3, 4, 5], [6, 7]), pairOf([8], [9], [2, 2, 2, 2])];
const config: Gpt2Config = { vocabSize: 11, blockSize: 12, nEmbd: 8, nHead: 2, nLayer: 1 };
const lm = gpt2Lm(config);
const gpt = () => createGpt2(config, new Rng(0)).params;
const batchOf = async (pairs: PreferencePair[]): Promise<PreferenceBatch> =>
  (await preferenceBatches(pairs, { batchSize: pairs.length, length: 12, rng: new Rng(3) }).next()).value!;
const value = async (x: tf.Tensor) => (await x.data())[0]!;

describe("dpoLoss", () => {
  const logSigmoid = (x: number) => -Math.log(1 + Math.exp(-x));

  it("is eq. 7 of the paper", async () => {
    const [policy, reference] = [tf.tensor1d([-2, -5, -3, -4]), tf.tensor1d([-2.5, -4, -1, -6])];
    const h = [0.5 * (0.5 + 2), 0.5 * (-1 - 2)];
    const { loss, accuracy, margin } = dpoLoss(policy, reference, { beta: 0.5 });
    expect(await value(loss)).toBeCloseTo(-(logSigmoid(h[0]!) + logSigmoid(h[1]!)) / 2, 5);
    expect(await value(accuracy)).toBe(0.5);
    expect(await value(margin)).toBeCloseTo((h[0]! + h[1]!) / 2, 5);
    const smooth = dpoLoss(policy, reference, { beta: 0.5, labelSmoothing: 0.2 });
    const want = h.map((h) => -0.8 * logSigmoid(h) - 0.2 * logSigmoid(-h));
    expect(await value(smooth.loss)).toBeCloseTo((want[0]! + want[1]!) / 2, 5);
    const free = dpoLoss(policy, undefined, { beta: 1 });
    expect(await value(free.loss)).toBeCloseTo(-(logSigmoid(1) + logSigmoid(-1)) / 2, 5);
  });

  it("is ln 2 where model and reference agree, and then pulls chosen answers up by beta / 2", async () => {
    const reference = tf.tensor1d([-3, -70, -1, -2]);
    const { loss, accuracy } = dpoLoss(reference, reference, { beta: 0.3 });
    expect(await value(loss)).toBeCloseTo(Math.LN2, 6);
    expect(await value(accuracy)).toBe(0.5);
    const grad = tf.grad((x) => dpoLoss(x as tf.Tensor1D, reference, { beta: 0.3 }).loss)(reference);
    await expectClose(Array.from(await grad.data()), [-0.075, -0.075, 0.075, 0.075], { atol: 1e-6, rtol: 1e-6 });
  });

  it("has the gradients that differences give, and none for the reference", async () => {
    const [policy, reference] = [tf.tensor1d([-2, -5, -3, -4]), tf.tensor1d([-2.5, -4, -1, -6])];
    const options = { beta: 0.7, labelSmoothing: 0.1 };
    await expectGradient((x) => dpoLoss(x as tf.Tensor1D, reference, options).loss, policy);
    const grad = tf.grad((x) => dpoLoss(policy, x as tf.Tensor1D, options).loss)(reference);
    expect([...(await grad.data())].every((x) => x === 0)).toBe(true);
  });

  it("refuses what makes no sense", () => {
    const x = tf.tensor1d([1, 2]);
    expect(() => dpoLoss(x, undefined, { beta: 0 })).toThrow("beta (0) must be positive");
    expect(() => dpoLoss(x, undefined, { labelSmoothing: 0.5 })).toThrow("labelSmoothing (0.5) must be in [0, 0.5)");
    expect(() => dpoLoss(tf.tensor1d([1, 2, 3]))).toThrow("logProbs [3]; expected [2 N]");
    expect(() => dpoLoss(x, tf.tensor1d([1]))).toThrow("logProbs [2] and reference [1]");
  });
});

describe("sequenceLogProbs", () => {
  it("sums over the targets that count", async () => {
    const logits = tf.tensor3d([
      [
        [0, 0],
        [Math.log(3), 0],
        [9, 1],
      ],
    ]); // prettier-ignore
    const targets = tf.tensor2d([[1, 0, -100]], undefined, "int32");
    expect(await value(sequenceLogProbs(logits, targets))).toBeCloseTo(Math.log(0.5) + Math.log(0.75), 5);
  });
});

describeOnEngines("preferenceLoss", (engine) => {
  it("is ln 2 for an adapter that has learned nothing, and prefers the chosen answers after some steps", async () => {
    const loraConfig = { rank: 2, alpha: 4, targets: ["c_attn", "c_fc"], fanInFanOut: true };
    const base = gpt();
    const adapted = loraLm(lm, loraConfig);
    const optimizer = adamw({ learningRate: 0.02, weightDecay: 0, trainable: trainsLora });
    const { init, step } = gradientStep(
      optimizer,
      (params: LoraTree<Gpt2Params>, batch: PreferenceBatch, rng) =>
        preferenceLoss(adapted, params, batch, { reference: { lm, params: params.base }, rng }),
      { trainable: trainsLora },
    );
    const train = engine().compile(step);
    const batch = await batchOf(pairs);
    let state = init({ base, lora: createLora(base, loraConfig, new Rng(1)).params });
    const metrics: { loss: number; accuracy: number; margin: number }[] = [];
    for (let i = 0; i < 8; i++) {
      const next = await train(state, batch, new Rng(0));
      state = next.state;
      const { loss, accuracy, margin } = next.metrics as Record<string, tf.Scalar>;
      metrics.push({ loss: await value(loss!), accuracy: await value(accuracy!), margin: await value(margin!) });
    }
    expect(metrics[0]!.loss).toBeCloseTo(Math.LN2, 5);
    expect(metrics[0]!.margin).toBeCloseTo(0, 5);
    expect(metrics.at(-1)!.loss).toBeLessThan(Math.LN2 - 0.01);
    expect(metrics.at(-1)!.accuracy).toBe(1);
    expect(metrics.at(-1)!.margin).toBeGreaterThan(0.02);
  });

  it("gives the same with log-probabilities worked out before", async () => {
    const [policy, reference] = [createGpt2(config, new Rng(5)).params, gpt()];
    const scored = await withReference(engine(), lm, reference, pairs, { batchSize: 3 });
    const [batch, plain] = [await batchOf(scored), await batchOf(pairs)];
    const loss = engine().compile((params: Gpt2Params, batch: PreferenceBatch) => preferenceLoss(lm, params, batch));
    const beside = engine().compile((params: Gpt2Params, reference: Gpt2Params, batch: PreferenceBatch) =>
      preferenceLoss(lm, params, batch, { reference: { lm, params: reference } }),
    );
    const want = await beside(policy, reference, plain);
    const got = await loss(policy, batch);
    expect(await value(got.loss)).toBeCloseTo(await value(want.loss), 5);
    expect(await value(got.loss)).not.toBeCloseTo(Math.LN2, 3);
    expect(await value((await loss(policy, plain)).loss)).not.toBeCloseTo(await value(want.loss), 3);
  });
});

describe("withReference", () => {
  it("gives answers the log-probabilities that scoring gives them, and leaks nothing", async () => {
    const engine = await createEngine("onnx:cpu");
    const params = gpt();
    const before = tf.memory().numTensors;
    const scored = await withReference(engine, lm, params, pairs);
    expect(tf.memory().numTensors).toBe(before);
    const texts = [
      { context: [1, 2], continuation: [3, 4, 5] },
      { context: [1, 2], continuation: [6, 7] },
      { context: [8], continuation: [9] },
      { context: [8], continuation: [2, 2, 2, 2] },
    ];
    const want = await scoreContinuations(engine, lm, params, texts);
    const got = scored.flatMap(({ reference }) => [reference!.chosen, reference!.rejected]);
    for (const [i, { logProb }] of want.entries()) expect(got[i]).toBeCloseTo(logProb, 4);
    engine.dispose();
  });

  it("is not mixed with pairs that have none", async () => {
    const mixed = [{ ...pairs[0]!, reference: { chosen: -1, rejected: -2 } }, pairs[1]!];
    expect(() => preferenceBatches(mixed, { batchSize: 2, length: 12, rng: new Rng(0) })).toThrow(
      "1 of 2 pairs have a reference; expected all or none",
    );
    const long = pairOf([1], [1, 2, 3, 4, 5, 6], [1]);
    expect(() => preferenceBatches([long], { batchSize: 1, length: 4, rng: new Rng(0) })).toThrow(
      "chosen answer 0 has 7 tokens, 2 more",
    );
  });
});

describe("the reference", () => {
  it("gets no gradient, even if it is the model that is trained", async () => {
    const params = gpt();
    const batch = await batchOf(pairs);
    const { grads } = valueAndGrad(
      (p: Gpt2Params) => preferenceLoss(lm, p, batch, { reference: { lm, params: p } }).loss,
      params,
      { allowUnused: true },
    );
    const constant = valueAndGrad(
      (p: Gpt2Params) => preferenceLoss(lm, p, batch, { reference: { lm, params } }).loss,
      params,
      { allowUnused: true },
    );
    await expectClose(grads.wte.weight, constant.grads.wte.weight, { atol: 1e-7, rtol: 1e-6 });
    expect([...(await grads.wte.weight.data())].some((x) => Math.abs(x) > 1e-4)).toBe(true);
    treeDispose([grads, constant]);
  });
});
