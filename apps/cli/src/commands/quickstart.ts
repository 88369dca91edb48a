import { DataUnavailableError } from "@genai/datasets";
import { type Command, Option } from "commander";
import { dataNames } from "../data/data-names.ts";
import { exitCodeHelp } from "../exit-code.ts";
import { quickstartFamily } from "../families/index.ts";
import { deviceOption } from "../open-engine.ts";
import { positiveNumber, wholeNumber } from "../option-parsers.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { printNote } from "../terminal.ts";
import { reportRun } from "./report-run.ts";

interface QuickstartOptions {
  data: string;
  steps: number;
  seconds: number;
  seed: number;
  device: string;
  out?: string;
  json?: boolean;
}

/** Adds `genai quickstart`. */
export function addQuickstart(program: Command): void {
  const family = quickstartFamily;
  program
    .command("quickstart")
    .description("train a small model on MNIST in about a minute and show what it has learned")
    .option("--steps <n>", "training steps at most", wholeNumber(1), 700)
    .option("--seconds <n>", "seconds of training at most", positiveNumber, 75)
    .option("--seed <n>", "seed of everything random", wholeNumber(0), 0)
    .addOption(deviceOption())
    .option("--out <dir>", "run folder (default: runs/quickstart-TIMESTAMP)")
    .option("--json", "print the result as one JSON object")
    .addOption(new Option("--data <name>", "data set").choices(dataNames(family.kinds[0].data)).default("mnist"))
    .addHelpText(
      "after",
      `
Examples:
  genai quickstart
  genai quickstart --seconds 20 --out runs/first
  genai quickstart --json | jq .results.testElbo
${exitCodeHelp}`,
    )
    .action(async ({ json = false, out, device, data, steps, seconds, seed }: QuickstartOptions) => {
      const settings = completeSettings(family, { data, steps, seconds, seed });
      const request = { family, settings, name: "quickstart", out, device, checkpointEvery: 250 };
      try {
        reportRun(await startRun(request), { json });
      } catch (error) {
        if (!(error instanceof DataUnavailableError) || data === "drawn-digits") throw error;
        printNote(
          `${data} is neither in GENAI_DATA_DIR nor in the cache and cannot be downloaded, so this trains on digits drawn by strokes.`,
        );
        reportRun(await startRun({ ...request, settings: { ...settings, data: "drawn-digits" } }), { json });
      }
    });
}
