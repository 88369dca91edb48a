import { type ImageSet, take } from "@genai/datasets";
import { fitPca, imputeByCode, imputeMissing, imputePca } from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import { loadImages, loadImagesToJudge } from "../../data/image-data.ts";
import { UsageError } from "../../exit-code.ts";
import { contactSheet } from "../../run/contact-sheet.ts";
import type { Imputation, ImputeRequest } from "../family.ts";
import { type ImageArchitecture, imageOptions, imageShapeOf } from "./image-models.ts";
import { hostImages, imageTensor, interleaveRows, labelTensor, toImages } from "./image-tensors.ts";

/** Images that are filled in at most: they are looked at, and the error hardly changes with more. */
const mostImages = 240;

/** Hides pixels at random and fills them in again. */
export async function imputeImages(architecture: ImageArchitecture, request: ImputeRequest): Promise<Imputation> {
  const { run, engine, rng, data, hide, signal } = request;
  if (hide === 0)
    throw new UsageError("Images have no gaps of their own; say with --missing which share of the pixels to hide");
  const { settings, model: config } = run.config;
  const [height, width, channels] = imageShapeOf(config);
  const imageRequest = {
    ...request,
    skipBroken: request.skipBroken || imageOptions(settings.options).skipBroken,
    size: [height, width] as const,
    channels: channels === 1 ? (1 as const) : (3 as const),
  };
  const { train, test } = await loadImages(settings.data, imageRequest);
  const given = data === undefined ? test : (await loadImagesToJudge(data, imageRequest)).images;
  const images = take(given, Math.min(given.shape[0], mostImages));
  const [count] = images.shape;

  // A pixel is hidden with all its channels.
  const draws = rng.fork("gaps").draw({ kind: "uniform", size: count * height * width, low: 0, high: 1 });
  const known = Float32Array.from({ length: count * height * width * channels }, (_, i) =>
    draws[Math.floor(i / channels)]! < hide ? 0 : 1,
  );
  const x = imageTensor(images);
  const observed = tf.tensor4d(known, images.shape as [number, number, number, number]);
  const labels = architecture.usesLabels ? { labels: labelTensor(images) } : {};
  type Trained = { params: unknown; labels?: tf.Tensor1D };
  const open = (p: Trained) => architecture.open({ config, params: p.params }, p.labels);
  const trained: Trained = { params: run.params, ...labels };
  const filled = open(trained).functions
    ? await imputeByCode(engine, trained, (p) => open(p).functions!, x, observed, { signal })
    : await imputeMissing(engine, trained, (p, now, noise) => open(p).fill(now, noise), x, observed, {
        rng: rng.fork("fill"),
        signal,
      });
  const values = (await filled.data()) as Float32Array;
  tf.dispose([x, observed, filled, labels]);

  const truth = hostImages(images);
  const gaps = truth.data.map((value, i) => (known[i] ? value : 0.5));
  const shown = { ...truth, shape: truth.shape };
  const columns = 12;
  const firsts = (host: { data: Float32Array }) =>
    toImages({ data: host.data.slice(0, 3 * columns * height * width * channels) }, truth.shape);
  return {
    file: {
      extension: "png",
      contents: contactSheet(interleaveRows(columns, firsts(shown), firsts({ data: gaps }), firsts({ data: values })), {
        columns,
      }),
    },
    examples: count,
    filled: known.reduce((sum, value) => sum + 1 - value, 0),
    errors: [{ measure: "root mean squared error of hidden pixels", ...errorsOf(train, truth.data, values, known) }],
  };
}

function errorsOf(train: ImageSet, truth: Float32Array, filled: Float32Array, known: Float32Array) {
  const dims = train.shape.slice(1).reduce((a, b) => a * b, 1);
  const reference = hostImages(take(train, Math.min(train.shape[0], 2000))).data;
  const mean = new Float64Array(dims);
  for (let i = 0; i < reference.length; i++) mean[i % dims]! += reference[i]! / (reference.length / dims);
  const rmse = (value: (i: number) => number) => {
    let [sum, count] = [0, 0];
    for (let i = 0; i < truth.length; i++) {
      if (known[i]) continue;
      sum += (truth[i]! - value(i)) ** 2;
      count += 1;
    }
    return Math.sqrt(sum / count);
  };
  const errors = { model: rmse((i) => filled[i]!), mean: rmse((i) => mean[i % dims]!) };
  // Principal components of more pixels than that take minutes.
  if (dims > 1024) return errors;
  const components = Math.min(100, dims - 1, reference.length / dims - 2);
  const byPca = imputePca(fitPca(reference, { dims, components }), truth, known);
  return { ...errors, pca: rmse((i) => byPca[i]!) };
}
