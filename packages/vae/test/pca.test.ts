import { Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { fitPca, imputePca, pcaScore, reconstructPca } from "../src/index.ts";

/** Points in a plane through 5 dimensions, with noise. */
function plane(count: number, noise: number, rng = new Rng(0)): Float64Array {
  const z = rng.draw({ kind: "normal", size: count * 2, mean: 0, std: 1 });
  const eps = rng.draw({ kind: "normal", size: count * 5, mean: 0, std: noise });
  const w = [
    [3, 0, 1, 2, 0],
    [0, 2, 1, 0, 1],
  ];
  return Float64Array.from(
    { length: count * 5 },
    (_, i) => 1 + w[0]![i % 5]! * z[2 * Math.floor(i / 5)]! + w[1]![i % 5]! * z[2 * Math.floor(i / 5) + 1]! + eps[i]!,
  );
}

describe("principal components", () => {
  it("are orthonormal and rebuild what lies in their plane", () => {
    const data = plane(100, 0);
    const pca = fitPca(data, { dims: 5, components: 2 });
    for (const [i, a] of pca.components.entries()) {
      for (const [j, b] of pca.components.entries()) {
        expect(a.reduce((sum, x, d) => sum + x * b[d]!, 0)).toBeCloseTo(i === j ? 1 : 0, 10);
      }
    }
    expect(pca.variances[0]).toBeGreaterThan(pca.variances[1]!);
    expect(pca.noise).toBeLessThan(1e-10);
    for (const [i, x] of reconstructPca(pca, data).entries()) expect(x).toBeCloseTo(data[i]!, 8);
    expect(Math.max(...pcaScore(pca, data))).toBeLessThan(1e-12);
  });

  it("find the noise around the plane, and score what lies off it", () => {
    const pca = fitPca(plane(4000, 0.3), { dims: 5, components: 2 });
    expect(pca.noise).toBeCloseTo(0.09, 2);
    const normal = pcaScore(pca, plane(50, 0.3, new Rng(1)));
    const [off] = pcaScore(pca, Float64Array.of(1, 1, 1, 9, -9));
    expect(off!).toBeGreaterThan(Math.max(...normal));
  });

  it("fill gaps exactly where there is no noise, and leave known values as they are", () => {
    const data = plane(100, 0);
    const pca = fitPca(data, { dims: 5, components: 2 });
    const observed = Array.from(data, (_, i) => (i % 5 < 3 ? 1 : 0));
    const gaps = data.map((x, i) => (observed[i] ? x : Number.NaN));
    for (const [i, x] of imputePca(pca, gaps, observed).entries()) expect(x).toBeCloseTo(data[i]!, 4);
  });

  it("refuse what they cannot do", () => {
    const data = plane(10, 0.1);
    const pca = fitPca(data, { dims: 5, components: 2 });
    expect(() => imputePca(pca, data, new Float64Array(50))).toThrow("imputePca: all values of example 0 are missing");
    expect(() => fitPca(data, { dims: 5, components: 6 })).toThrow("components (6) must be an integer from 1 to 5");
    expect(() => fitPca(data, { dims: 3, components: 1 })).toThrow("data has 50 values; expected rows of 3");
    expect(() => fitPca(data.with(7, Number.NaN), { dims: 5, components: 1 })).toThrow("holds NaN or infinite");
  });
});
