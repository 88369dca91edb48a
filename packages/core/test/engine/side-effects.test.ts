import * as tf from "@tensorflow/tfjs";
import { expect, test } from "vitest";

test("importing the package chooses no backend and replaces no gradient; installCompat does, once", async () => {
  const stock = tf.getGradient("Maximum");
  const { installCompat } = await import("../../src/index.ts");
  expect(tf.getGradient("Maximum")).toBe(stock);
  expect(tf.engine().backendName).toBeUndefined();
  installCompat();
  const repaired = tf.getGradient("Maximum");
  expect(repaired).not.toBe(stock);
  const matMul = tf.getKernel("BatchMatMul", "cpu");
  installCompat();
  expect(tf.getGradient("Maximum")).toBe(repaired);
  expect(tf.getKernel("BatchMatMul", "cpu")).toBe(matMul);
});
