import * as tf from "@tensorflow/tfjs";
import { expect, test } from "vitest";
import { createEngine } from "../../src/engine/create-engine.ts";
import { wasmPaths } from "./wasm-files.ts";

test("probe", async () => {
  const gpu = await navigator.gpu?.requestAdapter();
  console.log(
    "isolated",
    crossOriginIsolated,
    "gpu",
    !!navigator.gpu,
    gpu?.info?.vendor,
    gpu?.info?.architecture,
    gpu?.info?.description,
  );
});
for (const name of ["tfjs:cpu", "tfjs:wasm", "tfjs:webgpu", "tfjs:webgl"])
  test("smoke " + name, async () => {
    const t0 = performance.now();
    const e = await createEngine(name === "tfjs:wasm" ? { device: "wasm", runtime: "tfjs", wasmPaths } : name);
    const f = e.compile((x: tf.Tensor2D) => ({ y: tf.matMul(x, x), x, s: x.sum() }));
    const x = tf.tensor2d([
      [1, 2],
      [3, 4],
    ]);
    const r = await f(x);
    console.log(name, e.name, await r.y.data(), tf.getBackend(), performance.now() - t0);
  });
