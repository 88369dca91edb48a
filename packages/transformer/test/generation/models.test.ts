import { createEngine, type Engine, Rng, type Tree, treeMap } from "@genai/core";
import { describeOnEngines, loadGoldenModel } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  beamSearch,
  type CausalLm,
  createGpt2,
  createLlama,
  type Gpt2Config,
  type Gpt2Params,
  generate,
  generateIds,
  gpt2Lm,
  type LlamaConfig,
  llamaLm,
  scoreContinuations,
} from "../../src/index.ts";
import { nestedParams } from "../nested-params.ts";

// Decoding with the architectures, beside the toy models of the other tests.

const golden = await loadGoldenModel("gpt2_tiny");
const hf = golden.config as Record<string, number>;
const goldenConfig: Gpt2Config = {
  vocabSize: hf.vocab_size!,
  blockSize: hf.n_positions!,
  nEmbd: hf.n_embd!,
  nHead: hf.n_head!,
  nLayer: hf.n_layer!,
  layerNormEps: hf.layer_norm_epsilon!,
};

describeOnEngines("golden gpt2_tiny", (engine) => {
  it("is continued as the reference does, by prompts of unequal length in one batch", async () => {
    const params = nestedParams<Gpt2Params>(golden.weights);
    const want = ((await golden.outputs.greedy!.array()) as number[][])[0]!;
    // Every beginning that holds the prompt of the reference has the same continuation.
    const prompts = [5, 6, 7].map((n) => want.slice(0, n));
    const got = await generateIds(engine(), gpt2Lm(goldenConfig), params, prompts, {
      maxNewTokens: want.length - 7,
    });
    for (const [i, prompt] of prompts.entries()) {
      expect([...prompt, ...got[i]!]).toEqual(want.slice(0, prompt.length + want.length - 7));
    }
  });
});

const gpt2: Gpt2Config = { vocabSize: 13, blockSize: 16, nEmbd: 8, nHead: 2, nLayer: 2 };
const llama: LlamaConfig = { ...gpt2, nKvHead: 1, nInner: 12 };
/** Larger weights than a new model's, so that tokens differ in probability. */
const scaled = <P extends Tree>(params: P): P => treeMap(params, (x) => (x.rank === 2 ? tf.mul(x, 5) : x));
const models: [string, () => { lm: CausalLm; params: Tree }][] = [
  ["GPT-2", () => ({ lm: gpt2Lm(gpt2) as CausalLm, params: scaled(createGpt2(gpt2, new Rng(0)).params) })],
  ["Llama", () => ({ lm: llamaLm(llama) as CausalLm, params: scaled(createLlama(llama, new Rng(0)).params) })],
];

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

for (const [name, make] of models) {
  describe(`decoding with ${name}`, () => {
    it("draws tokens whose log-probabilities are those of the model read at once", async () => {
      const { lm, params } = make();
      const prompts = [[1], [2, 3, 4, 5, 6], [7, 8]];
      const options = { maxNewTokens: 6, rng: new Rng(1), topK: 10, repetitionPenalty: 1.2, logProbs: true };
      const rows = prompts.map((): { ids: number[]; logProbs: number[] } => ({ ids: [], logProbs: [] }));
      for await (const { row, id, logProb } of generate(engine, lm, params, prompts, options)) {
        rows[row]!.ids.push(id);
        rows[row]!.logProbs.push(logProb!);
      }
      const texts = prompts.map((context, i) => ({ context, continuation: rows[i]!.ids }));
      const scores = await scoreContinuations(engine, lm, params, texts);
      for (const [i, { tokenLogProbs }] of scores.entries()) {
        expect(tokenLogProbs.length).toBe(6);
        for (const [j, want] of tokenLogProbs.entries()) expect(rows[i]!.logProbs[j]).toBeCloseTo(want, 3);
      }
      const spread = Math.max(...rows[0]!.logProbs) - Math.min(...rows[0]!.logProbs);
      expect(spread).toBeGreaterThan(0.1);
    });

    it("finds with beams what scoring thinks of it, no worse than greedy", async () => {
      const { lm, params } = make();
      const prompt = [2, 3, 4, 5, 6];
      const found = await beamSearch(engine, lm, params, prompt, { beams: 4, maxNewTokens: 4 });
      const [greedy] = await generateIds(engine, lm, params, [prompt], { maxNewTokens: 4 });
      const texts = [...found.map(({ ids }) => ids), greedy!].map((continuation) => ({
        context: prompt,
        continuation,
      }));
      const scores = await scoreContinuations(engine, lm, params, texts);
      for (const [i, { logProb }] of found.entries()) expect(logProb).toBeCloseTo(scores[i]!.logProb, 3);
      expect(scores.at(-1)!.isGreedy).toBe(true);
      expect(found[0]!.logProb).toBeGreaterThanOrEqual(scores.at(-1)!.logProb - 1e-4);
    });

    it("slides over its context", async () => {
      const { lm, params } = make();
      const [ids] = await generateIds(engine, lm, params, [[1, 2, 3]], { maxNewTokens: 40, slide: true });
      expect(ids!.length).toBe(40);
      // Full after 14 new tokens, the later 8 of the 17 are read afresh.
      const later = [1, 2, 3, ...ids!].slice(9, 17);
      const [again] = await generateIds(engine, lm, params, [later], { maxNewTokens: 9 });
      expect(ids!.slice(14, 23)).toEqual(again);
    });
  });
}
