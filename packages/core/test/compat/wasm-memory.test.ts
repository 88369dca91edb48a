import * as tf from "@tensorflow/tfjs";
import { expect, test } from "vitest";
import { createEagerEngine } from "../../src/engine/eager-engine.ts";
import { treeDispose } from "../../src/tree.ts";

test("wasm's memory does not grow with the packed operands of convolutions and batched products", async () => {
  const engine = await createEagerEngine("wasm");
  const { wasm } = tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array } };
  const tensor = (shape: number[]) =>
    tf.tensor(Float32Array.from({ length: tf.util.sizeFromShape(shape) }, Math.sin), shape);
  const step = engine.compile((x: tf.Tensor, w: tf.Tensor, q: tf.Tensor) => {
    const conv = tf.grads((a: tf.Tensor, b: tf.Tensor) =>
      tf.sum(tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 2, "same")),
    );
    const products = tf.grad((a: tf.Tensor) => tf.sum(tf.square(tf.matMul(a, a, false, true))));
    return { conv: conv([x, w]), products: products(q) };
  });
  const args = [tensor([2, 16, 16, 16]), tensor([3, 3, 16, 64]), tensor([16, 64, 64])] as const;
  let size = 0;
  for (let i = 0; i < 100; i++) {
    treeDispose(await step(...args));
    if (i === 10) size = wasm.HEAPU8.length;
  }
  // Each step packs about a MiB of operands: a leak would fill the first 16 MiB several times.
  expect(wasm.HEAPU8.length).toBe(size);
  treeDispose(args);
});
