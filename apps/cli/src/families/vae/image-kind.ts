import { adam, gradientStep, type LossScalars, linearWarmup, type Rng, type Tree } from "@genai/core";
import { batches, type ImageSet } from "@genai/datasets";
import { binarize, estimateLogLikelihood } from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import { inEnglish } from "../../data/data-names.ts";
import { loadImages, partClass } from "../../data/image-data.ts";
import { UsageError } from "../../exit-code.ts";
import { contactSheet } from "../../run/contact-sheet.ts";
import type {
  ExportRequest,
  JobOutcome,
  JobRequest,
  ModelKind,
  SampleFile,
  SampleRequest,
  TrainingJob,
} from "../family.ts";
import { scoreImages } from "./image-anomalies.ts";
import { imputeImages } from "./image-imputation.ts";
import {
  type ImageArchitecture,
  type ImageOptions,
  imageOptions,
  imageShapeOf,
  isBinarized,
  type StoredModel,
} from "./image-models.ts";
import { drawPictures } from "./image-pictures.ts";
import { imageTensor, labelTensor, runOnce, toImages } from "./image-tensors.ts";
import { learningRateSchedule } from "./learning-rate.ts";
import { meanMetrics } from "./mean-metrics.ts";

type Batch = { images: tf.Tensor4D; labels: tf.Tensor1D };

/** Everything that the commands need to know of an architecture for images. */
export function imageKind(architecture: ImageArchitecture): ModelKind {
  const { name, summary, defaults, options } = architecture;
  return {
    name,
    summary,
    data: "images",
    defaults: { ...defaults, data: "mnist", options },
    createJob: (request) => createJob(architecture, request),
    ...(architecture.isGenerative ? { sample: (request) => sample(architecture, request) } : {}),
    scoreAnomalies: (request) => scoreImages(architecture, request),
    impute: (request) => imputeImages(architecture, request),
    exportOnnx: (request) => exportOnnx(architecture, request),
  };
}

async function createJob(architecture: ImageArchitecture, request: JobRequest): Promise<TrainingJob> {
  const { settings, rng } = request;
  const options = imageOptions(settings.options);
  const { freeBits, importanceSamples, corrupt, withoutClass } = options;
  const data = await loadImages(settings.data, { ...request, size: options.imageSize, skipBroken: options.skipBroken });
  const of = (set: ImageSet) => (withoutClass === null ? set : partClass(set, withoutClass).others);
  const [train, test] = [of(data.train), of(data.test)];
  const binarized = isBinarized(options, train.shape[3]);
  const model = architecture.create(train, options, rng.fork("params"));
  const { config } = model;
  const open = (params: unknown, labels?: tf.Tensor1D) => architecture.open({ config, params }, labels);
  const { init, step } = gradientStep(
    adam({ learningRate: settings.learningRate }),
    (params: Tree, { images, labels }: Batch, noise: Rng, { beta }: LossScalars<"beta">) => {
      const x = (binarized ? binarize(images, noise) : images) as tf.Tensor4D;
      return open(params, labels).loss(x, noise, { beta, freeBits, importanceSamples, corrupt });
    },
  );

  const weighted = importanceSamples > 1;
  const parts = weighted ? ["negativeElbo"] : architecture.lossParts;
  return {
    config,
    state: init(model.params as Tree, { beta: options.beta }),
    step: step as unknown as TrainingJob["step"],
    batches: batches(train, {
      batchSize: Math.min(settings.batchSize, train.shape[0]),
      rng: rng.fork("batches"),
      range: [0, 1],
    }),
    schedules: {
      "opt.learningRate": learningRateSchedule(settings),
      beta: linearWarmup({ to: options.beta, steps: options.betaWarmup }),
    },
    shownMetrics: ["loss", ...parts],
    dataSummary: withoutClass === null ? data.summary : `${data.summary}; without class ${withoutClass}`,
    charts: [
      {
        title: "Loss",
        caption: weighted
          ? `Nats per image, measured on every training batch: the bound of ${importanceSamples} draws, and of one.`
          : "Nats per image, measured on every training batch; loss = recon + beta * kl.",
        metrics: ["loss", ...parts.filter((part) => !part.startsWith("kl"))],
      },
      ...(parts.includes("kl")
        ? [
            {
              title: "KL divergence",
              caption: "Nats per image that the code carries about the image.",
              metrics: parts.filter((part) => part.startsWith("kl")),
            },
          ]
        : []),
    ],
    finish: (trained, noise) => assess(architecture, { config, params: trained.params }, test, options, noise, request),
  };
}

/** Test figures and pictures of a trained model. */
async function assess(
  architecture: ImageArchitecture,
  { config, params }: StoredModel,
  test: ImageSet,
  options: ImageOptions,
  rng: Rng,
  { engine, signal, note }: JobRequest,
): Promise<JobOutcome> {
  const binarized = isBinarized(options, test.shape[3]);
  const { usesLabels } = architecture;
  const open = (p: unknown, labels?: tf.Tensor1D) => architecture.open({ config, params: p }, labels);
  const images = imageTensor(test);
  const labels = usesLabels ? { labels: labelTensor(test) } : {};
  const means = await meanMetrics(
    engine,
    params,
    (p: unknown, batch: { x: tf.Tensor4D; labels?: tf.Tensor1D }, noise: Rng) => {
      const x = binarized ? (binarize(batch.x, noise) as tf.Tensor4D) : batch.x;
      const settings = { beta: 1, freeBits: 0, importanceSamples: 1, corrupt: 0 };
      return open(p, batch.labels).loss(x, noise, settings);
    },
    { x: images, ...labels },
    { rng: rng.fork("elbo"), signal },
  );
  const per = `mean over ${inEnglish(test.shape[0])} test images${binarized ? ", dynamically binarized" : ""}`;
  const { loss, recon, kl } = means;
  const isBound = recon !== undefined && kl !== undefined;
  const nll = options.nllSamples > 0 ? await estimate() : undefined;
  tf.dispose([images, labels]);
  const { pictures, plots } = await drawPictures({
    engine,
    params,
    open,
    usesLabels,
    latentDim: architecture.latentDim(config),
    test,
    rng,
  });
  const nats = (value: number) => `${value.toFixed(2)} nats`;
  return {
    results: {
      ...(isBound
        ? { testElbo: -(recon + kl), testNegativeElbo: recon + kl, testRecon: recon, testKl: kl }
        : { testRecon: loss! }),
      ...(nll === undefined ? {} : { testNll: nll }),
    },
    headline: isBound
      ? [
          ...(nll === undefined
            ? []
            : [{ label: "Test -log p(x)", value: nats(nll), note: `estimated with ${options.nllSamples} draws` }]),
          { label: "Test ELBO", value: nats(-(recon + kl)), note: per },
          { label: "Reconstruction", value: nats(recon), note: "-log p(x | z)" },
          { label: "KL divergence", value: nats(kl), note: "of q(z | x) from the prior" },
        ]
      : [{ label: "Reconstruction", value: nats(loss!), note: per }],
    pictures,
    plots,
  };

  async function estimate(): Promise<number> {
    note(`Estimating -log p(x) with ${options.nllSamples} draws for each test image.`);
    const { logLikelihood } = await estimateLogLikelihood(engine, { params }, images, {
      functions: (m, ids) => open(m.params, ids).weights!,
      samples: options.nllSamples,
      rng: rng.fork("nll"),
      binarized,
      ...labels,
      signal,
    });
    return -logLikelihood;
  }
}

async function sample(architecture: ImageArchitecture, request: SampleRequest): Promise<SampleFile> {
  const { run, engine, count, label, rng } = request;
  const config = run.config.model;
  const shape = imageShapeOf(config);
  let labels: { labels?: tf.Tensor1D } = {};
  if (architecture.usesLabels) {
    const { classes } = config as { classes: number };
    const chosen = label === undefined ? undefined : Number(label);
    if (chosen !== undefined && !(Number.isInteger(chosen) && chosen >= 0 && chosen < classes)) {
      throw new UsageError(`--class ${label} is no class of this model; its classes are 0 to ${classes - 1}`);
    }
    labels = {
      labels: tf.tensor1d(
        Int32Array.from({ length: count }, (_, i) => chosen ?? i % classes),
        "int32",
      ),
    };
  } else if (label !== undefined) {
    throw new UsageError(`--class ${label} means nothing to this model, which knows no classes`);
  }
  const images = await runOnce(
    engine,
    (params: unknown, given: { labels?: tf.Tensor1D }, noise: Rng) =>
      architecture.open({ config, params }, given.labels).sample!(count, noise),
    run.params,
    labels,
    rng,
  );
  const columns = Math.min(count, Math.max(8, Math.ceil(Math.sqrt(count))));
  return { extension: "png", contents: contactSheet(toImages(images, shape), { columns }) };
}

async function exportOnnx(architecture: ImageArchitecture, { run, file }: ExportRequest) {
  const { exportOnnx: write } = await import("@genai/onnx");
  const model: StoredModel = { config: run.config.model, params: run.params };
  const z = tf.zeros([1, architecture.latentDim(model.config)]) as tf.Tensor2D;
  const outputNames = ["image"];
  if (architecture.usesLabels) {
    const label = tf.tensor1d([0], "int32");
    const inputNames = ["z", "label"];
    await write(
      (code: tf.Tensor2D, labels: tf.Tensor1D) => architecture.open(model, labels).codec.decode(code),
      [z, label],
      file,
      { inputNames, outputNames },
    );
    tf.dispose([z, label]);
    return { inputs: inputNames, outputs: outputNames };
  }
  const inputNames = ["z"];
  await write((code: tf.Tensor2D) => architecture.open(model).codec.decode(code), [z], file, {
    inputNames,
    outputNames,
  });
  z.dispose();
  return { inputs: inputNames, outputs: outputNames };
}
