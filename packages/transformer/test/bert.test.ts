import { countParams, createEagerEngine, Rng, treeDispose } from "@genai/core";
import { describeModelContract, expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  type BertConfig,
  bertClassLogits,
  bertClassLoss,
  bertHidden,
  bertMaskedLmLogits,
  bertMaskedLmLoss,
  bertPooled,
  bertPresets,
  createBert,
} from "../src/index.ts";

const tiny: BertConfig = { vocabSize: 12, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 2, dropout: 0.1 };
// One kind of segment, as the models have whose texts come without pairs.
const classifier: BertConfig = { ...tiny, maskedLmHead: false, labels: 3, typeVocabSize: 1 };
const someIds = (rng: Rng, batch = 2, length = 8) =>
  tf.tidy(() => tf.cast(rng.uniform([batch, length], 0, 12), "int32")) as tf.Tensor2D;

beforeAll(async () => {
  await createEagerEngine("cpu");
});

// A bias of the keys moves all scores of a query alike: its gradient is zero but for rounding.
const zeroGradients = /attention\.self\.key\.bias/;

describeModelContract({
  name: "bert with a head for masked tokens",
  create: (rng) => createBert(tiny, rng),
  batch: (rng) => ({
    ids: someIds(rng),
    targets: someIds(rng),
    tokenTypes: tf.tensor2d(
      [
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 0, 1, 1],
      ],
      undefined,
      "int32",
    ),
  }),
  loss: (bert, { ids, targets, tokenTypes }, rng) => bertMaskedLmLoss(bert, ids, targets, { tokenTypes, rng }),
  outputs: {
    run: (bert, { ids }) => ({ logits: bertMaskedLmLogits(bert, ids), hidden: bertHidden(bert, ids) }),
    shapes: { logits: [2, 8, 12], hidden: [2, 8, 8] },
  },
  zeroGradients,
});

describeModelContract({
  name: "bert with a classifier",
  create: (rng) => createBert(classifier, rng),
  batch: (rng) => ({ ids: someIds(rng), classes: tf.tensor1d([2, 0], "int32") }),
  loss: (bert, { ids, classes }, rng) => bertClassLoss(bert, ids, classes, { rng }),
  outputs: {
    run: (bert, { ids }) => ({ logits: bertClassLogits(bert, ids), pooled: bertPooled(bert, ids) }),
    shapes: { logits: [2, 3], pooled: [2, 8] },
  },
  zeroGradients,
});

describe("createBert", () => {
  it("has the published number of parameters", () => {
    const count = ({ vocabSize, blockSize, nEmbd, nLayer }: BertConfig) =>
      (vocabSize + blockSize + 2 + 2) * nEmbd + nLayer * (12 * nEmbd ** 2 + 13 * nEmbd) + nEmbd ** 2 + nEmbd;
    expect(count(bertPresets["bert-base"])).toBe(109_482_240);
    expect(count(bertPresets["bert-large"])).toBe(335_141_888);
    const small = createBert({ ...bertPresets["bert-tiny"], maskedLmHead: false, pooler: true }, new Rng(0));
    expect(countParams(small.params)).toBe(count(bertPresets["bert-tiny"]));
    expect(countParams(small.params)).toBe(4_385_920);
    treeDispose(small);
  });

  it("refuses what does not fit", () => {
    const create = (change: Partial<BertConfig>) => () => createBert({ ...tiny, ...change }, new Rng(1));
    expect(create({ nHead: 3 })).toThrow("createBert: nEmbd (8) must be a multiple of nHead (3)");
    expect(create({ labels: 2, pooler: false })).toThrow("labels (2) need the pooler");
    expect(create({ labels: 0 })).toThrow("labels (0) must be a positive integer");
  });
});

describe("bert", () => {
  it("does not see padding", async () => {
    const bert = createBert(classifier, new Rng(1));
    const ids = someIds(new Rng(2), 1, 5);
    const padded = tf.concat([ids, tf.tensor2d([[7, 7, 7]], undefined, "int32")], 1);
    const attentionMask = tf.tensor2d([[1, 1, 1, 1, 1, 0, 0, 0]]);
    const tolerance = { atol: 1e-6, rtol: 1e-5 };
    const got = bertHidden(bert, padded, { attentionMask }).slice([0, 0, 0], [1, 5, 8]);
    await expectClose(got, bertHidden(bert, ids), tolerance, "hidden");
    await expectClose(
      bertClassLogits(bert, padded, { attentionMask }),
      bertClassLogits(bert, ids),
      tolerance,
      "logits",
    );
  });

  it("says which head is missing", () => {
    const ids = someIds(new Rng(2));
    expect(() => bertPooled(createBert(tiny, new Rng(1)), ids)).toThrow("bertPooled: the model has no pooler");
    expect(() => bertClassLogits(createBert(tiny, new Rng(1)), ids)).toThrow("no classifier");
    expect(() => bertMaskedLmLogits(createBert(classifier, new Rng(1)), ids)).toThrow("no head for masked tokens");
    const attentionMask = tf.ones([2, 3]) as tf.Tensor2D;
    expect(() => bertHidden(createBert(tiny, new Rng(1)), ids, { attentionMask })).toThrow(
      "bertHidden: attentionMask has shape [2,3]; expected [2,8]",
    );
  });
});
