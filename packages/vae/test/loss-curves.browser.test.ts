import { createEngine } from "@genai/core";
import { afterAll, describe, expect, it } from "vitest";
import { wasmPaths } from "../../core/test/engine/wasm-files.ts";
import { curveTable, lossCurve, reference, tolerance } from "./loss-curves.ts";

// In a real Chromium, WebGPU by SwiftShader: fewer steps there, since it compiles and computes slowly.
const stepsOf = { "tfjs:cpu": 20, "tfjs:wasm": 20, "onnx:wasm": 20, "tfjs:webgpu": 6, "onnx:webgpu": 6 };

describe("loss curves of one seed in the browser", () => {
  const curves = new Map<string, number[]>();
  afterAll(() => console.info(`\n${curveTable(curves)}`));

  it.each(Object.entries(stepsOf))("%s agrees with the runs in Node over %i steps", async (name, steps) => {
    const engine = await createEngine(name, { wasmPaths });
    expect(engine.name).toBe(name);
    const curve = await lossCurve(engine, steps);
    curves.set(name, curve);
    for (const [i, loss] of curve.entries()) {
      expect(Math.abs(loss - reference[i]!) / reference[i]!, `step ${i + 1}: ${loss}`).toBeLessThan(tolerance(name));
    }
    engine.dispose();
  });
});
