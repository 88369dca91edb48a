import { createEngine, type Engine, Rng } from "@genai/core";
import { describeOnEngines } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDecoder, type GenerateOptions, generate, generateIds } from "../../src/index.ts";
import { bigramLm, historyLm } from "../toy-lms.ts";

type Table = { table: tf.Tensor2D };

const vocabSize = 7;
const blockSize = 12;
const tableValues = () => new Rng(3).draw({ kind: "normal", size: vocabSize ** 2, mean: 0, std: 1 });
const params = (): Table => ({ table: tf.tensor2d(tableValues(), [vocabSize, vocabSize]) });

/** The logits of historyLm, worked out from its definition. */
function logitsAfter(ids: readonly number[]): number[] {
  const table = tableValues();
  return Array.from({ length: vocabSize }, (_, v) =>
    ids.reduce((sum, id, i) => sum + table[id * vocabSize + v]! * Math.sin(i + 1), 0),
  );
}

function greedily(prompt: readonly number[], n: number): number[] {
  const ids = [...prompt];
  for (let i = 0; i < n; i++) {
    const logits = logitsAfter(ids);
    ids.push(logits.indexOf(Math.max(...logits)));
  }
  return ids.slice(prompt.length);
}

describeOnEngines("generate", (engine) => {
  it("takes the likeliest token at every step, for prompts of unequal length as for each alone", async () => {
    const lm = historyLm(vocabSize, blockSize);
    const prompts = [[1], [2, 3, 4], [5, 0, 6, 1, 2]];
    const together = await generateIds(engine(), lm, params(), prompts, { maxNewTokens: 8 });
    expect(together).toEqual(prompts.map((prompt) => greedily(prompt, 8)));
    for (const [i, prompt] of prompts.entries()) {
      expect(await generateIds(engine(), lm, params(), [prompt], { maxNewTokens: 8 })).toEqual([together[i]]);
    }
  });

  it("gives the logits of the model that reads everything at once", async () => {
    const lm = historyLm(vocabSize, blockSize);
    const prompt = [5, 0, 6];
    const tokens = [];
    const options = { maxNewTokens: 6, logProbs: true };
    for await (const token of generate(engine(), lm, params(), [prompt], options)) tokens.push(token);
    const ids = [...prompt, ...tokens.map(({ id }) => id)];
    const all = (await engine().compile((p: Table, ids: tf.Tensor2D) => tf.logSoftmax(lm.logits(p, ids)))(
      params(),
      tf.tensor2d([ids], [1, ids.length], "int32"),
    )) as tf.Tensor3D;
    const logProbs = (await all.array())[0]!;
    for (const { id, index, logProb } of tokens) expect(logProb).toBeCloseTo(logProbs[index + 2]![id]!, 4);
  });

  it("draws with the model's probabilities, and the same for the same seed", async () => {
    const lm = bigramLm(3);
    const probs = [0.5, 0.3, 0.2];
    const table = tf.tensor2d([probs.map(Math.log), probs.map(Math.log), probs.map(Math.log)]);
    const n = 200;
    const draw = (seed: number) =>
      generateIds(engine(), lm, { table }, Array(n).fill([0]), { maxNewTokens: 4, rng: new Rng(seed) });
    const first = await draw(1);
    expect(await draw(1)).toEqual(first);
    expect(await draw(2)).not.toEqual(first);
    const drawn = first.flat();
    for (const [id, p] of probs.entries()) {
      expect(drawn.filter((x) => x === id).length / drawn.length).toBeCloseTo(p, 1);
    }
  });

  it("leaves no tensor behind, finished, left early or failed", async () => {
    const lm = historyLm(vocabSize, blockSize);
    const p = params();
    const decoder = createDecoder(engine(), lm);
    const options = { maxNewTokens: 5, rng: new Rng(0), decoder, repetitionPenalty: 1.1, allowedIds: [1, 2, 3] };
    await generateIds(engine(), lm, p, [[1], [2, 3]], options);
    const before = tf.memory().numTensors;
    await generateIds(engine(), lm, p, [[1], [2, 3]], options);
    expect(tf.memory().numTensors).toBe(before);
    for await (const _ of generate(engine(), lm, p, [[1], [2, 3]], options)) break;
    expect(tf.memory().numTensors).toBe(before);
    const failing = { ...options, allowedIds: () => [] };
    await expect(generateIds(engine(), lm, p, [[1], [2, 3]], failing)).rejects.toThrow("allowedIds are empty");
    expect(tf.memory().numTensors).toBe(before);
    decoder.dispose();
  });
});

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

const lm = historyLm(vocabSize, blockSize);
const idsOf = async (prompts: number[][], options: GenerateOptions<Table>) =>
  await generateIds(engine, lm, params(), prompts, options);

describe("generation", () => {
  it("compiles one graph for the prompt and one for every step", async () => {
    const shapes: string[] = [];
    const counted = {
      ...lm,
      step: (...args: Parameters<typeof lm.step>) => {
        shapes.push(`${args[1].shape}`);
        return lm.step(...args);
      },
    };
    await generateIds(engine, counted, params(), [[1, 2, 3, 4]], { maxNewTokens: 8 });
    expect(shapes).toEqual(["1,4", "1,1"]);
  });

  it("compiles nothing anew for a decoder used again with prompts of similar length", async () => {
    let traced = 0;
    const counted = {
      ...lm,
      step: (...args: Parameters<typeof lm.step>) => {
        traced += 1;
        return lm.step(...args);
      },
    };
    const decoder = createDecoder(engine, counted);
    for (const prompt of [
      [1, 2, 3],
      [1, 2, 3, 4],
      [5, 6, 0],
    ]) {
      const [ids] = await generateIds(engine, counted, params(), [prompt], { maxNewTokens: 8, decoder });
      expect(ids).toEqual(greedily(prompt, 8));
    }
    expect(traced).toBe(2);
    decoder.dispose();
  });

  it("ends rows at stop ids and by stopWhen, each for itself", async () => {
    const all = [greedily([1], 8), greedily([2, 3], 8)];
    const stopId = all[0]![3]!;
    const tokens = [];
    for await (const token of generate(engine, lm, params(), [[1], [2, 3]], { maxNewTokens: 8, stopIds: [stopId] })) {
      tokens.push(token);
    }
    for (const [row, ids] of all.entries()) {
      const got = tokens.filter((token) => token.row === row);
      const end = ids.indexOf(stopId);
      expect(got.map(({ id }) => id)).toEqual(end < 0 ? ids : ids.slice(0, end + 1));
      expect(got.map(({ index }) => index)).toEqual(got.map((_, i) => i));
      expect(got.at(-1)!.finish).toBe(end < 0 ? "length" : "stop");
      expect(got.slice(0, -1).every(({ finish }) => finish === undefined)).toBe(true);
    }
    const stopWhen = (row: number, generated: readonly number[]) => generated.length === row + 2;
    expect(await idsOf([[1], [2, 3]], { maxNewTokens: 8, stopWhen })).toEqual([
      all[0]!.slice(0, 2),
      all[1]!.slice(0, 3),
    ]);
  });

  it("gives a prompt the same tokens alone and in a batch, drawn from a stream of its own", async () => {
    const options = { maxNewTokens: 8, temperature: 1.5 };
    const together = await idsOf([[1], [2, 3]], { ...options, rng: [new Rng(5), new Rng(6)] });
    expect(await idsOf([[2, 3]], { ...options, rng: [new Rng(6)] })).toEqual([together[1]]);
    const forked = await idsOf([[1], [2, 3]], { ...options, rng: new Rng(5) });
    expect(await idsOf([[1]], { ...options, rng: new Rng(5) })).toEqual([forked[0]]);
  });

  it("draws from few tokens when filters say so", async () => {
    const likeliest = greedily([2, 3], 8);
    for (const filter of [{ topK: 1 }, { topP: 1e-6 }, { minP: 1 }, { temperature: 1e-4 }, { temperature: 0 }]) {
      expect(await idsOf([[2, 3]], { maxNewTokens: 8, rng: new Rng(1), ...filter })).toEqual([likeliest]);
    }
  });

  it("repeats no n-gram and no token that penalties forbid", async () => {
    const [pairs] = await idsOf([[1, 2, 3]], { maxNewTokens: 10, noRepeatNgramSize: 2 });
    const sequence = [1, 2, 3, ...pairs!];
    const seen = sequence.slice(1).map((id, i) => `${sequence[i]} ${id}`);
    expect(new Set(seen).size).toBe(seen.length);
    const [generated] = await idsOf([[1, 2, 3]], { maxNewTokens: 7, presencePenalty: 1e6 });
    expect(new Set(generated).size).toBe(7);
    const [fresh] = await idsOf([[1, 2, 3]], { maxNewTokens: 4, noRepeatNgramSize: 1 });
    expect(new Set([1, 2, 3, ...fresh!]).size).toBe(7);
  });

  it("chooses among the allowed ids, the same for all steps or asked for at each", async () => {
    const [fixed] = await idsOf([[1, 2, 3]], { maxNewTokens: 8, allowedIds: [4, 6] });
    expect(fixed!.every((id) => id === 4 || id === 6)).toBe(true);
    const turns = (_row: number, generated: readonly number[]) => (generated.length % 2 === 0 ? [5] : undefined);
    const [alternating] = await idsOf([[1, 2, 3]], { maxNewTokens: 6, allowedIds: turns });
    expect([0, 2, 4].map((i) => alternating![i])).toEqual([5, 5, 5]);
  });

  it("applies the caller's own function to the logits", async () => {
    const adjustLogits = (logits: tf.Tensor2D) => tf.neg(logits) as tf.Tensor2D;
    const [ids] = await idsOf([[2, 3]], { maxNewTokens: 1, adjustLogits });
    const logits = logitsAfter([2, 3]);
    expect(ids).toEqual([logits.indexOf(Math.min(...logits))]);
  });

  it("slides when asked: the end of a long prompt counts, and a full context goes on from its later half", async () => {
    const long = Array.from({ length: 30 }, (_, i) => (i * i) % vocabSize);
    const [ids] = await idsOf([long], { maxNewTokens: 20, slide: true });
    const window = long.slice(-blockSize);
    const want: number[] = [];
    for (let i = 0; i < 20; i++) {
      if (window.length > blockSize) window.splice(0, window.length - blockSize / 2);
      const logits = logitsAfter(window);
      want.push(logits.indexOf(Math.max(...logits)));
      window.push(want.at(-1)!);
    }
    expect(ids).toEqual(want);
  });

  it("stops with an AbortError when the signal fires, before and between tokens", async () => {
    const controller = new AbortController();
    const ids: number[] = [];
    const run = async () => {
      const options = { maxNewTokens: 8, signal: controller.signal };
      for await (const { id } of generate(engine, lm, params(), [[1]], options)) {
        ids.push(id);
        if (ids.length === 3) controller.abort();
      }
    };
    await expect(run()).rejects.toMatchObject({ name: "AbortError" });
    expect(ids.length).toBe(3);
    await expect(run()).rejects.toMatchObject({ name: "AbortError" });
    expect(ids.length).toBe(3);
  });

  it("says that logits are NaN, for which prompt and when", async () => {
    const table = params().table.arraySync();
    const last = greedily([2, 3], 2).at(-1)!;
    table[last]![4] = Number.NaN;
    const broken = { table: tf.tensor2d(table) };
    const run = generateIds(engine, lm, broken, [[2, 3]], { maxNewTokens: 8 });
    await expect(run).rejects.toThrow(/generate: 1 of 7 logits are NaN for prompt 0 at new token [012]/);
    const all = { maxNewTokens: 8, noRepeatNgramSize: 1 };
    await expect(idsOf([[1, 2, 3]], all)).rejects.toThrow("no token is left to draw for prompt 0 at new token 4");
  });
});

describe("generation refuses", () => {
  const call = (prompts: number[][], options: GenerateOptions<Table> = {}) =>
    generate(engine, lm, { table: undefined as unknown as tf.Tensor2D }, prompts, options);

  it("prompts that are empty, out of range or too long, saying by how much", () => {
    expect(() => call([])).toThrow("generate: prompts are empty");
    expect(() => call([[1], []])).toThrow("generate: prompt 1 is empty");
    expect(() => call([[1, 7]])).toThrow("generate: prompt 0: id 7 at 1; expected an integer from 0 to 6");
    expect(() => call([[1], Array(15).fill(0)])).toThrow("prompt 1 has 15 tokens, 3 more than the context of 12");
  });

  it("more tokens than the context holds", () => {
    expect(() => call([[1, 2]], { maxNewTokens: 1e9 })).toThrow(
      "maxNewTokens (1000000000) is 999999989 more than fit behind a prompt of 2 tokens in the context of 12",
    );
    expect(() => call([[1, 2]], { maxNewTokens: 12 })).toThrow("expected at most 11");
    expect(() => call([[1, 2]], { maxNewTokens: 0 })).toThrow("maxNewTokens (0) must be a positive integer");
  });

  it("options that make no sense", () => {
    expect(() => call([[1]], { temperature: -1, rng: new Rng(0) })).toThrow("generate: temperature (-1)");
    expect(() => call([[1]], { topK: 5 })).toThrow("topK is set without an rng");
    expect(() => call([[1]], { stopIds: [9] })).toThrow("stopIds: id 9 at 0");
    expect(() => call([[1]], { allowedIds: [] })).toThrow("allowedIds are empty");
    expect(() => call([[1]], { rng: [new Rng(0), new Rng(1)] })).toThrow("rng holds 2 streams");
    const decoder = createDecoder(engine, historyLm(vocabSize, blockSize));
    expect(() => call([[1]], { decoder })).toThrow("the decoder was made for another engine or model");
    decoder.dispose();
  });
});
