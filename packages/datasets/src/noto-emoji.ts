import { Rng } from "@genai/core";
import { checkChoice } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { ImageSet } from "./dataset.ts";
import { overBackground } from "./decode-image.ts";
import { readIdx } from "./idx.ts";
import { subset } from "./split.ts";

/** The files of the emoji. They are made from the font's PNG files and have no public address. */
export const notoEmojiFiles = {
  images: {
    path: "noto-emoji/noto-emoji-32px-rgba-idx4-ubyte.gz",
    urls: [],
    bytes: 5_869_588,
    sha256: "3e346a7050c4d1d3fa93e5ee6035aaee9a627b3f51bca7bd9a2f92e834125254",
  },
  names: {
    path: "noto-emoji/noto-emoji-names.tsv",
    urls: [],
    bytes: 44_689,
    sha256: "56099349a67a103395718a5627c20834161603839bc96036dbce7cc29c3a12e5",
  },
} as const satisfies Record<string, DataFile>;

export interface EmojiSet extends ImageSet {
  /** Unicode code point of every image. */
  readonly codePoints: Int32Array;
  /** Unicode names by code point; private ones have none. */
  readonly characterNames: ReadonlyMap<number, string>;
}

export interface LoadNotoEmojiOptions extends ResolveOptions {
  /** 1,290 and 143 images in an order fixed by a seed, or all by code point. */
  readonly split: "train" | "test" | "all";
  /** Straight alpha in a fourth channel, or colours over white. Default "rgb". */
  readonly channels?: "rgb" | "rgba";
}

/**
 * Noto emoji of one code point, 32x32, in colour: one class, each image there once.
 *
 * @returns images as bytes, shape [n, 32, 32, 3 or 4], n = 1290, 143 or 1433.
 * @throws as `loadMnist`.
 */
export async function loadNotoEmoji({ split, channels = "rgb", ...options }: LoadNotoEmojiOptions): Promise<EmojiSet> {
  checkChoice("loadNotoEmoji", "split", split, ["train", "test", "all"]);
  checkChoice("loadNotoEmoji", "channels", channels, ["rgb", "rgba"]);
  const resolve = { caller: "loadNotoEmoji", ...options };
  const [imageFile, nameFile] = await Promise.all([
    resolveFile(notoEmojiFiles.images, resolve),
    resolveFile(notoEmojiFiles.names, resolve),
  ]);
  const count = 1433;
  const rgba = readIdx(imageFile.bytes, {
    name: notoEmojiFiles.images.path,
    dtype: "uint8",
    shape: [count, 32, 32, 4],
  });
  const rows = new TextDecoder().decode(nameFile.bytes).trimEnd().split("\n").slice(1);
  const named = rows.map((row) => {
    const [, codePoint = "", name = ""] = row.split("\t");
    return [Number.parseInt(codePoint.slice(2), 16), name] as const;
  });
  const all: EmojiSet = {
    name: `noto-emoji-${channels}-${split}`,
    source: "https://github.com/googlefonts/noto-emoji",
    licence: "Apache-2.0 (images), SIL OFL 1.1 (font)",
    images: channels === "rgba" ? rgba.data : overBackground(rgba.data, 3, [255, 255, 255]),
    labels: new Uint8Array(count),
    shape: [count, 32, 32, channels === "rgba" ? 4 : 3],
    classes: ["emoji"],
    codePoints: Int32Array.from(named, ([codePoint]) => codePoint),
    characterNames: new Map(named.filter(([, name]) => name !== "")),
  };
  if (split === "all") return all;
  const order = new Rng(0).fork("loadNotoEmoji").draw({ kind: "permutation", size: count });
  return subset(all, split === "train" ? order.subarray(0, 1290) : order.subarray(1290));
}
