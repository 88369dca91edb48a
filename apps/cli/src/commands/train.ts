import { type Command, Option } from "commander";
import { dataNames, ownData } from "../data/data-names.ts";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import type { Family } from "../families/family.ts";
import { families, familyNamed } from "../families/index.ts";
import { deviceOption } from "../open-engine.ts";
import { positiveNumber, wholeNumber } from "../option-parsers.ts";
import { RunFolder } from "../run/run-folder.ts";
import { resumeRun, startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { alignColumns } from "../terminal.ts";
import { reportRun } from "./report-run.ts";

interface SharedOptions {
  kind?: string;
  preset?: string;
  data?: string;
  steps?: number;
  seconds?: number;
  batchSize?: number;
  learningRate?: number;
  seed: number;
  device: string;
  out?: string;
  resume?: string;
  from?: string;
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
  const [first, ...others] = family.kinds;
  const command = train
    .command(family.name)
    .description(`train a ${family.summary}`)
    .option("--data <name|path>", `data set, or data of your own (default: ${first.defaults.data})`)
    .option("--steps <n>", "training steps in all", wholeNumber(1))
    .option("--seconds <n>", "stop after this much training", positiveNumber)
    .option("--batch-size <n>", "examples in a step", wholeNumber(1))
    .option("--learning-rate <number>", "largest learning rate of the schedule", positiveNumber)
    .option("--seed <n>", "seed of everything random", wholeNumber(0), 0)
    .addOption(deviceOption())
    .option("--out <dir>", "run folder (default: runs/NAME-TIMESTAMP)")
    .option("--resume <dir>", "go on with the run in this folder, from its last checkpoint")
    .option("--from <dir>", family.from ?? "begin with the parameters of this run, to fine-tune it")
    .option("--checkpoint-every <n>", "steps between checkpoints", wholeNumber(1), 250)
    .option("--json", "print the result as one JSON object");
  if (others.length > 0) {
    const names = family.kinds.map(({ name }) => name);
    command.addOption(new Option("--kind <name>", `which model (default: ${first.name})`).choices(names));
  }
  if (family.presets) {
    const names = family.presets.map(({ name }) => name);
    command.addOption(new Option("--preset <name>", "kind, size and training, listed below").choices(names));
  }
  for (const option of family.options) command.addOption(option);
  command.addHelpText("after", helpOf(family));
  command.action(async (values: SharedOptions) => {
    const { device, checkpointEvery, json = false } = values;
    const given = (name: string) => command.getOptionValueSource(name) === "cli";
    if (values.resume !== undefined) {
      const ignored = Object.keys(values).filter((name) => given(name) && !resumable.has(name));
      if (ignored.length > 0) {
        const flags = command.options.filter((option) => ignored.includes(option.attributeName()));
        throw new UsageError(
          `${flags.map((option) => option.long).join(", ")} cannot be given with --resume, which takes the settings of ${values.resume}/config.json; --steps, --seconds and --device can`,
        );
      }
      const folder = new RunFolder(values.resume);
      const config = await folder.readConfig();
      if (familyNamed(config.family) !== family) {
        throw new UsageError(
          `${values.resume} holds a run of ${config.family}; use genai train ${config.family} --resume`,
        );
      }
      const run = await resumeRun({
        folder,
        config,
        family,
        device: given("device") ? device : "auto",
        checkpointEvery,
        steps: values.steps,
        seconds: values.seconds,
      });
      return reportRun(run, { json });
    }
    const options = Object.fromEntries(
      family.options.map((option) => [
        option.attributeName(),
        (values as unknown as Record<string, unknown>)[option.attributeName()],
      ]),
    );
    const settings = completeSettings(family, { ...values, options });
    const run = await startRun({ family, settings, name: family.name, out: values.out, device, checkpointEvery });
    return reportRun(run, { json });
  });
}

const shownValue = (value: unknown) => (Array.isArray(value) ? value.join(",") || "none" : String(value));

function helpOf(family: Family): string {
  const [first, ...others] = family.kinds;
  const kinds = family.kinds.map(({ name, summary, defaults: d }) => [
    `  ${name}`,
    summary,
    `${d.data}, ${d.steps} steps of ${d.batchSize}, learning rate ${d.learningRate}`,
  ]);
  const takes = family.options.map((option) => {
    const values = family.kinds.map(({ defaults }) => defaults.options[option.attributeName()] ?? "");
    const same = values[0] !== "" && values.every((value) => String(value) === String(values[0]));
    if (same) return [`  ${option.long}`, shownValue(values[0])];
    const each = family.kinds.flatMap(({ name, defaults }) => {
      const value = defaults.options[option.attributeName()];
      return value === undefined || value === null || value === "" ? [] : [`${name} ${shownValue(value)}`];
    });
    return [`  ${option.long}`, each.join("; ")];
  });
  const data = [...new Set(family.kinds.map((kind) => kind.data))];
  const example = others.map(
    ({ name, defaults }) => `  genai train ${family.name} --kind ${name} --data ${defaults.data}`,
  );
  const presets = (family.presets ?? []).map(({ name, summary }) => [`  ${name}`, summary]);
  const listed =
    presets.length > 0
      ? `\nPresets; what is given besides goes before them:\n${alignColumns(presets).join("\n")}\n`
      : "";
  return `
Kinds, and what they train on by default:
${alignColumns(kinds).join("\n")}
${listed}
Options that a kind takes, with their default values:
${alignColumns(takes).join("\n")}

Data:
${data.map((kind) => `  ${kind}: ${ownData[kind]}, or ${dataNames(kind).join(", ")}`).join("\n")}

Examples:
  genai train ${family.name} --data ${first.defaults.data} --steps ${first.defaults.steps} --out runs/first
${[...example, ...(family.examples ?? []).map((line) => `  ${line}`)].join("\n")}
  genai train ${family.name} --resume runs/first --json
${exitCodeHelp}`;
}
