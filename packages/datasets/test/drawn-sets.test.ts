import { Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import {
  batches,
  checkerboard,
  datasets,
  drawDigits,
  gaussianGrid,
  gaussianRing,
  type ImageSet,
  movingDigits,
  type PointSet,
  pinwheel,
  swissRoll,
  twoMoons,
} from "../src/index.ts";

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

/** Number of points of every class, and their mean. */
function classMeans({ points, labels, classes }: PointSet): { count: number; x: number; y: number }[] {
  return classes.map((_, label) => {
    const members = [...labels.keys()].filter((i) => labels[i] === label);
    const mean = (axis: number) => members.reduce((sum, i) => sum + points[2 * i + axis]!, 0) / members.length;
    return { count: members.length, x: mean(0), y: mean(1) };
  });
}

describe("the drawn points", () => {
  const rng = () => new Rng(4);

  it("of a ring lie around their means with the spread asked for", () => {
    const set = gaussianRing({ count: 4000, rng: rng(), std: 0.1 });
    expect(set.shape).toEqual([4000, 2]);
    for (const [k, { count, x, y }] of classMeans(set).entries()) {
      expect(count).toBe(500);
      expect(Math.hypot(x - 2 * Math.cos((k * Math.PI) / 4), y - 2 * Math.sin((k * Math.PI) / 4))).toBeLessThan(0.02);
    }
    const still = gaussianRing({ count: 4000, rng: rng(), std: 0 }).points;
    const squares = set.points.map((v, i) => (v - still[i]!) ** 2);
    expect(Math.sqrt(squares.reduce((a, b) => a + b, 0) / squares.length)).toBeCloseTo(0.1, 2);
    expect(() => gaussianRing({ count: 1, rng: rng(), modes: 0 })).toThrow("modes (0)");
  });

  it("of a grid lie on 25 places around the origin", () => {
    const { points, labels, classes } = gaussianGrid({ count: 250, rng: rng(), std: 0 });
    expect(classes).toHaveLength(25);
    for (const [i, label] of labels.entries()) {
      expect([points[2 * i], points[2 * i + 1]]).toEqual([2 * (label % 5) - 4, 2 * Math.floor(label / 5) - 4]);
    }
    expect(() => gaussianGrid({ count: 1, rng: rng(), std: -1 })).toThrow("std (-1)");
  });

  it("of a swiss roll lie on its spiral without noise", () => {
    const { points, labels } = swissRoll({ count: 500, rng: rng(), noise: 0 });
    for (const [i, label] of labels.entries()) {
      const [x, y] = [points[2 * i]! * 7.5, points[2 * i + 1]! * 7.5];
      const t = Math.hypot(x, y);
      expect(x).toBeCloseTo(t * Math.cos(t), 3);
      expect(y).toBeCloseTo(t * Math.sin(t), 3);
      expect(label).toBe(Math.min(2, Math.floor(t / Math.PI - 1.5 + 1e-9)));
    }
    expect(swissRoll({ count: 5, rng: rng(), noise: 1 }).points).not.toEqual(
      swissRoll({ count: 5, rng: rng(), noise: 0 }).points,
    );
  });

  it("of a checkerboard fill the dark fields evenly, and those only", () => {
    const set = checkerboard({ count: 4000, rng: rng() });
    for (let i = 0; i < 4000; i++) {
      const [x, y] = [Math.floor(set.points[2 * i]! + 2), Math.floor(set.points[2 * i + 1]! + 2)];
      expect([x >= 0 && x < 4, y >= 0 && y < 4, (x + y) % 2]).toEqual([true, true, 0]);
    }
    expect(classMeans(set).map(({ count }) => count)).toEqual(new Array(8).fill(500));
    expect(() => checkerboard({ count: 1, rng: rng(), fields: 3 })).toThrow("fields (3)");
  });

  it("of a pinwheel bend in arms of equal size", () => {
    const set = pinwheel({ count: 1000, rng: rng(), radialStd: 0, tangentialStd: 0 });
    for (const [arm, { count, x, y }] of classMeans(set).entries()) {
      expect(count).toBe(200);
      const angle = (2 * Math.PI * arm) / 5 + 0.25 * Math.E;
      expect([x, y].map((v) => v.toFixed(4))).toEqual([Math.cos(angle).toFixed(4), Math.sin(angle).toFixed(4)]);
    }
    expect(() => pinwheel({ count: -1, rng: rng() })).toThrow("count (-1)");
  });
});

describe("movingDigits", () => {
  it("draws clips whose digits move, keep their ink and stay within the frame", () => {
    const { videos, shape, digits } = movingDigits({ count: 6, rng: new Rng(1), frames: 30, size: 40, digits: 1 });
    expect(shape).toEqual([6, 30, 40, 40, 1]);
    expect(digits).toHaveLength(6);
    for (let clip = 0; clip < 6; clip++) {
      const ink: number[] = [];
      const middles = new Set<string>();
      for (let t = 0; t < 30; t++) {
        const frame = videos.subarray((clip * 30 + t) * 1600, (clip * 30 + t + 1) * 1600);
        ink.push(frame.reduce((a, b) => a + b, 0));
        let [x, y] = [0, 0];
        for (const [i, v] of frame.entries())
          [x, y] = [x + (v * (i % 40)) / ink[t]!, y + (v * Math.floor(i / 40)) / ink[t]!];
        middles.add(`${x.toFixed(2)} ${y.toFixed(2)}`);
      }
      expect(new Set(ink).size).toBe(1);
      expect(middles.size).toBeGreaterThan(10);
    }
  });

  it("depends on the seed, comes in batches, and refuses what does not fit", async () => {
    const make = (seed: number) => movingDigits({ count: 3, rng: new Rng(seed), frames: 4, size: 32 });
    expect(make(1)).toEqual(make(1));
    expect(make(1).videos).not.toEqual(make(2).videos);
    const { value } = await batches(make(1), { batchSize: 2, rng: new Rng(1), prefetch: 0 }).next();
    expect([value!.videos.shape, value!.digits.shape]).toEqual([
      [2, 4, 32, 32, 1],
      [2, 2],
    ]);
    expect(value!.videos.dataSync()[0]).toBe(-1);
    value!.videos.dispose();
    value!.digits.dispose();
    expect(() => movingDigits({ count: 1, rng: new Rng(1), size: 28 })).toThrow("digitSize (28)");
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
    for (const entry of Object.values(datasets)) {
      if (entry.downloadBytes > 0 || entry.kind === "images") continue;
      const set = await entry.load({ split: "test", count: 7 });
      expect("shape" in set && set.shape[0]).toBe(7);
    }
    const few = await datasets["drawn-digits"].load({ split: "train", count: 5, rng: new Rng(9) });
    expect(few.labels).toHaveLength(5);
  });
});
