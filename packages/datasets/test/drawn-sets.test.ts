import { Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { datasets, drawDigits, type ImageSet, twoMoons } from "../src/index.ts";

/** Share of the images of `test` nearest to the mean image of their own class in `train`. */
function nearestCentroid(train: ImageSet, test: ImageSet): number {
  const pixels = train.images.length / train.labels.length;
  const means = Array.from({ length: 10 }, () => new Float64Array(pixels));
  const counts = new Float64Array(10);
  for (const [i, label] of train.labels.entries()) {
    counts[label]! += 1;
    for (let p = 0; p < pixels; p++) means[label]![p]! += train.images[i * pixels + p]!;
  }
  for (const [label, mean] of means.entries()) for (let p = 0; p < pixels; p++) mean[p]! /= counts[label]!;
  let right = 0;
  for (const [i, label] of test.labels.entries()) {
    const distances = means.map((mean) => {
      let sum = 0;
      for (let p = 0; p < pixels; p++) sum += (mean[p]! - test.images[i * pixels + p]!) ** 2;
      return sum;
    });
    if (distances.indexOf(Math.min(...distances)) === label) right += 1;
  }
  return right / test.labels.length;
}

describe("drawDigits", () => {
  it("draws the same digits for the same seed and others for another", () => {
    const draw = (seed: number) => drawDigits({ count: 20, rng: new Rng(seed) });
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1).images).not.toEqual(draw(2).images);
  });

  it("draws all classes in equal numbers, in random order", () => {
    const { labels, shape, images } = drawDigits({ count: 1000, rng: new Rng(1), size: 12 });
    expect(shape).toEqual([1000, 12, 12, 1]);
    expect(images).toHaveLength(144_000);
    for (let digit = 0; digit < 10; digit++) expect(labels.filter((label) => label === digit)).toHaveLength(100);
    expect(Array.from(labels.subarray(0, 10))).not.toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("draws no two digits alike, with ink like MNIST's and none at the border", () => {
    const { images } = drawDigits({ count: 500, rng: new Rng(3) });
    const seen = new Set<string>();
    let touching = 0;
    for (let i = 0; i < 500; i++) {
      const image = images.subarray(i * 784, (i + 1) * 784);
      seen.add(image.join());
      expect(Math.max(...image)).toBeGreaterThan(200);
      const edge = image.filter((_, p) => p < 28 || p >= 756 || p % 28 === 0 || p % 28 === 27);
      if (Math.max(...edge) > 0) touching += 1;
    }
    expect(seen.size).toBe(500);
    expect(touching).toBe(0);
    const mean = images.reduce((a, b) => a + b, 0) / images.length / 255;
    expect(mean).toBeGreaterThan(0.09);
    expect(mean).toBeLessThan(0.17);
  });

  it("draws digits that carry their labels: nearest centroids tell more than 90 % apart, not all", () => {
    const accuracy = nearestCentroid(
      drawDigits({ count: 2000, rng: new Rng(1) }),
      drawDigits({ count: 500, rng: new Rng(2) }),
    );
    expect(accuracy).toBeGreaterThan(0.9);
    expect(accuracy).toBeLessThan(1);
  });

  it("refuses sizes and counts that cannot be drawn", () => {
    expect(() => drawDigits({ count: 1, rng: new Rng(1), size: 7 })).toThrow("size (7)");
    expect(() => drawDigits({ count: -1, rng: new Rng(1) })).toThrow("count (-1)");
    expect(drawDigits({ count: 0, rng: new Rng(1) }).images).toHaveLength(0);
  });
});

describe("twoMoons", () => {
  it("lies on its two half circles without noise", () => {
    const { points, labels, shape } = twoMoons({ count: 201, noise: 0, rng: new Rng(1) });
    expect(shape).toEqual([201, 2]);
    expect(labels.filter((label) => label === 0)).toHaveLength(101);
    for (const [i, label] of labels.entries()) {
      const [x, y] = [points[2 * i]!, points[2 * i + 1]!];
      const radius = label === 0 ? Math.hypot(x, y) : Math.hypot(x - 1, y - 0.5);
      expect(radius).toBeCloseTo(1, 5);
      expect(label === 0 ? y : 0.5 - y).toBeGreaterThanOrEqual(-1e-6);
    }
  });

  it("adds noise of the standard deviation asked for", () => {
    const [still, moved] = [0, 0.2].map((noise) => twoMoons({ count: 5000, noise, rng: new Rng(1) }).points);
    const squares = moved!.map((x, i) => (x - still![i]!) ** 2);
    expect(Math.sqrt(squares.reduce((a, b) => a + b, 0) / squares.length)).toBeCloseTo(0.2, 2);
    expect(() => twoMoons({ count: 1, noise: -1, rng: new Rng(1) })).toThrow("noise (-1)");
  });
});

describe("the table of sets", () => {
  it("loads the drawn ones at their stated sizes with fixed seeds", async () => {
    for (const name of ["drawn-digits", "two-moons"] as const) {
      const set = datasets[name];
      const load = (split: "train" | "test") => set.load({ split });
      expect((await load("test")).labels).toHaveLength(set.size.test);
      const [first, second] = [await load("test"), await load("test")];
      const values = (item: typeof first) => ("images" in item ? item.images : item.points);
      expect(Buffer.compare(new Uint8Array(values(first).buffer), new Uint8Array(values(second).buffer))).toBe(0);
      expect(Buffer.compare(first.labels, second.labels)).toBe(0);
    }
    const few = await datasets["drawn-digits"].load({ split: "train", count: 5, rng: new Rng(9) });
    expect(few.labels).toHaveLength(5);
  });
});
