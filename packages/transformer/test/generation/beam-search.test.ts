import { createEngine, type Engine, Rng } from "@genai/core";
import { describeOnEngines, expectClose, type GoldenCase, goldenTensor, loadGolden } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { beamSearch, generateIds } from "../../src/index.ts";
import { bigramLm, historyLm } from "../toy-lms.ts";

interface Decoded {
  readonly sequences: number[][];
  readonly scores: number[];
  readonly sum_log_probs: number[];
}

const golden = await loadGolden("beam_search");

/** What a case asks for, with the table of the language model. */
function caseOf({ inputs, params, outputs }: GoldenCase) {
  const table = goldenTensor(inputs.log_probs!) as tf.Tensor2D;
  const { start, eos, max_new_tokens, beams, length_penalty } = params as Record<string, number>;
  const options = { maxNewTokens: max_new_tokens!, stopIds: [eos!] };
  return {
    lm: bigramLm(table.shape[0]),
    params: { table },
    start: start!,
    options,
    beam: { ...options, beams: beams!, lengthPenalty: length_penalty! },
    outputs: outputs as unknown as Decoded & { sequence: number[]; sum_log_prob: number },
  };
}

describeOnEngines("golden beam_search", (engine) => {
  for (const one of golden.cases) {
    it(`${one.name} gives the reference's sequences and scores`, async () => {
      const { lm, params, start, options, beam, outputs } = caseOf(one);
      if (one.name === "greedy") {
        const stopAt = new Set(options.stopIds);
        const [ids] = await generateIds(engine(), lm, params, [[start]], options);
        expect([start, ...ids!]).toEqual(outputs.sequence.filter((id, i) => i === 0 || !stopAt.has(id)));
        return;
      }
      const exhaustive = one.name === "exhaustive_best";
      // With as many beams as there are sequences nothing is lost.
      const wide = { ...beam, beams: exhaustive ? lm.vocabSize ** options.maxNewTokens : beam.beams };
      const found = await beamSearch(engine(), lm, params, [start], wide);
      if (exhaustive) {
        expect([start, ...found[0]!.ids]).toEqual(outputs.sequence);
        await expectClose(found[0]!.logProb, outputs.sum_log_prob, golden.tolerance);
        return;
      }
      expect(found.map(({ ids }) => [start, ...ids])).toEqual(outputs.sequences);
      await expectClose(
        found.map(({ score }) => score),
        outputs.scores,
        golden.tolerance,
      );
      await expectClose(
        found.map(({ logProb }) => logProb),
        outputs.sum_log_probs,
        golden.tolerance,
      );
    });
  }
});

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

describe("beam search", () => {
  const vocabSize = 5;
  const lm = historyLm(vocabSize, 10);
  const params = () => ({ table: new Rng(4).normal([vocabSize, vocabSize], 0, 2) as tf.Tensor2D });

  it("with one beam is greedy decoding", async () => {
    const [ids] = await generateIds(engine, lm, params(), [[1, 2, 3]], { maxNewTokens: 6 });
    const [best] = await beamSearch(engine, lm, params(), [1, 2, 3], { beams: 1, maxNewTokens: 6 });
    expect(best!.ids).toEqual(ids);
    expect(best!.finish).toBe("length");
  });

  it("gives each continuation the log-probability that the model gives it, read at once", async () => {
    const prompt = [1, 2, 3];
    const found = await beamSearch(engine, lm, params(), prompt, { beams: 3, maxNewTokens: 5, stopIds: [4] });
    expect(found.length).toBe(3);
    for (const { ids, logProb } of found) {
      const all = [...prompt, ...ids];
      const input = tf.tensor2d([all], [1, all.length], "int32");
      const logProbs = (tf.logSoftmax(lm.logits(params(), input)) as tf.Tensor3D).arraySync()[0]!;
      const sum = ids.reduce((total, id, i) => total + logProbs[prompt.length - 1 + i]![id]!, 0);
      expect(logProb).toBeCloseTo(sum, 4);
    }
  });

  it("drops an end that ranks behind the beams", async () => {
    const row = [0.1, 0.3, 0.6].map(Math.log);
    const table = tf.tensor2d([row, row, row]);
    const options = { beams: 1, maxNewTokens: 3, stopIds: [1], lengthPenalty: 0 };
    const found = await beamSearch(engine, bigramLm(3), { table }, [0], options);
    expect(found.map(({ ids }) => ids)).toEqual([[2, 2, 2]]);
  });

  it("leaves no tensor behind", async () => {
    const p = params();
    const before = tf.memory().numTensors;
    await beamSearch(engine, lm, p, [1, 2], { beams: 3, maxNewTokens: 3 });
    expect(tf.memory().numTensors).toBe(before);
    const broken = { table: tf.fill([vocabSize, vocabSize], Number.NaN) as tf.Tensor2D };
    await expect(beamSearch(engine, lm, broken, [1, 2], { maxNewTokens: 3 })).rejects.toThrow("logits are NaN");
    expect(tf.memory().numTensors).toBe(before + 1);
  });

  it("refuses what does not fit", async () => {
    const search = (prompt: number[], options = {}) => beamSearch(engine, lm, params(), prompt, options);
    await expect(search([])).rejects.toThrow("beamSearch: the prompt is empty");
    await expect(search([5])).rejects.toThrow("beamSearch: prompt: id 5 at 0");
    await expect(search(Array(12).fill(0))).rejects.toThrow("12 tokens, 2 more than the context of 10");
    await expect(search([0], { beams: 0 })).rejects.toThrow("beams (0) must be a positive integer");
    await expect(search([0], { maxNewTokens: 11 })).rejects.toThrow("maxNewTokens (11) must be from 1 to 10");
    await expect(search([0], { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
  });
});
