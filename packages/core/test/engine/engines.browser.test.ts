import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../../src/engine/create-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { Rng } from "../../src/rng.ts";
import { treeDispose, treeLeaves, treeMap } from "../../src/tree.ts";
import { gradientCases } from "../compat/cases.ts";
import { spread } from "../compat/finite-differences.ts";
import { wasmPaths } from "./wasm-files.ts";

// A small convolutional net and one step of gradient descent, written as a model would be.

interface Net {
  readonly conv: { readonly weight: tf.Tensor; readonly bias: tf.Tensor };
  readonly head: tf.Tensor;
}

function createNet(rng: Rng): Net {
  return {
    conv: { weight: rng.normal([3, 3, 1, 4], 0, 0.3), bias: rng.normal([4], 0, 0.1) },
    head: rng.normal([16, 3], 0, 0.3),
  };
}

function loss(net: Net, images: tf.Tensor): tf.Scalar {
  const hidden = tf.relu(
    tf.add(tf.conv2d(images as tf.Tensor4D, net.conv.weight as tf.Tensor4D, 2, "same"), net.conv.bias),
  );
  const pooled = tf.avgPool(hidden as tf.Tensor4D, 3, 2, "same");
  const logits = tf.matMul(tf.reshape(pooled, [-1, 16]), net.head as tf.Tensor2D);
  return tf.mean(tf.square(tf.sub(tf.softmax(logits), tf.tensor1d([1, 0, 0])))) as tf.Scalar;
}

function step(net: Net, images: tf.Tensor) {
  const leaves = treeLeaves(net);
  const rebuild = (tensors: tf.Tensor[]) => {
    let i = 0;
    return treeMap(net, () => tensors[i++]);
  };
  const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]) => loss(rebuild(tensors), images))(leaves);
  return { net: rebuild(leaves.map((leaf, i) => tf.sub(leaf, tf.mul(grads[i]!, 0.5)))), loss: value };
}

const names = ["tfjs:cpu", "tfjs:wasm", "tfjs:webgpu"] as const;
const engines = new Map<string, Engine>();
const losses = new Map<string, number[]>();

beforeAll(async () => {
  for (const name of names) engines.set(name, await createEngine(name, { wasmPaths }));
});

afterAll(() => {
  for (const engine of engines.values()) engine.dispose();
});

test("the page is isolated, so that WebAssembly's threads share its memory, and WebGPU has an adapter", async () => {
  expect(crossOriginIsolated).toBe(true);
  const { wasm } = tf.findBackend("wasm") as unknown as { wasm: { HEAPU8: Uint8Array } };
  expect(wasm.HEAPU8.buffer).toBeInstanceOf(SharedArrayBuffer);
  expect(await navigator.gpu.requestAdapter()).not.toBeNull();
});

describe.each(names)("on %s", (name) => {
  test("a net trains, and memory stays flat", async () => {
    const engine = engines.get(name)!;
    expect(engine.name).toBe(name);
    await tf.setBackend(name.slice("tfjs:".length));
    const rng = new Rng(3);
    const images = rng.uniform([4, 8, 8, 1], -1, 1);
    let net = createNet(rng);
    const compiled = engine.compile(step);
    const curve: number[] = [];
    let tensors = 0;
    for (let i = 0; i < 8; i++) {
      const next = await compiled(net, images);
      treeDispose(net);
      net = next.net;
      curve.push((await next.loss.data())[0]!);
      next.loss.dispose();
      if (i === 0) tensors = tf.memory().numTensors;
    }
    expect(tf.memory().numTensors).toBe(tensors);
    expect(curve.at(-1)).toBeLessThan(curve[0]! * 0.9);
    losses.set(name, curve);
    treeDispose([net, images]);
  });
});

test("all engines see the same losses", () => {
  const [reference, ...others] = names.map((name) => losses.get(name)!);
  for (const curve of others) for (const [i, value] of curve.entries()) expect(value).toBeCloseTo(reference![i]!, 4);
});

test("every gradient that core repairs is the same on WebGPU as on the cpu backend, where finite differences vouch for it", async () => {
  const findings: string[] = [];
  for (const { name, fn, args } of gradientCases) {
    const weighted = (...xs: tf.Tensor[]): tf.Scalar => {
      const y = fn(...xs);
      return tf.sum(tf.mul(y, tf.tensor(spread(y.size, 3), y.shape)));
    };
    const results: Float32Array[][] = [];
    for (const engineName of ["tfjs:cpu", "tfjs:webgpu"]) {
      const compiled = engines.get(engineName)!.compile((xs: tf.Tensor[]) => tf.grads(weighted)(xs));
      const xs = args.map(({ shape, values }, i) =>
        tf.tensor(
          values ? Float32Array.from(values) : spread(tf.util.sizeFromShape(shape as number[]), i),
          shape as number[],
        ),
      );
      try {
        const grads = await compiled(xs);
        results.push(await Promise.all(grads.map(async (grad) => (await grad.data()) as Float32Array)));
        treeDispose(grads);
      } catch (error) {
        findings.push(`${name} on ${engineName}: ${(error as Error).message}`);
      }
      treeDispose(xs);
    }
    const [cpu, webgpu] = results;
    if (!cpu || !webgpu) continue;
    const worst = Math.max(...cpu.flatMap((grad, i) => Array.from(grad, (v, j) => Math.abs(v - webgpu[i]![j]!))));
    if (!(worst < 5e-3)) findings.push(`${name}: differs by ${worst}`);
  }
  expect(findings).toEqual([]);
});

test("reverse cumulative sums of two lengths are right on WebGPU, where stock tfjs reuses the first one's shader", async () => {
  const scan = engines.get("tfjs:webgpu")!.compile((x: tf.Tensor) => tf.cumsum(x, -1, false, true));
  for (const n of [3, 5, 7]) {
    const y = await scan(tf.ones([2, n]));
    const row = Array.from({ length: n }, (_, i) => n - i);
    expect(Array.from(await y.data())).toEqual([...row, ...row]);
  }
});
