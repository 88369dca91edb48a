import { existsSync } from "node:fs";
import { Rng } from "@genai/core";
import { type DatasetEntry, datasets, type ImageSet, loadImageFolder, split, subset } from "@genai/datasets";
import { UsageError } from "../exit-code.ts";
import { type DataRequest, downloadNotes, inEnglish, unknownData } from "./data-names.ts";

export interface ImageSplits {
  readonly train: ImageSet;
  readonly test: ImageSet;
  /** Names of the test images, where they come from files. */
  readonly testNames?: readonly string[];
  /** "mnist: handwritten digits, 28x28 grey, 10 classes; 60,000 images to train on and 10,000 to test on" */
  readonly summary: string;
}

export interface ImageRequest extends DataRequest {
  /** Height and width that images of one's own are brought to. */
  readonly size: number | readonly [height: number, width: number];
  /** Channels of images of one's own; as they are if not given. */
  readonly channels?: 1 | 3;
  /** Goes on without images that cannot be read, and names them; otherwise they are an error. */
  readonly skipBroken: boolean;
}

/** Share of one's own images that is tested on. */
const testFraction = 0.1;

const entryNamed = (source: string): DatasetEntry<ImageSet> | undefined => {
  const entry = (datasets as Readonly<Record<string, DatasetEntry>>)[source];
  return entry?.kind === "images" ? (entry as DatasetEntry<ImageSet>) : undefined;
};

/** Both splits of a named image set, or of a folder of images: a tenth of those is tested on. */
export async function loadImages(source: string, request: ImageRequest): Promise<ImageSplits> {
  const entry = entryNamed(source);
  if (entry) {
    const { signal } = request;
    const onProgress = downloadNotes(request.note);
    const train = await entry.load({ split: "train", signal, onProgress });
    const test = await entry.load({ split: "test", signal, onProgress });
    return { train, test, summary: summaryOf(`${source}: ${entry.description}`, train, test) };
  }
  const { images, files } = await loadFolder(source, request);
  if (images.shape[0] < 10) {
    throw new UsageError(`${source} holds ${images.shape[0]} images; expected at least 10, a tenth of them to test on`);
  }
  const numbered = { ...images, index: Int32Array.from(files.keys()) };
  const [train, test] = split(numbered, [1 - testFraction, testFraction], new Rng(0));
  const { index: testIndex, ...testImages } = test!;
  const { index: _, ...trainImages } = train!;
  return {
    train: trainImages,
    test: testImages,
    testNames: Array.from(testIndex, (i) => files[i]!),
    summary: summaryOf(`${source}: ${sizeOf(images)}`, trainImages, testImages),
  };
}

/** All images of a folder, or the test split of a named set, with a name for each. */
export async function loadImagesToJudge(
  source: string,
  request: ImageRequest,
): Promise<{ images: ImageSet; names: readonly string[] }> {
  const entry = entryNamed(source);
  if (!entry) {
    const { images, files } = await loadFolder(source, request);
    return { images, names: files };
  }
  const images = await entry.load({
    split: "test",
    signal: request.signal,
    onProgress: downloadNotes(request.note),
  });
  return { images, names: numberedNames(images) };
}

/** "17 (class 4)" */
export function numberedNames({ labels, classes }: ImageSet): string[] {
  return Array.from(labels, (label, i) => `${i} (${classes[label]})`);
}

async function loadFolder(source: string, { size, channels, skipBroken, signal, note }: ImageRequest) {
  if (!existsSync(source)) throw unknownData("images", source);
  const images = await loadImageFolder(source, {
    size,
    ...(channels ? { channels } : {}),
    onBroken: skipBroken ? "skip" : "throw",
    signal,
  }).catch((error: Error) => {
    error.message = error.message.replace('onBroken: "skip"', "--skip-broken");
    throw error;
  });
  for (const { reason } of images.broken) note(`Left out: ${reason}`);
  const { broken, files, ...set } = images;
  return { images: set, files };
}

/** The images of a class, and those of all others. */
export function partClass(set: ImageSet, name: string): { others: ImageSet; chosen: ImageSet; isChosen: boolean[] } {
  const index = set.classes.indexOf(name);
  if (index < 0) {
    throw new UsageError(
      `--without-class ${name} is no class of ${set.name}; its classes are ${set.classes.join(", ")}`,
    );
  }
  const isChosen = Array.from(set.labels, (label) => label === index);
  const indices = (wanted: boolean) => isChosen.flatMap((chosen, i) => (chosen === wanted ? [i] : []));
  return { others: subset(set, indices(false)), chosen: subset(set, indices(true)), isChosen };
}

const sizeOf = ({ shape: [, height, width, channels] }: ImageSet) =>
  `${height}x${width} ${channels === 1 ? "grey" : channels === 3 ? "RGB" : "RGBA"}`;

const summaryOf = (what: string, train: ImageSet, test: ImageSet) =>
  `${what}; ${inEnglish(train.shape[0])} images to train on and ${inEnglish(test.shape[0])} to test on`;
