import { treeEntries, valueAndGrad } from "@genai/core";
import { describeGolden, describeOnEngines, expectClose, loadGoldenModel } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { causalContext } from "../../src/causal-context.ts";
import {
  type LlamaBlock,
  type LlamaConfig,
  type LlamaParams,
  llamaLm,
  llamaLogits,
  llamaLoss,
  nextTokens,
} from "../../src/index.ts";
import { llamaBlock } from "../../src/llama.ts";
import { ropeRotation } from "../../src/rope.ts";
import { greedy } from "../greedy.ts";
import { nestedParams } from "../nested-params.ts";

await describeGolden("llama_block", ({ params = {} }) => {
  const p = params as Record<string, number>;
  const config = { nHead: p.num_attention_heads!, nKvHead: p.num_key_value_heads!, rmsNormEps: p.rms_norm_eps! };
  const rope = { headDim: p.hidden_size! / p.num_attention_heads!, theta: p.rope_theta! };
  return {
    outputs: ({ x, cotangent: _, ...weights }) => {
      const ids = tf.zeros(x!.shape.slice(0, 2) as [number, number], "int32") as tf.Tensor2D;
      const context = causalContext("test", ids);
      const at = { context, rotate: ropeRotation(rope, context), layer: 0 };
      return { y: llamaBlock(nestedParams<LlamaBlock>(weights), config, x!, at) };
    },
  };
});

await describeGolden("attention", ({ name, params = {} }) => {
  if (name !== "rope") return undefined;
  return {
    skip: ["cos", "sin", "interleaved"],
    outputs: ({ x, cotangent }) => {
      const [b, , t, headDim] = x!.shape as [number, number, number, number];
      const context = causalContext("test", tf.zeros([b, t], "int32"));
      const half_split = ropeRotation({ headDim, theta: params.theta as number }, context)(x as tf.Tensor4D);
      return { half_split, loss: tf.sum(tf.mul(half_split, cotangent!)) };
    },
  };
});

const golden = await loadGoldenModel("llama_tiny");
const hf = golden.config as Record<string, number>;
const config: LlamaConfig = {
  vocabSize: hf.vocab_size!,
  blockSize: hf.max_position_embeddings!,
  nEmbd: hf.hidden_size!,
  nHead: hf.num_attention_heads!,
  nKvHead: hf.num_key_value_heads!,
  nLayer: hf.num_hidden_layers!,
  nInner: hf.intermediate_size!,
  ropeTheta: hf.rope_theta!,
  rmsNormEps: hf.rms_norm_eps!,
  tieWordEmbeddings: golden.config.tie_word_embeddings === true,
};

describeOnEngines("golden llama_tiny", (engine) => {
  it("has the reference's logits, loss and gradients", async () => {
    const step = engine().compile((params: LlamaParams, ids: tf.Tensor2D) =>
      valueAndGrad((params: LlamaParams) => {
        const llama = { config, params };
        return { loss: llamaLoss(llama, ids, nextTokens(ids)), logits: llamaLogits(llama, ids) };
      }, params),
    );
    const ids = golden.inputs.input_ids as tf.Tensor2D;
    const { loss, logits, grads } = await step(nestedParams(golden.weights), ids);
    await expectClose(loss, golden.outputs.loss!, golden.tolerance, "loss");
    await expectClose(logits, golden.outputs.logits!, golden.tolerance, "logits");
    const got = Object.fromEntries(treeEntries(grads));
    expect(Object.keys(got).sort()).toEqual(Object.keys(golden.grads).sort());
    for (const [name, want] of Object.entries(golden.grads)) {
      await expectClose(got[name]!, want, golden.tolerance, `gradient of ${name}`);
    }
    step.dispose();
  });

  it("continues a prompt greedily as the reference does", async () => {
    const params = nestedParams<LlamaParams>(golden.weights);
    const want = (await golden.outputs.greedy!.array()) as number[][];
    const prompts = want.map((row) => row.slice(0, 4));
    expect(await greedy(engine(), llamaLm(config), params, prompts, want[0]!.length)).toEqual(want);
  });
});
