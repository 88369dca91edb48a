import { countParams, createEagerEngine, Rng } from "@genai/core";
import { describeModelContract, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  createLlama,
  type LlamaConfig,
  llamaHidden,
  llamaLm,
  llamaLogits,
  llamaLoss,
  llamaPresets,
  nextTokens,
} from "../src/index.ts";
import { describeCausalLm } from "./describe-causal-lm.ts";

const tiny: LlamaConfig = {
  vocabSize: 12,
  blockSize: 10,
  nEmbd: 16,
  nHead: 4,
  nKvHead: 2,
  nLayer: 2,
  nInner: 20,
};
const everything: LlamaConfig = {
  ...tiny,
  headDim: 6,
  qkvBias: true,
  outBias: true,
  mlpBias: true,
  tieWordEmbeddings: true,
  dropout: 0.2,
};
const someIds = (rng: Rng, batch = 2, length = 10) =>
  tf.tidy(() => tf.cast(rng.uniform([batch, length], 0, 12), "int32")) as tf.Tensor2D;

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describeModelContract({
  name: "llama",
  create: (rng) => createLlama(everything, rng),
  batch: (rng) => someIds(rng),
  loss: (llama, ids, rng) => llamaLoss(llama, ids, nextTokens(ids), { rng }),
  outputs: { run: (llama, ids) => ({ logits: llamaLogits(llama, ids) }), shapes: { logits: [2, 10, 12] } },
});

describeCausalLm("llama", llamaLm(tiny), (rng) => createLlama(tiny, rng).params);
const windowed: LlamaConfig = {
  ...tiny,
  slidingWindow: 3,
  dropout: 0.2,
  ropeScaling: { type: "llama3", factor: 4, lowFreqFactor: 1, highFreqFactor: 4, originalBlockSize: 8 },
};
describeCausalLm("llama with a window", llamaLm(windowed), (rng) => createLlama(windowed, rng).params);

describe("createLlama", () => {
  it("has the published numbers of parameters", () => {
    const count = (c: LlamaConfig) => {
      const { nKvHead = c.nHead, headDim = c.nEmbd / c.nHead } = c;
      const attention = 2 * c.nHead * headDim * c.nEmbd + 2 * nKvHead * headDim * c.nEmbd;
      const biases = c.qkvBias ? (c.nHead + 2 * nKvHead) * headDim : 0;
      const block = attention + biases + 3 * c.nEmbd * c.nInner + 2 * c.nEmbd;
      return (c.tieWordEmbeddings ? 1 : 2) * c.vocabSize * c.nEmbd + c.nLayer * block + c.nEmbd;
    };
    expect(count(llamaPresets["llama-7b"])).toBe(6_738_415_616);
    expect(count(llamaPresets["llama-3.2-1b"])).toBe(1_235_814_400);
    expect(count(llamaPresets["tinyllama-1.1b"])).toBe(1_100_048_384);
    expect(count(llamaPresets["mistral-7b"])).toBe(7_241_732_096);
    expect(count(llamaPresets["qwen2-0.5b"])).toBe(494_032_768);
    expect(count(llamaPresets["smollm2-135m"])).toBe(134_515_008);
    expect(countParams(createLlama(tiny, new Rng(0)).params)).toBe(count(tiny));
  });

  it("refuses what does not fit", () => {
    const create = (change: Partial<LlamaConfig>) => () => createLlama({ ...tiny, ...change }, new Rng(1));
    expect(create({ nKvHead: 3 })).toThrow("createLlama: nKvHead (3) must divide nHead (4)");
    expect(create({ nEmbd: 18 })).toThrow("nEmbd (18) must be a multiple of nHead (4), or headDim be given");
    expect(create({ headDim: 3 })).toThrow("headDim (3) must be even");
    expect(create({ slidingWindow: 0 })).toThrow("slidingWindow (0) must be a positive integer");
    expect(create({ ropeScaling: { type: "linear", factor: 0.5 } })).toThrow("factor (0.5) must be at least 1");
    expect(create({ ropeScaling: { type: "mrope", factor: 2 } as never })).toThrow(
      "(mrope) must be one of linear, dynamic,",
    );
  });
});

describe("llama", () => {
  it("sees no further back than its window lets each layer", async () => {
    // Two layers with a window of 3 see the token itself and 4 before it.
    const llama = createLlama(windowed, new Rng(1));
    const ids = [3, 1, 4, 1, 5, 9, 2, 6];
    const last = async (ids: number[]) =>
      (
        await llamaHidden(llama, tf.tensor2d([ids], undefined, "int32"))
          .slice([0, 7, 0], [1, 1, 16])
          .data()
      ).slice();
    const want = await last(ids);
    const changed = (at: number) => ids.map((id, i) => (i === at ? 11 : id));
    for (const at of [0, 1, 2]) expect(await last(changed(at))).toEqual(want);
    for (const at of [3, 4, 7]) expect(await last(changed(at))).not.toEqual(want);
  });

  it("equals itself with heads repeated when key/value heads are shared", async () => {
    const llama = createLlama(tiny, new Rng(1));
    const repeat = (p: { weight: tf.Tensor }) => ({
      weight: tf.concat(
        tf.split(p.weight, 2, 0).flatMap((headWeight) => [headWeight, headWeight]),
        0,
      ),
    });
    const layers = llama.params.model.layers.map((block) => {
      const { k_proj, v_proj, ...rest } = block.self_attn;
      return { ...block, self_attn: { ...rest, k_proj: repeat(k_proj), v_proj: repeat(v_proj) } };
    });
    const plain = {
      config: { ...tiny, nKvHead: 4 },
      params: { ...llama.params, model: { ...llama.params.model, layers } },
    };
    const ids = someIds(new Rng(2));
    await expectClose(llamaLogits(plain, ids), llamaLogits(llama, ids), { atol: 1e-6, rtol: 1e-5 }, "logits");
  });
});
