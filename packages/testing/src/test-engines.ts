import { createEngine, type Engine } from "@genai/core";
import { afterAll, beforeAll, describe } from "vitest";

/**
 * The engines that tests loop over: eager in plain JavaScript, eager in WebAssembly, compiled. GENAI_TEST_ENGINES, a list
 * with commas, replaces them.
 */
export function testEngines(): string[] {
  const wanted = process.env.GENAI_TEST_ENGINES;
  return wanted ? wanted.split(",").map((name) => name.trim()) : ["tfjs:cpu", "tfjs:wasm", "onnx:cpu"];
}

/** A `describe` for each of the test engines; `body` gets a function that returns the engine, for use inside tests. */
export function describeOnEngines(title: string, body: (engine: () => Engine, name: string) => void): void {
  for (const name of testEngines()) {
    describe(`${title} on ${name}`, () => {
      let engine: Engine | undefined;
      beforeAll(async () => {
        engine = await createEngine(name);
      });
      afterAll(() => engine?.dispose());
      body(() => {
        if (!engine) throw new Error(`describeOnEngines: ${name} is used outside a test`);
        return engine;
      }, name);
    });
  }
}
