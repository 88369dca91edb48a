import type { Engine, Rng } from "@genai/core";
import { type ImageSet, take } from "@genai/datasets";
import { interpolate, latentTraversal } from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import { contactSheet } from "../../run/contact-sheet.ts";
import type { ReportPlot } from "../../run/report.ts";
import type { PictureFile } from "../family.ts";
import type { ImageModel } from "./image-models.ts";
import { hostImages, imageTensor, interleaveRows, labelTensor, runOnce, toImages } from "./image-tensors.ts";

// Pictures of what a model of images has learned: draws, reconstructions, walks through its codes.

const columns = 12;

export interface PictureRequest {
  readonly engine: Engine;
  readonly params: unknown;
  /** The model over parameters, with int32 labels [B] if it knows classes. */
  readonly open: (params: unknown, labels?: tf.Tensor1D) => ImageModel;
  readonly usesLabels: boolean;
  readonly latentDim: number;
  readonly test: ImageSet;
  readonly rng: Rng;
}

type Args = { labels?: tf.Tensor1D };

/** Labels as an argument of a compiled function; nothing for models that know no classes. */
const labelsOf = ({ usesLabels, test }: PictureRequest, count: number, start = 0): Args =>
  usesLabels ? { labels: labelTensor(test, count, start) } : {};

export async function drawPictures(request: PictureRequest): Promise<{ pictures: PictureFile[]; plots: ReportPlot[] }> {
  const { latentDim } = request;
  const pictures = [
    ...(await samplesPicture(request)),
    await reconstructionsPicture(request),
    await interpolationPicture(request),
  ];
  if (latentDim === 2) {
    return { pictures: [...pictures, await manifoldPicture(request)], plots: [await latentMap(request)] };
  }
  return { pictures: [...pictures, await traversalPicture(request)], plots: [] };
}

async function samplesPicture(request: PictureRequest): Promise<PictureFile[]> {
  const { engine, params, open, usesLabels, test, rng } = request;
  const classes = test.classes.length;
  const rows = usesLabels ? Math.min(classes, 20) : 6;
  const perRow = Array.from({ length: rows * columns }, (_, i) => Math.floor(i / columns));
  const args: Args = usesLabels ? { labels: tf.tensor1d(perRow, "int32") } : {};
  const model = open(params, args.labels);
  if (!model.sample) return [];
  const drawn = await runOnce(
    engine,
    (p: unknown, { labels }: Args, noise: Rng) => open(p, labels).sample!(rows * columns, noise),
    params,
    args,
    rng.fork("samples"),
  );
  return [
    {
      file: "samples.png",
      title: "Samples",
      caption: usesLabels
        ? `Mean images of codes drawn from the prior, a class in each row: ${test.classes.slice(0, rows).join(", ")}.`
        : "Mean images of codes drawn from the prior.",
      png: contactSheet(toImages(drawn, test.shape), { columns }),
    },
  ];
}

async function reconstructionsPicture(request: PictureRequest): Promise<PictureFile> {
  const { engine, params, open, test } = request;
  const count = Math.min(test.shape[0], 3 * columns);
  const made = await runOnce(
    engine,
    (p: unknown, { labels }: Args, x: tf.Tensor4D) => open(p, labels).reconstruct(x),
    params,
    labelsOf(request, count),
    imageTensor(test, count),
  );
  return {
    file: "reconstructions.png",
    title: "Reconstructions",
    caption: "Test images, each with its reconstruction below.",
    png: contactSheet(interleaveRows(columns, hostImages(test, count), toImages(made, test.shape)), { columns }),
  };
}

async function interpolationPicture(request: PictureRequest): Promise<PictureFile> {
  const { engine, params, open, test } = request;
  const rows = Math.min(6, Math.floor(test.shape[0] / 2));
  const path = await runOnce(
    engine,
    (p: unknown, { labels }: Args, from: tf.Tensor4D, to: tf.Tensor4D) =>
      interpolate(open(p, labels).codec, from, to, { steps: columns }),
    params,
    labelsOf(request, rows),
    imageTensor(test, rows),
    imageTensor(test, rows, rows),
  );
  return {
    file: "interpolation.png",
    title: "Interpolation",
    caption: "Each row walks from the code of one test image to that of another.",
    png: contactSheet(toImages(path, test.shape), { columns }),
  };
}

/** Codes of the first test images, row by row. */
async function codesOf(request: PictureRequest, count: number): Promise<Float32Array> {
  const { engine, params, open, test } = request;
  const { data } = await runOnce(
    engine,
    (p: unknown, { labels }: Args, x: tf.Tensor4D) => open(p, labels).codec.encode(x),
    params,
    labelsOf(request, count),
    imageTensor(test, count),
  );
  return data;
}

/** The dimensions whose means differ most from image to image: those that carry something. */
async function traversalPicture(request: PictureRequest): Promise<PictureFile> {
  const { engine, params, open, test, latentDim } = request;
  const count = Math.min(test.shape[0], 500);
  const codes = await codesOf(request, count);
  const spread = Array.from({ length: latentDim }, (_, d) => {
    let [sum, squares] = [0, 0];
    for (let i = d; i < codes.length; i += latentDim) {
      sum += codes[i]!;
      squares += codes[i]! ** 2;
    }
    return squares / count - (sum / count) ** 2;
  });
  const order = [...spread.keys()].sort((a, b) => spread[b]! - spread[a]!);
  const dimensions = order.slice(0, Math.min(8, latentDim));
  const walk = await runOnce(
    engine,
    (p: unknown, { labels }: Args, z: tf.Tensor2D) =>
      latentTraversal(open(p, labels).codec, z, { dimensions, steps: columns }),
    params,
    labelsOf(request, 1),
    tf.tensor2d(codes.slice(0, latentDim), [1, latentDim]),
  );
  return {
    file: "traversal.png",
    title: "Latent traversal",
    caption: `One test image; each row moves one latent dimension from -3 to 3, the one that carries most first (${dimensions.join(", ")}).`,
    png: contactSheet(toImages(walk, test.shape), { columns }),
  };
}

/** Images decoded from a grid over the two dimensions, where nearly all of the prior lies. */
async function manifoldPicture(request: PictureRequest): Promise<PictureFile> {
  const { engine, params, open, test } = request;
  const side = 16;
  const at = Array.from({ length: side }, (_, i) => -2 + (4 * i) / (side - 1));
  const grid = at.flatMap((_, row) => at.map((x) => [x, at[side - 1 - row]!]));
  const images = await runOnce(
    engine,
    (p: unknown, { labels }: Args, z: tf.Tensor2D) => open(p, labels).codec.decode(z),
    params,
    labelsOf(request, 1),
    tf.tensor2d(grid),
  );
  return {
    file: "manifold.png",
    title: "Latent plane",
    caption:
      "Images decoded from the latent plane, from -2 to 2: the first dimension to the right, the second upwards.",
    png: contactSheet(toImages(images, test.shape), { columns: side }),
  };
}

async function latentMap(request: PictureRequest): Promise<ReportPlot> {
  const { test } = request;
  const count = Math.min(test.shape[0], 2000);
  const codes = await codesOf(request, count);
  const groups = test.classes.map((name) => ({ name, x: [] as number[], y: [] as number[] }));
  for (const [i, label] of take(test, count).labels.entries()) {
    groups[label]!.x.push(codes[2 * i]!);
    groups[label]!.y.push(codes[2 * i + 1]!);
  }
  return {
    kind: "points",
    title: "Latent map",
    caption: `Where ${count.toLocaleString("en")} test images lie in latent space, coloured by class.`,
    xLabel: "first dimension",
    yLabel: "second dimension",
    groups,
  };
}
