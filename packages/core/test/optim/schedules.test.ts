import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as schedules from "../../src/optim/schedules.ts";

const { joinSchedules, linearWarmup, cosineWithWarmup, oneCycle, warmupStableDecay, emaDecayWarmup } = schedules;

describe("linearWarmup", () => {
  it("goes in a straight line from one value to the other and stays, after a delay if asked", () => {
    const beta = linearWarmup({ to: 4, steps: 4, start: 2 });
    expect([0, 1, 2, 3, 4, 5, 6, 7, 100].map(beta)).toEqual([0, 0, 0, 1, 2, 3, 4, 4, 4]);
    expect([0, 1, 2, 3].map(linearWarmup({ from: 3, to: 1, steps: 2 }))).toEqual([3, 2, 1, 1]);
    expect(linearWarmup({ to: 5, steps: 0 })(0)).toBe(5);
  });
});

describe("joinSchedules", () => {
  it("hands over at each boundary, where the next one's count starts at 0", () => {
    const joined = joinSchedules([(step) => step, (step) => 100 + step, (step) => 200 + step], [2, 3]);
    expect([0, 1, 2, 3, 4].map(joined)).toEqual([0, 1, 100, 200, 201]);
  });

  it("refuses boundaries that do not fit or do not rise", () => {
    const one = () => 1;
    expect(() => joinSchedules([one, one], [])).toThrow("got 2 schedules and 0 boundaries");
    expect(() => joinSchedules([], [])).toThrow("got 0 schedules");
    expect(() => joinSchedules([one, one, one], [3, 3])).toThrow(
      "boundaries[1] (3) must be a whole number of at least 4",
    );
  });
});

describe("cosineWithWarmup", () => {
  it("rises to the peak, falls to the minimum, and never leaves the range", () => {
    fc.assert(
      fc.property(fc.nat(20), fc.integer({ min: 1, max: 50 }), fc.boolean(), (warmupSteps, rest, afterOne) => {
        const totalSteps = warmupSteps + rest;
        const options = { learningRate: 1, warmupSteps, totalSteps, minLearningRate: 0.1 };
        const schedule = cosineWithWarmup({ ...options, warmup: afterOne ? "after-one" : "from-zero" });
        const rates = Array.from({ length: totalSteps + 5 }, (_, step) => schedule(step));
        expect(rates[warmupSteps]).toBeCloseTo(1, 12);
        expect(rates.at(-1)).toBeCloseTo(0.1, 12);
        for (let i = 1; i < rates.length; i++) {
          if (i <= warmupSteps) expect(rates[i]).toBeGreaterThan(rates[i - 1]!);
          else expect(rates[i]).toBeLessThanOrEqual(rates[i - 1]!);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe("emaDecayWarmup", () => {
  it("starts at 0.1 and ends at the decay", () => {
    const decay = emaDecayWarmup(0.999);
    expect(decay(0)).toBeCloseTo(0.1, 12);
    expect(decay(90)).toBeCloseTo(0.91, 12);
    expect(decay(1e6)).toBe(0.999);
  });
});

describe("schedules", () => {
  it("work without warm-up", () => {
    const options = { learningRate: 2, warmupSteps: 0, totalSteps: 10 };
    expect(cosineWithWarmup(options)(0)).toBe(2);
    expect(schedules.linearWithWarmup(options)(0)).toBe(2);
    expect(schedules.constantWithWarmup(options)(0)).toBe(2);
    expect(schedules.inverseSqrt(options)(0)).toBe(2);
    expect(warmupStableDecay({ ...options, decayStart: 0 })(0)).toBe(2);
  });

  it("refuse numbers that make no sense, with their name and value", () => {
    const base = { learningRate: 1, warmupSteps: 5, totalSteps: 5 };
    expect(() => cosineWithWarmup(base)).toThrow("totalSteps (5) must be a whole number of at least 6");
    expect(() => schedules.linearWithWarmup({ ...base, warmupSteps: -1 })).toThrow("warmupSteps (-1)");
    expect(() => warmupStableDecay({ ...base, totalSteps: 10, decayStart: 3 })).toThrow("decayStart (3)");
    expect(() => warmupStableDecay({ ...base, totalSteps: 10, decayStart: 10 })).toThrow("below totalSteps (10)");
    expect(() => oneCycle({ maxLearningRate: 1, totalSteps: 10, warmupFraction: 1 })).toThrow("warmupFraction (1)");
    expect(() => schedules.noam({ nEmbd: 0, warmupSteps: 5 })).toThrow("nEmbd (0)");
    expect(() => schedules.stepDecay({ learningRate: 1, stepSize: 0, gamma: 0.5 })).toThrow("stepSize (0)");
    expect(() => schedules.exponentialDecay({ learningRate: Number.NaN, gamma: 0.5 })).toThrow("learningRate (NaN)");
    expect(() => schedules.polynomialDecay({ learningRate: 1, totalSteps: 5, power: 0 })).toThrow("power (0)");
    expect(() => schedules.cosineAnnealing({ learningRate: 1, period: 0 })).toThrow("period (0)");
    expect(() => schedules.cosineWarmRestarts({ learningRate: 1, period: 5, periodFactor: 0 })).toThrow("periodFactor");
    expect(() => emaDecayWarmup(1)).toThrow("emaDecayWarmup: decay (1)");
  });
});
