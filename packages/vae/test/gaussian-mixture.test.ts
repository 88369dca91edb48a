import { Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { fitGaussianMixture, gaussianMixtureLogLikelihood, type MixtureRows } from "../src/index.ts";

/** Two clusters in the plane, with a category that mostly tells which. */
function clusters(count: number, rng: Rng): MixtureRows {
  const eps = rng.draw({ kind: "normal", size: 2 * count, mean: 0, std: 1 });
  const kinds = rng.draw({ kind: "uniform", size: count, low: 0, high: 1 });
  const flips = rng.draw({ kind: "uniform", size: count, low: 0, high: 1 });
  const kind = Array.from(kinds, (u) => (u < 0.3 ? 0 : 1));
  const numbers = Float64Array.from({ length: 2 * count }, (_, i) => {
    const row = Math.floor(i / 2);
    const centre = kind[row] === 0 ? [-3, 0] : [3, 1];
    const own = i % 2 === 0 ? eps[2 * row]! : 0.8 * eps[2 * row]! + 0.6 * eps[2 * row + 1]!;
    return centre[i % 2]! + own;
  });
  const ids = kind.map((k, row) => (flips[row]! < 0.9 ? k : 1 - k));
  return { numbers, dims: 2, categories: [{ ids, count: 2 }] };
}

describe("a mixture of Gaussians", () => {
  it("of one component has the mean, the covariance and the likelihood in closed form", () => {
    const numbers = Float64Array.of(0, 0, 2, 0, 0, 4, 2, 4);
    const mixture = fitGaussianMixture({ numbers, dims: 2 }, { components: 1, rng: new Rng(0), minStd: 1e-6 });
    const got = gaussianMixtureLogLikelihood(mixture, { numbers: [1, 2, 2, 4], dims: 2 });
    // Means 1 and 2, variances 1 and 4, uncorrelated.
    const atMean = -Math.log(2 * Math.PI) - 0.5 * Math.log(4);
    expect(got[0]).toBeCloseTo(atMean, 6);
    expect(got[1]).toBeCloseTo(atMean - 0.5 * (1 + 1), 6);
  });

  it("finds clusters, their weights, correlations and categories", () => {
    const mixture = fitGaussianMixture(clusters(3000, new Rng(0)), { components: 2, rng: new Rng(1) });
    const [small, large] = [...mixture.components].sort((a, b) => a.logWeight - b.logWeight);
    expect(Math.exp(small!.logWeight)).toBeCloseTo(0.3, 1);
    expect(small!.mean[0]).toBeCloseTo(-3, 0);
    expect(large!.mean[0]).toBeCloseTo(3, 0);
    expect(Math.exp(large!.logProbs[0]![1]!)).toBeCloseTo(0.9, 1);
    expect(large!.factor[2]).toBeCloseTo(0.8, 1); // covariance of the two numbers
  });

  it("never loses likelihood in a round of EM, up to the floor under variances", () => {
    const rows = clusters(400, new Rng(3));
    const { history } = fitGaussianMixture(rows, { components: 4, rng: new Rng(4), iterations: 30, minStd: 1e-3 });
    expect(history.length).toBeGreaterThan(3);
    for (let i = 1; i < history.length; i++) expect(history[i]! - history[i - 1]!).toBeGreaterThan(-1e-3);
  });

  it("integrates to one", () => {
    const rows = clusters(300, new Rng(5));
    const mixture = fitGaussianMixture({ ...rows, categories: [] }, { components: 3, rng: new Rng(6) });
    const grid: number[] = [];
    const h = 0.1;
    for (let x = -9; x < 9; x += h) for (let y = -9; y < 9; y += h) grid.push(x, y);
    const total = gaussianMixtureLogLikelihood(mixture, { numbers: grid, dims: 2 }).reduce(
      (a, b) => a + Math.exp(b),
      0,
    );
    expect(total * h * h).toBeCloseTo(1, 3);
  });

  it("prefers two components for two clusters on rows that it has not seen", () => {
    const [train, test] = [clusters(500, new Rng(7)), clusters(500, new Rng(8))];
    const score = (components: number) => {
      const mixture = fitGaussianMixture(train, { components, rng: new Rng(9) });
      return gaussianMixtureLogLikelihood(mixture, test).reduce((a, b) => a + b, 0) / 500;
    };
    expect(score(2)).toBeGreaterThan(score(1) + 0.2);
  });

  it("refuses gaps, unknown categories and more components than rows", () => {
    const options = { components: 1, rng: new Rng(0) };
    expect(() => fitGaussianMixture({ numbers: [1, Number.NaN], dims: 1 }, options)).toThrow("row 1 holds NaN");
    const bad = { numbers: [1, 2], dims: 1, categories: [{ ids: [0, 2], count: 2 }] };
    expect(() => fitGaussianMixture(bad, options)).toThrow("row 1 has category 2; expected an index below 2");
    expect(() => fitGaussianMixture({ numbers: [1, 2], dims: 1 }, { ...options, components: 3 })).toThrow(
      "components (3) must be an integer from 1 to the number of rows, 2",
    );
  });
});
