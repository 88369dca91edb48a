import { createEagerEngine, Rng } from "@genai/core";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { causalContext } from "../src/causal-context.ts";
import { createKvCache } from "../src/kv-cache.ts";
import { ropeFrequencies, ropeRotation } from "../src/rope.ts";

beforeAll(async () => {
  await createEagerEngine("cpu");
});

describe("ropeFrequencies", () => {
  const plain = { headDim: 8, theta: 10000 };

  it("falls from 1 by powers of theta", () => {
    expect([...ropeFrequencies(plain, 5)]).toEqual([1, 0.1, 0.01, 0.001].map((f) => expect.closeTo(f, 12)));
  });

  it("divides all by the factor when linear", () => {
    const got = ropeFrequencies({ ...plain, scaling: { type: "linear", factor: 4 } }, 5);
    expect([...got]).toEqual([0.25, 0.025, 0.0025, 0.00025].map((f) => expect.closeTo(f, 12)));
  });

  it("changes nothing within the original context, and theta beyond it, when dynamic", () => {
    const scaled = { ...plain, scaling: { type: "dynamic", factor: 2, originalBlockSize: 16 } } as const;
    expect(ropeFrequencies(scaled, 16)).toEqual(ropeFrequencies(plain, 16));
    // At twice the context theta grows by (2 * 2 - 1)^(8 / 6).
    expect(ropeFrequencies(scaled, 32)).toEqual(ropeFrequencies({ headDim: 8, theta: 10000 * 3 ** (8 / 6) }, 32));
  });

  it("keeps fast frequencies, divides slow ones and blends those between as Llama 3.1 does", () => {
    const scaling = {
      type: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalBlockSize: 8192,
    } as const;
    const before = ropeFrequencies({ headDim: 128, theta: 500000 }, 8);
    const after = ropeFrequencies({ headDim: 128, theta: 500000, scaling }, 8);
    let blended = 0;
    for (const [i, f] of before.entries()) {
      const wavelength = (2 * Math.PI) / f;
      if (wavelength < 8192 / 4) expect(after[i]).toBe(f);
      else if (wavelength > 8192) expect(after[i]).toBe(f / 8);
      else {
        const smooth = (8192 / wavelength - 1) / 3;
        expect(after[i]).toBeCloseTo(((1 - smooth) * f) / 8 + smooth * f, 15);
        blended++;
      }
    }
    expect(blended).toBeGreaterThan(3);
  });
});

describe("ropeRotation", () => {
  it("rotates tokens of a cache and of padded rows by their own positions", async () => {
    const config = { headDim: 4, theta: 100 };
    const x = new Rng(7).uniform([2, 1, 6, 4], -1, 1);
    const whole = ropeRotation(config, causalContext("test", tf.zeros([2, 6], "int32")))(x);
    const cache = createKvCache({ batchSize: 2, layers: 1, heads: 1, length: 9, headDim: 4 });
    const later = causalContext("test", tf.zeros([2, 2], "int32"), {
      cache: { ...cache, position: tf.scalar(4, "int32") },
    });
    const tail = x.slice([0, 0, 4, 0], [2, 1, 2, 4]);
    const tolerance = { atol: 1e-6, rtol: 1e-6 };
    await expectClose(ropeRotation(config, later)(tail), whole.slice([0, 0, 4, 0], [2, 1, 2, 4]), tolerance, "tail");
    const start = tf.tensor1d([0, 3], "int32");
    const padded = ropeRotation(
      config,
      causalContext("test", tf.zeros([2, 6], "int32"), { start }),
    )(tf.concat([x, x], 2).slice([0, 0, 3, 0], [2, 1, 6, 4]));
    await expectClose(
      padded.slice([1, 0, 3, 0], [1, 1, 3, 4]),
      whole.slice([1, 0, 0, 0], [1, 1, 3, 4]),
      tolerance,
      "padded",
    );
  });
});
