import { type ColumnType, type ReadCsvOptions, readCsv } from "./csv.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { TableSet } from "./dataset.ts";

const book = "https://raw.githubusercontent.com/rasbt/python-machine-learning-book/master/code/datasets/";
const seaborn = "https://raw.githubusercontent.com/mwaskom/seaborn-data/master/";

const file = (path: string, url: string, bytes: number, sha256: string): DataFile => ({
  path: `tabular/${path}`,
  urls: [url],
  bytes,
  sha256,
});

/** The files of the tables. */
export const tableFiles = {
  iris: file(
    "uci-iris.data",
    `${book}iris/iris.data`,
    4_549,
    "f5d0c11e5c78a69a20dbb80baf2b24703f59a6687595752abb397d23732647c5",
  ),
  wine: file(
    "uci-wine.data",
    `${book}wine/wine.data`,
    10_782,
    "6be6b1203f3d51df0b553a70e57b8a723cd405683958204f96d23d7cd6aea659",
  ),
  breastCancer: file(
    "uci-wdbc.data",
    `${book}wdbc/wdbc.data`,
    124_103,
    "d606af411f3e5be8a317a5a8b652b425aaf0ff38ca683d5327ffff94c3695f4a",
  ),
  penguins: file(
    "penguins.csv",
    `${seaborn}penguins.csv`,
    13_478,
    "e07636bd8af74260099ea2f8678e2eabbf35def579940cc76f67061ee16c06c1",
  ),
  diamonds: file(
    "diamonds.csv",
    `${seaborn}diamonds.csv`,
    2_772_143,
    "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4",
  ),
} as const;

const measured = (unit: string): ColumnType => ({ kind: "numeric", unit });
const oneOf = (...categories: string[]): ColumnType => ({ kind: "categorical", categories });

async function loadTable(
  caller: string,
  source: DataFile,
  options: ResolveOptions | undefined,
  csv: ReadCsvOptions & { readonly name: string },
): Promise<TableSet> {
  const { bytes } = await resolveFile(source, { caller, ...options });
  return readCsv(new TextDecoder().decode(bytes), { delimiter: ",", ...csv });
}

/**
 * Iris: 150 flowers, 4 lengths in cm and the species (R. A. Fisher 1936; UCI).
 *
 * @throws as `loadMnist`.
 */
export function loadIris(options?: ResolveOptions): Promise<TableSet> {
  const names = ["sepal_length", "sepal_width", "petal_length", "petal_width"];
  return loadTable("loadIris", tableFiles.iris, options, {
    name: "iris",
    source: "https://archive.ics.uci.edu/dataset/53",
    licence: "CC BY 4.0 (R. A. Fisher, UCI)",
    header: [...names, "species"],
    columns: {
      ...Object.fromEntries(names.map((name) => [name, measured("cm")])),
      species: oneOf("Iris-setosa", "Iris-versicolor", "Iris-virginica"),
    },
    target: "species",
  });
}

/**
 * Wine: 178 wines of three cultivars, 13 measurements of their chemistry (M. Forina et al. 1988; UCI). The file states no
 * units; alcohol is in % by volume, magnesium and proline in mg/l.
 *
 * @throws as `loadMnist`.
 */
export function loadWine(options?: ResolveOptions): Promise<TableSet> {
  return loadTable("loadWine", tableFiles.wine, options, {
    name: "wine",
    source: "https://archive.ics.uci.edu/dataset/109",
    licence: "CC BY 4.0 (S. Aeberhard, M. Forina, UCI)",
    header: [
      "cultivar",
      "alcohol",
      "malic_acid",
      "ash",
      "alcalinity_of_ash",
      "magnesium",
      "total_phenols",
      "flavanoids",
      "nonflavanoid_phenols",
      "proanthocyanins",
      "color_intensity",
      "hue",
      "od280_od315",
      "proline",
    ],
    columns: {
      cultivar: oneOf("1", "2", "3"),
      alcohol: measured("% vol"),
      magnesium: measured("mg/l"),
      proline: measured("mg/l"),
    },
    target: "cultivar",
  });
}

/**
 * Breast cancer, Wisconsin diagnostic: 569 tumours, mean, standard error and worst value of 10 features of the cell nuclei
 * in an image, in the image's own units (W. H. Wolberg et al. 1995; UCI). The patients' numbers are left out.
 *
 * @throws as `loadMnist`.
 */
export function loadBreastCancer(options?: ResolveOptions): Promise<TableSet> {
  const features = [
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
  ];
  const numbers = ["mean", "se", "worst"].flatMap((statistic) => features.map((feature) => `${feature}_${statistic}`));
  return loadTable("loadBreastCancer", tableFiles.breastCancer, options, {
    name: "breast-cancer",
    source: "https://archive.ics.uci.edu/dataset/17",
    licence: "CC BY 4.0 (W. H. Wolberg, O. L. Mangasarian, W. N. Street, UCI)",
    header: ["id", "diagnosis", ...numbers],
    columns: { id: "skip", diagnosis: oneOf("B", "M") },
    target: "diagnosis",
  });
}

/**
 * Palmer penguins: 344 penguins, 4 measures and 3 categories, 19 cells missing (K. B. Gorman et al. 2014).
 *
 * @throws as `loadMnist`.
 */
export function loadPenguins(options?: ResolveOptions): Promise<TableSet> {
  return loadTable("loadPenguins", tableFiles.penguins, options, {
    name: "penguins",
    source: "https://allisonhorst.github.io/palmerpenguins/",
    licence: "CC0 (K. B. Gorman, T. D. Williams, W. R. Fraser)",
    columns: {
      species: oneOf("Adelie", "Chinstrap", "Gentoo"),
      island: oneOf("Biscoe", "Dream", "Torgersen"),
      bill_length_mm: measured("mm"),
      bill_depth_mm: measured("mm"),
      flipper_length_mm: measured("mm"),
      body_mass_g: measured("g"),
      sex: oneOf("FEMALE", "MALE"),
    },
    target: "species",
  });
}

/**
 * Diamonds (ggplot2): 53,940 diamonds, 7 numeric columns and 3 grades, each from worst to best. `depth` and `table` are
 * percentages of proportions; x, y, z are length, width, depth.
 *
 * @throws as `loadMnist`.
 */
export function loadDiamonds(options?: ResolveOptions): Promise<TableSet> {
  return loadTable("loadDiamonds", tableFiles.diamonds, options, {
    name: "diamonds",
    source: "https://ggplot2.tidyverse.org/reference/diamonds.html",
    licence: "MIT (ggplot2)",
    columns: {
      carat: measured("0.2 g"),
      cut: oneOf("Fair", "Good", "Very Good", "Premium", "Ideal"),
      color: oneOf("J", "I", "H", "G", "F", "E", "D"),
      clarity: oneOf("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
      depth: measured("%"),
      table: measured("%"),
      price: measured("USD"),
      x: measured("mm"),
      y: measured("mm"),
      z: measured("mm"),
    },
  });
}
