import type { Command, Option } from "commander";
import { UsageError } from "../exit-code.ts";
import type { Family } from "../families/family.ts";
import { familyNamed, resumeCommand } from "../families/index.ts";
import { deviceOption } from "../open-engine.ts";
import { positiveNumber, wholeNumber } from "../option-parsers.ts";
import { RunFolder } from "../run/run-folder.ts";
import type { RunOutcome } from "../run/run-outcome.ts";
import { resumeRun } from "../run/train-run.ts";

// What train and finetune have in common: options of a run, and how one goes on.

/** What the options of `addTrainingOptions` give. */
export interface TrainingFlags {
  readonly data?: string;
  readonly steps?: number;
  readonly seconds?: number;
  readonly batchSize?: number;
  readonly learningRate?: number;
  readonly seed: number;
  readonly device: string;
  readonly out?: string;
  readonly resume?: string;
  readonly checkpointEvery: number;
  readonly json?: boolean;
}

/** Adds the options of a training run. */
export function addTrainingOptions(
  command: Command,
  { examples, name, checkpointEvery }: { examples: string; name: string; checkpointEvery: number },
): Command {
  return command
    .option("--steps <n>", "training steps in all", wholeNumber(1))
    .option("--seconds <n>", "stop after this much training", positiveNumber)
    .option("--batch-size <n>", `${examples} in a step`, wholeNumber(1))
    .option("--learning-rate <number>", "largest learning rate of the schedule", positiveNumber)
    .option("--seed <n>", "seed of everything random", wholeNumber(0), 0)
    .addOption(deviceOption())
    .option("--out <dir>", `run folder (default: runs/${name}-TIMESTAMP)`)
    .option("--resume <dir>", "go on with the run in this folder, from its last checkpoint")
    .option("--checkpoint-every <n>", "steps between checkpoints", wholeNumber(1), checkpointEvery)
    .option("--json", "print the result as one JSON object");
}

/** Options that may be given together with --resume; all others are read from the run's config.json. */
const resumable = new Set(["resume", "steps", "seconds", "device", "checkpointEvery", "json", "verbose"]);

/** Goes on with the run in a folder. Throws a UsageError if it is of another family, or options are given that it has. */
export async function resumeFolder(
  dir: string,
  { command, family, flags }: { command: Command; family: Family; flags: TrainingFlags },
): Promise<RunOutcome> {
  const given = (name: string) => command.getOptionValueSource(name) === "cli";
  const options = command.options.filter((option) => {
    const name = option.attributeName();
    return given(name) && !resumable.has(name);
  });
  const ignored = [...command.args, ...options.map(({ long }) => long)];
  if (ignored.length > 0) {
    throw new UsageError(
      `${ignored.join(", ")} cannot be given with --resume, which takes the settings of ${dir}/config.json; --steps, --seconds and --device can`,
    );
  }
  const folder = new RunFolder(dir);
  const config = await folder.readConfig();
  if (familyNamed(config.family) !== family) {
    throw new UsageError(`${dir} holds a run of ${config.family}; use ${resumeCommand(config.family, dir)}`);
  }
  const { steps, seconds, checkpointEvery } = flags;
  // A run goes on where it can, which need not be where it began.
  const device = given("device") ? flags.device : "auto";
  return resumeRun({ folder, config, family, device, checkpointEvery, steps, seconds });
}

/** What was said of a family's own options, by attribute name. */
export function familyValues(options: readonly Option[], flags: object): Record<string, unknown> {
  return Object.fromEntries(
    options.map((option) => [option.attributeName(), (flags as Record<string, unknown>)[option.attributeName()]]),
  );
}
