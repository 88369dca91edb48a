import { FormatError } from "@genai/core";
import { checkChoice } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { ImageSet } from "./dataset.ts";

// E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.

const home = "https://raw.githubusercontent.com/yupinghuang/optical_digits/master/data/";

const file = (name: string, bytes: number, sha256: string): DataFile => ({
  path: `digits8x8/${name}`,
  urls: [home + name],
  bytes,
  sha256,
});

/** The files of the UCI optical digits; UCI's training part is divided into two. */
export const opticalDigitsFiles = {
  train: [
    file("optdigits.tra", 442_086, "a6d20dd0016ea85e8e207860d7b59411b07ddd18981ab250fa0ce37525570ab7"),
    file("optdigits.hol", 121_588, "4e93dfa93f501c29e4b6e1db417db68be20a7acafd85e52939e04369ecde386a"),
  ],
  test: [file("optdigits.tes", 264_748, "94d7b3c067125a5f6a6d51cf1dc8e95de7d731e41c7f1e714897330242949464")],
} as const;

export interface LoadOpticalDigitsOptions extends ResolveOptions {
  /** UCI's splits: 3,823 images by 30 writers to train on, 1,797 by 13 others to test on (scikit-learn's load_digits). */
  readonly split: "train" | "test";
}

/**
 * UCI optical digits: handwritten digits of 8x8 pixels, one channel, 0 = background. The 17 levels 0 to 16 of the files
 * are spread over the bytes: level v becomes round(255 v / 16).
 *
 * @returns images as bytes, shape [3823, 8, 8, 1] or [1797, 8, 8, 1].
 * @throws as `loadMnist`.
 */
export async function loadOpticalDigits({ split, ...options }: LoadOpticalDigitsOptions): Promise<ImageSet> {
  checkChoice("loadOpticalDigits", "split", split, ["train", "test"]);
  const resolve = { caller: "loadOpticalDigits", ...options };
  const rows: number[][] = [];
  for (const source of opticalDigitsFiles[split]) {
    const { bytes } = await resolveFile(source, resolve);
    for (const [i, line] of new TextDecoder().decode(bytes).split("\n").entries()) {
      if (line === "" || line.startsWith("#")) continue;
      const row = line.split(",").map(Number);
      if (row.length !== 65 || !row.every((v, at) => v >= 0 && v <= (at === 64 ? 9 : 16))) {
        throw new FormatError(`loadOpticalDigits: ${source.path}, line ${i + 1}: expected 64 levels and a digit`);
      }
      rows.push(row);
    }
  }
  const images = new Uint8Array(rows.length * 64);
  const labels = new Uint8Array(rows.length);
  for (const [i, row] of rows.entries()) {
    for (let p = 0; p < 64; p++) images[i * 64 + p] = Math.round((255 * row[p]!) / 16);
    labels[i] = row[64]!;
  }
  return {
    name: `optical-digits-${split}`,
    source: "https://archive.ics.uci.edu/dataset/80",
    licence: "CC BY 4.0 (E. Alpaydin, C. Kaynak)",
    images,
    labels,
    shape: [rows.length, 8, 8, 1],
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
  };
}
