import { Rng } from "@genai/core";
import { checkChoice } from "./check-options.ts";
import { type DataFile, type ResolveOptions, resolveFile } from "./data-file.ts";
import type { WordSet } from "./dataset.ts";

/** The file of names (A. Karpathy, makemore). */
export const namesFile: DataFile = {
  path: "names/names.txt",
  urls: ["https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"],
  bytes: 228_145,
  sha256: "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
};

/** Where each split begins and ends. */
const parts = { train: [0, 0.8], val: [0.8, 0.9], test: [0.9, 1], all: [0, 1] } as const;

export interface LoadNamesOptions extends ResolveOptions {
  /** 80 %, 10 % and 10 % of the names in an order fixed by a seed, or all in the order of the file: most common first. */
  readonly split: "train" | "val" | "test" | "all";
}

/**
 * 32,033 first names of 2 to 15 letters, a to z.
 *
 * @returns 25,626 (train), 3,204 (val), 3,203 (test) or 32,033 (all) names.
 * @throws as `loadMnist`.
 */
export async function loadNames({ split, ...options }: LoadNamesOptions): Promise<WordSet> {
  checkChoice("loadNames", "split", split, Object.keys(parts));
  const { bytes } = await resolveFile(namesFile, { caller: "loadNames", ...options });
  const all = new TextDecoder().decode(bytes).trimEnd().split("\n");
  const [start, end] = parts[split].map((fraction) => Math.round(fraction * all.length));
  const order = new Rng(0).fork("loadNames").draw({ kind: "permutation", size: all.length });
  return {
    name: `names-${split}`,
    source: "https://github.com/karpathy/makemore",
    licence: "MIT (makemore); names from ssa.gov",
    words: split === "all" ? all : Array.from(order.subarray(start, end), (i) => all[i]!),
    alphabet: Array.from("abcdefghijklmnopqrstuvwxyz"),
  };
}
