import type { Rng } from "@genai/core";

// A mixture of Gaussians, with independent categories within each component, fitted by expectation maximisation: the
// baseline for the likelihood of tables.
//
//   A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum Likelihood from Incomplete Data via the EM Algorithm", 1977
//   C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, section 9.2
//
// Shapes: N rows, D numbers and one list of category ids per categorical column, K components. Plain numbers on the
// host, in double precision.

/** Rows without gaps. */
export interface MixtureRows {
  /** Row-major, N * dims; standardised, so that `minStd` means the same for all of them. */
  readonly numbers: ArrayLike<number>;
  readonly dims: number;
  /** Ids of each categorical column, N each, and how many categories it has. */
  readonly categories?: readonly { readonly ids: ArrayLike<number>; readonly count: number }[];
}

interface Component {
  /** log pi_k */
  logWeight: number;
  mean: Float64Array; // [D]
  /** Cholesky factor of the covariance, row-major lower triangle in [D, D]. */
  factor: Float64Array;
  /** log p(category | k) for each categorical column. */
  logProbs: Float64Array[];
}

export interface GaussianMixture {
  readonly dims: number;
  readonly components: readonly Readonly<Component>[];
  /** Mean log-likelihood of the training rows after each round of EM, in nats. */
  readonly history: readonly number[];
}

export interface FitMixtureOptions {
  readonly components: number;
  readonly rng: Rng;
  /** Rounds of EM at most; 100 by default. */
  readonly iterations?: number;
  /** EM ends when a round gains less than this many nats per row; 1e-4 by default. */
  readonly tolerance?: number;
  /** Added in square to the variances, so that no density is infinite; 0.05 by default. */
  readonly minStd?: number;
}

/**
 * Fits a mixture of Gaussians with full covariances by EM, started at rows drawn at random (Bishop, eq. 9.23-9.27).
 *
 * @throws if there are fewer rows than components, or numbers that are not finite.
 */
export function fitGaussianMixture(rows: MixtureRows, options: FitMixtureOptions): GaussianMixture {
  const { components: k, rng, iterations = 100, tolerance = 1e-4, minStd = 0.05 } = options;
  const n = checkedCount("fitGaussianMixture", rows);
  if (!Number.isInteger(k) || k < 1 || k > n) {
    throw new Error(`fitGaussianMixture: components (${k}) must be an integer from 1 to the number of rows, ${n}`);
  }
  if (!(minStd > 0)) throw new Error(`fitGaussianMixture: minStd (${minStd}) must be positive`);
  const { dims } = rows;
  const everywhere = new Float64Array(n).fill(1);
  const whole = maximise(rows, everywhere, n, minStd);
  const starts = rng.draw({ kind: "permutation", size: n });
  let components: Component[] = Array.from({ length: k }, (_, i) => ({
    ...whole,
    logWeight: -Math.log(k),
    mean: Float64Array.from({ length: dims }, (_, d) => rows.numbers[starts[i]! * dims + d]!),
  }));
  const history: number[] = [];
  const shares = components.map(() => new Float64Array(n));
  for (let round = 0; round < iterations; round++) {
    // E: each component's share in each row.
    const joint = components.map((component) => logJoint(component, rows, n));
    let total = 0;
    for (let row = 0; row < n; row++) {
      const logProb = logSumExp(joint, row);
      total += logProb;
      for (let i = 0; i < k; i++) shares[i]![row] = Math.exp(joint[i]![row]! - logProb);
    }
    history.push(total / n);
    const gain = total / n - (history.at(-2) ?? Number.NEGATIVE_INFINITY);
    if (gain < tolerance) break;
    // M: weighted means, covariances and frequencies.
    components = shares.map((share) => maximise(rows, share, n, minStd));
  }
  return { dims, components, history };
}

/** log p(row) of each row, [N] in nats. */
export function gaussianMixtureLogLikelihood(mixture: GaussianMixture, rows: MixtureRows): Float64Array {
  const n = checkedCount("gaussianMixtureLogLikelihood", rows);
  if (rows.dims !== mixture.dims) {
    throw new Error(`gaussianMixtureLogLikelihood: rows have ${rows.dims} numbers; expected ${mixture.dims}`);
  }
  const joint = mixture.components.map((component) => logJoint(component, rows, n));
  return Float64Array.from({ length: n }, (_, row) => logSumExp(joint, row));
}

/** log(pi_k p(row | k)) of each row. */
function logJoint(component: Readonly<Component>, rows: MixtureRows, n: number): Float64Array {
  const { mean, factor, logProbs } = component;
  const d = rows.dims;
  let constant = component.logWeight - (d / 2) * Math.log(2 * Math.PI);
  for (let i = 0; i < d; i++) constant -= Math.log(factor[i * d + i]!);
  const out = new Float64Array(n).fill(constant);
  const y = new Float64Array(d);
  for (let row = 0; row < n; row++) {
    // Forward substitution: |L^-1 (x - mean)|^2 is Mahalanobis' distance.
    let distance = 0;
    for (let i = 0; i < d; i++) {
      let value = rows.numbers[row * d + i]! - mean[i]!;
      for (let j = 0; j < i; j++) value -= factor[i * d + j]! * y[j]!;
      y[i] = value / factor[i * d + i]!;
      distance += y[i]! * y[i]!;
    }
    out[row]! -= distance / 2;
    for (const [c, column] of (rows.categories ?? []).entries()) out[row]! += logProbs[c]![column.ids[row]!]!;
  }
  return out;
}

/** The component of greatest likelihood for rows that count by their share. */
function maximise(rows: MixtureRows, share: Float64Array, n: number, minStd: number): Component {
  const d = rows.dims;
  const weight = Math.max(
    share.reduce((a, b) => a + b, 0),
    1e-10,
  );
  const mean = new Float64Array(d);
  for (let row = 0; row < n; row++) {
    for (let i = 0; i < d; i++) mean[i]! += (share[row]! / weight) * rows.numbers[row * d + i]!;
  }
  const covariance = new Float64Array(d * d);
  const x = new Float64Array(d);
  for (let row = 0; row < n; row++) {
    const part = share[row]! / weight;
    if (part < 1e-12) continue;
    for (let i = 0; i < d; i++) x[i] = rows.numbers[row * d + i]! - mean[i]!;
    for (let i = 0; i < d; i++) for (let j = 0; j <= i; j++) covariance[i * d + j]! += part * x[i]! * x[j]!;
  }
  for (let i = 0; i < d; i++) covariance[i * d + i]! += minStd * minStd;
  const logProbs = (rows.categories ?? []).map(({ ids, count }) => {
    // One row more, spread evenly: a category that a component has not seen is unlikely there, not impossible.
    const counts = new Float64Array(count).fill(1 / count);
    for (let row = 0; row < n; row++) counts[ids[row]!]! += share[row]!;
    return counts.map((value) => Math.log(value / (weight + 1)));
  });
  return { logWeight: Math.log(weight / n), mean, factor: cholesky(covariance, d), logProbs };
}

/** The lower triangle L with L L^T = the symmetric matrix whose lower triangle is given. */
function cholesky(matrix: Float64Array, d: number): Float64Array {
  const out = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let value = matrix[i * d + j]!;
      for (let k = 0; k < j; k++) value -= out[i * d + k]! * out[j * d + k]!;
      out[i * d + j] = i === j ? Math.sqrt(value) : value / out[j * d + j]!;
    }
  }
  return out;
}

function logSumExp(joint: readonly Float64Array[], row: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const values of joint) max = Math.max(max, values[row]!);
  let total = 0;
  for (const values of joint) total += Math.exp(values[row]! - max);
  return max + Math.log(total);
}

function checkedCount(caller: string, rows: MixtureRows): number {
  const { numbers, dims, categories = [] } = rows;
  const n = dims > 0 ? numbers.length / dims : (categories[0]?.ids.length ?? 0);
  if (!Number.isInteger(n) || n === 0) {
    throw new Error(`${caller}: numbers has ${numbers.length} values; expected rows of ${dims}`);
  }
  for (let i = 0; i < numbers.length; i++) {
    if (Number.isFinite(numbers[i]!)) continue;
    throw new Error(`${caller}: row ${Math.floor(i / dims)} holds ${numbers[i]}; expected finite numbers without gaps`);
  }
  for (const { ids, count } of categories) {
    if (ids.length !== n) throw new Error(`${caller}: a categorical column has ${ids.length} rows; expected ${n}`);
    for (let row = 0; row < n; row++) {
      const id = ids[row]!;
      if (Number.isInteger(id) && id >= 0 && id < count) continue;
      throw new Error(`${caller}: row ${row} has category ${id}; expected an index below ${count}`);
    }
  }
  return n;
}
