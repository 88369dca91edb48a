import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, test } from "vitest";
import { installCompat } from "../../src/compat/install-compat.ts";
import { loadTfjsBackend } from "../../src/engine/tfjs-backends.ts";
import { silenceTfjsBanner } from "../../src/engine/tfjs-banner.ts";
import { gradientCases } from "./cases.ts";
import { maxDifference, numericGradients, soilWasmHeap, tapeGradients } from "./finite-differences.ts";
import { stockFindings } from "./stock-findings.ts";

const backends = ["cpu", "wasm"] as const;
const TOLERANCE = 1e-2;

/** What tfjs does with a case: "right", "wrong", or the start of what it throws. */
function verdict(name: string, numeric: readonly Float32Array[]): string {
  const found = gradientCases.find((c) => c.name === name)!;
  try {
    return maxDifference(tapeGradients(found), numeric) < TOLERANCE ? "right" : "wrong";
  } catch (error) {
    return error instanceof RangeError || error instanceof WebAssembly.RuntimeError ? "crashes" : "throws";
  }
}

const stock = new Map<string, string>();
const numeric = new Map<string, readonly Float32Array[]>();

beforeAll(async () => {
  silenceTfjsBanner();
  for (const backend of backends) await loadTfjsBackend(backend);
  // A stock crash corrupts the wasm heap for good, so that these cases are left out there.
  const crashes = new Set(gradientCases.filter(({ name }) => /axis -1/.test(name)).map(({ name }) => name));
  // tfjs as it is: with forward passes that are right, so that the differences are, taken after the repair, below.
  const tape = new Map<string, readonly Float32Array[] | string>();
  for (const backend of backends) {
    await tf.setBackend(backend);
    for (const c of gradientCases) {
      const key = `${backend} ${c.name}`;
      if (crashes.has(c.name) && backend === "wasm") {
        tape.set(key, "crashes");
        continue;
      }
      if (backend === "wasm") soilWasmHeap();
      try {
        tape.set(key, tapeGradients(c));
      } catch (error) {
        tape.set(key, error instanceof RangeError ? "crashes" : "throws");
      }
    }
  }
  installCompat();
  await tf.setBackend("cpu");
  for (const c of gradientCases) numeric.set(c.name, numericGradients(c));
  for (const [key, grads] of tape) {
    const truth = numeric.get(key.slice(key.indexOf(" ") + 1))!;
    stock.set(key, typeof grads === "string" ? grads : maxDifference(grads, truth) < TOLERANCE ? "right" : "wrong");
  }
});

describe("stock tfjs 4.22", () => {
  test("gets these gradients wrong or throws, so that none of the repairs is idle", () => {
    const findings = gradientCases.map(({ name }) => [
      name,
      ...backends.map((backend) => stock.get(`${backend} ${name}`)),
    ]);
    expect(findings).toEqual(stockFindings);
  });
});

describe.each(backends)("with the repairs, on %s, the gradient agrees with finite differences:", (backend) => {
  test.each(gradientCases.map(({ name }) => name))("%s", async (name) => {
    await tf.setBackend(backend);
    if (backend === "wasm") soilWasmHeap();
    expect(verdict(name, numeric.get(name)!)).toBe("right");
  });
});

test("forward passes agree between cpu and wasm after the repairs", async () => {
  const outputs: Float32Array[][] = [];
  for (const backend of backends) {
    await tf.setBackend(backend);
    outputs.push(gradientCases.map((c) => numericGradients({ ...c, args: c.args })[0]!));
  }
  expect(maxDifference(outputs[0]!, outputs[1]!)).toBeLessThan(TOLERANCE);
});

test("taking gradients on either backend leaves no tensors behind", async () => {
  for (const backend of backends) {
    await tf.setBackend(backend);
    for (const c of gradientCases) {
      const before = tf.memory().numTensors;
      const ids = tf.engine().backend.numDataIds();
      tapeGradients(c);
      expect([c.name, tf.memory().numTensors - before, tf.engine().backend.numDataIds() - ids]).toEqual([c.name, 0, 0]);
    }
  }
});
