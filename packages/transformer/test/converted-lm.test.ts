import { Rng, treeDispose, treeEntries, type WeightFormat } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  type CausalLm,
  convertLm,
  createGpt2,
  createLlama,
  generateIds,
  gpt2Lm,
  llamaLm,
  perplexity,
} from "../src/index.ts";
import { bigramLm } from "./toy-lms.ts";

const gpt = () => {
  const { config, params } = createGpt2({ vocabSize: 40, blockSize: 32, nEmbd: 64, nHead: 4, nLayer: 2 }, new Rng(1));
  return { lm: gpt2Lm(config) as CausalLm, params };
};
const llama = () => {
  const sizes = { vocabSize: 70, blockSize: 32, nEmbd: 64, nHead: 8, nKvHead: 2, nLayer: 2, nInner: 96 };
  const { config, params } = createLlama(sizes, new Rng(1));
  return { lm: llamaLm(config) as CausalLm, params };
};

describeOnEngines("convertLm", (engine) => {
  for (const [name, create] of Object.entries({ gpt, llama })) {
    const prompts = [[1, 2, 3, 4, 5], [7]];

    it(`gives a ${name} whose panels compute the same`, async () => {
      const { lm, params } = create();
      const fast = await convertLm(lm, params);
      const logits = engine().compile((p: never, ids: tf.Tensor2D) => lm.logits(p, ids));
      const fastLogits = engine().compile((p: never, ids: tf.Tensor2D) => fast.lm.logits(p, ids));
      const ids = tf.tensor2d([[1, 2, 3, 39, 0, 33]], [1, 6], "int32");
      const tolerance = { atol: 1e-4, rtol: 1e-4 };
      await expectClose(
        await fastLogits(fast.params as never, ids),
        await logits(params as never, ids),
        tolerance,
        "logits",
      );
      const options = { maxNewTokens: 8 };
      const plain = await generateIds(engine(), lm, params, prompts, options);
      expect(await generateIds(engine(), fast.lm, fast.params, prompts, options)).toEqual(plain);
      for (const fn of [logits, fastLogits]) fn.dispose();
    });

    for (const [format, limit] of [
      ["int8", 0.002],
      ["int4", 0.05],
    ] as [WeightFormat, number][]) {
      it(`gives a ${name} in ${format} that predicts nearly as well`, async () => {
        const { lm, params } = create();
        const tokens = Array.from({ length: 60 }, (_, i) => (i * i) % lm.vocabSize);
        const { loss } = await perplexity(engine(), lm, params, tokens);
        const rounded = await convertLm(lm, params, { format });
        const other = await perplexity(engine(), rounded.lm, rounded.params, tokens);
        expect(Math.abs(other.loss - loss)).toBeLessThan(limit);
        expect((await generateIds(engine(), rounded.lm, rounded.params, prompts, { maxNewTokens: 4 }))[1]!.length).toBe(
          4,
        );
      });
    }
  }
});

describe("convertLm", () => {
  it("leaves position embeddings and vectors as they are, and takes the original's place if asked", async () => {
    const before = tf.memory().numTensors;
    const { lm, params } = gpt();
    const converted = await convertLm(lm, params, { format: "int4", consume: true });
    const paths = treeEntries(converted.params).map(([path]) => path);
    expect(paths).toContain("wpe.weight");
    expect(paths).toContain("wte.weight.units");
    expect(paths).toContain("h.1.mlp.c_fc.weight.scales");
    expect(paths).toContain("h.1.ln_2.bias");
    treeDispose(converted.params);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses a model that does not name its matrices", async () => {
    await expect(convertLm(bigramLm(4), { table: tf.zeros([4, 4]) as tf.Tensor2D })).rejects.toThrow(
      "convertLm: the model has no matrixLayout",
    );
  });
});
