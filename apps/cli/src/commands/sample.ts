import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Rng } from "@genai/core";
import type { Command } from "commander";
import { exitCodeHelp } from "../exit-code.ts";
import { familyNamed } from "../families/index.ts";
import { deviceOption, openEngine } from "../open-engine.ts";
import { wholeNumber } from "../option-parsers.ts";
import { loadTrainedRun } from "../run/trained-run.ts";
import { printJson, printLine } from "../terminal.ts";

interface SampleOptions {
  count: number;
  seed: number;
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
${exitCodeHelp}`,
    )
    .action(async (dir: string, { count, seed, device, out, json = false }: SampleOptions) => {
      const run = await loadTrainedRun(dir);
      const engine = await openEngine(device);
      const { extension, contents } = await familyNamed(run.config.family).sample({
        run,
        engine,
        count,
        rng: new Rng(seed),
      });
      const file = out ?? join(dir, `samples-${seed}.${extension}`);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, contents);
      engine.dispose();
      if (json) printJson({ file, count, seed, engine: engine.name });
      else printLine(`Wrote ${count} samples to ${file}`);
    });
}
