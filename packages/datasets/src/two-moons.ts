import type { Rng } from "@genai/core";
import { checkWhole } from "./check-options.ts";
import type { PointSet } from "./dataset.ts";

export interface TwoMoonsOptions {
  /** How many points: the upper moon gets one more when odd. */
  readonly count: number;
  readonly rng: Rng;
  /** Standard deviation of the normal noise on both coordinates. Default 0.1. */
  readonly noise?: number;
}

/**
 * Two interleaving half circles in the plane, as scikit-learn's make_moons: (cos t, sin t) and (1 - cos t, 1/2 - sin t)
 * for t in [0, pi], drawn uniformly and in random order, plus noise.
 *
 * @returns points [count, 2], labels 0 (upper) and 1 (lower).
 */
export function twoMoons({ count, rng, noise = 0.1 }: TwoMoonsOptions): PointSet {
  checkWhole("twoMoons", { count });
  if (!Number.isFinite(noise) || noise < 0) throw new Error(`twoMoons: noise (${noise}) must be at least 0`);
  const stream = rng.fork("twoMoons");
  const labels = Uint8Array.from(stream.draw({ kind: "permutation", size: count }), (i) => i % 2);
  const angles = stream.draw({ kind: "uniform", size: count, low: 0, high: Math.PI });
  const points = stream.draw({ kind: "normal", size: 2 * count, mean: 0, std: noise }) as Float32Array;
  for (let i = 0; i < count; i++) {
    const t = angles[i]!;
    const upper = labels[i] === 0;
    points[2 * i] = points[2 * i]! + (upper ? Math.cos(t) : 1 - Math.cos(t));
    points[2 * i + 1] = points[2 * i + 1]! + (upper ? Math.sin(t) : 0.5 - Math.sin(t));
  }
  return {
    name: "two-moons",
    source: "drawn from its formula",
    licence: "Apache-2.0",
    points,
    labels,
    shape: [count, 2],
    classes: ["upper", "lower"],
  };
}
