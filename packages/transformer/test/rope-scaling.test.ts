import { describe, expect, it } from "vitest";
import { checkRope, type RopeScaling, ropeAttentionFactor, ropeFrequencies, yarnMscale } from "../src/rope-scaling.ts";

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

  // As PyTorch computes them in single precision by the formulas of transformers' modeling_rope_utils.
  const single = (numbers: readonly number[]) => numbers.map((n) => expect.closeTo(n, 6 - Math.floor(Math.log10(n))));

  it("divides slow frequencies, keeps fast ones and blends by index with yarn", () => {
    const qwen = { headDim: 16, theta: 1e6, scaling: { type: "yarn", factor: 4, originalBlockSize: 32768 } } as const;
    expect([...ropeFrequencies(qwen, 8)]).toEqual(
      single([1, 0.1778279, 0.03162278, 0.00421756, 0.0005, 4.445699e-5, 7.905694e-6, 1.405853e-6]),
    );
    const scaling = { type: "yarn", factor: 32, originalBlockSize: 4096, truncate: false } as const;
    expect([...ropeFrequencies({ headDim: 16, theta: 150000, scaling }, 8)]).toEqual(
      single([1, 0.225418, 0.05081327, 0.006794959, 0.0004564839, 1.818834e-5, 4.099978e-6, 9.24209e-7]),
    );
    // Each bound at the index whose frequency turns so often in the original context: outside of them nothing is blended.
    const before = ropeFrequencies({ headDim: 128, theta: 10000 }, 8);
    const after = ropeFrequencies(
      { headDim: 128, theta: 10000, scaling: { ...scaling, truncate: true, betaFast: 16, betaSlow: 2 } },
      8,
    );
    for (const [i, f] of before.entries()) {
      const turns = (4096 * f) / (2 * Math.PI);
      if (turns > 16 * 1.16) expect(after[i]).toBe(f);
      else if (turns < 2 / 1.16) expect(after[i]).toBeCloseTo(f / 32, 15);
      else expect(after[i]! <= f && after[i]! >= f / 32).toBe(true);
    }
  });

  it("divides every frequency by its own factor with longrope, beyond the original context by another", () => {
    const scaling = {
      type: "longrope",
      shortFactors: [1, 1.05, 1.1, 1.5],
      longFactors: [1.2, 4, 20, 60],
      originalBlockSize: 4096,
      factor: 32,
    } as const;
    const at = (length: number) => [...ropeFrequencies({ headDim: 8, theta: 10000, scaling }, length)];
    expect(at(4096)).toEqual(single([1, 0.0952381, 0.009090909, 0.0006666667]));
    expect(at(4097)).toEqual(single([0.8333333, 0.025, 0.0005, 1.666667e-5]));
    expect(ropeAttentionFactor({ headDim: 8, theta: 10000, scaling })).toBeCloseTo(1.1902380714238083, 12);
    expect(ropeAttentionFactor({ headDim: 8, theta: 1, scaling: { ...scaling, factor: 1 } })).toBe(1);
  });
});

describe("ropeAttentionFactor", () => {
  it("is 1 but for yarn and longrope", () => {
    const of = (scaling?: RopeScaling) => ropeAttentionFactor({ headDim: 8, theta: 10000, scaling });
    expect(of()).toBe(1);
    expect(of({ type: "linear", factor: 8 })).toBe(1);
    const yarn = { type: "yarn", factor: 4, originalBlockSize: 32768 } as const;
    expect(of(yarn)).toBeCloseTo(1.138629436111989, 12);
    expect(of({ ...yarn, attentionFactor: 2 })).toBe(2);
    // DeepSeek's pair of scales.
    expect(yarnMscale(40, 0.8) / yarnMscale(40, 1)).toBeCloseTo(0.9461039968029624, 12);
  });
});

describe("checkRope", () => {
  it("names what does not fit", () => {
    const check = (scaling: RopeScaling) => () => checkRope("createLlama", { headDim: 8, theta: 10000, scaling });
    const yarn = { type: "yarn", factor: 4, originalBlockSize: 8 } as const;
    const long = { type: "longrope", factor: 2, originalBlockSize: 8, shortFactors: [1, 1, 1, 1] } as const;
    expect(check({ ...yarn, betaFast: 1, betaSlow: 2 })).toThrow("betaFast (1) must be at least betaSlow (2)");
    expect(check({ ...yarn, attentionFactor: 0 })).toThrow("ropeScaling.attentionFactor (0) must be positive");
    expect(check({ ...long, longFactors: [1] })).toThrow("ropeScaling.longFactors hold 1 numbers; expected 4");
    expect(check({ ...long, longFactors: [1, 2, Number.NaN, 1] })).toThrow("longFactors[2] (NaN) must be positive");
    expect(check({ type: "ntk", factor: 1 } as never)).toThrow("(ntk) must be one of linear, dynamic, llama3, yarn");
    expect(check({ type: "linear", factor: 0.5 })).toThrow("ropeScaling.factor (0.5) must be at least 1");
  });
});
