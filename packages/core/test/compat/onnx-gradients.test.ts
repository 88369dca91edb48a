import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../src/engine/create-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { gradientCases } from "./cases.ts";
import { type GradientCase, maxDifference, numericGradients, spread } from "./finite-differences.ts";

// The compiled engine traces tfjs' gradients, the repaired ones among them, into graphs.

/** @genai/onnx has no 3-D convolutions and pools. */
const traced = gradientCases.filter(({ name }) => !name.includes("3d"));

let onnx: Engine;
const numeric = new Map<GradientCase, Float32Array[]>();

beforeAll(async () => {
  const cpu = await createEngine("tfjs:cpu");
  for (const c of traced) numeric.set(c, numericGradients(c));
  cpu.dispose();
  onnx = await createEngine("onnx:cpu");
});

afterAll(() => onnx.dispose());

describe("compiled on onnx:cpu, the gradient agrees with finite differences:", () => {
  test.each(traced.map((c) => [c.name, c] as const))("%s", async (_name, c) => {
    const weighted = (...xs: tf.Tensor[]): tf.Scalar => {
      const y = c.fn(...xs);
      return tf.sum(tf.mul(y, tf.tensor(spread(y.size, 3), y.shape)));
    };
    const xs = c.args.map(({ shape, values }, i) =>
      tf.tensor(
        values ? Float32Array.from(values) : spread(tf.util.sizeFromShape(shape as number[]), i),
        shape as number[],
      ),
    );
    const grads = await onnx.compile((args: tf.Tensor[]) => tf.grads(weighted)(args))(xs);
    const found = await Promise.all(grads.map(async (grad) => (await grad.data()) as Float32Array));
    expect(maxDifference(found, numeric.get(c)!)).toBeLessThan(1e-2);
    tf.dispose([grads, xs]);
  });
});
