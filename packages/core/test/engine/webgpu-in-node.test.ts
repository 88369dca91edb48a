import * as tf from "@tensorflow/tfjs";
import { expect, test } from "vitest";
import { createEngine } from "../../src/engine/create-engine.ts";
import { createEagerEngine } from "../../src/engine/eager-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { EngineUnavailableError } from "../../src/errors.ts";
import { useSoftwareWebgpu } from "./software-webgpu.ts";

const impossible = useSoftwareWebgpu();

async function webgpuOrReason(): Promise<Engine | string> {
  if (impossible) return impossible;
  try {
    return await createEngine("tfjs:webgpu");
  } catch (error) {
    if (error instanceof EngineUnavailableError) return error.message;
    throw error;
  }
}

test("tfjs:webgpu trains a convolution in Node, with the losses of tfjs:wasm", async (context) => {
  const webgpu = await webgpuOrReason();
  if (typeof webgpu === "string") return context.skip(webgpu);
  const wasm = await createEagerEngine("wasm");
  const step = (w: tf.Tensor, x: tf.Tensor) => {
    const { value, grad } = tf.valueAndGrad((weight: tf.Tensor) =>
      tf.mean(tf.square(tf.sub(tf.conv2d(x as tf.Tensor4D, weight as tf.Tensor4D, 2, "same"), 1))),
    )(w);
    return { w: tf.sub(w, tf.mul(grad, 0.2)), loss: value };
  };
  const curves: number[][] = [];
  for (const engine of [webgpu, wasm]) {
    const compiled = engine.compile(step);
    const x = tf.tensor(
      Float32Array.from({ length: 50 }, (_, i) => Math.sin(i)),
      [2, 5, 5, 1],
    );
    let w: tf.Tensor = tf.fill([3, 3, 1, 2], 0.1);
    const curve: number[] = [];
    let tensors = 0;
    for (let i = 0; i < 5; i++) {
      const next = await compiled(w, x);
      w.dispose();
      w = next.w;
      curve.push((await next.loss.data())[0]!);
      next.loss.dispose();
      if (i === 0) tensors = tf.memory().numTensors;
    }
    expect(tf.memory().numTensors).toBe(tensors);
    curves.push(curve);
    tf.dispose([w, x]);
    engine.dispose();
  }
  expect(curves[0]!.at(-1)).toBeLessThan(curves[0]![0]!);
  for (const [i, value] of curves[0]!.entries()) expect(value).toBeCloseTo(curves[1]![i]!, 5);
  await tf.setBackend("cpu");
});
