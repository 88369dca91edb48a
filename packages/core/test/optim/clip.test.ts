import * as tf from "@tensorflow/tfjs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { clipByGlobalNorm, globalNorm } from "../../src/optim/clip.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const values = (tensor: tf.Tensor) => Array.from(tensor.dataSync());
const vector = fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 1, maxLength: 6 });

describe("clipByGlobalNorm", () => {
  it("leaves gradients alone whose norm is small, and shortens others to the limit without turning them", () => {
    fc.assert(
      fc.property(vector, vector, fc.double({ min: 0.1, max: 20, noNaN: true }), (a, b, maxNorm) => {
        const all = [...a, ...b].map(Math.fround);
        const norm = Math.hypot(...all);
        const clipped = clipByGlobalNorm({ a: tf.tensor1d(a), b: [tf.tensor1d(b)] }, maxNorm);
        const got = [...values(clipped.grads.a), ...values(clipped.grads.b[0]!)];
        expect(values(clipped.norm)[0]).toBeCloseTo(norm, 3);
        if (norm < maxNorm - 1e-3) expect(got).toEqual(all);
        if (norm > maxNorm) {
          expect(Math.hypot(...got)).toBeCloseTo(maxNorm, 3);
          for (const [i, x] of got.entries()) expect(x).toBeCloseTo((all[i]! * maxNorm) / norm, 3);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("gives zeros for zero gradients and 0 for an empty tree", () => {
    const { grads, norm } = clipByGlobalNorm({ a: tf.zeros([2]) }, 1);
    expect(values(grads.a)).toEqual([0, 0]);
    expect(values(norm)).toEqual([0]);
    expect(values(globalNorm({}))).toEqual([0]);
  });

  it("refuses a limit that is not above 0", () => {
    expect(() => clipByGlobalNorm({}, 0)).toThrow("clipByGlobalNorm: maxNorm (0) must be a finite number above 0");
  });
});
