import { Rng } from "@genai/core";
import type { ResolveOptions } from "./data-file.ts";
import type { ImageSet, PointSet, TextSet } from "./dataset.ts";
import { drawDigits } from "./drawn-digits.ts";
import { loadMnist } from "./mnist.ts";
import { loadTinyShakespeare } from "./tiny-shakespeare.ts";
import { twoMoons } from "./two-moons.ts";

export interface LoadOptions extends ResolveOptions {
  readonly split: "train" | "test";
  /** For drawn sets: where the drawing's randomness comes from. Default: a fixed seed for each split. */
  readonly rng?: Rng;
  /** For drawn sets: how many examples. */
  readonly count?: number;
}

/** A set in the table. */
export interface DatasetEntry<S extends ImageSet | PointSet | TextSet = ImageSet | PointSet | TextSet> {
  readonly kind: S extends ImageSet ? "images" : S extends PointSet ? "points" : "text";
  readonly description: string;
  readonly licence: string;
  /** Bytes to download when the set is neither in the data directory nor in the cache; 0 for drawn sets. */
  readonly downloadBytes: number;
  /** Examples, or characters of a text, by split. */
  readonly size: { readonly train: number; readonly test: number };
  load(options: LoadOptions): Promise<S>;
}

const mnist: DatasetEntry<ImageSet> = {
  kind: "images",
  description: "handwritten digits, 28x28 grey, 10 classes",
  licence: "CC BY-SA 3.0",
  downloadBytes: 11_594_722,
  size: { train: 60_000, test: 10_000 },
  load: ({ rng, count, ...options }) => loadMnist(options),
};

const tinyShakespeare: DatasetEntry<TextSet> = {
  kind: "text",
  description: "plays by Shakespeare, 65 distinct characters",
  licence: "public domain",
  downloadBytes: 1_115_394,
  size: { train: 1_003_854, test: 111_540 },
  load: ({ rng, count, split, ...options }) =>
    loadTinyShakespeare({ split: split === "test" ? "val" : split, ...options }),
};

const fixedRng = (split: "train" | "test") => new Rng(split === "train" ? 1 : 2);

const drawnDigits: DatasetEntry<ImageSet> = {
  kind: "images",
  description: "digits drawn by strokes, 28x28 grey, 10 classes; needs no network",
  licence: "Apache-2.0",
  downloadBytes: 0,
  size: { train: 20_000, test: 2_000 },
  load: async ({ split, rng = fixedRng(split), count = drawnDigits.size[split] }) => drawDigits({ count, rng }),
};

const moons: DatasetEntry<PointSet> = {
  kind: "points",
  description: "two interleaving half circles in the plane; needs no network",
  licence: "Apache-2.0",
  downloadBytes: 0,
  size: { train: 10_000, test: 2_000 },
  load: async ({ split, rng = fixedRng(split), count = moons.size[split] }) => twoMoons({ count, rng }),
};

/** All sets by name. A new one is a file of its own and a line here. */
export const datasets = {
  mnist,
  "drawn-digits": drawnDigits,
  "tiny-shakespeare": tinyShakespeare,
  "two-moons": moons,
} as const;

export type DatasetName = keyof typeof datasets;
