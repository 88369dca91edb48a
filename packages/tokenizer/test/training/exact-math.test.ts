import { describe, expect, it } from "vitest";
import { digamma, exactExp, exactLog, powerOfTwo } from "../../src/training/exact-math.ts";

const close = (a: number, b: number, relative: number) =>
  a === b || Math.abs(a - b) <= relative * Math.max(Math.abs(a), Math.abs(b));

describe("exact math", () => {
  it("has the logarithm and the exponential to the last bits", () => {
    for (let i = 1; i < 20_000; i++) {
      const x = (i * 0.618033988749) % 1 ? 10 ** (((i * 0.618033988749) % 1) * 600 - 300) : 1;
      expect(close(exactLog(x), Math.log(x), 4e-16), `log ${x}`).toBe(true);
      const y = ((i * 0.754877666) % 1) * 1400 - 700;
      expect(close(exactExp(y), Math.exp(y), 4e-16), `exp ${y}`).toBe(true);
    }
    expect(exactLog(1)).toBe(0);
    expect(exactLog(0)).toBe(Number.NEGATIVE_INFINITY);
    expect(exactLog(5e-324)).toBeCloseTo(Math.log(5e-324), 12);
    expect(exactExp(0)).toBe(1);
    expect(exactExp(-800)).toBe(0);
    expect(exactExp(800)).toBe(Number.POSITIVE_INFINITY);
    expect([powerOfTwo(-1022), powerOfTwo(0), powerOfTwo(1023)]).toEqual([2 ** -1022, 1, 2 ** 1023]);
  });

  it("has the digamma function: psi(1) = -gamma, psi(x + 1) = psi(x) + 1 / x", () => {
    expect(digamma(1)).toBeCloseTo(-0.5772156649015329, 9);
    expect(digamma(0.5)).toBeCloseTo(-1.9635100260214235, 9);
    for (const x of [0.1, 0.7, 3, 6.9, 50, 1e6]) expect(digamma(x + 1)).toBeCloseTo(digamma(x) + 1 / x, 9);
  });
});
