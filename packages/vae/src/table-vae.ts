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
// categories, mask), J numeric columns, K mixtures, O decoder outputs: [J, 2] mean and log-variance of every number, or
// [J, 3 K] with K > 1 mixtures (logits last), then the logits of every category.

export interface TableVaeConfig {
  readonly columns: readonly TableColumn[];
  /** Widths of the encoder's hidden layers; the decoder mirrors them. */
  readonly hiddenDims: readonly number[];
  readonly latentDim: number;
  /** Least standard deviation of a number given z, in standard deviations of its column: densities stay finite. */
  readonly minStd: number;
  /**
   * Gaussians that are mixed for each number given z; 1 by default. Of several the last is at least as wide as the column,
   * so that an outlier costs some nats and not thousands.
   */
  readonly mixtures?: number;
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
  const { columns, hiddenDims, latentDim, minStd, mixtures = 1 } = config;
  if (columns.length === 0) throw new Error("createTableVae: columns is empty; expected one at least");
  if (hiddenDims.length === 0) throw new Error("createTableVae: hiddenDims is empty; expected one layer at least");
  for (const n of [latentDim, ...hiddenDims]) {
    if (Number.isInteger(n) && n > 0) continue;
    throw new Error(
      `createTableVae: latentDim (${latentDim}) and hiddenDims (${hiddenDims}) must be positive integers`,
    );
  }
  if (!Number.isInteger(mixtures) || mixtures < 1) {
    throw new Error(`createTableVae: mixtures (${mixtures}) must be a positive integer`);
  }
  if (!(minStd > 0)) throw new Error(`createTableVae: minStd (${minStd}) must be positive`);
  const last = hiddenDims.at(-1)!;
  const mirrored = [latentDim, ...[...hiddenDims].reverse()];
  const inputs = sum(columns.map((c) => inputWidth(c) + 1));
  const outputs =
    numericColumns(config).length * numberWidth(config) +
    sum(categoricalColumns(config).map((column) => column.categories.length));
  const params: TableVaeParams = {
    encoder: {
      hidden: createMlp([inputs, ...hiddenDims], "silu", rng),
      mu: createLinear(last, latentDim, rng),
      logvar: createLinear(last, latentDim, rng),
    },
    decoder: {
      hidden: createMlp(mirrored, "silu", rng),
      output: createLinear(mirrored.at(-1)!, outputs, rng),
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
    const { numbers, categories } = decode(vae, rng.normal([count, vae.config.latentDim]) as tf.Tensor2D);
    const drawn = numbers && drawNumbers(numbers, rng);
    const ids = categories.map((logits) => rng.categorical(logits).toFloat().expandDims(1));
    return inColumnOrder(vae.config, drawn, ids);
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
    const average = (values: tf.Tensor) => values.reshape([samples, -1, values.shape[1]!]).mul(weights).sum(0);
    const expected = outputs.numbers && average(meanOfNumbers(outputs.numbers));
    const likeliest = outputs.categories.map((logits) => average(softmax(logits)).argMax(-1).toFloat().expandDims(1));
    const filled = inColumnOrder(vae.config, expected, likeliest);
    return rows.cells.mul(rows.observed).add(filled.mul(tf.sub(1, rows.observed))) as tf.Tensor2D;
  });
}

/** log p(x, z) - log q(z | x) for S draws of z from q, [S, B], and what the decoder gives for them. */
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
    return (column.kind === "numeric" ? squashed(cell) : oneHot(cell, column.categories.length)).mul(known);
  });
  const p = params.encoder;
  const features = mlp(p.hidden, "silu", tf.concat([...inputs, observed], 1)); // [B, I] to [B, H]
  return { mu: linear(p.mu, features) as tf.Tensor2D, logvar: linear(p.logvar, features) as tf.Tensor2D };
}

/** sign(x) log(1 + |x|): an outlier does not throw the encoder far off. */
const squashed = (x: tf.Tensor) => tf.sign(x).mul(tf.log1p(tf.abs(x)));

/** Mixtures of Gaussians, each [B, J, K]; without logits where K is 1. */
interface Numbers {
  readonly logits?: tf.Tensor;
  readonly mean: tf.Tensor;
  readonly logvar: tf.Tensor;
}

/** p(row | z): of the numbers, if there are any, and logits [B, categories] of each categorical column. */
interface Outputs {
  readonly numbers?: Numbers;
  readonly categories: readonly tf.Tensor[];
}

function decode({ config, params }: TableVae, z: tf.Tensor2D): Outputs {
  const out = linear(params.decoder.output, mlp(params.decoder.hidden, "silu", z)); // [B, O]
  const count = numericColumns(config).length;
  const widths = categoricalColumns(config).map((column) => column.categories.length);
  if (count === 0) return { categories: tf.split(out, widths, 1) };
  const [raw, ...categories] = tf.split(out, [count * numberWidth(config), ...widths], 1);
  return { numbers: numbersOf(config, raw!.reshape([-1, count, numberWidth(config)])), categories };
}

/** The variances stay above minStd^2; those of the last of several components above 1. */
function numbersOf({ minStd, mixtures = 1 }: TableVaeConfig, raw: tf.Tensor): Numbers {
  const least = tf.tensor1d(
    Array.from({ length: mixtures }, (_, k) => (k > 0 && k === mixtures - 1 ? 0 : 2 * Math.log(minStd))),
  );
  const [mean, logvar, logits] = tf.split(raw, mixtures === 1 ? 2 : 3, -1);
  return {
    ...(logits ? { logits } : {}),
    mean: mean!,
    logvar: softplus(logvar!.sub(least)).add(least),
  };
}

const rowLogProb = (vae: TableVae, z: tf.Tensor2D, rows: TableRows) => cellsLogProb(vae.config, decode(vae, z), rows);

/** log p(known cells | z) of each row, [B]. */
function cellsLogProb(config: TableVaeConfig, { numbers, categories }: Outputs, { cells, observed }: TableRows) {
  const logProbs: tf.Tensor[] = [];
  if (numbers) {
    const x = columnsOf(cells, config, "numeric").expandDims(2); // [B, J, 1]
    const parts = gaussianLogProb(x, numbers.mean, numbers.logvar);
    const each = numbers.logits ? logSumExp(logSoftmax(numbers.logits).add(parts)) : parts.squeeze([2]);
    logProbs.push(each.mul(columnsOf(observed, config, "numeric")).sum(1));
  }
  const at = indicesOf(config, "categorical");
  for (const [c, logits] of categories.entries()) {
    const ids = oneHot(columnOf(cells, at[c]!), logits.shape[1]!);
    logProbs.push(
      logSoftmax(logits)
        .mul(ids.mul(columnOf(observed, at[c]!)))
        .sum(1),
    );
  }
  return tf.addN(logProbs);
}

/** E[x | z], [B, J]. */
function meanOfNumbers({ logits, mean }: Numbers): tf.Tensor {
  return logits ? softmax(logits).mul(mean).sum(-1) : mean.squeeze([2]);
}

/** A draw of the numbers, [B, J]. */
function drawNumbers({ logits, mean, logvar }: Numbers, rng: Rng): tf.Tensor {
  if (!logits) return reparameterise(mean, logvar, rng).squeeze([2]);
  const [rows, count, mixtures] = mean.shape as [number, number, number];
  const chosen = tf.oneHot(rng.categorical(logits.reshape([-1, mixtures])) as tf.Tensor1D, mixtures).toFloat();
  const choose = (t: tf.Tensor) => t.reshape([-1, mixtures]).mul(chosen).sum(-1).reshape([rows, count]);
  return reparameterise(choose(mean), choose(logvar), rng);
}

/** [B, J] and a [B, 1] for each categorical column as cells, [B, M]. */
function inColumnOrder(config: TableVaeConfig, numbers: tf.Tensor | undefined, ids: readonly tf.Tensor[]): tf.Tensor2D {
  const next = { numeric: 0, categorical: 0 };
  const cells = config.columns.map(({ kind }) => {
    const at = next[kind]++;
    return kind === "numeric" ? columnOf(numbers as tf.Tensor2D, at) : ids[at]!;
  });
  return tf.concat(cells, 1) as tf.Tensor2D;
}

const numericColumns = ({ columns }: TableVaeConfig) => columns.filter((column) => column.kind === "numeric");
const categoricalColumns = ({ columns }: TableVaeConfig) => columns.filter((column) => column.kind === "categorical");
const numberWidth = ({ mixtures = 1 }: TableVaeConfig) => (mixtures === 1 ? 2 : 3 * mixtures);

const indicesOf = ({ columns }: TableVaeConfig, kind: TableColumn["kind"]) =>
  columns.map((_, m) => m).filter((m) => columns[m]!.kind === kind);

/** The columns of one kind, [B, J]. */
const columnsOf = (x: tf.Tensor2D, config: TableVaeConfig, kind: TableColumn["kind"]): tf.Tensor =>
  tf.concat(
    indicesOf(config, kind).map((m) => columnOf(x, m)),
    1,
  );

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

/** Architectures and what they were trained with; add `columns` to a model. */
export const tableVaePresets = {
  /** 53,940 diamonds, 7 rounded numbers (see `dequantizeRows`) and 3 grades. */
  diamonds: {
    model: { hiddenDims: [256, 256], latentDim: 10, minStd: 1e-3, mixtures: 5 },
    batchSize: 512,
    /** Adam, gradients clipped to a norm of 5; a linear warm-up, then half a cosine wave down to a fiftieth. */
    steps: 12_000,
    learningRate: 2e-3,
    warmupSteps: 200,
    minLearningRate: 4e-5,
    maxGradNorm: 5,
    evaluationSamples: 500,
  },
} as const;
