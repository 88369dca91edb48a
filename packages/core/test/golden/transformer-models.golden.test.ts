import { crossEntropy, valueAndGrad } from "@genai/core";
import { describeOnEngines, expectClose, type GoldenModel, loadGoldenModel } from "@genai/testing";
import type * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { bert, gpt2, llama, nextTokenLoss } from "./transformer-models.ts";

type Params = Record<string, tf.Tensor>;
type Outputs = Record<string, tf.Tensor> & { loss: tf.Tensor };

const models: Record<string, (p: Params, inputs: Params, config: Record<string, number>) => Outputs> = {
  gpt2_tiny: (p, { input_ids, labels }, config) => {
    const { logits, hidden } = gpt2(p, input_ids!, config);
    const states = Object.fromEntries(hidden.map((x, i) => [`hidden_states.${i}`, x]));
    return { logits, ...states, loss: nextTokenLoss(logits, labels!) };
  },
  llama_tiny: (p, { input_ids }, config) => {
    const logits = llama(p, input_ids!, config);
    return { logits, loss: nextTokenLoss(logits, input_ids!) };
  },
  bert_tiny: (p, { input_ids, token_type_ids, attention_mask, labels }, config) => {
    const inputs = { input_ids: input_ids!, token_type_ids: token_type_ids!, attention_mask: attention_mask! };
    const { logits, hidden } = bert(p, inputs, config);
    return { logits, last_hidden_state: hidden, loss: crossEntropy(logits, labels!) };
  },
};

const files: [string, GoldenModel][] = [];
for (const name of Object.keys(models)) files.push([name, await loadGoldenModel(name)]);

describeOnEngines("golden language models", (engine) => {
  it.each(files)("%s has the reference's hidden states, logits, loss and gradients", async (name, golden) => {
    const config = golden.config as Record<string, number>;
    const run = models[name]!;
    const step = engine().compile((params: Params, inputs: Params) =>
      valueAndGrad((p: Params) => run(p, inputs, config), params),
    );
    const { grads, ...outputs } = (await step(golden.weights, golden.inputs)) as unknown as Outputs & { grads: Params };
    for (const [key, want] of Object.entries(golden.outputs)) {
      if (key === "greedy") continue; // Decoding belongs to the transformer package.
      expect(outputs, key).toHaveProperty([key]);
      await expectClose(outputs[key]!, want, golden.tolerance, key);
    }
    expect(Object.keys(grads).sort()).toEqual(Object.keys(golden.grads).sort());
    for (const [key, want] of Object.entries(golden.grads)) {
      await expectClose(grads[key]!, want, golden.tolerance, `gradient of ${key}`);
    }
    step.dispose();
  });
});
