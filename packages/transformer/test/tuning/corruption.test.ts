import { Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { corruptSpans, maskTokens } from "../../src/index.ts";

describe("maskTokens", () => {
  const size = 40_000;
  const ids = Int32Array.from({ length: size }, (_, i) => i % 100);
  const options = { rng: new Rng(1), maskId: 103, vocabSize: 200, keptIds: [0, 1] };
  const masked = maskTokens(ids, options);

  it("asks for 15% of the tokens: 80% masked, 10% another, 10% as they are", () => {
    const count = { mask: 0, same: 0, other: 0, asked: 0 };
    for (let i = 0; i < size; i++) {
      const [id, target] = [masked.ids[i]!, masked.targets[i]!];
      if (target === -100) {
        expect(id).toBe(ids[i]);
        continue;
      }
      expect(target).toBe(ids[i]);
      count.asked += 1;
      count[id === 103 ? "mask" : id === target ? "same" : "other"] += 1;
    }
    // Within five standard deviations; a random token is the same or [MASK] once in a hundred times.
    const share = (n: number, of: number, p: number) =>
      expect(Math.abs(n / of - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / of));
    share(count.asked, size * 0.98, 0.15);
    share(count.mask, count.asked, 0.8005);
    share(count.same, count.asked, 0.1005);
    share(count.other, count.asked, 0.099);
  });

  it("leaves special tokens alone, and repeats itself with the same seed", () => {
    for (let i = 0; i < size; i++) if (ids[i]! <= 1) expect(masked.targets[i]).toBe(-100);
    expect(maskTokens(ids, { ...options, rng: new Rng(1) })).toEqual(masked);
    expect(maskTokens(ids, { ...options, rng: new Rng(2) })).not.toEqual(masked);
    expect(() => maskTokens(ids, { ...options, rate: 1 })).toThrow("maskTokens: rate (1) must be between 0 and 1");
  });
});

describe("corruptSpans", () => {
  const sentinelIds = Array.from({ length: 50 }, (_, i) => 1000 - i);
  const restore = (read: Int32Array, written: Int32Array) => {
    const isSentinel = (id: number) => sentinelIds.includes(id);
    return [...read].flatMap((id) => {
      if (!isSentinel(id)) return [id];
      const rest = [...written.slice(written.indexOf(id) + 1)];
      return rest.slice(0, rest.findIndex(isSentinel));
    });
  };

  it("takes spans out of which the text can be put together again", () => {
    const rng = new Rng(3);
    for (const size of [2, 3, 7, 20, 100, 512]) {
      const text = Array.from({ length: size }, (_, i) => i + 1);
      const { ids, targets } = corruptSpans(text, { rng, sentinelIds });
      const noise = Math.min(Math.max(Math.round(size * 0.15), 1), size - 1);
      const spans = Math.max(1, Math.min(Math.round(noise / 3), size - noise));
      expect(ids.length).toBe(size - noise + spans);
      expect(targets.length).toBe(noise + spans + 1);
      expect(ids[0]).toBe(1);
      expect(restore(ids, targets)).toEqual(text);
    }
  });

  it("ends both texts if asked, and finds all places for the spans", () => {
    const text = [1, 2, 3, 4, 5, 6];
    const seen = new Set<string>();
    const rng = new Rng(0);
    for (let i = 0; i < 300; i++) {
      const { ids, targets } = corruptSpans(text, { rng, sentinelIds, endId: 99, rate: 0.34, meanSpan: 1 });
      expect([ids.at(-1), targets.at(-1)]).toEqual([99, 99]);
      seen.add(ids.join());
    }
    // Two spans of one token, neither first nor side by side: 2 with 4, 5 or 6, 3 with 5 or 6, 4 with 6. But the last
    // token is always taken out: the text ends with a span.
    expect(seen.size).toBe(3);
  });

  it("refuses texts and sentinels that are too short", () => {
    expect(() => corruptSpans([1], { rng: new Rng(0), sentinelIds })).toThrow("the text has 1 tokens");
    expect(() => corruptSpans([1, 2, 3], { rng: new Rng(0), sentinelIds: [9] })).toThrow("want 2 sentinelIds; got 1");
    expect(() => corruptSpans([1, 2], { rng: new Rng(0), sentinelIds, meanSpan: 0 })).toThrow("meanSpan (0)");
  });
});
