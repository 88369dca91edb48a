import { Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { countExamples, drawDigits, split, subset, take } from "../src/index.ts";

const set = {
  name: "numbered",
  images: Uint8Array.from({ length: 40 }, (_, i) => i),
  labels: Uint8Array.from({ length: 10 }, (_, i) => i),
  shape: [10, 2, 2, 1] as const,
};

describe("subset", () => {
  it("copies the chosen examples with their labels", () => {
    const part = subset(set, [3, 0, 3]);
    expect(part.labels).toEqual(Uint8Array.of(3, 0, 3));
    expect(part.images).toEqual(Uint8Array.of(12, 13, 14, 15, 0, 1, 2, 3, 12, 13, 14, 15));
    expect(part.shape).toEqual([3, 2, 2, 1]);
    expect(part.name).toBe("numbered");
  });

  it("refuses indices out of range", () => {
    expect(() => subset(set, [10])).toThrow("index (10) must be a whole number below 10");
    expect(() => subset(set, [-1])).toThrow("index (-1)");
  });
});

describe("take", () => {
  it("views the first examples without a copy", () => {
    const part = take(set, 2);
    expect(part.shape).toEqual([2, 2, 2, 1]);
    expect(part.labels).toEqual(Uint8Array.of(0, 1));
    expect(part.images.buffer).toBe(set.images.buffer);
    expect(() => take(set, 11)).toThrow("count (11) must be a whole number from 0 to 10");
  });
});

describe("split", () => {
  it("gives every example to exactly one part when the fractions add up to 1", () => {
    const parts = split(drawDigits({ count: 101, rng: new Rng(1), size: 8 }), [0.7, 0.2, 0.1], new Rng(2));
    expect(parts.map(countExamples)).toEqual([71, 20, 10]);
    const numbered = { labels: Int32Array.from({ length: 101 }, (_, i) => i) };
    const ids = split(numbered, [0.7, 0.2, 0.1], new Rng(2)).flatMap(({ labels }) => [...labels]);
    expect(ids.sort((a, b) => a - b)).toEqual([...numbered.labels]);
  });

  it("depends on the seed only, and refuses fractions beyond the whole", () => {
    const run = (seed: number) => split(set, [0.5], new Rng(seed))[0]!.labels;
    expect(run(1)).toEqual(run(1));
    expect(run(1)).not.toEqual(run(2));
    expect(() => split(set, [0.8, 0.3], new Rng(1))).toThrow("fractions [0.8,0.3] must be at least 0 and add up");
    expect(() => split(set, [-0.1], new Rng(1))).toThrow("fractions [-0.1]");
  });
});
