import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { emaInit, emaUpdate } from "../../src/optim/ema.ts";
import { treeDispose } from "../../src/tree.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const values = (tensor: tf.Tensor) => Array.from(tensor.dataSync());

describe("ema", () => {
  it("starts as a copy that outlives the parameters", () => {
    const params = { w: tf.tensor1d([1, 2]) };
    const ema = emaInit(params);
    treeDispose(params);
    expect(values(ema.w)).toEqual([1, 2]);
  });

  it("moves the given part of the way, with a number or a scalar tensor, and stands still at 1", () => {
    const ema = { w: tf.tensor1d([0, 4]) };
    const params = { w: tf.tensor1d([8, 4]) };
    expect(values(emaUpdate(ema, params, 0.75).w)).toEqual([2, 4]);
    expect(values(emaUpdate(ema, params, tf.scalar(0.75)).w)).toEqual([2, 4]);
    expect(values(emaUpdate(ema, params, 0).w)).toEqual([8, 4]);
    expect(values(emaUpdate(ema, params, 1).w)).toEqual([0, 4]);
  });

  it("leaves nothing behind but its result", () => {
    const params = { w: tf.ones([3]), b: [tf.zeros([2])] };
    const before = tf.memory().numTensors;
    const ema = emaInit(params);
    const next = emaUpdate(
      ema,
      params,
      tf.tidy(() => 0.9),
    );
    treeDispose([ema, next]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses a decay out of range, other shapes and other types", () => {
    const params = { w: tf.ones([3]) };
    expect(() => emaUpdate(params, params, 1.5)).toThrow("emaUpdate: decay (1.5) must be in [0, 1]");
    expect(() => emaUpdate(params, params, Number.NaN)).toThrow("decay (NaN)");
    expect(() => emaUpdate({ w: tf.ones([1]) }, params, 0.9)).toThrow(
      "average 'w' has shape [1]; expected the parameter's, [3]",
    );
    expect(() => emaInit({ ids: tf.tensor1d([1], "int32") })).toThrow("'ids' is int32");
  });
});
