import { type AdamState, adam, type Rng, valueAndGrad } from "@genai/core";
import { batches, type ImageSet } from "@genai/datasets";
import {
  binarize,
  type CodePrior,
  codePriorLoss,
  createCodePrior,
  createVqVae,
  decodeVqVae,
  encodeVqVae,
  initVqCodebook,
  reconstructVqVae,
  sampleVqVae,
  updateVqCodebook,
  type VqCodebookState,
  type VqVae,
  vqCodebookUsage,
  vqCodeMapSize,
  vqVaeLoss,
  vqVaeNll,
  vqVaePresets,
} from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import { inEnglish } from "../../data/data-names.ts";
import { loadImages } from "../../data/image-data.ts";
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
import { type ImageOptions, isBinarized, likelihoodOf } from "./image-models.ts";
import { hostImages, imageTensor, interleaveRows, runOnce, toImages } from "./image-tensors.ts";
import { learningRateSchedule } from "./learning-rate.ts";
import { meanMetrics } from "./mean-metrics.ts";

interface VqOptions extends Pick<ImageOptions, "likelihood" | "binarize" | "imageSize" | "skipBroken"> {
  readonly hiddenSize: number;
  readonly codes: number;
  readonly codeDim: number;
  readonly codebook: "ema" | "gradient";
  readonly priorDim: number;
  readonly priorLayers: number;
}

type Params = { vae: VqVae["params"]; prior: CodePrior["params"] };
type Config = { vae: VqVae["config"]; prior: CodePrior["config"] };
type State = { params: Params; opt: AdamState; codebook: VqCodebookState };

const parts = ({ vae, prior }: Config, params: Params) => ({
  vae: { config: vae, params: params.vae } satisfies VqVae,
  prior: { config: prior, params: params.prior } satisfies CodePrior,
});

/** Codes that are chosen less than this share of the average restart: in runs of minutes all are in use soon. */
const restartBelow = 0.2;

export const vqKind: ModelKind = {
  name: "vq",
  summary: "vector-quantised autoencoder with a transformer over its codes",
  data: "images",
  defaults: {
    data: "mnist",
    steps: 2000,
    batchSize: 64,
    learningRate: 2e-3,
    options: {
      hiddenSize: 32,
      codes: 64,
      codeDim: vqVaePresets.mnist.codeDim,
      codebook: vqVaePresets.mnist.codebook,
      priorDim: 64,
      priorLayers: 2,
      likelihood: "auto",
      // The codes of an image drawn in binary pixels would have to say how the coins fell.
      binarize: "none",
      imageSize: 32,
      skipBroken: false,
    } satisfies VqOptions,
  },
  createJob,
  sample,
  exportOnnx,
};

/** The autoencoder and the prior over its codes learn at once: the prior sees the codes as they are at each step. */
async function createJob(request: JobRequest): Promise<TrainingJob> {
  const { settings, rng } = request;
  const options = settings.options as unknown as VqOptions;
  const data = await loadImages(settings.data, { ...request, size: options.imageSize, skipBroken: options.skipBroken });
  const [, height, width, channels] = data.train.shape;
  const binarized = isBinarized(options as unknown as ImageOptions, channels);
  const { hiddenSize, codes, codeDim, codebook, priorDim, priorLayers } = options;
  const likelihood = likelihoodOf(options as unknown as ImageOptions, channels);
  const vae = createVqVae(
    {
      ...vqVaePresets.mnist,
      imageSize: [height, width],
      channels,
      hiddenChannels: hiddenSize,
      residualChannels: Math.ceil(hiddenSize / 2),
      codes,
      codeDim,
      codebook,
      likelihood,
    },
    rng.fork("vae"),
  );
  const prior = createCodePrior(
    { codes, mapSize: vqCodeMapSize(vae.config), nEmbd: priorDim, nHead: 4, nLayer: priorLayers },
    rng.fork("prior"),
  );
  const config: Config = { vae: vae.config, prior: prior.config };
  const params: Params = { vae: vae.params, prior: prior.params };
  const optimizer = adam({ learningRate: settings.learningRate });
  const state: State = { params, opt: optimizer.init(params), codebook: initVqCodebook(vae) };
  const mapSize = prior.config.mapSize;

  function step(old: State, { images }: { images: tf.Tensor4D }, noise: Rng) {
    const x = (binarized ? binarize(images, noise) : images) as tf.Tensor4D;
    const { grads, encoded, ids, ...metrics } = valueAndGrad((trained: Params) => {
      const model = parts(config, trained);
      const { loss, ...rest } = vqVaeLoss(model.vae, x);
      const map = rest.ids.reshape([x.shape[0], ...mapSize]) as tf.Tensor3D;
      const { loss: perCode } = codePriorLoss(model.prior, map);
      return { loss: loss.add(perCode) as tf.Scalar, codes: perCode, ...rest };
    }, old.params);
    const next = optimizer.update(grads, old.opt, old.params);
    const { weight } = next.params.vae.codebook;
    const moved = updateVqCodebook(weight, old.codebook, { encoded, ids }, noise, { restartBelow });
    const learned: Params = { ...next.params, vae: { ...next.params.vae, codebook: moved.codebook } };
    return { state: { params: learned, opt: next.state, codebook: moved.state }, metrics };
  }

  return {
    config,
    state,
    step: step as unknown as TrainingJob["step"],
    batches: batches(data.train, {
      batchSize: Math.min(settings.batchSize, data.train.shape[0]),
      rng: rng.fork("batches"),
      range: [0, 1],
    }),
    schedules: { "opt.learningRate": learningRateSchedule(settings) },
    shownMetrics: ["loss", "recon", "codes", "perplexity"],
    dataSummary: data.summary,
    charts: [
      { title: "Reconstruction", caption: "Nats per image, given its codes.", metrics: ["recon"] },
      { title: "Codes", caption: "Nats per code under the prior, as it learns them.", metrics: ["codes"] },
      {
        title: "Perplexity",
        caption: `How many of the ${codes} codes a batch uses: the exponential of their entropy.`,
        metrics: ["perplexity"],
      },
    ],
    finish: (trained, noise) => assess(config, trained.params as Params, data.test, binarized, noise, request),
  };
}

async function assess(
  config: Config,
  params: Params,
  test: ImageSet,
  binarized: boolean,
  rng: Rng,
  { engine, signal }: JobRequest,
): Promise<JobOutcome> {
  const columns = 12;
  const images = imageTensor(test);
  const { nll, recon, codes, squaredError } = (await meanMetrics(
    engine,
    params,
    (p: Params, x: tf.Tensor4D, noise: Rng) => {
      const { vae, prior } = parts(config, p);
      const seen = (binarized ? binarize(x, noise) : x) as tf.Tensor4D;
      const squaredError = tf.mean(tf.square(tf.sub(seen, reconstructVqVae(vae, seen)))) as tf.Scalar;
      return { ...vqVaeNll(vae, prior, seen), squaredError };
    },
    images,
    { rng: rng.fork("nll"), signal, batchSize: 250 },
  )) as Record<"nll" | "recon" | "codes" | "squaredError", number>;
  images.dispose();
  const shown = Math.min(test.shape[0], 2000);
  const usage = await runOnce(
    engine,
    (p: Params, x: tf.Tensor4D) => {
      const { vae } = parts(config, p);
      const { counts, used, perplexity } = vqCodebookUsage(encodeVqVae(vae, x), config.vae.codes);
      return tf.concat([counts, tf.reshape(used, [1]), tf.reshape(perplexity, [1])]);
    },
    params,
    imageTensor(test, shown),
  );
  const [used, perplexity] = usage.data.slice(-2) as unknown as [number, number];
  const counts = Array.from(usage.data.slice(0, -2)).sort((a, b) => b - a);
  const count = Math.min(test.shape[0], 3 * columns);
  const made = await runOnce(
    engine,
    (p: Params, x: tf.Tensor4D) => reconstructVqVae(parts(config, p).vae, x),
    params,
    imageTensor(test, count),
  );
  const { vae, prior } = parts(config, params);
  const drawn = await sampleVqVae(engine, vae, prior, { count: 6 * columns, rng: rng.fork("samples") });
  const samples = { data: (await drawn.data()) as Float32Array };
  drawn.dispose();
  const total = config.vae.codes;
  // For any codes, recon + codes bounds -log p(x); with grey levels recon is the mean over their binarizations.
  const binary = config.vae.likelihood.kind === "bernoulli" ? ", binarized dynamically" : "";
  const per = `mean over ${inEnglish(test.shape[0])} test images${binary}`;
  return {
    results: { testNll: nll, testRecon: recon, testCodes: codes, testMse: squaredError, usedCodes: used, perplexity },
    headline: [
      { label: "Test -log p(x)", value: `${nll.toFixed(2)} nats`, note: `upper bound, ${per}` },
      {
        label: "Reconstruction",
        value: `${recon.toFixed(2)} nats`,
        note: `mean squared error ${squaredError.toFixed(4)}`,
      },
      { label: "Codes", value: `${codes.toFixed(2)} nats`, note: "under the prior over codes" },
      { label: "Codebook", value: `${used} of ${total}`, note: `codes in use; perplexity ${perplexity.toFixed(1)}` },
    ],
    pictures: [
      {
        file: "samples.png",
        title: "Samples",
        caption: "Images of codes drawn from the prior, one code after the other.",
        png: contactSheet(toImages(samples, test.shape), { columns }),
      },
      {
        file: "reconstructions.png",
        title: "Reconstructions",
        caption: "Test images, each with its reconstruction from its codes below.",
        png: contactSheet(interleaveRows(columns, hostImages(test, count), toImages(made, test.shape)), { columns }),
      },
    ],
    plots: [
      {
        kind: "bars",
        title: "Codebook usage",
        caption: `How often each of the ${total} codes stands in ${inEnglish(shown)} test images, most used first.`,
        xLabel: "code, by rank",
        yLabel: "count",
        values: counts,
      },
    ],
  };
}

async function sample({ run, engine, count, label, rng }: SampleRequest): Promise<SampleFile> {
  if (label !== undefined) throw new UsageError(`--class ${label} means nothing to this model, which knows no classes`);
  const config = run.config.model as Config;
  const { vae, prior } = parts(config, run.params as Params);
  const drawn = await sampleVqVae(engine, vae, prior, { count, rng });
  const data = (await drawn.data()) as Float32Array;
  const { shape } = drawn;
  drawn.dispose();
  const columns = Math.min(count, Math.max(8, Math.ceil(Math.sqrt(count))));
  return { extension: "png", contents: contactSheet(toImages({ data }, shape), { columns }) };
}

async function exportOnnx({ run, file }: ExportRequest) {
  const { exportOnnx: write } = await import("@genai/onnx");
  const { vae } = parts(run.config.model as Config, run.params as Params);
  const ids = tf.zeros([1, ...vqCodeMapSize(vae.config)], "int32") as tf.Tensor3D;
  const names = { inputNames: ["codes"], outputNames: ["image"] };
  await write((codes: tf.Tensor3D) => decodeVqVae(vae, codes), [ids], file, names);
  ids.dispose();
  return { inputs: names.inputNames, outputs: names.outputNames };
}
