import {
  createLinear,
  gaussianLogProb,
  klStandardNormal,
  type LinearParams,
  linear,
  logSoftmax,
  logSumExp,
  type Rng,
  reparameterise,
  softmax,
  softplus,
  standardNormalLogProb,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { createMlp, mlp } from "./mlp.ts";
import { hideCells, type TableColumn, type TableRows } from "./table-columns.ts";
import { type Posterior, repeatBatch } from "./vae-functions.ts";

// A VAE for tables of numbers and categories with missing cells: Gaussian and softmax likelihoods, summed over the known
// cells of a row; the encoder sees known cells, zeros for the others, and which are which.
//
//   A. Nazabal et al., "Handling Incomplete Heterogeneous Data using VAEs", Pattern Recognition 2020, arXiv:1807.03653, eq. 3-6
//   O. Ivanov et al., "Variational Autoencoder with Arbitrary Conditioning", ICLR 2019, arXiv:1806.02382 (the mask as input)
//   P.-A. Mattei, J. Frellsen, "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets", ICML 2019
//
// Shapes: B rows, M columns, Z latentDim, S draws of z for each row, N = S*B, I encoder inputs (numbers, one-hot
// categories, mask), O decoder outputs (mean and log-variance of every number, logits of every category).

export interface TableVaeConfig {
  readonly columns: readonly TableColumn[];
  /** Widths of the encoder's hidden layers; the decoder mirrors them. */
  readonly hiddenDims: readonly number[];
  readonly latentDim: number;
  /** Least standard deviation of a number given z, in standard deviations of its column: densities stay finite. */
  readonly minStd: number;
}

export type TableVaeParams = {
  encoder: { hidden: LinearParams[]; mu: LinearParams; logvar: LinearParams }; // [., I], [Z, .], [Z, .]
  decoder: { hidden: LinearParams[]; output: LinearParams }; // [., Z], [O, .]
};

/** A VAE for mixed tables; see `createTableVae`. */
export interface TableVae {
  readonly config: TableVaeConfig;
  readonly params: TableVaeParams;
}

/**
 * Creates a VAE for tables with the columns given.
 *
 * @throws if there are no columns, a size is no positive integer or minStd is not positive.
 */
export function createTableVae(config: TableVaeConfig, rng: Rng): TableVae {
  const { columns, hiddenDims, latentDim, minStd } = config;
  if (columns.length === 0) throw new Error("createTableVae: columns is empty; expected one at least");
  if (hiddenDims.length === 0) throw new Error("createTableVae: hiddenDims is empty; expected one layer at least");
  for (const n of [latentDim, ...hiddenDims]) {
    if (Number.isInteger(n) && n > 0) continue;
    throw new Error(
      `createTableVae: latentDim (${latentDim}) and hiddenDims (${hiddenDims}) must be positive integers`,
    );
  }
  if (!(minStd > 0)) throw new Error(`createTableVae: minStd (${minStd}) must be positive`);
  const last = hiddenDims.at(-1)!;
  const mirrored = [latentDim, ...[...hiddenDims].reverse()];
  const inputs = sum(columns.map((c) => inputWidth(c) + 1));
  const params: TableVaeParams = {
    encoder: {
      hidden: createMlp([inputs, ...hiddenDims], "silu", rng),
      mu: createLinear(last, latentDim, rng),
      logvar: createLinear(last, latentDim, rng),
    },
    decoder: {
      hidden: createMlp(mirrored, "silu", rng),
      output: createLinear(mirrored.at(-1)!, sum(columns.map(outputWidth)), rng),
    },
  };
  return { config, params };
}

/** The approximate posterior q(z | known cells): mu and logvar, each [B, Z]. */
export function encodeTableVae(vae: TableVae, rows: TableRows): Posterior {
  checkRows("encodeTableVae", vae.config, rows);
  return tf.tidy(() => encode(vae, rows));
}

export interface TableVaeLossOptions {
  /** Weight of the KL term; 1 by default. */
  readonly beta?: number | tf.Scalar;
  /** Share of the known cells that the encoder is not shown but must predict; 0 by default. Needs an Rng. */
  readonly hide?: number;
}

/**
 * The negative evidence lower bound of the known cells, one draw of z per row (Nazabal et al., eq. 3).
 *
 * @returns scalars in nats per row: recon = -log p(known cells | z), kl, loss = recon + beta * kl. Numbers count as
 *   standardised ones: add log(std) of every known number for their own units.
 */
export function tableVaeLoss(
  vae: TableVae,
  rows: TableRows,
  rng: Rng,
  options: TableVaeLossOptions = {},
): { loss: tf.Scalar; recon: tf.Scalar; kl: tf.Scalar } {
  checkRows("tableVaeLoss", vae.config, rows);
  const { beta = 1, hide = 0 } = options;
  return tf.tidy(() => {
    const shown = hide > 0 ? { cells: rows.cells, observed: hideCells(rows.observed, hide, rng) } : rows;
    const { mu, logvar } = encode(vae, shown);
    const logProb = rowLogProb(vae, reparameterise(mu, logvar, rng) as tf.Tensor2D, rows);
    const recon = logProb.mean().neg() as tf.Scalar;
    const kl = klStandardNormal(mu, logvar, { reduction: "batchMean" }) as tf.Scalar;
    return { loss: recon.add(kl.mul(beta)) as tf.Scalar, recon, kl };
  });
}

/**
 * An estimate of log p(known cells) of each row by importance sampling: a lower bound in expectation, exact for many
 * samples (Burda et al. 2016, eq. 8). Its negative is an anomaly score.
 *
 * @returns [B], nats of standardised cells
 */
export function tableVaeLogLikelihood(
  vae: TableVae,
  rows: TableRows,
  options: { readonly samples: number; readonly rng: Rng },
): tf.Tensor1D {
  const { samples, rng } = options;
  checkRows("tableVaeLogLikelihood", vae.config, rows);
  checkCount("tableVaeLogLikelihood", "samples", samples);
  return tf.tidy(() => {
    const { logWeights } = weightedDraws(vae, rows, samples, rng);
    return logSumExp(logWeights, 0).sub(Math.log(samples)) as tf.Tensor1D;
  });
}

/** Draws rows: z from N(0, I), then every cell from p(cell | z). Returns cells [count, M]. */
export function sampleTableVae(vae: TableVae, options: { readonly count: number; readonly rng: Rng }): tf.Tensor2D {
  const { count, rng } = options;
  checkCount("sampleTableVae", "count", count);
  return tf.tidy(() => {
    const outputs = decode(vae, rng.normal([count, vae.config.latentDim]) as tf.Tensor2D);
    const cells = vae.config.columns.map((column, m) => {
      const out = outputs[m]!;
      if (column.kind === "categorical") return rng.categorical(out).toFloat().expandDims(1);
      const { mean, logvar } = gaussianOf(vae.config, out);
      return reparameterise(mean, logvar, rng);
    });
    return tf.concat(cells, 1) as tf.Tensor2D;
  });
}

/**
 * Fills the missing cells with their expectation given the known ones, the likeliest category for categories: averages
 * over draws of z by self-normalised importance weights (Mattei & Frellsen, eq. 11).
 *
 * @param options.samples draws of z for each row
 * @returns cells [B, M]; known cells are left as they are. A row without known cells gets the model's averages: see
 *   `assertSomeObserved`.
 */
export function imputeTableVae(
  vae: TableVae,
  rows: TableRows,
  options: { readonly samples: number; readonly rng: Rng },
): tf.Tensor2D {
  const { samples, rng } = options;
  checkRows("imputeTableVae", vae.config, rows);
  checkCount("imputeTableVae", "samples", samples);
  return tf.tidy(() => {
    const { logWeights, outputs } = weightedDraws(vae, rows, samples, rng);
    const weights = softmax(logWeights.transpose()).transpose().expandDims(2); // [S, B, 1]
    const expected = vae.config.columns.map((column, m) => {
      const out = outputs[m]!;
      const values = column.kind === "numeric" ? gaussianOf(vae.config, out).mean : softmax(out); // [N, 1 or K]
      const mean = values.reshape([samples, -1, values.shape[1]!]).mul(weights).sum(0); // [B, 1 or K]
      return column.kind === "numeric" ? mean : mean.argMax(-1).toFloat().expandDims(1);
    });
    const filled = tf.concat(expected, 1);
    return rows.cells.mul(rows.observed).add(filled.mul(tf.sub(1, rows.observed))) as tf.Tensor2D;
  });
}

/** log p(x, z) - log q(z | x) for S draws of z from q, [S, B], and what the decoder gives for them, [N, .] per column. */
function weightedDraws(vae: TableVae, rows: TableRows, samples: number, rng: Rng) {
  const posterior = encode(vae, rows);
  const mu = repeatBatch(posterior.mu, samples); // [N, Z]
  const logvar = repeatBatch(posterior.logvar, samples);
  const z = reparameterise(mu, logvar, rng) as tf.Tensor2D;
  const outputs = decode(vae, z);
  const repeated = {
    cells: repeatBatch(rows.cells, samples) as tf.Tensor2D,
    observed: repeatBatch(rows.observed, samples) as tf.Tensor2D,
  };
  const logRatio = standardNormalLogProb(z)
    .sub(gaussianLogProb(z, mu, logvar))
    .sum(1);
  const logWeights = cellsLogProb(vae.config, outputs, repeated).add(logRatio).reshape([samples, -1]) as tf.Tensor2D;
  return { logWeights, outputs };
}

function encode({ config, params }: TableVae, { cells, observed }: TableRows): Posterior {
  const inputs = config.columns.map((column, m) => {
    const known = columnOf(observed, m);
    const cell = columnOf(cells, m);
    return (column.kind === "numeric" ? cell : oneHot(cell, column.categories.length)).mul(known);
  });
  const p = params.encoder;
  const features = mlp(p.hidden, "silu", tf.concat([...inputs, observed], 1)); // [B, I] to [B, H]
  return { mu: linear(p.mu, features) as tf.Tensor2D, logvar: linear(p.logvar, features) as tf.Tensor2D };
}

/** The decoder's outputs for each column: [B, 2] for numbers, [B, categories] for categories. */
function decode({ config, params }: TableVae, z: tf.Tensor2D): tf.Tensor[] {
  const out = linear(params.decoder.output, mlp(params.decoder.hidden, "silu", z)); // [B, O]
  return tf.split(out, config.columns.map(outputWidth), 1);
}

const rowLogProb = (vae: TableVae, z: tf.Tensor2D, rows: TableRows) => cellsLogProb(vae.config, decode(vae, z), rows);

/** log p(known cells | z) of each row, [B]. */
function cellsLogProb(config: TableVaeConfig, outputs: readonly tf.Tensor[], { cells, observed }: TableRows) {
  const logProbs = config.columns.map((column, m) => {
    const cell = columnOf(cells, m);
    if (column.kind === "categorical") {
      return logSoftmax(outputs[m]!).mul(oneHot(cell, column.categories.length)).sum(1, true);
    }
    const { mean, logvar } = gaussianOf(config, outputs[m]!);
    return gaussianLogProb(cell, mean, logvar);
  });
  return tf.concat(logProbs, 1).mul(observed).sum(1); // [B, M] to [B]
}

/** Mean and log-variance [B, 1]; the variance stays above minStd^2. */
function gaussianOf(config: TableVaeConfig, out: tf.Tensor): { mean: tf.Tensor; logvar: tf.Tensor } {
  const least = 2 * Math.log(config.minStd);
  const [mean, raw] = tf.split(out, 2, 1) as [tf.Tensor, tf.Tensor];
  return { mean, logvar: softplus(raw.sub(least)).add(least) };
}

const columnOf = (x: tf.Tensor2D, m: number): tf.Tensor2D => x.slice([0, m], [x.shape[0], 1]); // [B, 1]

/** Indices [B, 1] as [B, classes]. */
const oneHot = (indices: tf.Tensor, classes: number): tf.Tensor =>
  indices
    .equal(
      tf.tensor2d(
        Array.from({ length: classes }, (_, k) => k),
        [1, classes],
      ),
    )
    .toFloat();

const inputWidth = (column: TableColumn) => (column.kind === "numeric" ? 1 : column.categories.length);
const outputWidth = (column: TableColumn) => (column.kind === "numeric" ? 2 : column.categories.length);
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

function checkCount(caller: string, name: string, n: number): void {
  if (!Number.isInteger(n) || n < 1) throw new Error(`${caller}: ${name} (${n}) must be a positive integer`);
}

function checkRows(caller: string, { columns }: TableVaeConfig, { cells, observed }: TableRows): void {
  for (const [name, t] of Object.entries({ cells, observed })) {
    if (t.rank === 2 && t.shape[1] === columns.length && t.shape[0] === cells.shape[0]) continue;
    throw new Error(`${caller}: ${name} have shape [${t.shape}]; expected [rows, ${columns.length}]`);
  }
}
