import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { exitCodeHelp } from "../exit-code.ts";
import { abilityOf } from "../families/index.ts";
import { deviceOption } from "../open-engine.ts";
import { wholeNumber } from "../option-parsers.ts";
import { openRun } from "../run/trained-run.ts";
import { printJson, printLine } from "../terminal.ts";

interface SampleOptions {
  count: number;
  seed: number;
  class?: string;
  device: string;
  out?: string;
  json?: boolean;
}

/** Adds `genai sample RUN`. */
export function addSample(program: Command): void {
  program
    .command("sample")
    .description("draw new examples from a trained model")
    .argument("<run>", "run folder")
    .option("--count <n>", "how many", wholeNumber(1), 64)
    .option("--class <name>", "class to draw from, for models that know classes (default: all in turn)")
    .option("--seed <n>", "seed; the same seed draws the same examples", wholeNumber(0), 0)
    .option("--out <file>", "file to write (default: samples-SEED in the run folder)")
    .addOption(deviceOption())
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  genai sample runs/quickstart-2026-01-31-120000
  genai sample runs/first --count 100 --seed 7 --out digits.png
  genai sample runs/conditional --class 7
${exitCodeHelp}`,
    )
    .action(async (dir: string, { count, class: label, seed, device, out, json = false }: SampleOptions) => {
      const done = await openRun(dir, { device, seed }, async (request) => {
        const { extension, contents } = await abilityOf(
          request.run.config,
          "sample",
          "be sampled from",
        )({ ...request, count, label });
        const file = out ?? join(dir, `samples-${seed}.${extension}`);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, contents);
        return { file, count, seed, engine: request.engine.name };
      });
      if (json) printJson(done);
      else printLine(`Wrote ${count} samples to ${done.file}`);
    });
}
