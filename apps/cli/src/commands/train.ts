import { type Command, Option } from "commander";
import { dataNames, ownData } from "../data/data-names.ts";
import { exitCodeHelp } from "../exit-code.ts";
import type { Family } from "../families/family.ts";
import { families } from "../families/index.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { alignColumns } from "../terminal.ts";
import { reportRun } from "./report-run.ts";
import { addTrainingOptions, familyValues, resumeFolder, type TrainingFlags } from "./training-command.ts";

interface TrainFlags extends TrainingFlags {
  readonly kind?: string;
  readonly preset?: string;
  readonly from?: string;
}

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
    .option("--data <name|path>", `data set, or data of your own (default: ${first.defaults.data})`);
  addTrainingOptions(command, { examples: "examples", name: "NAME", checkpointEvery: 250 }).option(
    "--from <dir>",
    family.from ?? "begin with the parameters of this run, to fine-tune it",
  );
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
  command.action(async (flags: TrainFlags) => {
    const { device, checkpointEvery, json = false } = flags;
    if (flags.resume !== undefined) {
      return reportRun(await resumeFolder(flags.resume, { command, family, flags }), { json });
    }
    const options = familyValues(family.options, flags);
    const settings = completeSettings(family, { ...flags, options });
    const run = await startRun({ family, settings, name: family.name, out: flags.out, device, checkpointEvery });
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
