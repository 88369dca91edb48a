import { type Command, Option } from "commander";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import type { Family } from "../families/family.ts";
import { families, familyNamed } from "../families/index.ts";
import { deviceOption } from "../open-engine.ts";
import { positiveNumber, wholeNumber } from "../option-parsers.ts";
import { RunFolder, type TrainSettings } from "../run/run-folder.ts";
import { resumeRun, startRun } from "../run/train-run.ts";
import { reportRun } from "./report-run.ts";

interface SharedOptions {
  data: string;
  steps: number;
  seconds?: number;
  batchSize: number;
  learningRate: number;
  seed: number;
  device: string;
  out?: string;
  resume?: string;
  checkpointEvery: number;
  json?: boolean;
}

/** Options that may be given together with --resume; all others are read from the run's config.json. */
const resumable = new Set(["resume", "steps", "seconds", "device", "checkpointEvery", "json", "verbose"]);

/** Adds `genai train FAMILY`, one subcommand for each family. */
export function addTrain(program: Command): void {
  const train = program
    .command("train")
    .description("train a model and leave a run folder with its checkpoints, metrics, pictures and report")
    .addHelpText(
      "after",
      `
Examples:
${families.map(({ name }) => `  genai train ${name} --out runs/first\n  genai train ${name} --resume runs/first\n  genai train ${name} --help`).join("\n")}
${exitCodeHelp}`,
    );
  for (const family of families) addFamily(train, family);
}

function addFamily(train: Command, family: Family): void {
  const { defaults } = family;
  const command = train
    .command(family.name)
    .description(`train a ${family.summary}`)
    .addOption(new Option("--data <name>", "data set").choices(family.dataSets).default(family.dataSets[0]))
    .option("--steps <n>", "training steps in all", wholeNumber(1), defaults.steps)
    .option("--seconds <n>", "stop after this much training", positiveNumber)
    .option("--batch-size <n>", "examples in a step", wholeNumber(1), defaults.batchSize)
    .option("--learning-rate <number>", "largest learning rate of the schedule", positiveNumber, defaults.learningRate)
    .option("--seed <n>", "seed of everything random", wholeNumber(0), 0)
    .addOption(deviceOption())
    .option("--out <dir>", "run folder (default: runs/NAME-TIMESTAMP)")
    .option("--resume <dir>", "go on with the run in this folder, from its last checkpoint")
    .option("--checkpoint-every <n>", "steps between checkpoints", wholeNumber(1), 250)
    .option("--json", "print the result as one JSON object");
  for (const option of family.options) command.addOption(option);
  command.addHelpText(
    "after",
    `
Examples:
  genai train ${family.name} --data ${family.dataSets[0]} --steps ${defaults.steps} --out runs/first
  genai train ${family.name} --resume runs/first --json
${exitCodeHelp}`,
  );
  command.action(async (options: SharedOptions) => {
    const { device, checkpointEvery, json = false } = options;
    const given = (name: string) => command.getOptionValueSource(name) === "cli";
    if (options.resume !== undefined) {
      const ignored = Object.keys(options).filter((name) => given(name) && !resumable.has(name));
      if (ignored.length > 0) {
        const flags = command.options.filter((option) => ignored.includes(option.attributeName()));
        throw new UsageError(
          `${flags.map((option) => option.long).join(", ")} cannot be given with --resume, which takes the settings of ${options.resume}/config.json; --steps, --seconds and --device can`,
        );
      }
      const folder = new RunFolder(options.resume);
      const config = await folder.readConfig();
      if (familyNamed(config.family) !== family) {
        throw new UsageError(
          `${options.resume} holds a run of ${config.family}; use genai train ${config.family} --resume`,
        );
      }
      const run = await resumeRun({
        folder,
        config,
        family,
        device: given("device") ? device : "auto",
        checkpointEvery,
        ...(given("steps") ? { steps: options.steps } : {}),
        ...(given("seconds") ? { seconds: options.seconds! } : {}),
      });
      return reportRun(run, { json });
    }
    const settings: TrainSettings = {
      data: options.data,
      steps: options.steps,
      seconds: options.seconds ?? null,
      batchSize: options.batchSize,
      learningRate: options.learningRate,
      seed: options.seed,
      options: familyOptions(family, options as unknown as Record<string, unknown>),
    };
    const run = await startRun({ family, settings, name: family.name, out: options.out, device, checkpointEvery });
    return reportRun(run, { json });
  });
}

/** The values of the family's own options. */
function familyOptions(family: Family, values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(family.options.map((option) => [option.attributeName(), values[option.attributeName()]]));
}

/** The family's own options at their defaults. */
export function defaultFamilyOptions(family: Family): Record<string, unknown> {
  return Object.fromEntries(family.options.map((option) => [option.attributeName(), option.defaultValue]));
}
