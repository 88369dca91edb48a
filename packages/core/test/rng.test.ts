import { philox4x32, Rng } from "@genai/core";
import { describe, expect, it } from "vitest";

describe("Rng", () => {
  it("computes the known answers of Philox4x32-10", () => {
    const block = (counter: number[], key: number[]) => {
      const out = new Uint32Array(4);
      philox4x32(counter, key, out);
      return [...out].map((w) => w.toString(16).padStart(8, "0")).join(" ");
    };
    // From the kat_vectors file of Random123.
    expect(block([0, 0, 0, 0], [0, 0])).toBe("6627e8d5 e169c58d bc57ac4c 9b00dbd8");
    const f = 0xffffffff;
    expect(block([f, f, f, f], [f, f])).toBe("408f276d 41c83b0e a20bc7c6 6d5451fd");
    expect(block([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toBe(
      "d16cfe09 94fdcceb 5001e420 24126ea1",
    );
  });

  it("gives the same numbers for the same seed and others for another", async () => {
    const draw = (seed: number) => Array.from(new Rng(seed).draw({ kind: "normal", size: 5, mean: 0, std: 1 }));
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    expect(draw(-1)).not.toEqual(draw(1));
  });

  it("continues from a saved state", () => {
    const rng = new Rng(3);
    rng.draw({ kind: "uniform", size: 7, low: 0, high: 1 });
    const copy = Rng.fromState(JSON.parse(JSON.stringify(rng.state())));
    expect(copy.draw({ kind: "gumbel", size: 9 })).toEqual(rng.draw({ kind: "gumbel", size: 9 }));
  });

  it("is copied at its place, with something done to what the copy draws if asked", async () => {
    const rng = new Rng(7);
    rng.uniform([3]);
    const [copy, doubled] = [rng.copy(), rng.copy((draw) => draw.mul(2))];
    const want = [...(await rng.normal([2]).data()), ...(await rng.fork("a").uniform([2]).data())];
    expect([...(await copy.normal([2]).data()), ...(await copy.fork("a").uniform([2]).data())]).toEqual(want);
    const twice = [...(await doubled.normal([2]).data()), ...(await doubled.fork("a").uniform([2]).data())];
    expect(twice).toEqual(want.map((x) => 2 * x));
  });

  it("forks streams that differ by label and by position", () => {
    const rng = new Rng(3);
    const first = (r: Rng) => r.draw({ kind: "uniform", size: 1, low: 0, high: 1 })[0];
    const seen = [rng.fork("a"), rng.fork("a"), rng.fork("b"), new Rng(3).fork("a")].map(first);
    expect(seen[3]).toBe(seen[0]);
    expect(new Set(seen).size).toBe(3);
  });

  it("has the moments of the distributions it names", () => {
    const rng = new Rng(11);
    const n = 200_000;
    const moments = (xs: ArrayLike<number>) => {
      const a = Array.from(xs);
      const mean = a.reduce((s, x) => s + x, 0) / a.length;
      return { mean, variance: a.reduce((s, x) => s + (x - mean) ** 2, 0) / a.length };
    };
    const normal = moments(rng.draw({ kind: "normal", size: n, mean: 2, std: 3 }));
    expect(normal.mean).toBeCloseTo(2, 1);
    expect(normal.variance).toBeCloseTo(9, 0);
    const uniform = moments(rng.draw({ kind: "uniform", size: n, low: -1, high: 1 }));
    expect(uniform.mean).toBeCloseTo(0, 1);
    expect(uniform.variance).toBeCloseTo(1 / 3, 2);
    const gumbel = moments(rng.draw({ kind: "gumbel", size: n }));
    expect(gumbel.mean).toBeCloseTo(0.5772, 1);
    expect(gumbel.variance).toBeCloseTo(Math.PI ** 2 / 6, 1);
    const integers = rng.draw({ kind: "integers", size: n, low: 3, high: 6 });
    expect(new Set(integers)).toEqual(new Set([3, 4, 5]));
  });

  it("permutes", () => {
    const p = new Rng(5).draw({ kind: "permutation", size: 100 });
    expect([...p].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect([...p]).not.toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  it("draws classes in proportion to their probabilities", async () => {
    const { tensor } = await import("@tensorflow/tfjs");
    const probs = [0.1, 0.2, 0.7];
    const logits = tensor(probs.map(Math.log)).reshape([1, 3]).tile([20_000, 1]);
    const counts = [0, 0, 0];
    for (const k of new Rng(7).categorical(logits).dataSync()) counts[k]! += 1;
    probs.forEach((p, k) => {
      expect(counts[k]! / 20_000).toBeCloseTo(p, 1);
    });
  });

  it("refuses bad arguments", () => {
    expect(() => new Rng(0.5)).toThrow("Rng: seed (0.5) must be a safe integer");
    expect(() => new Rng(1).integers([2], 3, 3)).toThrow("range [3, 3)");
    expect(() => new Rng(1).normal([-1])).toThrow("shape [-1]");
    expect(() => Rng.fromState({} as never)).toThrow("no saved state");
  });
});
