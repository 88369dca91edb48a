import { createEagerEngine, Rng } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, it } from "vitest";
import { causalContext } from "../src/causal-context.ts";
import { createKvCache } from "../src/kv-cache.ts";
import { ropeRotation } from "../src/rope.ts";

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describe("ropeRotation", () => {
  it("rotates tokens of a cache and of padded rows by their own positions", async () => {
    const config = { headDim: 4, theta: 100 };
    const x = new Rng(7).uniform([2, 1, 6, 4], -1, 1) as tf.Tensor4D;
    const whole = ropeRotation(config, causalContext("test", tf.zeros([2, 6], "int32")))(x);
    const cache = createKvCache({ batchSize: 2, layers: 1, heads: 1, length: 9, headDim: 4 });
    const later = causalContext("test", tf.zeros([2, 2], "int32"), {
      cache: { ...cache, lengths: tf.tensor1d([4, 2], "int32") },
    });
    const places = (x: tf.Tensor4D) =>
      tf.concat([x.slice([0, 0, 4, 0], [1, 1, 2, 4]), x.slice([1, 0, 2, 0], [1, 1, 2, 4])]) as tf.Tensor4D;
    const tolerance = { atol: 1e-6, rtol: 1e-6 };
    await expectClose(ropeRotation(config, later)(places(x)), places(whole), tolerance, "tail");
    const start = tf.tensor1d([0, 3], "int32");
    const padded = ropeRotation(
      config,
      causalContext("test", tf.zeros([2, 6], "int32"), { start }),
    )(tf.concat([x, x], 2).slice([0, 0, 3, 0], [2, 1, 6, 4]) as tf.Tensor4D);
    await expectClose(
      padded.slice([1, 0, 3, 0], [1, 1, 3, 4]),
      whole.slice([1, 0, 0, 0], [1, 1, 3, 4]),
      tolerance,
      "padded",
    );
  });

  it("lengthens what it rotates where the scaling says so", async () => {
    const x = new Rng(7).uniform([1, 1, 3, 4], -1, 1) as tf.Tensor4D;
    const scaling = { type: "yarn", factor: 1, originalBlockSize: 8, attentionFactor: 1.5 } as const;
    const context = causalContext("test", tf.zeros([1, 3], "int32"));
    const got = ropeRotation({ headDim: 4, theta: 100, scaling }, context)(x);
    const plain = ropeRotation({ headDim: 4, theta: 100 }, context)(x);
    await expectClose(got, plain.mul(1.5), { atol: 1e-6, rtol: 1e-6 }, "rotated");
  });
});
