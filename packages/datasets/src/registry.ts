import { Rng } from "@genai/core";
import type { ResolveOptions } from "./data-file.ts";
import type { ImageSet, PointSet, TableSet, TextSet, VideoSet, WordSet } from "./dataset.ts";
import { drawDigits } from "./drawn-digits.ts";
import {
  checkerboard,
  type DrawnPointsOptions,
  gaussianGrid,
  gaussianRing,
  pinwheel,
  swissRoll,
} from "./drawn-points.ts";
import { loadFashionMnist, loadFashionSprite900 } from "./fashion-mnist.ts";
import { loadJsbChorales, type MusicSet } from "./jsb-chorales.ts";
import { loadMnist } from "./mnist.ts";
import { movingDigits } from "./moving-digits.ts";
import { loadNames } from "./names.ts";
import { loadNotoEmoji } from "./noto-emoji.ts";
import { loadOpticalDigits } from "./optical-digits.ts";
import { loadBreastCancer, loadDiamonds, loadIris, loadPenguins, loadWine } from "./published-tables.ts";
import { splitTable } from "./split-table.ts";
import { loadTinyShakespeare } from "./tiny-shakespeare.ts";
import { twoMoons } from "./two-moons.ts";
import { loadWikitext2 } from "./wikitext-2.ts";

export interface LoadOptions extends ResolveOptions {
  readonly split: "train" | "test";
  /** For drawn sets and the split of tables: where their randomness comes from. Default: a fixed seed. */
  readonly rng?: Rng;
  /** For drawn sets: how many examples. */
  readonly count?: number;
}

/** The record of each kind of set. */
interface SetOfKind {
  readonly images: ImageSet;
  readonly points: PointSet;
  readonly text: TextSet;
  readonly words: WordSet;
  readonly music: MusicSet;
  readonly table: TableSet;
  readonly videos: VideoSet;
}

export type DatasetKind = keyof SetOfKind;

/** Any record that a loader of the table gives. */
export type AnySet = SetOfKind[DatasetKind];

/** A set in the table. */
export interface DatasetEntry<S extends AnySet = AnySet> {
  readonly kind: { [K in DatasetKind]: S extends SetOfKind[K] ? K : never }[DatasetKind];
  readonly description: string;
  readonly licence: string;
  /** Bytes to download when the set is neither in the data directory nor in the cache; 0 for drawn sets. */
  readonly downloadBytes: number;
  /** Examples, characters of a text, or pieces of music, by split. */
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

const fashionMnist: DatasetEntry<ImageSet> = {
  kind: "images",
  description: "pieces of clothing, 28x28 grey, 10 classes",
  licence: "MIT",
  downloadBytes: 30_878_645,
  size: { train: 60_000, test: 10_000 },
  load: ({ rng, count, ...options }) => loadFashionMnist(options),
};

const fashionSprite: DatasetEntry<ImageSet> = {
  kind: "images",
  description: "a sample of Fashion-MNIST: 90 pieces of clothing a class, 28x28 grey, 10 classes",
  licence: "MIT",
  downloadBytes: 790_450,
  size: { train: 700, test: 200 },
  load: ({ rng, count, ...options }) => loadFashionSprite900(options),
};

const opticalDigits: DatasetEntry<ImageSet> = {
  kind: "images",
  description: "handwritten digits, 8x8 grey, 10 classes",
  licence: "CC BY 4.0",
  downloadBytes: 828_422,
  size: { train: 3_823, test: 1_797 },
  load: ({ rng, count, ...options }) => loadOpticalDigits(options),
};

const emoji = (channels: "rgb" | "rgba"): DatasetEntry<ImageSet> => ({
  kind: "images",
  description: `emoji, 32x32 ${channels === "rgb" ? "RGB over white" : "RGBA"}; from GENAI_DATA_DIR only`,
  licence: "Apache-2.0",
  downloadBytes: 1_020_923,
  size: { train: 1_290, test: 143 },
  load: ({ rng, count, ...options }) => loadNotoEmoji({ ...options, channels }),
});

const tinyShakespeare: DatasetEntry<TextSet> = {
  kind: "text",
  description: "plays by Shakespeare, 65 distinct characters",
  licence: "public domain",
  downloadBytes: 1_115_394,
  size: { train: 1_003_854, test: 111_540 },
  load: ({ rng, count, split, ...options }) =>
    loadTinyShakespeare({ split: split === "test" ? "val" : split, ...options }),
};

const wikitext2: DatasetEntry<TextSet> = {
  kind: "text",
  description: "articles of Wikipedia: the validation part to train on, and the test part",
  licence: "CC BY-SA 3.0",
  downloadBytes: 2_378_130,
  size: { train: 1_120_192, test: 1_255_018 },
  load: ({ rng, count, split, ...options }) =>
    loadWikitext2({ split: split === "test" ? split : "validation", ...options }),
};

const names: DatasetEntry<WordSet> = {
  kind: "words",
  description: "first names of 2 to 15 letters",
  licence: "MIT",
  downloadBytes: 228_145,
  size: { train: 25_626, test: 3_203 },
  load: ({ rng, count, ...options }) => loadNames(options),
};

const jsbChorales: DatasetEntry<MusicSet> = {
  kind: "music",
  description: "chorales by J. S. Bach in steps of a sixteenth",
  licence: "public domain music",
  downloadBytes: 1_741_172,
  size: { train: 229, test: 77 },
  load: ({ rng, count, ...options }) => loadJsbChorales(options),
};

const fixedRng = (split: "train" | "test") => new Rng(split === "train" ? 1 : 2);

const table = (
  description: string,
  licence: string,
  downloadBytes: number,
  rows: readonly [train: number, test: number],
  load: (options: ResolveOptions) => Promise<TableSet>,
): DatasetEntry<TableSet> => ({
  kind: "table",
  description,
  licence,
  downloadBytes,
  size: { train: rows[0], test: rows[1] },
  // A fifth is for testing; values stay in their units. splitTable scales them.
  load: async ({ split, rng = new Rng(0), count, ...options }) =>
    splitTable(await load(options), { testFraction: 0.2, rng, standardize: false })[split],
});

const drawnDigits: DatasetEntry<ImageSet> = {
  kind: "images",
  description: "digits drawn by strokes, 28x28 grey, 10 classes; needs no network",
  licence: "Apache-2.0",
  downloadBytes: 0,
  size: { train: 20_000, test: 2_000 },
  load: async ({ split, rng = fixedRng(split), count = drawnDigits.size[split] }) => drawDigits({ count, rng }),
};

const movingDrawnDigits: DatasetEntry<VideoSet> = {
  kind: "videos",
  description: "clips of two drawn digits that bounce, 20 frames of 64x64 grey; needs no network",
  licence: "Apache-2.0",
  downloadBytes: 0,
  size: { train: 500, test: 100 },
  load: async ({ split, rng = fixedRng(split), count = movingDrawnDigits.size[split] }) => movingDigits({ count, rng }),
};

const drawnPoints = (description: string, draw: (options: DrawnPointsOptions) => PointSet): DatasetEntry<PointSet> => {
  const size = { train: 10_000, test: 2_000 };
  return {
    kind: "points",
    description: `${description}; needs no network`,
    licence: "Apache-2.0",
    downloadBytes: 0,
    size,
    load: async ({ split, rng = fixedRng(split), count = size[split] }) => draw({ count, rng }),
  };
};

/** All sets by name. A new one is a file of its own and a line here. */
export const datasets = {
  mnist,
  "fashion-mnist": fashionMnist,
  "fashion-sprite-900": fashionSprite,
  "optical-digits": opticalDigits,
  "noto-emoji": emoji("rgb"),
  "noto-emoji-rgba": emoji("rgba"),
  "drawn-digits": drawnDigits,
  "tiny-shakespeare": tinyShakespeare,
  "wikitext-2": wikitext2,
  names,
  "jsb-chorales": jsbChorales,
  iris: table("flowers: 4 lengths, 3 species", "CC BY 4.0", 4_549, [120, 30], loadIris),
  wine: table("wines: 13 measurements, 3 cultivars", "CC BY 4.0", 10_782, [142, 36], loadWine),
  "breast-cancer": table("tumours: 30 features, 2 classes", "CC BY 4.0", 124_103, [455, 114], loadBreastCancer),
  penguins: table("penguins: 4 measures, 3 categories, with missing cells", "CC0", 13_478, [275, 69], loadPenguins),
  diamonds: table("diamonds: 7 numbers, 3 grades", "MIT", 2_772_143, [43_152, 10_788], loadDiamonds),
  "two-moons": drawnPoints("two interleaving half circles in the plane", twoMoons),
  "gaussian-ring": drawnPoints("a ring of 8 Gaussians in the plane", gaussianRing),
  "gaussian-grid": drawnPoints("a grid of 25 Gaussians in the plane", gaussianGrid),
  "swiss-roll": drawnPoints("a swiss roll in the plane", swissRoll),
  checkerboard: drawnPoints("the dark fields of a checkerboard", checkerboard),
  pinwheel: drawnPoints("a pinwheel of 5 arms in the plane", pinwheel),
  "moving-digits": movingDrawnDigits,
} as const;

export type DatasetName = keyof typeof datasets;
