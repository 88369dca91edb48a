import { checkChoice } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { ImageSet } from "./dataset.ts";
import { readIdx } from "./idx.ts";

/** A pair of IDX files: 28x28 images, and their labels. */
interface IdxImageFiles {
  readonly count: number;
  readonly images: DataFile;
  readonly labels: DataFile;
}

export interface IdxSplitOptions extends ResolveOptions {
  /** The published splits: 60,000 images to train on, 10,000 to test on. */
  readonly split: "train" | "test";
}

/** Loads one split of MNIST or of a set of its form. */
export async function loadIdxImages(
  caller: string,
  files: Readonly<Record<"train" | "test", IdxImageFiles>>,
  { split, ...options }: IdxSplitOptions,
): Promise<Pick<ImageSet, "images" | "labels" | "shape">> {
  checkChoice(caller, "split", split, ["train", "test"]);
  const { count, images, labels } = files[split];
  const read = async (file: DataFile, shape: readonly number[]) => {
    const { bytes } = await resolveFile(file, { caller, ...options });
    return readIdx(bytes, { name: file.path, dtype: "uint8", shape }).data;
  };
  const [pixels, classes] = await Promise.all([read(images, [count, 28, 28]), read(labels, [count])]);
  return { images: pixels, labels: classes, shape: [count, 28, 28, 1] };
}
