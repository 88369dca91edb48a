import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { inEnglish } from "../data/data-names.ts";
import { exitCodeHelp } from "../exit-code.ts";
import { abilityOf } from "../families/index.ts";
import { deviceOption } from "../open-engine.ts";
import { share, wholeNumber } from "../option-parsers.ts";
import { openRun } from "../run/trained-run.ts";
import { alignColumns, bold, printJson, printLine } from "../terminal.ts";

interface ImputeOptions {
  data?: string;
  missing: number;
  seed: number;
  skipBroken?: boolean;
  device: string;
  out?: string;
  json?: boolean;
}

/** Adds `genai impute RUN`. */
export function addImpute(program: Command): void {
  program
    .command("impute")
    .description("fill in missing cells of a table, or pixels that are hidden, with a trained model")
    .argument("<run>", "run folder")
    .option("--data <name|path>", "what to fill in (default: the test part of the training data)")
    .option("--missing <share>", "hide this share of the known values too, and measure the error there", share, 0)
    .option("--skip-broken", "go on without images that cannot be read")
    .option("--seed <n>", "seed of what is hidden and of the draws", wholeNumber(0), 0)
    .option("--out <file>", "file to write (default: imputed.csv or imputed.png in the run folder)")
    .addOption(deviceOption())
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
A table comes back as a CSV file with every cell filled. Images come back as a picture: each as it was, with its gaps,
and filled in.

Examples:
  genai impute runs/penguins --data gaps.csv --out whole.csv
  genai impute runs/first --missing 0.5
${exitCodeHelp}`,
    )
    .action(
      async (dir: string, { data, missing, skipBroken = false, seed, device, out, json = false }: ImputeOptions) => {
        const done = await openRun(dir, { device, seed }, async (request) => {
          const impute = abilityOf(request.run.config, "impute", "fill in missing values");
          const { file: made, ...rest } = await impute({ ...request, data, skipBroken, hide: missing });
          const file = out ?? join(dir, `imputed.${made.extension}`);
          await mkdir(dirname(file), { recursive: true });
          await writeFile(file, made.contents);
          return { file, ...rest, engine: request.engine.name };
        });
        if (json) return printJson({ ...done, missing });
        printLine(`Filled ${inEnglish(done.filled)} values of ${inEnglish(done.examples)} examples: ${done.file}`);
        if (done.errors.length === 0) return;
        printLine();
        const header = ["", "model", "mean or mode", "principal components"];
        const shown = (value: number | undefined) => (value === undefined ? "" : value.toFixed(4));
        const rows = done.errors.map(({ measure, model, mean, pca }) => [
          measure,
          bold(shown(model)),
          shown(mean),
          shown(pca),
        ]);
        for (const line of alignColumns([header, ...rows])) printLine(line);
      },
    );
}
