import type { Rng } from "@genai/core";
import { checkWhole } from "./check-options.ts";
import type { PointSet } from "./dataset.ts";

// The point sets that generative models are shown on, drawn from their formulas.

export interface DrawnPointsOptions {
  readonly count: number;
  readonly rng: Rng;
}

function checkSpread(caller: string, name: string, value: number): void {
  if (!Number.isFinite(value) || value < 0) throw new Error(`${caller}: ${name} (${value}) must be at least 0`);
}

/** Classes in equal numbers (to within one), in random order. */
function balancedLabels(rng: Rng, count: number, classes: number): Uint8Array {
  return Uint8Array.from(rng.draw({ kind: "permutation", size: count }), (i) => i % classes);
}

function pointSet(name: string, points: Float32Array, labels: Uint8Array, classes: readonly string[]): PointSet {
  return {
    name,
    source: "drawn from its formula",
    licence: "Apache-2.0",
    points,
    labels,
    shape: [labels.length, 2],
    classes,
  };
}

function gaussiansAt(
  caller: string,
  name: string,
  centres: readonly (readonly [number, number])[],
  { count, rng, std }: DrawnPointsOptions & { readonly std: number },
): PointSet {
  checkWhole(caller, { count });
  checkSpread(caller, "std", std);
  const stream = rng.fork(caller);
  const labels = balancedLabels(stream, count, centres.length);
  const points = stream.draw({ kind: "normal", size: 2 * count, mean: 0, std }) as Float32Array;
  for (const [i, label] of labels.entries()) {
    points[2 * i] = points[2 * i]! + centres[label]![0];
    points[2 * i + 1] = points[2 * i + 1]! + centres[label]![1];
  }
  return pointSet(
    name,
    points,
    labels,
    centres.map((_, i) => String(i)),
  );
}

export interface GaussianRingOptions extends DrawnPointsOptions {
  /** How many Gaussians, 1 to 256. Default 8. */
  readonly modes?: number;
  /** Distance of their means from the origin. Default 2. */
  readonly radius?: number;
  /** Standard deviation of each on both coordinates. Default 0.02. */
  readonly std?: number;
}

/**
 * A ring of Gaussians of equal weight; the k-th mean is at the angle 2 pi k / modes (L. Metz et al., "Unrolled generative
 * adversarial networks", 2017).
 *
 * @returns points [count, 2], labels 0 to modes - 1.
 */
export function gaussianRing({ modes = 8, radius = 2, std = 0.02, ...options }: GaussianRingOptions): PointSet {
  checkModes("gaussianRing", "modes", modes, 256);
  checkSpread("gaussianRing", "radius", radius);
  const centres = Array.from({ length: modes }, (_, k) => {
    const angle = (2 * Math.PI * k) / modes;
    return [radius * Math.cos(angle), radius * Math.sin(angle)] as const;
  });
  return gaussiansAt("gaussianRing", "gaussian-ring", centres, { ...options, std });
}

export interface GaussianGridOptions extends DrawnPointsOptions {
  /** Gaussians along each side, 1 to 16. Default 5, which makes 25. */
  readonly side?: number;
  /** Distance between neighbouring means. Default 2. */
  readonly spacing?: number;
  /** Standard deviation of each on both coordinates. Default 0.05. */
  readonly std?: number;
}

/**
 * A grid of Gaussians of equal weight around the origin, row by row (A. Srivastava et al., "VEEGAN", 2017).
 *
 * @returns points [count, 2], labels 0 to side^2 - 1.
 */
export function gaussianGrid({ side = 5, spacing = 2, std = 0.05, ...options }: GaussianGridOptions): PointSet {
  checkModes("gaussianGrid", "side", side, 16);
  checkSpread("gaussianGrid", "spacing", spacing);
  const middle = (side - 1) / 2;
  const centres = Array.from(
    { length: side * side },
    (_, k) => [((k % side) - middle) * spacing, (Math.floor(k / side) - middle) * spacing] as const,
  );
  return gaussiansAt("gaussianGrid", "gaussian-grid", centres, { ...options, std });
}

function checkModes(caller: string, name: string, value: number, most: number): void {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new Error(`${caller}: ${name} (${value}) must be a whole number from 1 to ${most}`);
  }
}

export interface SwissRollOptions extends DrawnPointsOptions {
  /** Standard deviation of the normal noise on both coordinates, before the division by 7.5. Default 0.5. */
  readonly noise?: number;
}

/**
 * The swiss roll seen from its side: (t cos t, t sin t) / 7.5 for t in [1.5 pi, 4.5 pi], drawn uniformly, plus noise
 * (scikit-learn's make_swiss_roll, as the papers on flows scale it).
 *
 * @returns points [count, 2], labels 0 to 2: the third of the roll, from its inner end.
 */
export function swissRoll({ count, rng, noise = 0.5 }: SwissRollOptions): PointSet {
  checkWhole("swissRoll", { count });
  checkSpread("swissRoll", "noise", noise);
  const stream = rng.fork("swissRoll");
  const along = stream.draw({ kind: "uniform", size: count, low: 0, high: 3 });
  const points = stream.draw({ kind: "normal", size: 2 * count, mean: 0, std: noise }) as Float32Array;
  for (let i = 0; i < count; i++) {
    const t = Math.PI * (1.5 + along[i]!);
    points[2 * i] = (points[2 * i]! + t * Math.cos(t)) / 7.5;
    points[2 * i + 1] = (points[2 * i + 1]! + t * Math.sin(t)) / 7.5;
  }
  const labels = Uint8Array.from(along, (third) => Math.min(2, Math.floor(third)));
  return pointSet("swiss-roll", points, labels, ["inner", "middle", "outer"]);
}

export interface CheckerboardOptions extends DrawnPointsOptions {
  /** Fields along each side, even, 2 to 16. Default 4. */
  readonly fields?: number;
}

/**
 * Uniform on the dark fields of a checkerboard over [-fields / 2, fields / 2]^2: field (i, j) is dark if i + j is even.
 *
 * @returns points [count, 2], labels: the dark field, row by row.
 */
export function checkerboard({ count, rng, fields = 4 }: CheckerboardOptions): PointSet {
  checkWhole("checkerboard", { count });
  if (!Number.isInteger(fields) || fields < 2 || fields > 16 || fields % 2 !== 0) {
    throw new Error(`checkerboard: fields (${fields}) must be an even number from 2 to 16`);
  }
  const stream = rng.fork("checkerboard");
  const perRow = fields / 2;
  const labels = balancedLabels(stream, count, fields * perRow);
  const points = stream.draw({ kind: "uniform", size: 2 * count, low: 0, high: 1 }) as Float32Array;
  for (const [i, label] of labels.entries()) {
    const row = Math.floor(label / perRow);
    const column = 2 * (label % perRow) + (row % 2);
    points[2 * i] = points[2 * i]! + column - perRow;
    points[2 * i + 1] = points[2 * i + 1]! + row - perRow;
  }
  return pointSet(
    "checkerboard",
    points,
    labels,
    Array.from({ length: fields * perRow }, (_, i) => String(i)),
  );
}

export interface PinwheelOptions extends DrawnPointsOptions {
  /** Arms, 1 to 256. Default 5. */
  readonly arms?: number;
  /** Standard deviations along and across an arm. Default 0.3 and 0.1. */
  readonly radialStd?: number;
  readonly tangentialStd?: number;
  /** How much arms bend: turns by rate * exp(radius) radians. Default 0.25. */
  readonly rate?: number;
}

/**
 * A pinwheel of bent Gaussian arms (M. J. Johnson et al., "Composing graphical models with neural networks", 2016).
 *
 * @returns points [count, 2], labels: the arm.
 */
export function pinwheel(options: PinwheelOptions): PointSet {
  const { count, rng, arms = 5, radialStd = 0.3, tangentialStd = 0.1, rate = 0.25 } = options;
  checkWhole("pinwheel", { count });
  checkModes("pinwheel", "arms", arms, 256);
  for (const [name, value] of Object.entries({ radialStd, tangentialStd, rate })) checkSpread("pinwheel", name, value);
  const stream = rng.fork("pinwheel");
  const labels = balancedLabels(stream, count, arms);
  const points = stream.draw({ kind: "normal", size: 2 * count, mean: 0, std: 1 }) as Float32Array;
  for (const [i, label] of labels.entries()) {
    const along = 1 + radialStd * points[2 * i]!;
    const across = tangentialStd * points[2 * i + 1]!;
    const turn = (2 * Math.PI * label) / arms + rate * Math.exp(along);
    points[2 * i] = along * Math.cos(turn) - across * Math.sin(turn);
    points[2 * i + 1] = along * Math.sin(turn) + across * Math.cos(turn);
  }
  return pointSet(
    "pinwheel",
    points,
    labels,
    Array.from({ length: arms }, (_, i) => String(i)),
  );
}
