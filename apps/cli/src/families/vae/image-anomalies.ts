import type { Rng } from "@genai/core";
import { type ImageSet, subset, take } from "@genai/datasets";
import { anomalyScore, fitPca, pcaScore, relativeAnomalyScore, scoreAll } from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import { loadImages, loadImagesToJudge, numberedNames, partClass } from "../../data/image-data.ts";
import { UsageError } from "../../exit-code.ts";
import { contactSheet } from "../../run/contact-sheet.ts";
import type { AnomalyRequest, AnomalyScores } from "../family.ts";
import { type ImageArchitecture, imageOptions, imageShapeOf, storedLikelihood } from "./image-models.ts";
import { hostImages, imageTensor, labelTensor } from "./image-tensors.ts";

/** Draws of z for each image: more tighten the bound little. */
const draws = 10;

const scoreNames = {
  bound: "bound of -log p(x), nats",
  relative: "nats beyond the pixels' own entropy, for each unit of ink",
  reconstruction: "squared reconstruction error",
};

/** Scores images by the bound of -log p(x), or as asked; plain autoencoders by their reconstruction error. */
export async function scoreImages(architecture: ImageArchitecture, request: AnomalyRequest): Promise<AnomalyScores> {
  const { run, engine, rng, data, signal } = request;
  const scoreName = scoreNamed(architecture, request.score, storedLikelihood(run.config.model).kind === "bernoulli");
  const { settings, model: config } = run.config;
  const options = imageOptions(settings.options);
  const [height, width, channels] = imageShapeOf(config);
  const imageRequest = {
    ...request,
    skipBroken: request.skipBroken || imageOptions(settings.options).skipBroken,
    size: [height, width] as const,
    channels: channels === 1 ? (1 as const) : (3 as const),
  };
  const splits = await loadImages(settings.data, imageRequest);
  const { withoutClass } = options;
  const normal = withoutClass === null ? splits.test : partClass(splits.test, withoutClass).others;
  const judged = await examplesToJudge();

  const score = (set: ImageSet, noise: Rng) => {
    const examples = { x: imageTensor(set), ...(architecture.usesLabels ? { labels: labelTensor(set) } : {}) };
    return scoreAll(
      engine,
      run.params,
      (params: unknown, batch: { x: tf.Tensor4D; labels?: tf.Tensor1D }, draw: Rng) => {
        const model = architecture.open({ config, params }, batch.labels);
        if (scoreName === "bound") return anomalyScore(model.weights!, batch.x, draw, { samples: draws });
        if (scoreName === "relative") return relativeAnomalyScore(model.weights!, batch.x, draw, { samples: draws });
        return tf.tidy(() => tf.sum(tf.square(tf.sub(batch.x, model.reconstruct(batch.x))), [1, 2, 3]));
      },
      examples,
      { rng: noise, batchSize: 250, signal },
    ).finally(() => tf.dispose(examples));
  };
  if (architecture.usesLabels && judged.images.classes.length !== (config as { classes: number }).classes) {
    throw new UsageError(
      `${data} has ${judged.images.classes.length} classes; the model knows ${(config as { classes: number }).classes}`,
    );
  }
  return {
    scoreName: scoreNames[scoreName],
    calibration: await score(judged.calibration, rng.fork("calibration")),
    scores: await score(judged.images, rng.fork("scores")),
    names: judged.names,
    ...(judged.truth ? { truth: judged.truth } : {}),
    ...baseline(splits.train, judged.images),
    picture: (indices) => contactSheet(hostImages(subset(judged.images, indices)), { columns: 12 }),
  };

  /** Named data is half kept back for the threshold, since its normal images are the ones that it comes from. */
  async function examplesToJudge() {
    if (data !== undefined && data !== settings.data) {
      return { ...(await loadImagesToJudge(data, imageRequest)), calibration: normal, truth: undefined };
    }
    const half = normal.shape[0] >> 1;
    const calibration = take(normal, half);
    const truth = withoutClass === null ? undefined : partClass(splits.test, withoutClass).isChosen;
    let seen = 0;
    const kept = Array.from(splits.test.labels.keys()).filter((i) => truth?.[i] || ++seen > half);
    const names = splits.testNames ?? numberedNames(splits.test);
    return {
      images: subset(splits.test, kept),
      names: kept.map((i) => names[i]!),
      calibration,
      truth: truth && kept.map((i) => truth[i]!),
    };
  }
}

function scoreNamed(
  architecture: ImageArchitecture,
  name: string | undefined,
  bernoulli: boolean,
): keyof typeof scoreNames {
  const known: (keyof typeof scoreNames)[] = !architecture.isGenerative
    ? ["reconstruction"]
    : bernoulli
      ? ["bound", "relative", "reconstruction"]
      : ["bound", "reconstruction"];
  const found = name === undefined ? known[0] : known.find((candidate) => candidate === name);
  if (found) return found;
  throw new UsageError(`--score ${name} is no score of this model; there is ${known.join(", ")}`);
}

/** The reconstruction error of principal components, where there are not too many pixels to find them. */
function baseline(train: ImageSet, judged: ImageSet): Pick<AnomalyScores, "baseline"> {
  const dims = train.shape.slice(1).reduce((a, b) => a * b, 1);
  if (dims > 1024) return {};
  const shown = take(train, Math.min(train.shape[0], 2000));
  const components = Math.min(40, dims - 1, shown.shape[0] - 2);
  const pca = fitPca(hostImages(shown).data, { dims, components });
  return {
    baseline: {
      name: `squared reconstruction error of ${components} principal components`,
      scores: pcaScore(pca, hostImages(judged).data),
    },
  };
}
