import {
  type AdamState,
  adam,
  cosineWithWarmup,
  linearWarmup,
  type Rng,
  type Schedule,
  treeDispose,
  valueAndGrad,
} from "@genai/core";
import { batches, type ImageSet } from "@genai/datasets";
import {
  binarize,
  type ConvVae,
  type ConvVaeConfig,
  type ConvVaeParams,
  convVaeElbo,
  convVaeLoss,
  convVaePresets,
  createConvVae,
  decodeConvVae,
  interpolateConvVae,
  reconstructConvVae,
  sampleConvVae,
} from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import { Option } from "commander";
import { imageSetNames, loadImages } from "../image-data.ts";
import { nonNegativeNumber, wholeNumber, wholeNumbers } from "../option-parsers.ts";
import { contactSheet, type HostImages } from "../run/contact-sheet.ts";
import type { TrainSettings } from "../run/run-folder.ts";
import type { Family, JobOutcome, JobRequest, SampleFile, TrainedRun, TrainingJob } from "./family.ts";

/** Values of the options below, as stored in config.json. */
interface VaeOptions {
  readonly latentDim: number;
  readonly hiddenChannels: readonly number[];
  readonly denseDim: number;
  readonly beta: number;
  readonly betaWarmup: number;
  readonly binarize: "dynamic" | "none";
}

const defaultOptions: VaeOptions = {
  latentDim: convVaePresets.mnist.latentDim,
  hiddenChannels: convVaePresets.mnist.hiddenChannels,
  denseDim: convVaePresets.mnist.denseDim,
  beta: 1,
  betaWarmup: 200,
  binarize: "dynamic",
};

type VaeState = { params: ConvVaeParams; opt: AdamState; beta: tf.Scalar };
type VaeBatch = { images: tf.Tensor4D };

const testBatchSize = 500;

export const vaeFamily: Family = {
  name: "vae",
  summary: "convolutional variational autoencoder with a Bernoulli likelihood",
  dataSets: imageSetNames,
  options: [
    new Option("--latent-dim <n>", "dimensions of the latent space")
      .argParser(wholeNumber(1))
      .default(defaultOptions.latentDim),
    new Option("--hidden-channels <list>", "channels of the convolutions, each of which halves the image")
      .argParser(wholeNumbers)
      .default(defaultOptions.hiddenChannels, defaultOptions.hiddenChannels.join(",")),
    new Option("--dense-dim <n>", "width of the dense layers")
      .argParser(wholeNumber(1))
      .default(defaultOptions.denseDim),
    new Option("--beta <number>", "weight of the KL term; 1 is the evidence lower bound")
      .argParser(nonNegativeNumber)
      .default(defaultOptions.beta),
    new Option("--beta-warmup <steps>", "steps over which beta grows from 0 to its value")
      .argParser(wholeNumber(0))
      .default(defaultOptions.betaWarmup),
    new Option("--binarize <how>", "draw binary pixels from the grey levels at every step, or use the grey levels")
      .choices(["dynamic", "none"])
      .default(defaultOptions.binarize),
  ],
  defaults: { steps: 2000, batchSize: 128, learningRate: 2e-3 },
  createJob,
  sample,
  exportOnnx,
  recipes: [
    {
      name: "vae-mnist",
      summary: "a test -ELBO of at most 100 nats on dynamically binarized MNIST",
      settings: {
        data: "mnist",
        steps: 3500,
        seconds: 540,
        batchSize: 128,
        learningRate: 2e-3,
        options: { ...defaultOptions },
      },
      target: { result: "testNegativeElbo", label: "test -ELBO", atMost: 100, unit: "nats" },
      published: [
        {
          what: "VAE with one stochastic layer, estimated -log p(x)",
          value: "86.8 nats",
          source: "Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, table 1",
        },
        {
          what: "VAE with a diagonal Gaussian posterior, estimated -log p(x)",
          value: "89.9 nats",
          source: "Rezende & Mohamed, Variational Inference with Normalizing Flows, ICML 2015, table 2",
        },
        {
          what: "small mean-field VAE, -ELBO on a fixed binarization",
          value: "103.3 nats",
          source: "github.com/jaanli/variational-autoencoder, PyTorch, 65,000 steps",
        },
      ],
    },
  ],
};

async function createJob(request: JobRequest): Promise<TrainingJob> {
  const { settings, rng } = request;
  const options = settings.options as unknown as VaeOptions;
  const data = await loadImages(settings.data, request);
  const config = configFor(data.train, options);
  const vae = createConvVae(config, rng.fork("params"));
  const optimizer = adam({ learningRate: settings.learningRate });
  const state: VaeState = { params: vae.params, opt: optimizer.init(vae.params), beta: tf.scalar(options.beta) };
  const binarized = options.binarize === "dynamic";

  function step({ params, opt, beta }: VaeState, batch: VaeBatch, noise: Rng) {
    const x = binarized ? binarize(batch.images, noise) : batch.images;
    const { grads, loss, recon, kl } = valueAndGrad(
      (trained: ConvVaeParams) => convVaeLoss({ config, params: trained }, x, noise, { beta }),
      params,
    );
    const next = optimizer.update(grads, opt, params);
    return { state: { params: next.params, opt: next.state, beta: beta.clone() }, metrics: { loss, recon, kl } };
  }

  return {
    config,
    state,
    step: step as unknown as TrainingJob["step"],
    batches: batches(data.train, { batchSize: settings.batchSize, rng: rng.fork("batches"), range: [0, 1] }),
    schedules: {
      "opt.learningRate": learningRateSchedule(settings),
      beta: linearWarmup({ to: options.beta, steps: options.betaWarmup }),
    },
    shownMetrics: ["loss", "recon", "kl"],
    dataSummary: data.summary,
    charts: [
      {
        title: "Loss",
        caption: "Nats per image, measured on every training batch; loss = recon + beta * kl.",
        metrics: ["loss", "recon"],
      },
      { title: "KL divergence", caption: "Nats per image that the code carries about the image.", metrics: ["kl"] },
    ],
    finish: async (trained, noise) => {
      const model: ConvVae = { config, params: trained.params as ConvVaeParams };
      return assess(model, data.test, binarized, noise, request);
    },
    dispose: () => {},
  };
}

/** A short linear warm-up, then half a cosine down to a twentieth. */
function learningRateSchedule({ steps, learningRate }: TrainSettings): Schedule {
  return cosineWithWarmup({
    learningRate,
    warmupSteps: Math.min(100, Math.floor(steps / 10)),
    totalSteps: steps,
    minLearningRate: learningRate / 20,
    warmup: "after-one",
  });
}

function configFor({ shape }: ImageSet, { latentDim, hiddenChannels, denseDim }: VaeOptions): ConvVaeConfig {
  const [, height, width, channels] = shape;
  return { ...convVaePresets.mnist, imageSize: [height, width], channels, latentDim, hiddenChannels, denseDim };
}

/** Test ELBO and pictures of a trained model. */
async function assess(
  vae: ConvVae,
  test: ImageSet,
  binarized: boolean,
  rng: Rng,
  { engine, signal }: JobRequest,
): Promise<JobOutcome> {
  const { config } = vae;
  const columns = 12;
  const rows = 6;
  const images = imageTensor(test, test.shape[0]);
  const { elbo, recon, kl } = await convVaeElbo(engine, vae, images, {
    rng: rng.fork("elbo"),
    binarized,
    batchSize: testBatchSize,
    signal,
  });
  images.dispose();

  const run = async <A extends readonly unknown[]>(
    fn: (params: ConvVaeParams, ...args: A) => tf.Tensor,
    ...args: A
  ) => {
    const compiled = engine.compile(fn);
    const result = await compiled(vae.params, ...args);
    const data = (await result.data()) as Float32Array;
    treeDispose([result, args]);
    compiled.dispose();
    return toImages(data, config);
  };
  const originals = hostImages(test, (rows / 2) * columns);
  const samples = await run(
    (params: ConvVaeParams, noise: Rng) => sampleConvVae({ config, params }, { count: rows * columns, rng: noise }),
    rng.fork("samples"),
  );
  const reconstructions = await run(
    (params: ConvVaeParams, x: tf.Tensor4D) => reconstructConvVae({ config, params }, x),
    imageTensor(test, (rows / 2) * columns),
  );
  const path = await run(
    (params: ConvVaeParams, from: tf.Tensor4D, to: tf.Tensor4D) =>
      interpolateConvVae({ config, params }, from, to, { steps: columns }),
    imageTensor(test, rows),
    imageTensor(test, rows, rows),
  );

  const per = `mean over ${test.shape[0].toLocaleString("en")} test images${binarized ? ", dynamically binarized" : ""}`;
  return {
    results: { testElbo: elbo, testNegativeElbo: -elbo, testRecon: recon, testKl: kl },
    headline: [
      { label: "Test ELBO", value: `${elbo.toFixed(2)} nats`, note: per },
      { label: "Reconstruction", value: `${recon.toFixed(2)} nats`, note: "-log p(x | z)" },
      { label: "KL divergence", value: `${kl.toFixed(2)} nats`, note: "of q(z | x) from the prior" },
    ],
    pictures: [
      {
        file: "samples.png",
        title: "Samples",
        caption: "Mean images of codes drawn from the prior.",
        png: contactSheet(samples, { columns }),
      },
      {
        file: "reconstructions.png",
        title: "Reconstructions",
        caption: "Test images, each with its reconstruction below.",
        png: contactSheet(interleaveRows(originals, reconstructions, columns), { columns }),
      },
      {
        file: "interpolation.png",
        title: "Interpolation",
        caption: "Each row walks from the code of one test image to that of another.",
        png: contactSheet(path, { columns }),
      },
    ],
  };
}

async function sample({ run, engine, count, rng }: Parameters<Family["sample"]>[0]): Promise<SampleFile> {
  const { config, params } = openVae(run);
  const draw = engine.compile((p: ConvVaeParams, noise: Rng) =>
    sampleConvVae({ config, params: p }, { count, rng: noise }),
  );
  const images = await draw(params, rng);
  const data = (await images.data()) as Float32Array;
  images.dispose();
  draw.dispose();
  const columns = Math.min(count, Math.max(8, Math.ceil(Math.sqrt(count))));
  return { extension: "png", contents: contactSheet(toImages(data, config), { columns }) };
}

async function exportOnnx({ run, file }: Parameters<Family["exportOnnx"]>[0]) {
  const { exportOnnx: write } = await import("@genai/onnx");
  const vae = openVae(run);
  const z = tf.zeros([1, vae.config.latentDim]) as tf.Tensor2D;
  const names = { inputNames: ["z"], outputNames: ["image"] };
  await write((code: tf.Tensor2D) => tf.sigmoid(decodeConvVae(vae, code)), [z], file, names);
  z.dispose();
  return { inputs: names.inputNames, outputs: names.outputNames };
}

function openVae({ config, params }: TrainedRun): ConvVae {
  return { config: config.model as ConvVaeConfig, params: params as ConvVaeParams };
}

/** The images [start, start + count) as float32 NHWC in [0, 1]. */
function imageTensor(set: ImageSet, count: number, start = 0): tf.Tensor4D {
  const { data, shape } = hostImages(set, count, start);
  return tf.tensor4d(data, shape as [number, number, number, number]);
}

function hostImages(set: ImageSet, count: number, start = 0): HostImages {
  const [, height, width, channels] = set.shape;
  const size = height * width * channels;
  const bytes = set.images.subarray(start * size, (start + count) * size);
  return {
    data: Float32Array.from(bytes, (byte) => byte / 255),
    shape: [bytes.length / size, height, width, channels],
  };
}

function toImages(data: Float32Array, { imageSize, channels }: ConvVaeConfig): HostImages {
  const [height, width] = imageSize;
  return { data, shape: [data.length / (height * width * channels), height, width, channels] };
}

/** Rows of `first` and of `second` in turn. */
function interleaveRows(first: HostImages, second: HostImages, columns: number): HostImages {
  const [count, height, width, channels] = first.shape;
  const row = columns * height * width * channels;
  const data = new Float32Array(first.data.length * 2);
  for (let at = 0; at < first.data.length; at += row) {
    data.set(first.data.subarray(at, at + row), 2 * at);
    data.set(second.data.subarray(at, at + row), 2 * at + row);
  }
  return { data, shape: [2 * count, height, width, channels] };
}
