import type { DataFile } from "./data-file.ts";
import type { ImageSet } from "./dataset.ts";
import { type IdxSplitOptions, loadIdxImages } from "./idx-images.ts";

// Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", 1998.

const homes = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"];

const file = (name: string, bytes: number, sha256: string): DataFile => ({
  path: `mnist/${name}`,
  urls: homes.map((home) => home + name),
  bytes,
  sha256,
});

/** The four files of MNIST; sizes and SHA-256 are of the decompressed content. */
export const mnistFiles = {
  train: {
    count: 60_000,
    images: file(
      "train-images-idx3-ubyte.gz",
      47_040_016,
      "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    labels: file(
      "train-labels-idx1-ubyte.gz",
      60_008,
      "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
  },
  test: {
    count: 10_000,
    images: file(
      "t10k-images-idx3-ubyte.gz",
      7_840_016,
      "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    labels: file(
      "t10k-labels-idx1-ubyte.gz",
      10_008,
      "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
  },
} as const;

export type LoadMnistOptions = IdxSplitOptions;

/**
 * MNIST: handwritten digits, 28x28, one channel, 0 = background. Looked up in GENAI_DATA_DIR, then the cache, then
 * downloaded; verified by SHA-256 in each case.
 *
 * @returns images as bytes, shape [60000, 28, 28, 1] or [10000, 28, 28, 1].
 * @throws DataUnavailableError if it is nowhere to be had, ChecksumError or FormatError if a file in the data directory
 * is not the published one, AbortError.
 */
export async function loadMnist(options: LoadMnistOptions): Promise<ImageSet> {
  const data = await loadIdxImages("loadMnist", mnistFiles, options);
  return {
    name: `mnist-${options.split}`,
    source: "http://yann.lecun.com/exdb/mnist/",
    licence: "CC BY-SA 3.0 (Y. LeCun, C. Cortes, C. Burges)",
    ...data,
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
  };
}
