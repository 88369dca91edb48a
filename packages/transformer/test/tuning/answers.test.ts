import { adamw, createEagerEngine, createEngine, gradientStep, Rng, treeDispose } from "@genai/core";
import { describeOnEngines } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  createGpt2,
  documentPerplexity,
  type Gpt2Params,
  gpt2Lm,
  joinParts,
  languageModelLoss,
  packDocuments,
  paddedBatches,
  perplexity,
  type TokenBatch,
} from "../../src/index.ts";
import { bucketWidth } from "../../src/tuning/padded-batches.ts";
import { bigramLm } from "../toy-lms.ts";

beforeAll(async () => {
  await createEagerEngine("cpu");
});

const X = -100;
const question = (ids: number[]) => ({ ids, learned: false });
const answer = (ids: number[]) => ({ ids, learned: true });

describe("joinParts", () => {
  it("makes targets of the answers of a conversation alone", () => {
    const document = joinParts([question([1, 2]), answer([3, 9]), question([4]), answer([5, 6, 9])]);
    const { ids, targets } = packDocuments([document], { length: 8 });
    expect([...ids]).toEqual([1, 2, 3, 9, 4, 5, 6, 0]);
    expect([...targets]).toEqual([X, 3, 9, X, 5, 6, 9, X]);
  });
});

describe("paddedBatches", () => {
  const documents = Array.from({ length: 23 }, (_, i) =>
    joinParts([question([i + 1]), answer(new Array(1 + ((i * 7) % 30)).fill(i + 1))]),
  );
  const take = async (stream: ReturnType<typeof paddedBatches>) => {
    const batch = (await stream.next()).value!;
    const rows = { ids: batch.ids.arraySync(), targets: batch.targets.arraySync() };
    treeDispose(batch);
    return rows;
  };

  it("gives each document once in a pass, padded on the right to widths that recur", async () => {
    const stream = paddedBatches(documents, { batchSize: 4, length: 40, rng: new Rng(1), padId: 99 });
    const passes = [];
    for (let pass = 0; pass < 2; pass++) {
      const seen: number[] = [];
      for (let n = 0; n < 5; n++) {
        const { ids, targets } = await take(stream);
        expect([8, 12, 16, 24, 32]).toContain(ids[0]!.length);
        for (const [row, line] of ids.entries()) {
          const id = line[0]!;
          seen.push(id);
          const answers = 1 + (((id - 1) * 7) % 30);
          expect(line).toEqual(line.map((_, i) => (i < answers ? id : 99)));
          expect(targets[row]).toEqual(line.map((_, i) => (i < answers ? id : X)));
        }
      }
      expect(new Set(seen).size).toBe(20);
      passes.push(seen);
    }
    expect(passes[0]).not.toEqual(passes[1]);
  });

  it("goes on from a saved place", async () => {
    const stream = paddedBatches(documents, { batchSize: 3, length: 40, rng: new Rng(1) });
    for (let i = 0; i < 9; i++) await take(stream);
    const state = JSON.parse(JSON.stringify(stream.state()));
    const want = [await take(stream), await take(stream)];
    const other = paddedBatches(documents, { batchSize: 3, length: 40, rng: new Rng(5) });
    other.restore(state);
    expect([await take(other), await take(other)]).toEqual(want);
    expect(() => other.restore({ cursor: 99 })).toThrow("is no place in a stream of 7 batches");
  });

  it("pads by at most a third, but for the shortest", () => {
    for (let n = 9; n < 2000; n++) {
      const width = bucketWidth(n, 4000);
      expect(width).toBeGreaterThanOrEqual(n);
      expect(width / n).toBeLessThanOrEqual(1.5);
    }
    expect(bucketWidth(100, 100)).toBe(100);
  });

  it("refuses documents that do not fit a row or leave nothing to learn", () => {
    const options = { batchSize: 1, length: 4, rng: new Rng(0) };
    expect(() => paddedBatches([{ ids: [1, 2, 3, 4, 5, 6] }], options)).toThrow("document 0 has 6 tokens, 1 more");
    expect(() => paddedBatches([{ ids: [1] }], options)).toThrow("document 0 has 1 tokens; expected at least 2");
    expect(() => paddedBatches([{ ids: [1, 2], learned: [1, 0] }], options)).toThrow("document 0 has nothing to learn");
    expect(() => paddedBatches([{ ids: [1, 2], learned: [1] }], options)).toThrow("expected one for each");
    expect(() => paddedBatches([{ ids: [1, 2] }], { ...options, batchSize: 2 })).toThrow(
      "batchSize (2) must be from 1",
    );
  });
});

describeOnEngines("languageModelLoss", (engine) => {
  it("is the mean over the answers' tokens, whatever the padding", async () => {
    const lm = bigramLm(3);
    const table = tf.tensor2d([
      [1, 2, 3],
      [0, 0, 0],
      [5, 0, 0],
    ]);
    const loss = engine().compile((params: { table: tf.Tensor2D }, batch: TokenBatch) =>
      languageModelLoss(lm, params, batch),
    );
    const ids = tf.tensor2d([[0, 1, 2, 0]], undefined, "int32");
    const got = await loss({ table }, { ids, targets: tf.tensor2d([[X, 2, 0, X]], undefined, "int32") });
    const want = (Math.log(3) + Math.log(1 + 2 * Math.exp(-5))) / 2;
    expect((await got.data())[0]).toBeCloseTo(want, 5);
  });

  it("teaches the answers and leaves the questions alone", async () => {
    const lm = bigramLm(6);
    const document = joinParts([question([1, 2, 3]), answer([4, 5])]);
    const [batch] = [(await paddedBatches([document], { batchSize: 1, length: 8, rng: new Rng(0) }).next()).value!];
    const optimizer = adamw({ learningRate: 0.3, weightDecay: 0 });
    const { init, step } = gradientStep(optimizer, (params: { table: tf.Tensor2D }, batch: TokenBatch, rng) =>
      languageModelLoss(lm, params, batch, { rng }),
    );
    const train = engine().compile(step);
    let state = init({ table: tf.zeros([6, 6]) });
    for (let i = 0; i < 30; i++) state = (await train(state, batch, new Rng(0))).state;
    const table = (await state.params.table.array()) as number[][];
    for (const row of [0, 1, 2, 5]) expect(table[row], `logits behind ${row}`).toEqual([0, 0, 0, 0, 0, 0]);
    expect(table[3]![4]! - Math.max(...table[3]!.filter((_, i) => i !== 4))).toBeGreaterThan(4);
    expect(table[4]![5]! - Math.max(...table[4]!.filter((_, i) => i !== 5))).toBeGreaterThan(4);
  });
});

describe("documentPerplexity", () => {
  const config = { vocabSize: 11, blockSize: 16, nEmbd: 8, nHead: 2, nLayer: 1 };

  it("is that of the stream for one document learned in whole, and of the answers for several", async () => {
    const engine = await createEngine("onnx:cpu");
    const params: Gpt2Params = createGpt2(config, new Rng(0)).params;
    const lm = gpt2Lm(config);
    const tokens = [1, 5, 3, 2, 7, 7, 1];
    const want = await perplexity(engine, lm, params, tokens);
    const whole = await documentPerplexity(engine, lm, params, [{ ids: tokens }]);
    expect(whole.tokens).toBe(6);
    expect(whole.loss).toBeCloseTo(want.loss, 5);
    const uniform = bigramLm(4);
    const flat = { table: tf.zeros([4, 4]) as tf.Tensor2D };
    const parts = [1, 2, 3].map((n) => joinParts([question([1, 2]), answer(new Array(n).fill(3))]));
    const before = tf.memory().numTensors;
    const got = await documentPerplexity(engine, uniform, flat, parts, { batchSize: 2 });
    expect(tf.memory().numTensors).toBe(before);
    expect(got.tokens).toBe(6);
    expect(got.perplexity).toBeCloseTo(4, 4);
    await expect(documentPerplexity(engine, uniform, flat, [])).rejects.toThrow("got no documents");
    const nan = { table: tf.fill([4, 4], Number.NaN) as tf.Tensor2D };
    await expect(documentPerplexity(engine, uniform, nan, parts)).rejects.toThrow("the loss is NaN");
    engine.dispose();
  });
});
