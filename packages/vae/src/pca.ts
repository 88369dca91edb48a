import { EigenvalueDecomposition, Matrix, solve } from "ml-matrix";

// Principal components as the baseline of autoencoders, with the Gaussian model that makes them fill gaps too.
//
//   M. E. Tipping, C. M. Bishop, "Probabilistic Principal Component Analysis", J. R. Statist. Soc. B 61, 1999
//
// Shapes: N examples, D numbers in each, K components. Plain numbers on the host, in double precision.

export interface Pca {
  /** [D] */
  readonly mean: Float64Array;
  /** K unit vectors of length D, by falling variance. */
  readonly components: readonly Float64Array[];
  /** The variances along them, [K]. */
  readonly variances: Float64Array;
  /** sigma^2: the average variance in the other directions (eq. 8). */
  readonly noise: number;
}

/**
 * Fits principal components.
 *
 * @param data row-major, N * dims numbers
 * @param options.components K, at most dims and at most N - 1
 */
export function fitPca(data: ArrayLike<number>, options: { readonly dims: number; readonly components: number }): Pca {
  const { dims, components } = options;
  const n = rowsOf("fitPca", data, dims);
  if (!Number.isInteger(components) || components < 1 || components > Math.min(dims, n - 1)) {
    throw new Error(
      `fitPca: components (${components}) must be an integer from 1 to ${Math.min(dims, n - 1)}, for ${n} rows of ${dims}`,
    );
  }
  const mean = new Float64Array(dims);
  for (let i = 0; i < n * dims; i++) mean[i % dims]! += data[i]! / n;
  const covariance = covarianceOf(data, mean, n);
  if (covariance.some((value) => !Number.isFinite(value))) {
    throw new Error("fitPca: data holds NaN or infinite numbers; expected finite ones");
  }
  const matrix = Matrix.from1DArray(dims, dims, covariance);
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  // Eigenvalues rise; rounding may leave the least of them below zero.
  const order = Array.from({ length: components }, (_, k) => dims - 1 - k);
  const variances = Float64Array.from(order, (k) => Math.max(realEigenvalues[k]!, 0));
  const rest = realEigenvalues.slice(0, dims - components).reduce((a, b) => a + Math.max(b, 0), 0);
  return {
    mean,
    components: order.map((k) => Float64Array.from(eigenvectorMatrix.getColumn(k))),
    variances,
    noise: components === dims ? 0 : rest / (dims - components),
  };
}

/** Rows projected onto the components and back. Row-major in and out. */
export function reconstructPca(pca: Pca, data: ArrayLike<number>): Float64Array {
  const dims = pca.mean.length;
  const n = rowsOf("reconstructPca", data, dims);
  const out = new Float64Array(n * dims);
  for (let row = 0; row < n; row++) {
    out.set(pca.mean, row * dims);
    for (const component of pca.components) {
      let along = 0;
      for (let d = 0; d < dims; d++) along += (data[row * dims + d]! - pca.mean[d]!) * component[d]!;
      for (let d = 0; d < dims; d++) out[row * dims + d]! += along * component[d]!;
    }
  }
  return out;
}

/** The squared distance of each row from its reconstruction: an anomaly score. [N] */
export function pcaScore(pca: Pca, data: ArrayLike<number>): Float64Array {
  const dims = pca.mean.length;
  const recon = reconstructPca(pca, data);
  const out = new Float64Array(recon.length / dims);
  for (let i = 0; i < recon.length; i++) out[Math.floor(i / dims)]! += (data[i]! - recon[i]!) ** 2;
  return out;
}

/**
 * Fills gaps with their expectation given the known values under probabilistic PCA: x = W z + mean + noise with z from
 * N(0, I), so that E z = (W_o^T W_o + sigma^2 I)^-1 W_o^T (x_o - mean_o) over the known places o (eq. 6).
 *
 * @param data row-major; what stands at gaps does not matter
 * @param observed as long as data: not 0 where a value is known
 * @throws if all values of a row are missing.
 */
export function imputePca(pca: Pca, data: ArrayLike<number>, observed: ArrayLike<number>): Float64Array {
  const dims = pca.mean.length;
  const n = rowsOf("imputePca", data, dims);
  if (observed.length !== data.length) {
    throw new Error(`imputePca: observed has ${observed.length} values; expected ${data.length}, as data`);
  }
  const k = pca.components.length;
  const noise = Math.max(pca.noise, 1e-9 * (pca.variances[0]! || 1));
  const scales = Array.from(pca.variances, (variance) => Math.sqrt(Math.max(variance - noise, 0))); // eq. 7
  const out = Float64Array.from(data);
  for (let row = 0; row < n; row++) {
    const at = row * dims;
    const known = Array.from({ length: dims }, (_, d) => d).filter((d) => observed[at + d]);
    if (known.length === dims) continue;
    if (known.length === 0) {
      throw new Error(`imputePca: all values of example ${row} are missing; expected at least one that is known`);
    }
    const w = pca.components.map((component, j) => Float64Array.from(known, (d) => component[d]! * scales[j]!));
    const x = known.map((d) => data[at + d]! - pca.mean[d]!);
    const left = Matrix.zeros(k, k);
    const right = Matrix.zeros(k, 1);
    for (let i = 0; i < k; i++) {
      right.set(i, 0, dot(w[i]!, x));
      for (let j = 0; j <= i; j++) {
        const value = dot(w[i]!, w[j]!) + (i === j ? noise : 0);
        left.set(i, j, value);
        left.set(j, i, value);
      }
    }
    const z = solve(left, right).getColumn(0);
    for (let d = 0; d < dims; d++) {
      if (observed[at + d]) continue;
      out[at + d] =
        pca.mean[d]! + z.reduce((total, value, j) => total + value * scales[j]! * pca.components[j]![d]!, 0);
    }
  }
  return out;
}

function covarianceOf(data: ArrayLike<number>, mean: Float64Array, n: number): Float64Array {
  const dims = mean.length;
  const out = new Float64Array(dims * dims);
  const x = new Float64Array(dims);
  for (let row = 0; row < n; row++) {
    for (let d = 0; d < dims; d++) x[d] = data[row * dims + d]! - mean[d]!;
    for (let i = 0; i < dims; i++) {
      const xi = x[i]!;
      if (xi === 0) continue;
      for (let j = 0; j <= i; j++) out[i * dims + j]! += xi * x[j]!;
    }
  }
  for (let i = 0; i < dims; i++) {
    for (let j = 0; j <= i; j++) {
      out[i * dims + j]! /= n - 1;
      out[j * dims + i] = out[i * dims + j]!;
    }
  }
  return out;
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i]! * b[i]!;
  return total;
};

function rowsOf(caller: string, data: ArrayLike<number>, dims: number): number {
  const rows = data.length / dims;
  if (Number.isInteger(rows) && rows > 0) return rows;
  throw new Error(`${caller}: data has ${data.length} values; expected rows of ${dims}`);
}
