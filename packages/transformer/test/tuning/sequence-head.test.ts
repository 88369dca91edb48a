import { adamw, createEagerEngine, crossEntropy, gradientStep, Rng, valueAndGrad } from "@genai/core";
import { describeModelContract, describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  createGpt2,
  createLlama,
  createSequenceHead,
  createT5,
  type Gpt2Params,
  gpt2HiddenStates,
  llamaHidden,
  type SequenceHead,
  sequenceLogits,
  t5Loss,
} from "../../src/index.ts";

const sizes = { vocabSize: 12, blockSize: 6, nEmbd: 8, nHead: 2, nLayer: 1 };
const llama = { ...sizes, nInner: 12 };

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describeModelContract({
  name: "a llama with a head for classes",
  create: (rng) => ({
    config: llama,
    params: {
      model: createLlama({ ...llama, tieWordEmbeddings: true }, rng).params,
      head: createSequenceHead(8, 3, rng),
    },
  }),
  batch: (rng) => ({
    ids: rng.integers([2, 6], 0, 12) as tf.Tensor2D,
    mask: tf.tensor2d([
      [1, 1, 1, 1, 1, 1],
      [1, 1, 1, 0, 0, 0],
    ]),
    classes: tf.tensor1d([2, 0], "int32"),
  }),
  loss: ({ config, params }, { ids, mask, classes }, rng) =>
    crossEntropy(
      sequenceLogits(params.head, llamaHidden({ config, params: params.model }, ids, { rng }), mask),
      classes,
    ),
});

describeOnEngines("a head for classes", (engine) => {
  it("reads the last token that counts, whatever stands behind it", async () => {
    const { params } = createLlama(llama, new Rng(0));
    const head = createSequenceHead(8, 3, new Rng(1));
    const run = engine().compile((ids: tf.Tensor2D, mask: tf.Tensor2D) =>
      sequenceLogits(head, llamaHidden({ config: llama, params }, ids), mask),
    );
    const alone = await run(tf.tensor2d([[4, 5, 6]], undefined, "int32"), tf.ones([1, 3]));
    const padded = await run(tf.tensor2d([[4, 5, 6, 9, 9]], undefined, "int32"), tf.tensor2d([[1, 1, 1, 0, 0]]));
    await expectClose(padded, alone, { atol: 1e-6, rtol: 1e-5 });
  });

  it("memorises the classes of a batch together with its model", async () => {
    const loss = ({ model, head }: { model: Gpt2Params; head: SequenceHead }, ids: tf.Tensor2D) => {
      const hidden = gpt2HiddenStates({ config: sizes, params: model }, ids).at(-1)!;
      return crossEntropy(sequenceLogits(head, hidden), tf.tensor1d([0, 1, 2, 1], "int32")) as tf.Scalar;
    };
    const { init, step } = gradientStep(adamw({ learningRate: 0.02, weightDecay: 0 }), loss);
    const train = engine().compile(step);
    const model = createGpt2(sizes, new Rng(0)).params;
    let state = init({ model, head: createSequenceHead(8, 3, new Rng(1)) });
    const ids = new Rng(2).integers([4, 6], 0, 12) as tf.Tensor2D;
    let last = 0;
    for (let i = 0; i < 25; i++) {
      const { state: next, metrics } = await train(state, ids, new Rng(0));
      state = next;
      last = (await metrics.loss.data())[0]!;
    }
    expect(last).toBeLessThan(0.1);
  });
});

describe("T5's loss", () => {
  const config = { vocabSize: 12, nEmbd: 8, nHead: 2, headDim: 4, nInner: 10, nLayer: 1 };
  const ids = () => new Rng(2).integers([2, 5], 1, 12) as tf.Tensor2D;
  const X = -100;

  it("and its gradients do not see what pads the targets, with labels smoothed or not", async () => {
    const { params } = createT5(config, new Rng(1));
    for (const labelSmoothing of [0, 0.1]) {
      const run = (rows: number[][]) =>
        valueAndGrad(
          (p: typeof params) =>
            t5Loss({ config, params: p }, ids(), tf.tensor2d(rows, undefined, "int32"), { labelSmoothing }),
          params,
        );
      const want = run([
        [5, 6, 1],
        [7, 1, X],
      ]);
      const got = run([
        [5, 6, 1, X, X],
        [7, 1, X, X, X],
      ]);
      const tolerance = { atol: 1e-6, rtol: 1e-5 };
      await expectClose(got.loss, want.loss, tolerance, "loss");
      await expectClose(got.grads.shared.weight, want.grads.shared.weight, tolerance, "gradient");
    }
  });

  it("is smoothed towards the mean over the vocabulary", async () => {
    const t5 = createT5(config, new Rng(1));
    const targets = tf.tensor2d(
      [
        [5, 6, 1],
        [7, 1, X],
      ],
      undefined,
      "int32",
    );
    const at = async (labelSmoothing: number) => (await t5Loss(t5, ids(), targets, { labelSmoothing }).data())[0]!;
    const uniform = ((await at(0.5)) - 0.5 * (await at(0))) / 0.5;
    expect(await at(0.2)).toBeCloseTo(0.8 * (await at(0)) + 0.2 * uniform, 5);
  });
});
