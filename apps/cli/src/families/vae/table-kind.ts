import { adam, gradientStep, type LossScalars, linearWarmup, type Rng, treeDispose } from "@genai/core";
import { batches, type TableSet } from "@genai/datasets";
import {
  createTableVae,
  dequantizeRows,
  describeTableColumns,
  fitGaussianMixture,
  gaussianMixtureLogLikelihood,
  type MixtureRows,
  sampleTableVae,
  scoreAll,
  type TableColumnData,
  type TableRows,
  type TableVae,
  tableBatchRows,
  tableColumnData,
  tableFromCells,
  tableResolutions,
  tableRows,
  tableVaeLogLikelihood,
  tableVaeLoss,
  tableVaePresets,
} from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";
import { inEnglish } from "../../data/data-names.ts";
import { loadTable } from "../../data/table-data.ts";
import { UsageError } from "../../exit-code.ts";
import type { ReportPlot } from "../../run/report.ts";
import type { JobOutcome, JobRequest, ModelKind, SampleFile, SampleRequest, TrainingJob } from "../family.ts";
import { writeCsv } from "./csv-file.ts";
import { learningRateSchedule } from "./learning-rate.ts";
import { scoreTable } from "./table-anomalies.ts";
import { imputeTable } from "./table-imputation.ts";

interface TableOptions {
  readonly latentDim: number;
  readonly hiddenDims: readonly number[];
  readonly beta: number;
  readonly betaWarmup: number;
  readonly hide: number;
  readonly minStd: number;
  readonly mixtures: number;
  readonly nllSamples: number;
}

type Params = TableVae["params"];

const { diamonds } = tableVaePresets;

export const tableKind: ModelKind = {
  name: "table",
  summary: "VAE for tables of numbers and categories with missing cells",
  data: "table",
  defaults: {
    data: "diamonds",
    steps: 4000,
    batchSize: 512,
    learningRate: diamonds.learningRate,
    options: {
      ...diamonds.model,
      beta: 1,
      betaWarmup: 0,
      hide: 0.2,
      nllSamples: 200,
    } satisfies TableOptions,
  },
  createJob,
  sample,
  scoreAnomalies: scoreTable,
  impute: imputeTable,
};

async function createJob(request: JobRequest): Promise<TrainingJob> {
  const { settings, rng } = request;
  const options = settings.options as unknown as TableOptions;
  const { latentDim, hiddenDims, beta, betaWarmup, hide, minStd, mixtures } = options;
  const { train, test, summary } = await loadTable(settings.data, request);
  const data = tableColumnData(train);
  const columns = describeTableColumns(data);
  const resolutions = tableResolutions(data);
  const vae = createTableVae({ columns, hiddenDims, latentDim, minStd, mixtures }, rng.fork("params"));
  const { config } = vae;
  type Batch = { numeric: tf.Tensor2D; categorical: tf.Tensor2D; mask: tf.Tensor2D };
  const { init, step } = gradientStep(
    adam({ learningRate: settings.learningRate, maxGradNorm: diamonds.maxGradNorm }),
    (params: Params, batch: Batch, noise: Rng, scalars: LossScalars<"beta">) => {
      // Rounded numbers pile up, where densities would grow without bound.
      const rows = dequantizeRows(columns, tableBatchRows(columns, batch), resolutions, noise);
      return tableVaeLoss({ config, params }, rows, noise, { ...scalars, hide });
    },
  );

  return {
    config,
    state: init(vae.params, { beta }),
    step: step as unknown as TrainingJob["step"],
    batches: batches(train, {
      batchSize: Math.min(settings.batchSize, train.shape[0]),
      rng: rng.fork("batches"),
    }),
    schedules: {
      "opt.learningRate": learningRateSchedule(settings),
      beta: linearWarmup({ to: beta, steps: betaWarmup }),
    },
    shownMetrics: ["loss", "recon", "kl"],
    dataSummary: summary,
    charts: [
      { title: "Loss", caption: "Nats per row of standardised numbers and categories.", metrics: ["loss", "recon"] },
      { title: "KL divergence", caption: "Nats per row that the code carries.", metrics: ["kl"] },
    ],
    finish: (trained, noise) =>
      assess({ config, params: trained.params as Params }, { train, test, resolutions }, options, noise, request),
  };
}

async function assess(
  vae: TableVae,
  { train, test, resolutions }: { readonly train: TableSet; readonly test: TableSet; readonly resolutions: number[] },
  { nllSamples }: TableOptions,
  rng: Rng,
  { engine, signal }: JobRequest,
): Promise<JobOutcome> {
  const { config } = vae;
  const { columns } = config;
  const samples = Math.max(1, nllSamples);
  const spread = (table: TableSet, noise: Rng) => {
    const rounded = tableRows(columns, tableColumnData(table));
    const rows = dequantizeRows(columns, rounded, resolutions, noise);
    treeDispose(rounded);
    return rows;
  };
  const rows = spread(test, rng.fork("test"));
  const logLikelihoods = await scoreAll(
    engine,
    vae.params,
    (params: Params, batch: TableRows, noise: Rng) =>
      tableVaeLogLikelihood({ config, params }, batch, { samples, rng: noise }),
    rows,
    { rng: rng.fork("nll"), batchSize: Math.max(1, Math.floor(20_000 / samples)), signal },
  );
  const own = nllOf(logLikelihoods);
  const trainRows = spread(train, rng.fork("train"));
  const mixture = await mixtureNll(config, trainRows, rows, rng.fork("mixture"));
  treeDispose([rows, trainRows]);
  const drawn = await drawRows(vae, Math.min(500, Math.max(100, test.shape[0])), rng.fork("samples"));
  return {
    results: {
      testNll: own.mean,
      testNllMedian: own.median,
      ...(mixture ? { mixtureNll: mixture.mean, mixtureNllMedian: mixture.median } : {}),
    },
    headline: [
      {
        label: "Test -log p(row)",
        value: `${own.mean.toFixed(3)} nats`,
        note: `mean over ${inEnglish(test.shape[0])} rows of standardised cells, ${samples} draws each; median ${own.median.toFixed(3)}`,
      },
      ...(mixture === undefined
        ? []
        : [
            {
              label: "Gaussian mixture",
              value: `${mixture.mean.toFixed(3)} nats`,
              note: `the same rows under 10 components fitted by EM; median ${mixture.median.toFixed(3)}`,
            },
          ]),
    ],
    pictures: [],
    plots: scatter(tableColumnData(test), drawn),
    files: [{ file: "samples.csv", contents: writeCsv(drawn) }],
  };
}

interface Nll {
  readonly mean: number;
  /** Beside the mean, which a few outliers can decide. */
  readonly median: number;
}

function nllOf(logLikelihoods: Float64Array): Nll {
  const sorted = logLikelihoods.map((value) => -value).sort();
  const mean = sorted.reduce((a, b) => a + b, 0) / sorted.length;
  return { mean, median: sorted[sorted.length >> 1]! };
}

/** -log p(row) of the test rows under a mixture of Gaussians, or nothing where cells are missing or rows too few. */
async function mixtureNll(
  { columns, minStd }: TableVae["config"],
  train: TableRows,
  test: TableRows,
  rng: Rng,
): Promise<Nll | undefined> {
  const components = 10;
  if (train.cells.shape[0] < 100 * components || !columns.some(({ kind }) => kind === "numeric")) return undefined;
  const rowsOf = async ({ cells, observed }: TableRows): Promise<MixtureRows | undefined> => {
    const [values, known] = await Promise.all([cells.data(), observed.data()]);
    if (known.includes(0)) return undefined;
    const [count, width] = cells.shape;
    const column = (m: number) => Float64Array.from({ length: count }, (_, row) => values[row * width + m]!);
    const numeric = columns.flatMap((c, m) => (c.kind === "numeric" ? [column(m)] : []));
    return {
      dims: numeric.length,
      numbers: Float64Array.from({ length: count * numeric.length }, (_, i) => {
        return numeric[i % numeric.length]![Math.floor(i / numeric.length)]!;
      }),
      categories: columns.flatMap((c, m) =>
        c.kind === "categorical" ? [{ ids: column(m), count: c.categories.length }] : [],
      ),
    };
  };
  const [trained, tested] = [await rowsOf(train), await rowsOf(test)];
  if (!trained || !tested) return undefined;
  const mixture = fitGaussianMixture(trained, { components, rng, minStd });
  return nllOf(gaussianMixtureLogLikelihood(mixture, tested));
}

async function drawRows(vae: TableVae, count: number, rng: Rng): Promise<TableColumnData[]> {
  const cells = sampleTableVae(vae, { count, rng });
  const columns = await tableFromCells(vae.config.columns, cells);
  cells.dispose();
  return columns;
}

/** Real and drawn rows by the first two columns of numbers. */
function scatter(real: readonly TableColumnData[], drawn: readonly TableColumnData[]): ReportPlot[] {
  const [a, b] = real.flatMap((column, m) => (column.kind === "numeric" ? [m] : []));
  if (a === undefined || b === undefined) return [];
  const count = Math.min(drawn[a]!.values.length, real[a]!.values.length);
  const points = (columns: readonly TableColumnData[]) => {
    const known = Array.from(
      { length: count },
      (_, row) => [columns[a]!.values[row]!, columns[b]!.values[row]!] as const,
    ).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
    return { x: known.map(([x]) => x), y: known.map(([, y]) => y) };
  };
  return [
    {
      kind: "points",
      title: "Test rows and drawn rows",
      caption: `The first two columns of numbers of ${count} rows each.`,
      xLabel: real[a]!.name,
      yLabel: real[b]!.name,
      groups: [
        { name: "test rows", ...points(real) },
        { name: "drawn rows", ...points(drawn) },
      ],
    },
  ];
}

async function sample({ run, count, label, rng }: SampleRequest): Promise<SampleFile> {
  if (label !== undefined) throw new UsageError(`--class ${label} means nothing to this model, which knows no classes`);
  const vae = { config: run.config.model, params: run.params } as TableVae;
  return { extension: "csv", contents: writeCsv(await drawRows(vae, count, rng)) };
}
