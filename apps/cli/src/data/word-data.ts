import { existsSync } from "node:fs";
import { Rng } from "@genai/core";
import { type DatasetEntry, datasets, loadTextFiles, type WordSet } from "@genai/datasets";
import { UsageError } from "../exit-code.ts";
import { type DataRequest, downloadNotes, inEnglish, unknownData } from "./data-names.ts";

export interface WordSplits {
  readonly train: readonly string[];
  readonly test: readonly string[];
  readonly alphabet: readonly string[];
  readonly summary: string;
}

/** Both splits of a named set of words, or of the lines of a text file: a tenth of those is tested on. */
export async function loadWords(source: string, { signal, note }: DataRequest): Promise<WordSplits> {
  const entry = (datasets as Readonly<Record<string, DatasetEntry>>)[source];
  if (entry?.kind === "words") {
    const { load, description } = entry as DatasetEntry<WordSet>;
    const onProgress = downloadNotes(note);
    const train = await load({ split: "train", signal, onProgress });
    const test = await load({ split: "test", signal, onProgress });
    return splitsOf(`${source}: ${description}`, train.words, test.words, train.alphabet);
  }
  if (!existsSync(source)) throw unknownData("words", source);
  const lines = await linesOf(source, signal);
  if (lines.length < 10) {
    throw new UsageError(`${source} holds ${lines.length} strings; expected at least 10, a tenth of them to test on`);
  }
  const order = new Rng(0).draw({ kind: "permutation", size: lines.length });
  const tested = Math.round(lines.length / 10);
  const pick = (indices: ArrayLike<number>) => Array.from(indices, (i) => lines[i]!);
  const alphabet = [...new Set(lines.join(""))].sort();
  return splitsOf(source, pick(order.subarray(tested)), pick(order.subarray(0, tested)), alphabet);
}

/** The lines of a text file that are not empty. */
export async function linesOf(file: string, signal: AbortSignal): Promise<string[]> {
  const { text } = await loadTextFiles(file, { signal });
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

const splitsOf = (what: string, train: readonly string[], test: readonly string[], alphabet: readonly string[]) => ({
  train,
  test,
  alphabet,
  summary: `${what}; ${inEnglish(train.length)} strings to train on and ${inEnglish(test.length)} to test on`,
});
