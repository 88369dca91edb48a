import { crossEntropy, treeEntries, valueAndGrad } from "@genai/core";
import { describeGolden, describeOnEngines, expectClose, loadGoldenModel } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { expect, it } from "vitest";
import { causalContext } from "../../src/causal-context.ts";
import { type Gpt2Block, gpt2Block } from "../../src/gpt2.ts";
import {
  type Gpt2Config,
  type Gpt2Params,
  gpt2HiddenStates,
  gpt2Lm,
  gpt2Logits,
  gpt2Loss,
  nextTokens,
} from "../../src/index.ts";
import { greedy } from "../greedy.ts";
import { nestedParams } from "../nested-params.ts";

await describeGolden("gpt2_block", ({ params = {} }) => {
  const p = params as Record<string, number>;
  const config = { nHead: p.n_head!, layerNormEps: p.layer_norm_epsilon! };
  return {
    outputs: ({ x, cotangent: _, ...weights }) => {
      const ids = tf.zeros(x!.shape.slice(0, 2) as [number, number], "int32") as tf.Tensor2D;
      const context = causalContext("test", ids);
      return { y: gpt2Block(nestedParams<Gpt2Block>(weights), config, x!, { context, layer: 0 }) };
    },
  };
});

const golden = await loadGoldenModel("gpt2_tiny");
const hf = golden.config as Record<string, number>;
const config: Gpt2Config = {
  vocabSize: hf.vocab_size!,
  blockSize: hf.n_positions!,
  nEmbd: hf.n_embd!,
  nHead: hf.n_head!,
  nLayer: hf.n_layer!,
  layerNormEps: hf.layer_norm_epsilon!,
};

describeOnEngines("golden gpt2_tiny", (engine) => {
  it("has the reference's hidden states, logits, loss and gradients", async () => {
    const step = engine().compile((params: Gpt2Params, ids: tf.Tensor2D, labels: tf.Tensor2D) =>
      valueAndGrad((params: Gpt2Params) => {
        const gpt = { config, params };
        return {
          loss: gpt2Loss(gpt, ids, nextTokens(labels)),
          logits: gpt2Logits(gpt, ids),
          states: gpt2HiddenStates(gpt, ids),
        };
      }, params),
    );
    const { input_ids, labels } = golden.inputs as Record<string, tf.Tensor2D>;
    const { loss, logits, states, grads } = await step(nestedParams(golden.weights), input_ids!, labels!);
    await expectClose(loss, golden.outputs.loss!, golden.tolerance, "loss");
    await expectClose(logits, golden.outputs.logits!, golden.tolerance, "logits");
    expect(states).toHaveLength(config.nLayer + 1);
    for (const [i, state] of states.entries()) {
      await expectClose(state, golden.outputs[`hidden_states.${i}`]!, golden.tolerance, `hidden_states.${i}`);
    }
    const got = Object.fromEntries(treeEntries(grads));
    expect(Object.keys(got).sort()).toEqual(Object.keys(golden.grads).sort());
    for (const [name, want] of Object.entries(golden.grads)) {
      await expectClose(got[name]!, want, golden.tolerance, `gradient of ${name}`);
    }
    step.dispose();
  });

  it("continues a prompt greedily as the reference does", async () => {
    const params = nestedParams<Gpt2Params>(golden.weights);
    const want = (await golden.outputs.greedy!.array()) as number[][];
    expect(
      await greedy(
        engine(),
        gpt2Lm(config),
        params,
        want.map((row) => row.slice(0, 5)),
        want[0]!.length,
      ),
    ).toEqual(want);
  });
});

it("ignores targets of -100 and smooths labels as core's cross-entropy does", async () => {
  const ids = golden.inputs.input_ids as tf.Tensor2D;
  const gpt = { config, params: nestedParams<Gpt2Params>(golden.weights) };
  const targets = nextTokens(ids);
  const got = gpt2Loss(gpt, ids, targets, { labelSmoothing: 0.1 });
  await expectClose(
    got,
    crossEntropy(gpt2Logits(gpt, ids), targets, { labelSmoothing: 0.1 }),
    golden.tolerance,
    "loss",
  );
  expect((await targets.array())[0]!.at(-1)).toBe(-100);
  const other = tf.tensor2d(
    (await targets.array()).map((row) => row.map((id, i) => (i < 4 ? -100 : id))),
    ids.shape,
    "int32",
  );
  const late = gpt2Logits(gpt, ids).slice([0, 4, 0], [ids.shape[0], ids.shape[1] - 4, config.vocabSize]);
  const lateTargets = targets.slice([0, 4], [ids.shape[0], ids.shape[1] - 4]);
  await expectClose(gpt2Loss(gpt, ids, other), crossEntropy(late, lateTargets), golden.tolerance, "loss of the rest");
});
