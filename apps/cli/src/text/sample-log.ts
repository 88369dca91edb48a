import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunFolder } from "../run/run-folder.ts";
import { bold, dim } from "../terminal.ts";

/** Texts sampled at a step of training, and the losses there. */
export interface SampledTexts {
  readonly step: number;
  readonly valLoss: number;
  readonly trainLoss: number;
  readonly texts: readonly string[];
}

const fileOf = (folder: RunFolder) => join(folder.dir, "samples.jsonl");

/** Adds a line to samples.jsonl. */
export async function appendSamples(folder: RunFolder, sampled: SampledTexts): Promise<void> {
  await appendFile(fileOf(folder), `${JSON.stringify(sampled)}\n`);
}

/** The samples of a run, by step; of a step that was trained twice, because the run was stopped, the later ones. */
export async function readSamples(folder: RunFolder): Promise<SampledTexts[]> {
  const text = await readFile(fileOf(folder), "utf8").catch(() => "");
  const byStep = new Map<number, SampledTexts>();
  for (const line of text.split("\n")) {
    try {
      const sampled = JSON.parse(line) as SampledTexts;
      byStep.set(sampled.step, sampled);
    } catch {
      // Cut short by a crash, or the empty end.
    }
  }
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}

/** The samples for the terminal: a line that says where training stands, then the texts, set in. */
export function showSamples({ step, valLoss, trainLoss, texts }: SampledTexts): string {
  const losses = `validation loss ${valLoss.toFixed(3)}  training loss ${trainLoss.toFixed(3)}`;
  const lines = texts.flatMap((text) =>
    printable(text)
      .replace(/^\n+|\n+$/g, "")
      .split("\n"),
  );
  const short = texts.length > 1 && lines.length === texts.length;
  const shown = short ? [lines.map((line) => line.trim()).join("  ")] : lines;
  return [`${bold(`step ${step}`)}  ${losses}`, ...shown.map((line) => dim(`  ${line}`.trimEnd()))].join("\n");
}

/** A text that a terminal may show: without the control characters that would move its cursor or colour it. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\ufffd");
}
