import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import { defaultLearningRate, finetuneFamily, finetuneOptions } from "../families/finetune/index.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { alignColumns } from "../terminal.ts";
import { formatOf, readJsonLines } from "../text/conversations.ts";
import { isHubModel } from "../text/hub-model.ts";
import { reportRun } from "./report-run.ts";
import { addTrainingOptions, familyValues, resumeFolder, type TrainingFlags } from "./training-command.ts";

interface FinetuneFlags extends TrainingFlags {
  readonly format: string;
  readonly method?: string;
}

const formats = finetuneFamily.kinds.map(({ name }) => name);

/** Adds `genai finetune MODEL`. */
export function addFinetune(program: Command): void {
  const command = program
    .command("finetune")
    .description("go on training a language model on data of yours; leaves a run folder that genai generate opens")
    .argument("[model]", "a run folder, a Hugging Face folder, or hf:OWNER/NAME")
    .option("--data <path>", "what to learn: text, or a .jsonl file")
    .addOption(
      new Option("--format <name>", "what the data is; auto looks at its first line")
        .choices(["auto", ...formats])
        .default("auto"),
    );
  addTrainingOptions(command, {
    examples: "rows, conversations or pairs",
    name: finetuneFamily.name,
    checkpointEvery: 100,
  });
  for (const option of finetuneOptions) command.addOption(option);
  command.addHelpText("after", help());
  command.action(async (model: string | undefined, flags: FinetuneFlags) => {
    const { device, checkpointEvery, json = false } = flags;
    if (flags.resume !== undefined) {
      return reportRun(await resumeFolder(flags.resume, { command, family: finetuneFamily, flags }), { json });
    }
    if (model === undefined)
      throw new UsageError("No model is given; expected a run folder, a model's folder or hf:OWNER/NAME");
    if (flags.data === undefined) throw new UsageError("No --data is given; expected text, or a .jsonl file");
    const kind = flags.format === "auto" ? await detectFormat(flags.data) : flags.format;
    const settings = completeSettings(finetuneFamily, {
      ...flags,
      kind,
      learningRate: flags.learningRate ?? defaultLearningRate(kind, flags.method ?? "lora"),
      options: familyValues(finetuneOptions, flags),
    });
    const run = await startRun({
      family: finetuneFamily,
      settings: { ...settings, from: isHubModel(model) ? model : resolve(model) },
      name: finetuneFamily.name,
      out: flags.out,
      device,
      checkpointEvery,
    });
    return reportRun(run, { json });
  });
}

/** What a file's first line says it is: JSON lines of one kind or the other, or text. */
async function detectFormat(data: string): Promise<string> {
  if (!data.endsWith(".jsonl") || !existsSync(data) || !(await stat(data)).isFile()) return "text";
  const [first] = await readJsonLines(data);
  const format = formatOf(first!);
  if (format) return format;
  const fields = Object.keys(first!).slice(0, 8).join(", ");
  throw new UsageError(
    `${data}: the first line has the fields ${fields || "none"}; expected prompt and completion, messages, instruction and ` +
      "output, or prompt, chosen and rejected; --format text learns the file as it is",
  );
}

function help(): string {
  const kinds = finetuneFamily.kinds.map(({ name, summary }) => [`  ${name}`, summary]);
  const { options, steps, batchSize } = finetuneFamily.kinds[0].defaults;
  const defaults = finetuneOptions.flatMap((option) => {
    const value = options[option.attributeName()] ?? finetuneFamily.kinds[2]?.defaults.options[option.attributeName()];
    const shown = Array.isArray(value) ? value.join(",") : value;
    return shown === undefined || shown === null || shown === "" || shown === false
      ? []
      : [[`  ${option.long}`, String(shown)]];
  });
  return `
Formats of data:
${alignColumns(kinds).join("\n")}

Default values, with ${steps} steps of ${batchSize} and a learning rate of 0.001 (a tenth of it with --method full, and again for preferences):
${alignColumns(defaults).join("\n")}

Examples:
  genai finetune runs/first --data names.txt --out runs/names
  genai finetune hf:openai-community/gpt2 --data answers.jsonl --rank 16
  genai finetune runs/answers --data preferences.jsonl --beta 0.1
  genai finetune --resume runs/names --steps 600
  genai generate runs/names
${exitCodeHelp}`;
}
