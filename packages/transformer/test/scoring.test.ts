import { createEngine, type Engine, Rng } from "@genai/core";
import { describeOnEngines } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generateIds, perplexity, scoreContinuations } from "../src/index.ts";
import { bigramLm, historyLm } from "./toy-lms.ts";

const vocabSize = 6;
const table = () => tf.tensor2d(new Rng(2).draw({ kind: "normal", size: 36, mean: 0, std: 1 }), [6, 6]);
/** Log-probabilities of the next token by the one before. */
const bigrams = () => (tf.logSoftmax(table()) as tf.Tensor2D).arraySync();

describeOnEngines("scoreContinuations", (engine) => {
  it("gives the sum of the log-probabilities of each continuation, whatever the lengths and the batches", async () => {
    const logProbs = bigrams();
    const texts = [
      { context: [1, 2, 3, 4, 5], continuation: [0, 3] },
      { context: [4], continuation: [2] },
      { context: [0, 1], continuation: [5, 5, 5, 1, 2, 3] },
    ];
    for (const batchSize of [1, 2, 8]) {
      const scores = await scoreContinuations(engine(), bigramLm(vocabSize), { table: table() }, texts, { batchSize });
      for (const [i, { context, continuation }] of texts.entries()) {
        const all = [context.at(-1)!, ...continuation];
        const want = continuation.map((id, j) => logProbs[all[j]!]![id]!);
        for (const [j, x] of want.entries()) expect(scores[i]!.tokenLogProbs[j]).toBeCloseTo(x, 5);
        expect(scores[i]!.tokenLogProbs.length).toBe(want.length);
        expect(scores[i]!.logProb).toBeCloseTo(
          want.reduce((a, b) => a + b, 0),
          4,
        );
      }
    }
  });
});

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

describe("scoreContinuations", () => {
  const lm = historyLm(vocabSize, 8);

  it("knows which continuation greedy decoding would give", async () => {
    const context = [1, 2];
    const [greedy] = await generateIds(engine, lm, { table: table() }, [context], { maxNewTokens: 4 });
    const other = greedy!.with(3, (greedy![3]! + 1) % vocabSize);
    const texts = [greedy!, other].map((continuation) => ({ context, continuation }));
    const scores = await scoreContinuations(engine, lm, { table: table() }, texts);
    expect(scores.map(({ isGreedy }) => isGreedy)).toEqual([true, false]);
    expect(scores[0]!.logProb).toBeGreaterThan(scores[1]!.logProb);
  });

  it("sums to one over all continuations of a length", async () => {
    const texts = Array.from({ length: 36 }, (_, n) => ({
      context: [3, 1],
      continuation: [Math.floor(n / 6), n % 6],
    }));
    const scores = await scoreContinuations(engine, lm, { table: table() }, texts);
    expect(scores.reduce((sum, { logProb }) => sum + Math.exp(logProb), 0)).toBeCloseTo(1, 5);
  });

  it("drops the beginning of a long context when asked, and refuses it otherwise", async () => {
    const context = [0, 1, 2, 3, 4, 5, 0, 1, 2];
    const p = { table: table() };
    const [slid] = await scoreContinuations(engine, lm, p, [{ context, continuation: [3, 4] }], { slide: true });
    const [short] = await scoreContinuations(engine, lm, p, [{ context: context.slice(2), continuation: [3, 4] }]);
    expect(slid!.logProb).toBeCloseTo(short!.logProb, 6);
    const long = scoreContinuations(engine, lm, p, [{ context, continuation: [3, 4] }]);
    await expect(long).rejects.toThrow("9 + 2 tokens, 2 more than the context of 8 can score");
  });

  it("refuses empty texts and ids out of range, and says that scores are NaN", async () => {
    const p = { table: table() };
    const score = (context: number[], continuation: number[], params = p) =>
      scoreContinuations(engine, lm, params, [
        { context: [1], continuation: [1] },
        { context, continuation },
      ]);
    await expect(score([], [1])).rejects.toThrow("scoreContinuations: context 1 is empty");
    await expect(score([1], [])).rejects.toThrow("scoreContinuations: continuation 1 is empty");
    await expect(score([1], [1, 6])).rejects.toThrow("continuation 1: id 6 at 1");
    const broken = { table: tf.fill([6, 6], Number.NaN) as tf.Tensor2D };
    await expect(score([1, 2], [3], broken)).rejects.toThrow(/the log-probability of token [12] of text [01] is NaN/);
  });
});

describe("perplexity", () => {
  const stream = [...new Rng(1).draw({ kind: "integers", size: 50, low: 0, high: vocabSize })];

  it("is the number of tokens for a model that knows nothing", async () => {
    const p = { table: tf.zeros([6, 6]) as tf.Tensor2D };
    const result = await perplexity(engine, bigramLm(vocabSize), p, stream);
    expect(result.perplexity).toBeCloseTo(6, 4);
    expect(result.tokens).toBe(49);
  });

  it("counts every token but the first once, for all windows, strides and batches", async () => {
    const logProbs = bigrams();
    const want = -stream.slice(1).reduce((sum, id, i) => sum + logProbs[stream[i]!]![id]!, 0) / 49;
    for (const options of [{}, { stride: 3 }, { windowSize: 5 }, { windowSize: 7, stride: 1, batchSize: 3 }]) {
      const { loss, tokens } = await perplexity(engine, bigramLm(vocabSize, 16), { table: table() }, stream, options);
      expect(loss).toBeCloseTo(want, 5);
      expect(tokens).toBe(49);
    }
  });

  it("scores tokens of overlapping windows with the context that the stride leaves them", async () => {
    const lm = historyLm(vocabSize, 8);
    const p = { table: table() };
    const { loss } = await perplexity(engine, lm, p, stream.slice(0, 12), { windowSize: 6, stride: 2 });
    let sum = 0;
    for (let target = 1; target < 12; target++) {
      // The first window that ends at or behind the target's predecessor.
      const begin = Math.max(0, Math.ceil((target - 6) / 2) * 2);
      const context = stream.slice(begin, target);
      sum += (await scoreContinuations(engine, lm, p, [{ context, continuation: [stream[target]!] }]))[0]!.logProb;
    }
    expect(loss).toBeCloseTo(-sum / 11, 4);
  });

  it("refuses what cannot be scored", async () => {
    const lm = bigramLm(vocabSize, 16);
    const run = (tokens: number[], options = {}) => perplexity(engine, lm, { table: table() }, tokens, options);
    await expect(run([1])).rejects.toThrow("perplexity: got 1 tokens; expected at least 2");
    await expect(run([1, 9])).rejects.toThrow("perplexity: id 9 at 1");
    await expect(run([1, 2], { windowSize: 17 })).rejects.toThrow(
      "windowSize (17) must be a positive integer of at most 16",
    );
    await expect(run([1, 2], { windowSize: 4, stride: 5 })).rejects.toThrow("stride (5)");
    await expect(run([1, 2], { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
  });

  it("leaves no tensor behind", async () => {
    const lm = bigramLm(vocabSize, 16);
    const p = { table: table() };
    const before = tf.memory().numTensors;
    await perplexity(engine, lm, p, stream, { stride: 4, batchSize: 2 });
    expect(tf.memory().numTensors).toBe(before);
  });
});
