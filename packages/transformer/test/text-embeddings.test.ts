import { createEagerEngine, Rng, treeDispose } from "@genai/core";
import { describeOnEngines, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  bertEmbeddings,
  bertHidden,
  createBert,
  createGpt2,
  createLlama,
  gpt2Embeddings,
  llamaEmbeddings,
  poolTokens,
} from "../src/index.ts";

const config = { vocabSize: 12, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 2, nInner: 10 };
const tolerance = { atol: 1e-5, rtol: 1e-5 };
const ids = () =>
  tf.tensor2d(
    [
      [1, 2, 3, 4, 5],
      [6, 7, 8, 0, 0],
    ],
    undefined,
    "int32",
  );
const mask = () =>
  tf.tensor2d([
    [1, 1, 1, 1, 1],
    [1, 1, 1, 0, 0],
  ]);

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describe("poolTokens", () => {
  const hidden = () =>
    tf.tensor3d([
      [
        [3, 4],
        [5, 0],
        [100, 100],
      ],
    ]);
  const two = () => tf.tensor2d([[1, 1, 0]]);

  it("takes the mean, the first or the last of the tokens, and gives it the length 1", async () => {
    const pool = async (pooling: "mean" | "first" | "last", normalize: boolean) =>
      ((await poolTokens(hidden(), two(), { pooling, normalize }).array()) as number[][])[0];
    expect(await pool("mean", false)).toEqual([4, 2]);
    expect(await pool("first", false)).toEqual([3, 4]);
    expect(await pool("last", false)).toEqual([5, 0]);
    expect(await pool("first", true)).toEqual([0.6, 0.8].map((x) => expect.closeTo(x, 6)));
    expect(await poolTokens(hidden(), undefined, { pooling: "last", normalize: false }).array()).toEqual([[100, 100]]);
  });

  it("gives 0 for a text without tokens", async () => {
    for (const pooling of ["mean", "first", "last"] as const) {
      expect(await poolTokens(hidden(), tf.zeros([1, 3]), { pooling }).array()).toEqual([[0, 0]]);
    }
  });

  it("refuses what does not fit", () => {
    expect(() => poolTokens(hidden(), tf.ones([1, 2]))).toThrow("attentionMask has shape [1,2]; expected [1,3]");
    expect(() => poolTokens(hidden(), two(), { pooling: "cls" as never })).toThrow(
      "pooling (cls) must be mean, first or",
    );
  });
});

describeOnEngines("embeddings of texts", (engine) => {
  it("do not change with the padding", async () => {
    const bert = createBert({ ...config, maskedLmHead: false }, new Rng(1));
    const gpt = createGpt2(config, new Rng(1));
    const llama = createLlama(config, new Rng(1));
    for (const pooling of ["mean", "first", "last"] as const) {
      for (const embed of [
        engine()
          .compile((p: typeof bert.params, x: tf.Tensor2D, attentionMask: tf.Tensor2D) =>
            bertEmbeddings({ ...bert, params: p }, x, { attentionMask, pooling }),
          )
          .bind(undefined, bert.params),
        engine()
          .compile((p: typeof gpt.params, x: tf.Tensor2D, attentionMask: tf.Tensor2D) =>
            gpt2Embeddings({ ...gpt, params: p }, x, { attentionMask, pooling }),
          )
          .bind(undefined, gpt.params),
        engine()
          .compile((p: typeof llama.params, x: tf.Tensor2D, attentionMask: tf.Tensor2D) =>
            llamaEmbeddings({ ...llama, params: p }, x, { attentionMask, pooling }),
          )
          .bind(undefined, llama.params),
      ]) {
        const both = await embed(ids(), mask());
        expect(both.shape).toEqual([2, 8]);
        const alone = await embed(ids().slice([1, 0], [1, 3]), tf.ones([1, 3]));
        await expectClose(both.slice([1, 0], [1, 8]), alone, tolerance, pooling);
        await expectClose(tf.sum(tf.square(both), 1), tf.ones([2]), tolerance, "squared length");
      }
    }
    treeDispose([bert.params, gpt.params, llama.params]);
  });
});

describe("bertEmbeddings", () => {
  it("is the mean of the hidden states of tokens, and leaks nothing", async () => {
    const bert = createBert({ ...config, maskedLmHead: false }, new Rng(1));
    const [x, m] = [ids(), mask()];
    const before = tf.memory().numTensors;
    const got = bertEmbeddings(bert, x, { attentionMask: m, normalize: false });
    expect(tf.memory().numTensors).toBe(before + 1);
    const hidden = (await bertHidden(bert, x, { attentionMask: m }).array()) as number[][][];
    const want = hidden.map((row, b) => {
      const count = b === 0 ? 5 : 3;
      return row[0]!.map((_, c) => row.slice(0, count).reduce((sum, token) => sum + token[c]!, 0) / count);
    });
    await expectClose(got, tf.tensor2d(want), tolerance, "mean");
  });
});
