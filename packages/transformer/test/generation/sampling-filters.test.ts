import { describeGolden, describeOnEngines } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  allowTokens,
  drawByGumbel,
  drawByInverseCdf,
  drawGreedily,
  frequencyPresencePenalty,
  minP,
  noRepeatNgrams,
  repetitionPenalty,
  temperature,
  topK,
  topP,
  typical,
} from "../../src/generation/sampling-filters.ts";

type Filter = (logits: tf.Tensor2D, previous: tf.Tensor2D, params: Record<string, number>) => tf.Tensor2D;

// By the beginning of the case's name; the longest that fits counts.
const filters: Record<string, Filter> = {
  temperature: (x, _, p) => temperature(x, p.temperature!),
  top_k: (x, _, p) => topK(x, p.k!),
  top_p: (x, _, p) => topP(x, p.p!),
  min_p: (x, _, p) => minP(x, p.min_p!),
  typical: (x, _, p) => typical(x, p.mass!),
  repetition_penalty: (x, previous, p) => repetitionPenalty(x, previous, p.penalty!),
  frequency_presence: (x, previous, p) =>
    frequencyPresencePenalty(x, previous, { frequency: p.frequency!, presence: p.presence! }),
  no_repeat_ngram: (x, previous, p) => noRepeatNgrams(x, previous, p.n!),
  combined: (x, previous, p) =>
    topP(topK(temperature(repetitionPenalty(x, previous, p.repetition_penalty!), p.temperature!), p.top_k!), p.top_p!),
};

await describeGolden("sampling_filters", ({ name, params, outputs }) => {
  const draws = (index: tf.Tensor) => ({ index });
  if (name === "inverse_cdf_draw") {
    return { outputs: (i) => draws(drawByInverseCdf(i.logits as tf.Tensor2D, i.uniform as tf.Tensor2D)) };
  }
  if (name === "gumbel_max_draw") {
    return { outputs: (i) => draws(drawByGumbel(i.logits as tf.Tensor2D, i.uniform as tf.Tensor2D)) };
  }
  const filter = Object.entries(filters).find(([start]) => name.startsWith(start))![1];
  return {
    outputs: (inputs) => {
      const { logits, previous } = inputs as Record<string, tf.Tensor2D>;
      const filtered = filter(logits!, previous!, params as Record<string, number>);
      return { logits: filtered, ...("probs" in outputs && { probs: tf.softmax(filtered) }) };
    },
  };
});

const gone = Number.NEGATIVE_INFINITY;

describeOnEngines("sampling filters", (engine) => {
  const run = async (fn: (x: tf.Tensor2D) => tf.Tensor, rows: number[][]) => {
    const result = (await engine().compile(fn)(tf.tensor2d(rows))) as tf.Tensor;
    return [...(await result.data())];
  };

  it("come one after the other without bringing removed tokens back", async () => {
    const chain = (x: tf.Tensor2D) => typical(minP(topP(topK(x, 3), 0.99, 3), 0.01), 0.99);
    expect(await run(chain, [[4, 3, 2, 1, 0]])).toEqual([4, 3, 2, gone, gone]);
  });

  it("look at the likeliest few only, when told, with the same result", async () => {
    const rows = [[0.3, 2, -1, 1.5, 0.2, 1.1]];
    expect(await run((x) => topP(topK(x, 4), 0.7, 4), rows)).toEqual(await run((x) => topP(topK(x, 4), 0.7), rows));
  });

  it("ban no n-gram that only padding would complete", async () => {
    const previous = [-1, -1, -1, 2, 1];
    const ban = (n: number) => (x: tf.Tensor2D) => noRepeatNgrams(x, tf.tensor2d([previous], [1, 5], "int32"), n);
    expect(await run(ban(2), [[1, 1, 1]])).toEqual([1, 1, 1]);
    expect(await run(ban(1), [[1, 1, 1]])).toEqual([1, gone, gone]);
    expect(await run(ban(4), [[1, 1, 1]])).toEqual([1, 1, 1]);
    expect(await run(ban(9), [[1, 1, 1]])).toEqual([1, 1, 1]);
  });

  it("count no padding in the penalties", async () => {
    const previous = () => tf.tensor2d([[-1, -1, 1, 1]], [1, 4], "int32");
    expect(await run((x) => repetitionPenalty(x, previous(), 2), [[4, 4, -4]])).toEqual([4, 2, -4]);
    const subtract = (x: tf.Tensor2D) => frequencyPresencePenalty(x, previous(), { frequency: 1, presence: 0.5 });
    expect(await run(subtract, [[4, 4, -4]])).toEqual([4, 1.5, -4]);
  });

  it("allow the given tokens alone", async () => {
    const allowed = () => tf.tensor2d([[0, 1, 1]]);
    const rows = [
      [3, 2, 1],
      [9, 7, 8],
    ];
    expect(await run((x) => allowTokens(x, allowed()), rows)).toEqual([gone, 2, 1, gone, 7, 8]);
    expect(await run((x) => drawGreedily(allowTokens(x, allowed())), rows)).toEqual([1, 2]);
  });

  it("draw nothing from rows with NaN or with no token left", async () => {
    const rows = [
      [1, Number.NaN, 2],
      [gone, gone, gone],
      [gone, 0, gone],
    ];
    expect(await run(drawGreedily, rows)).toEqual([-1, -1, 1]);
    const uniform = () => tf.tensor2d([[0.5], [0.5], [0.999]]);
    expect(await run((x) => drawByInverseCdf(x, uniform()), rows)).toEqual([-1, -1, 1]);
  });

  it("draw a token of positive probability for the least and the largest uniform number", async () => {
    const uniform = () => tf.tensor2d([[0, 1 - 2 ** -24]]);
    expect(await run((x) => drawByInverseCdf(x, uniform()), [[gone, 0.1, 0.2, 0.3, gone]])).toEqual([1, 3]);
  });

  it("draw as often as the probabilities say", async () => {
    const n = 1000;
    const uniform = () => tf.tensor2d([Array.from({ length: n }, (_, i) => (i + 0.5) / n)]);
    const probs = [0.1, 0.25, 0.05, 0.6];
    const drawn = await run((x) => drawByInverseCdf(x, uniform()), [probs.map(Math.log)]);
    for (const [id, p] of probs.entries()) expect(drawn.filter((x) => x === id).length / n).toBeCloseTo(p, 2);
  });
});

describe("sampling filters refuse", () => {
  it("numbers out of range, by name and value", () => {
    const x = tf.tensor2d([[1, 2, 3]]);
    expect(() => temperature(x, 0)).toThrow("temperature: value (0) must be positive");
    expect(() => topK(x, 0)).toThrow("topK: k (0) must be a positive integer");
    expect(() => topP(x, 1.5)).toThrow("topP: p (1.5) must be in (0, 1]");
    expect(() => minP(x, 0)).toThrow("minP: share (0) must be in (0, 1]");
    expect(() => typical(x, Number.NaN)).toThrow("typical: mass (NaN) must be in (0, 1]");
    expect(() => noRepeatNgrams(x, tf.tensor2d([[0]], [1, 1], "int32"), 0)).toThrow("noRepeatNgrams: n (0)");
    expect(() => repetitionPenalty(x, tf.tensor2d([[0]], [1, 1], "int32"), -1)).toThrow("penalty (-1)");
  });

  it("previous tokens that are no int32 [B, L]", () => {
    const x = tf.tensor2d([[1, 2, 3]]);
    expect(() => repetitionPenalty(x, tf.tensor2d([[0]]), 2)).toThrow("previous is float32 of shape [1,1]");
  });
});
