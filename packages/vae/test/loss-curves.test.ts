import { createEngine } from "@genai/core";
import { describeOnEngines } from "@genai/testing";
import { afterAll, describe, expect, it } from "vitest";
import { curveTable, lossCurve, reference, tolerance } from "./loss-curves.ts";

describe("loss curves of one seed", () => {
  const curves = new Map<string, number[]>();
  afterAll(() => process.stdout.write(`\n${curveTable(curves)}\n`));

  describeOnEngines("agree", (engine, name) => {
    it(`with the reference over 20 steps, to ${tolerance(name)} of the loss`, async () => {
      const curve = await lossCurve(engine(), 20);
      curves.set(name, curve);
      expect(curve.length).toBe(reference.length);
      for (const [i, loss] of curve.entries()) {
        expect(Math.abs(loss - reference[i]!) / reference[i]!, `step ${i + 1}: ${loss}`).toBeLessThan(tolerance(name));
      }
      expect(curve.at(-1)!).toBeLessThan(0.8 * curve[0]!);
    });
  });

  it("are the same bits when an engine trains twice", async () => {
    const engine = await createEngine("onnx:cpu");
    expect(await lossCurve(engine, 5)).toEqual(await lossCurve(engine, 5));
    engine.dispose();
  });
});
