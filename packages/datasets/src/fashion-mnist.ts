import { FormatError } from "@genai/core";
import { checkChoice } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { ImageSet } from "./dataset.ts";
import { decodeImage } from "./decode-image.ts";
import { type IdxSplitOptions, loadIdxImages } from "./idx-images.ts";
import { subset } from "./split.ts";

// H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms",
// 2017, arXiv:1708.07747.

const homes = [
  "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
  "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
];

const file = (name: string, bytes: number, sha256: string, sha256Of: "content" | "file"): DataFile => ({
  path: `fashion-mnist/${name}`,
  urls: homes.map((home) => home + name),
  bytes,
  sha256,
  sha256Of,
});

/** The four files of Fashion-MNIST. The SHA-256 of the images is that of the `.gz` files as published. */
export const fashionMnistFiles = {
  train: {
    count: 60_000,
    images: file(
      "train-images-idx3-ubyte.gz",
      47_040_016,
      "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
      "file",
    ),
    labels: file(
      "train-labels-idx1-ubyte.gz",
      60_008,
      "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
      "content",
    ),
  },
  test: {
    count: 10_000,
    images: file(
      "t10k-images-idx3-ubyte.gz",
      7_840_016,
      "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
      "file",
    ),
    labels: file(
      "t10k-labels-idx1-ubyte.gz",
      10_008,
      "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
      "content",
    ),
  },
} as const;

/** The sprite of the project's page: 900 of its images. */
export const fashionSpriteFile: DataFile = {
  path: "fashion-mnist/fashion-mnist-sprite.png",
  urls: ["https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/doc/img/fashion-mnist-sprite.png"],
  bytes: 790_450,
  sha256: "a7de0a151f8c68e6e96f157a018ac290d1f6b0e7845892c3d7d85cb64961c3cb",
};

const about = {
  source: "https://github.com/zalandoresearch/fashion-mnist",
  licence: "MIT (Zalando SE)",
  classes: [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
  ] as readonly string[],
};

export type LoadFashionMnistOptions = IdxSplitOptions;

/**
 * Fashion-MNIST: pieces of clothing, 28x28, one channel, 0 = background.
 *
 * @returns images as bytes, shape [60000, 28, 28, 1] or [10000, 28, 28, 1].
 * @throws as `loadMnist`.
 */
export async function loadFashionMnist(options: LoadFashionMnistOptions): Promise<ImageSet> {
  const data = await loadIdxImages("loadFashionMnist", fashionMnistFiles, options);
  return { name: `fashion-mnist-${options.split}`, ...about, ...data };
}

export interface LoadFashionSprite900Options extends ResolveOptions {
  /** Of every class the first 70 images, the last 20, or all 90. */
  readonly split: "train" | "test" | "all";
}

/**
 * A small sample of Fashion-MNIST for tests and first steps: the 900 images, 90 a class, on the sprite of its page. They
 * have 232 grey levels, perhaps quantised, so do not look for them byte by byte in the set; the split is our own.
 *
 * @returns images as bytes, shape [700, 28, 28, 1] (train), [200, 28, 28, 1] (test) or [900, 28, 28, 1].
 * @throws as `loadMnist`.
 */
export async function loadFashionSprite900({ split, ...options }: LoadFashionSprite900Options): Promise<ImageSet> {
  checkChoice("loadFashionSprite900", "split", split, ["train", "test", "all"]);
  const { bytes } = await resolveFile(fashionSpriteFile, { caller: "loadFashionSprite900", ...options });
  const { width, height, data, channels } = await decodeImage(bytes, { name: fashionSpriteFile.path });
  if (width !== 840 || height !== 840) {
    throw new FormatError(`loadFashionSprite900: the sprite is ${width}x${height} pixels; expected 840x840`);
  }
  const images = new Uint8Array(900 * 784);
  for (let i = 0; i < 900; i++) {
    const corner = Math.floor(i / 30) * 28 * 840 + (i % 30) * 28;
    for (let p = 0; p < 784; p++) {
      images[i * 784 + p] = data[(corner + Math.floor(p / 28) * 840 + (p % 28)) * channels]!;
    }
  }
  const all: ImageSet = {
    name: `fashion-sprite-900-${split}`,
    ...about,
    images,
    labels: Uint8Array.from({ length: 900 }, (_, i) => Math.floor(i / 90)),
    shape: [900, 28, 28, 1],
  };
  if (split === "all") return all;
  const indices = Array.from({ length: 900 }, (_, i) => i);
  return subset(
    all,
    indices.filter((i) => i % 90 < 70 === (split === "train")),
  );
}
