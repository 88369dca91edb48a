import { createEngine, type Engine, Rng, type Tree, treeDispose, treeEntries } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { inputGrams } from "../src/calibration.ts";
import {
  type CausalLm,
  type ConvertLmOptions,
  convertLm,
  createGpt2,
  createLlama,
  gpt2HiddenStates,
  gpt2Lm,
  type LmCalibration,
  llamaLm,
} from "../src/index.ts";

const gpt = (tieWordEmbeddings = true) => {
  const sizes = { vocabSize: 48, blockSize: 32, nEmbd: 64, nHead: 4, nLayer: 2, tieWordEmbeddings };
  const { config, params } = createGpt2(sizes, new Rng(1));
  return { config, lm: gpt2Lm(config) as CausalLm, params };
};
const llama = () => {
  const sizes = { vocabSize: 48, blockSize: 32, nEmbd: 64, nHead: 8, nKvHead: 2, nLayer: 2, nInner: 96 };
  const { config, params } = createLlama(sizes, new Rng(1));
  return { lm: llamaLm(config) as CausalLm, params };
};
/** Texts in which few tokens are frequent and many are rare. */
const draw = (seed: number, count: number) =>
  Int32Array.from(new Rng(seed).draw({ kind: "uniform", size: count, low: 0, high: 1 }), (u) =>
    Math.floor(48 * u ** 3),
  );

describeOnEngines("convertLm with a calibration", (engine) => {
  for (const [name, create] of Object.entries({ gpt, llama })) {
    it(`gives a ${name} that is closer to the original on other text, also in more rounds`, async () => {
      const { lm, params } = create();
      const ids = tf.tensor2d(draw(7, 8 * 32), [8, 32], "int32");
      const logitsOf = async (lm: CausalLm, params: Tree) => {
        const read = engine().compile((params: Tree, ids: tf.Tensor2D) => lm.logits(params, ids));
        try {
          return await read(params, ids);
        } finally {
          read.dispose();
        }
      };
      const wanted = await logitsOf(lm, params);
      const lossOf = async (options: Partial<ConvertLmOptions>) => {
        const rounded = await convertLm(lm, params as Tree, { format: "int4", groupSize: 32, ...options });
        const got = await logitsOf(rounded.lm, rounded.params);
        const loss = tf.tidy(() => tf.squaredDifference(got, wanted).mean().dataSync()[0]!);
        treeDispose([rounded.params, got]);
        return loss;
      };
      const plain = await lossOf({});
      const calibration: LmCalibration = { engine: engine(), tokens: draw(5, 768) };
      const whole = await lossOf({ calibration });
      expect(whole).toBeLessThan(0.8 * plain);
      const parts = await lossOf({ calibration: { ...calibration, gramBytes: 5 * 4 * 64 ** 2 } });
      expect(parts).toBeLessThan(0.8 * plain);
      expect(parts).not.toBe(whole);
      treeDispose([params, ids, wanted]);
    });
  }

  it("sums what layers read over windows of the text", async () => {
    const { config, lm, params } = gpt();
    const tokens = draw(3, 100);
    const before = tf.memory().numTensors;
    const matrices = [
      { path: "wte.weight", inputs: 64 },
      { path: "h.1.mlp.c_proj.weight", inputs: 256 },
    ];
    const calibration = { engine: engine(), tokens, windowSize: 16, maxTokens: 48 };
    const grams = await inputGrams("inputGrams", lm, params, matrices, calibration);
    expect(grams.get("h.1.mlp.c_proj.weight")!.shape).toEqual([256, 256]);
    // The head reads the last states: of three windows, spread over the text.
    const ids = [0, 42, 84].map((at) => [...tokens.subarray(at, at + 16)]);
    const expected = tf.tidy(() => {
      const states = gpt2HiddenStates({ config, params }, tf.tensor2d(ids, [3, 16], "int32"));
      const x = states.at(-1)!.reshape<tf.Tensor2D>([48, 64]);
      return tf.matMul(x, x, true, false);
    });
    await expectClose(grams.get("wte.weight")!, expected, { atol: 2e-3, rtol: 1e-3 }, "the head's inputs");
    treeDispose([...grams.values(), expected]);
    expect(tf.memory().numTensors).toBe(before);
    treeDispose(params);
  });
});

describe("convertLm with a calibration", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine();
  });

  it("rounds a table that is no head as it would without, and leaves panels to be panels", async () => {
    const { lm, params } = gpt(false);
    const formatOf = (path: string) => (path === "h.0.attn.c_attn.weight" ? "panels" : "int4");
    const convert = async (calibration?: LmCalibration) => {
      const options = { format: "int4", groupSize: 32, formatOf, ...(calibration && { calibration }) } as const;
      return new Map(treeEntries((await convertLm(lm, params as Tree, options)).params));
    };
    const [plain, calibrated] = [await convert(), await convert({ engine, tokens: draw(1, 512) })];
    expect([...calibrated.keys()]).toEqual([...plain.keys()]);
    const same = [...plain].map(([path, tensor]) => {
      const other = calibrated.get(path)!;
      return [path, tensor.dataSync().every((x, i) => x === other.dataSync()[i])];
    });
    expect(same).toContainEqual(["wte.weight.units", true]);
    expect(same).toContainEqual(["h.0.attn.c_attn.weight.panels", true]);
    expect(same).toContainEqual(["lm_head.weight.units", false]);
    expect(same).toContainEqual(["h.1.attn.c_attn.weight.units", false]);
    treeDispose([[...plain.values()], [...calibrated.values()], params]);
  });

  it("says how far it is, and takes the original's place if asked", async () => {
    const before = tf.memory().numTensors;
    const { lm, params } = gpt();
    const seen: string[] = [];
    const { params: rounded } = await convertLm(lm, params as Tree, {
      format: "int4",
      consume: true,
      calibration: {
        engine,
        tokens: draw(1, 70),
        gramBytes: 1,
        onProgress: ({ stage, done, total }) => seen.push(`${stage} ${done}/${total}`),
      },
    });
    // Nine matrices, each in a round of its own, and two windows of 32 tokens.
    expect(seen.filter((line) => line === "reading 64/64").length).toBe(9);
    expect(seen.filter((line) => line.startsWith("rounding"))).toEqual(
      Array.from({ length: 10 }, (_, i) => `rounding ${i}/9`),
    );
    treeDispose(rounded);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses what it cannot calibrate by, and leaves nothing behind", async () => {
    const { lm, params } = gpt();
    const before = tf.memory().numTensors;
    const convert = (calibration: Partial<LmCalibration>, options: Partial<ConvertLmOptions> = {}) =>
      convertLm(lm, params as Tree, {
        format: "int4",
        ...options,
        calibration: { engine, tokens: draw(1, 64), ...calibration },
      });
    await expect(convert({ tokens: [] })).rejects.toThrow(
      "convertLm: calibration.tokens is empty; expected ids of a text",
    );
    await expect(convert({ tokens: [1, 48] })).rejects.toThrow(
      "convertLm: calibration.tokens: id 48 at 1; expected an integer from 0 to 47",
    );
    await expect(convert({ windowSize: 33 })).rejects.toThrow(
      "convertLm: calibration.windowSize (33) must be a positive integer of at most 32",
    );
    await expect(convert({ maxTokens: 0.5 })).rejects.toThrow(
      "convertLm: calibration.maxTokens (0.5) must be a positive integer",
    );
    await expect(convert({}, { format: "panels" })).rejects.toThrow(
      "convertLm: a calibration, but no matrix to be rounded; expected the format int8 or int4",
    );
    await expect(convert({ signal: AbortSignal.abort() })).rejects.toThrow("convertLm: aborted");
    const controller = new AbortController();
    const stopAt = (at: string) => ({
      gramBytes: 1,
      signal: controller.signal,
      onProgress: ({ stage, done }: { stage: string; done: number }) => `${stage} ${done}` === at && controller.abort(),
    });
    await expect(convert(stopAt("rounding 3"))).rejects.toThrow("aborted");
    expect(tf.memory().numTensors).toBe(before);
    treeDispose(params);
  });
});
