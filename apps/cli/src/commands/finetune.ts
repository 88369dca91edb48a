import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import { defaultLearningRate, finetuneFamily, finetuneOptions } from "../families/finetune/index.ts";
import { deviceOption } from "../open-engine.ts";
import { positiveNumber, wholeNumber } from "../option-parsers.ts";
import { RunFolder } from "../run/run-folder.ts";
import { resumeRun, startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { alignColumns } from "../terminal.ts";
import { formatOf, readJsonLines } from "../text/conversations.ts";
import { isHubModel } from "../text/hub-model.ts";
import { reportRun } from "./report-run.ts";

interface FinetuneValues {
  data?: string;
  format: string;
  steps?: number;
  seconds?: number;
  batchSize?: number;
  learningRate?: number;
  seed: number;
  device: string;
  out?: string;
  resume?: string;
  checkpointEvery: number;
  json?: boolean;
  method?: string;
}

const formats = finetuneFamily.kinds.map(({ name }) => name);
/** Options that may be given together with --resume; all others are read from the run's config.json. */
const resumable = new Set(["resume", "steps", "seconds", "device", "checkpointEvery", "json", "verbose"]);

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
    )
    .option("--steps <n>", "training steps in all", wholeNumber(1))
    .option("--seconds <n>", "stop after this much training", positiveNumber)
    .option("--batch-size <n>", "rows, conversations or pairs in a step", wholeNumber(1))
    .option("--learning-rate <number>", "largest learning rate of the schedule", positiveNumber)
    .option("--seed <n>", "seed of everything random", wholeNumber(0), 0)
    .addOption(deviceOption())
    .option("--out <dir>", "run folder (default: runs/finetune-TIMESTAMP)")
    .option("--resume <dir>", "go on with the run in this folder, from its last checkpoint")
    .option("--checkpoint-every <n>", "steps between checkpoints", wholeNumber(1), 100)
    .option("--json", "print the result as one JSON object");
  for (const option of finetuneOptions) command.addOption(option);
  command.addHelpText("after", help());
  command.action(async (model: string | undefined, values: FinetuneValues) => {
    const { device, checkpointEvery, json = false } = values;
    const given = (name: string) => command.getOptionValueSource(name) === "cli";
    if (values.resume !== undefined) {
      const ignored = command.options.filter((option) => {
        const name = option.attributeName();
        return given(name) && !resumable.has(name);
      });
      if (model !== undefined || ignored.length > 0) {
        const what = [...(model === undefined ? [] : [model]), ...ignored.map(({ long }) => long)].join(", ");
        throw new UsageError(
          `${what} cannot be given with --resume, which takes the settings of ${values.resume}/config.json; --steps, --seconds and --device can`,
        );
      }
      const folder = new RunFolder(values.resume);
      const config = await folder.readConfig();
      if (config.family !== finetuneFamily.name) {
        throw new UsageError(
          `${values.resume} holds a run of ${config.family}; use genai train ${config.family} --resume`,
        );
      }
      const run = await resumeRun({
        folder,
        config,
        family: finetuneFamily,
        device: given("device") ? device : "auto",
        checkpointEvery,
        steps: values.steps,
        seconds: values.seconds,
      });
      return reportRun(run, { json });
    }
    if (model === undefined)
      throw new UsageError("No model is given; expected a run folder, a model's folder or hf:OWNER/NAME");
    if (values.data === undefined) throw new UsageError("No --data is given; expected text, or a .jsonl file");
    const kind = values.format === "auto" ? await detectFormat(values.data) : values.format;
    const options = Object.fromEntries(
      finetuneOptions.map((option) => [
        option.attributeName(),
        (values as unknown as Record<string, unknown>)[option.attributeName()],
      ]),
    );
    const settings = completeSettings(finetuneFamily, {
      ...values,
      kind,
      learningRate: values.learningRate ?? defaultLearningRate(kind, values.method ?? "lora"),
      options,
    });
    const run = await startRun({
      family: finetuneFamily,
      settings: { ...settings, from: isHubModel(model) ? model : resolve(model) },
      name: finetuneFamily.name,
      out: values.out,
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
