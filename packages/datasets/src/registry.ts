import { Rng } from "@genai/core";
import { checkChoice } from "./check-options.ts";
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
  /** A part of the set that it has by its `size`. */
  readonly split: "train" | "validation" | "test";
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

/** Examples, characters of a text, or pieces of music, by split; 0 where a set has no such part. */
export interface SplitSizes {
  readonly train: number;
  readonly validation?: number;
  readonly test: number;
}

/** A set in the table. */
export interface DatasetEntry<S extends AnySet = AnySet> {
  readonly kind: { [K in DatasetKind]: S extends SetOfKind[K] ? K : never }[DatasetKind];
  readonly description: string;
  readonly licence: string;
  /** Bytes of the files that it is read from; 0 for drawn sets. */
  readonly downloadBytes: number;
  /** Whether the files have no public address, and are read from the data directory only. */
  readonly fromDataDirOnly: boolean;
  readonly size: SplitSizes;
  /** @throws if the set has no such split, DataUnavailableError if it cannot be had here, and as its own loader. */
  load(options: LoadOptions): Promise<S>;
}

interface Published<S extends AnySet> extends Omit<DatasetEntry<S>, "fromDataDirOnly" | "load"> {
  readonly fromDataDirOnly?: true;
  /** Loads the part under the name that it was published with. */
  load(split: "train" | "validation" | "test", options: ResolveOptions): Promise<S>;
}

/** An entry whose loader knows nothing of random numbers and counts, and whose splits are those of `size`. */
function published<S extends AnySet>({ load, ...about }: Published<S>): DatasetEntry<S> {
  return {
    fromDataDirOnly: false,
    ...about,
    async load({ split, rng, count, ...options }) {
      checkSplit(about.description, about.size, split);
      return load(split, options);
    },
  } as DatasetEntry<S>;
}

const splits = ["train", "validation", "test"] as const;

function checkSplit(description: string, size: SplitSizes, split: (typeof splits)[number]): void {
  const there = splits.filter((name) => (size[name] ?? 0) > 0);
  checkChoice("load", `split of "${description}"`, split, there);
}

type TrainOrTest = "train" | "test";

const images = (
  description: string,
  licence: string,
  downloadBytes: number,
  [train, test]: readonly [train: number, test: number],
  load: (options: ResolveOptions & { split: TrainOrTest }) => Promise<ImageSet>,
): DatasetEntry<ImageSet> =>
  published({
    kind: "images",
    description,
    licence,
    downloadBytes,
    size: { train, test },
    load: (split, options) => load({ split: split as TrainOrTest, ...options }),
  });

const emoji = (channels: "rgb" | "rgba"): DatasetEntry<ImageSet> => ({
  ...images(
    `emoji, 32x32 ${channels === "rgb" ? "RGB over white" : "RGBA"}`,
    "Apache-2.0",
    1_020_923,
    [1_290, 143],
    (options) => loadNotoEmoji({ ...options, channels }),
  ),
  fromDataDirOnly: true,
});

const tinyShakespeare = published<TextSet>({
  kind: "text",
  description: "plays by Shakespeare, 65 distinct characters",
  licence: "public domain",
  downloadBytes: 1_115_394,
  size: { train: 1_003_854, test: 111_540 },
  load: (split, options) => loadTinyShakespeare({ split: split === "test" ? "val" : "train", ...options }),
});

const wikitext2 = published<TextSet>({
  kind: "text",
  description: "articles of Wikipedia: WikiText-2's validation and test parts",
  licence: "CC BY-SA 3.0",
  downloadBytes: 2_378_130,
  size: { train: 0, validation: 1_120_192, test: 1_255_018 },
  load: (split, options) => loadWikitext2({ split: split as "validation" | "test", ...options }),
});

const names = published<WordSet>({
  kind: "words",
  description: "first names of 2 to 15 letters",
  licence: "MIT",
  downloadBytes: 228_145,
  size: { train: 25_626, validation: 3_204, test: 3_203 },
  load: (split, options) => loadNames({ split: split === "validation" ? "val" : split, ...options }),
});

const jsbChorales = published<MusicSet>({
  kind: "music",
  description: "chorales by J. S. Bach in steps of a sixteenth",
  licence: "public domain music",
  downloadBytes: 1_741_172,
  size: { train: 229, validation: 76, test: 77 },
  load: (split, options) => loadJsbChorales({ split: split === "validation" ? "valid" : split, ...options }),
});

const table = (
  description: string,
  licence: string,
  downloadBytes: number,
  [train, test]: readonly [train: number, test: number],
  load: (options: ResolveOptions) => Promise<TableSet>,
): DatasetEntry<TableSet> => {
  const size = { train, test };
  return {
    kind: "table",
    description,
    licence,
    downloadBytes,
    fromDataDirOnly: false,
    size,
    // A fifth is for testing; values stay in their units. splitTable scales them.
    async load({ split, rng = new Rng(0), count, ...options }) {
      checkSplit(description, size, split);
      return splitTable(await load(options), { testFraction: 0.2, rng, standardize: false })[split as TrainOrTest];
    },
  };
};

/** An entry of a set that is drawn: each part from a seed of its own. */
function drawn<S extends AnySet>(
  kind: DatasetEntry<S>["kind"],
  what: string,
  size: SplitSizes,
  draw: (options: DrawnPointsOptions) => S,
): DatasetEntry<S> {
  const description = `${what}; needs no network`;
  return {
    kind,
    description,
    licence: "Apache-2.0",
    downloadBytes: 0,
    fromDataDirOnly: false,
    size,
    async load({ split, rng = new Rng(split === "train" ? 1 : 2), count = size[split] ?? 0 }) {
      checkSplit(description, size, split);
      return draw({ count, rng });
    },
  };
}

const drawnPoints = (description: string, draw: (options: DrawnPointsOptions) => PointSet) =>
  drawn<PointSet>("points", description, { train: 10_000, test: 2_000 }, draw);

/** All sets by name. A new one is a file of its own and an entry here. */
export const datasets = {
  mnist: images("handwritten digits, 28x28 grey, 10 classes", "CC BY-SA 3.0", 11_594_722, [60_000, 10_000], loadMnist),
  "fashion-mnist": images(
    "pieces of clothing, 28x28 grey, 10 classes",
    "MIT",
    30_878_645,
    [60_000, 10_000],
    loadFashionMnist,
  ),
  "fashion-sprite-900": images(
    "a sample of Fashion-MNIST: 90 pieces of clothing a class, 28x28 grey, 10 classes",
    "MIT",
    790_450,
    [700, 200],
    loadFashionSprite900,
  ),
  "optical-digits": images(
    "handwritten digits, 8x8 grey, 10 classes",
    "CC BY 4.0",
    828_422,
    [3_823, 1_797],
    loadOpticalDigits,
  ),
  "noto-emoji": emoji("rgb"),
  "noto-emoji-rgba": emoji("rgba"),
  "drawn-digits": drawn<ImageSet>(
    "images",
    "digits drawn by strokes, 28x28 grey, 10 classes",
    { train: 20_000, test: 2_000 },
    drawDigits,
  ),
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
  "moving-digits": drawn<VideoSet>(
    "videos",
    "clips of two drawn digits that bounce, 20 frames of 64x64 grey",
    { train: 500, test: 100 },
    movingDigits,
  ),
} as const;

export type DatasetName = keyof typeof datasets;
