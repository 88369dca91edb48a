import {
  fans,
  kaimingNormal,
  normalInit,
  orthogonalInit,
  Rng,
  truncatedNormalInit,
  xavierNormal,
  xavierUniform,
} from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";

const std = async (t: tf.Tensor) => Math.sqrt((await tf.moments(t).variance.data())[0]!);

describe("initialisers", () => {
  it("count inputs and outputs with the kernel's area", () => {
    expect(fans([8, 3, 5, 5])).toEqual({ fanIn: 75, fanOut: 200 });
    expect(fans([8, 3])).toEqual({ fanIn: 3, fanOut: 8 });
  });

  it.each([
    ["normalInit", normalInit(0.3), 0.3],
    ["xavierUniform", xavierUniform(), Math.sqrt(2 / (64 + 256))],
    ["xavierNormal", xavierNormal(), Math.sqrt(2 / (64 + 256))],
    ["kaimingNormal", kaimingNormal(), Math.sqrt(2 / 64)],
    // The standard deviation of a normal cut at two: 0.8796.
    ["truncatedNormalInit", truncatedNormalInit(1), 0.8796],
  ] as const)("%s has the standard deviation it names", async (_, init, want) => {
    expect((await std(init([256, 64], new Rng(1)))) / want).toBeCloseTo(1, 1);
  });

  it("truncates at two standard deviations", async () => {
    const values = await truncatedNormalInit(0.02)([100, 100], new Rng(2)).data();
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.04);
  });

  it.each([
    [4, 9],
    [9, 4],
  ])("makes a %i x %i matrix with orthonormal rows or columns", async (rows, columns) => {
    const w = orthogonalInit()([rows, columns], new Rng(3)) as tf.Tensor2D;
    const gram = rows <= columns ? tf.matMul(w, w, false, true) : tf.matMul(w, w, true, false);
    await expectClose(gram, tf.eye(Math.min(rows, columns)), { atol: 1e-5, rtol: 0 });
  });
});
