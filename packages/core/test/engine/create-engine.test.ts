import * as tf from "@tensorflow/tfjs";
import { describe, expect, test } from "vitest";
import { candidates, createEngine } from "../../src/engine/create-engine.ts";
import { describeEngines } from "../../src/engine/describe-engines.ts";
import type { Device } from "../../src/engine/engine.ts";
import { EngineUnavailableError } from "../../src/errors.ts";

const failure = async (wanted: Parameters<typeof createEngine>[0]): Promise<Error> => {
  try {
    (await createEngine(wanted)).dispose();
  } catch (error) {
    return error as Error;
  }
  throw new Error("createEngine did not throw");
};

describe("createEngine", () => {
  test("computes with the engine that it was asked for by its full name", async () => {
    for (const name of ["tfjs:cpu", "tfjs:wasm", "onnx:cpu"]) {
      const engine = await createEngine(name);
      expect(engine.name).toBe(name);
      const square = engine.compile((x: tf.Tensor) => tf.square(x));
      const y = await square(tf.tensor1d([1, 2, 3]));
      expect(Array.from(await y.data())).toEqual([1, 4, 9]);
      engine.dispose();
    }
  });

  test("prefers the compiled engine in Node", async () => {
    const engine = await createEngine();
    expect(engine.name).toMatch(/^onnx:/);
    engine.dispose();
  });

  test("keeps to the runtime that it was told", async () => {
    const engine = await createEngine({ device: "cpu", runtime: "tfjs" });
    expect(engine.name).toMatch(/^tfjs:(tensorflow|wasm)$/);
  });

  test("tries WebGPU before WebAssembly in browsers", () => {
    expect(candidates("auto", undefined, false)).toEqual([
      "onnx:webgpu",
      "tfjs:webgpu",
      "onnx:wasm",
      "tfjs:wasm",
      "tfjs:webgl",
      "tfjs:cpu",
    ]);
  });

  test("lists the valid names when a device, a runtime or an engine is unknown", async () => {
    expect((await failure({ device: "gpu" as Device })).message).toBe(
      "createEngine: device (gpu) is unknown; expected one of auto, cpu, wasm, webgl, webgpu, cuda, coreml, dml",
    );
    expect((await failure({ runtime: "torch" as "onnx" })).message).toBe(
      "createEngine: runtime (torch) is unknown; expected one of onnx, tfjs",
    );
    expect((await failure("tfjs:gpu")).message).toMatch(
      /engine \(tfjs:gpu\) is unknown; expected one of onnx:cpu, .*tfjs:wasm/,
    );
  });

  // The providers for CUDA are hundreds of megabytes that no test installs.
  test.skipIf(process.env.GENAI_HAS_CUDA)("names both ways to CUDA when there is none", async () => {
    const error = await failure({ device: "cuda" });
    expect(error).toBeInstanceOf(EngineUnavailableError);
    expect(error.message).toMatch(
      /^createEngine: cuda cannot be had here \(onnx:cuda: .*tfjs:tensorflow: .*is not installed/,
    );
    expect(error.message).toMatch(/--onnxruntime-node-install=cuda12/);
    expect(error.message).toMatch(/@tensorflow\/tfjs-node-gpu@4\.22\.0, with CUDA 11\.2/);
    expect(error.message).not.toMatch(/\n/);
  });

  test("says what is missing for engines that other systems have", async () => {
    expect((await failure("tfjs:tensorflow")).message).toMatch(
      /tfjs-node is not installed; install it with: npm install @tensorflow\/tfjs-node@4\.22\.0$/,
    );
    expect((await failure({ device: "webgl" })).message).toBe(
      "createEngine: webgl cannot be had here: WebGL exists in browsers only",
    );
    expect(await failure("onnx:dml")).toBeInstanceOf(EngineUnavailableError);
  });
});

test("describeEngines tries every engine and leaves the active backend as it was", async () => {
  await tf.setBackend("cpu");
  const found = await describeEngines();
  expect(tf.getBackend()).toBe("cpu");
  const byName = new Map(found.map((engine) => [engine.name, engine]));
  expect(byName.get("tfjs:wasm")).toEqual({
    name: "tfjs:wasm",
    works: true,
    detail: "tfjs 4.22.0 in WebAssembly, one thread",
  });
  expect(byName.get("onnx:cpu")?.works).toBe(true);
  for (const { detail } of found) expect(detail).toMatch(/^[^\n]{10,}$/);
});
