import { treeEntries, valueAndGrad } from "@genai/core";
import { describeOnEngines, expectClose, loadGoldenModel } from "@genai/testing";
import type * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { type BertConfig, type BertParams, bertHidden, bertMaskedLmLogits, bertMaskedLmLoss } from "../../src/index.ts";
import { nestedParams } from "../nested-params.ts";

const golden = await loadGoldenModel("bert_tiny");
const hf = golden.config as Record<string, number>;
const config: BertConfig = {
  vocabSize: hf.vocab_size!,
  blockSize: hf.max_position_embeddings!,
  nEmbd: hf.hidden_size!,
  nHead: hf.num_attention_heads!,
  nLayer: hf.num_hidden_layers!,
  nInner: hf.intermediate_size!,
  typeVocabSize: hf.type_vocab_size!,
  layerNormEps: hf.layer_norm_eps!,
};

describeOnEngines("golden bert_tiny", (engine) => {
  it("has the reference's hidden state, logits, loss and gradients", async () => {
    const inputs = golden.inputs as Record<string, tf.Tensor2D>;
    const step = engine().compile((params: BertParams, inputs: Record<string, tf.Tensor2D>) =>
      valueAndGrad((params: BertParams) => {
        const bert = { config, params };
        const options = { attentionMask: inputs.attention_mask!, tokenTypes: inputs.token_type_ids! };
        return {
          loss: bertMaskedLmLoss(bert, inputs.input_ids!, inputs.labels!, options),
          logits: bertMaskedLmLogits(bert, inputs.input_ids!, options),
          last_hidden_state: bertHidden(bert, inputs.input_ids!, options),
        };
      }, params),
    );
    const { grads, ...outputs } = await step(nestedParams(golden.weights), inputs);
    for (const [name, want] of Object.entries(golden.outputs)) {
      await expectClose(outputs[name as keyof typeof outputs]!, want, golden.tolerance, name);
    }
    const got = Object.fromEntries(treeEntries(grads));
    expect(Object.keys(got).sort()).toEqual(Object.keys(golden.grads).sort());
    for (const [name, want] of Object.entries(golden.grads)) {
      await expectClose(got[name]!, want, golden.tolerance, `gradient of ${name}`);
    }
    step.dispose();
  });
});
