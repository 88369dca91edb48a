import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Engine, GROUP_SIZES, type GroupSize, type Tree, treeDispose } from "@genai/core";
import { loadTextFiles } from "@genai/datasets";
import {
  type CalibrationProgress,
  type CausalLm,
  convertLm,
  createDecoder,
  generate,
  perplexity,
  saveConverted,
} from "@genai/transformer";
import { type Command, Option } from "commander";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import { withInterrupt } from "../interrupt.ts";
import { deviceOption, openEngine } from "../open-engine.ts";
import { wholeNumber } from "../option-parsers.ts";
import { progressNotes } from "../progress-notes.ts";
import { alignColumns, printJson, printLine, printNote } from "../terminal.ts";
import { writeStopIds, writeTokenizer } from "../text/model-files.ts";
import { openTextModel } from "../text/text-model.ts";
import { encodeText } from "../text/text-vocabulary.ts";

interface QuantizeFlags {
  readonly bits: "8" | "4";
  readonly groupSize?: string;
  readonly calibrate?: string;
  readonly calibrateTokens: number;
  readonly out: string;
  readonly data?: string;
  readonly dataTokens: number;
  readonly scales: "F32" | "F16" | "BF16";
  readonly checkpoint: "best" | "latest";
  readonly adapter?: string;
  readonly device: string;
  readonly json?: boolean;
}

/** Adds `genai quantize MODEL --out DIR`. */
export function addQuantize(program: Command): void {
  program
    .command("quantize")
    .description("round a language model's weights to 8 or 4 bits and write them as a folder")
    .argument("<model>", "run folder of genai train gpt or finetune, Hugging Face folder, or hf:OWNER/NAME")
    .requiredOption("--out <dir>", "folder to write")
    .addOption(new Option("--bits <n>", "bits of a weight").choices(["8", "4"]).default("4"))
    .addOption(
      new Option(
        "--group-size <n>",
        "weights of a row that share a scale (default: 128 in 8 bits and with --calibrate, else 64)",
      ).choices(GROUP_SIZES.map(String)),
    )
    .option(
      "--calibrate <file>",
      "a text like those to be written: round so that what the model makes of it changes little (GPTQ)",
    )
    .option("--calibrate-tokens <n>", "read this many tokens of it, spread over the whole", wholeNumber(1), 16_384)
    .option("--data <file>", "a text: measure perplexity on it, and the speed of writing, before and after")
    .option("--data-tokens <n>", "read at most this many tokens of it", wholeNumber(2), 20_000)
    .addOption(
      new Option("--scales <type>", "type of the scales and of what is not rounded; F32 changes nothing further")
        .choices(["F32", "F16", "BF16"])
        .default("F32"),
    )
    .addOption(
      new Option("--checkpoint <which>", "of a run: the weights with the best validation loss, or the latest")
        .choices(["best", "latest"])
        .default("best"),
    )
    .option("--adapter <dir>", "adapter in PEFT's format to merge into the weights first")
    .addOption(deviceOption())
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
The folder opens in genai generate, chat and serve as any other, without --weights. Small groups follow the weights more closely,
large ones are smaller and faster. With --calibrate, which takes minutes, less is lost in 4 bits in large groups than without in
small ones; take a text that the model was trained on, or one like it, and for --data another. The layout is MLX's; the model that
they were made of is needed to train further.

Examples:
  genai quantize runs/first --out first-4bit
  genai quantize runs/first --out first-4bit --calibrate book.txt --data held-out.txt
  genai quantize hf:openai-community/gpt2 --bits 8 --out gpt2-8bit --data held-out.txt
  genai chat first-4bit
${exitCodeHelp}`,
    )
    .action((path: string, flags: QuantizeFlags) => withInterrupt((signal) => quantize(path, flags, signal)));
}

/** What is measured before and after. */
interface Quality {
  readonly perplexity: number;
  readonly tokensPerSecond: number;
}

async function quantize(path: string, flags: QuantizeFlags, signal: AbortSignal): Promise<void> {
  const { out, data, checkpoint, adapter, scales: dtype, json = false } = flags;
  const bits = Number(flags.bits);
  if (resolve(out) === resolve(path)) throw new UsageError(`--out ${out} is the model's own folder; choose another`);
  const text = data === undefined ? undefined : await readText("--data", data, signal);
  const example = flags.calibrate === undefined ? undefined : await readText("--calibrate", flags.calibrate, signal);
  if (example !== undefined && example === text) {
    printNote("--data is the text that the weights are rounded by: perplexity on another one may be higher");
  }
  const model = await openTextModel(path, { checkpoint, signal, ...(adapter !== undefined && { adapter }) });
  const { tokenizer, pretrained, countParams, stopIds } = model;
  let engine: Engine | undefined;
  let rounded: Tree;
  const notes = progressNotes(howFar);
  try {
    const tokens = text === undefined ? undefined : heldOut(tokenizer, text, data!, flags.dataTokens);
    const exampleTokens = example === undefined ? undefined : examples(tokenizer, example, flags.calibrate!);
    if (tokens || exampleTokens) engine = await openEngine(flags.device);
    let before: Quality | undefined;
    if (engine && tokens) {
      // As generate holds weights that are not rounded.
      const panels = await convertLm(model.lm, model.params);
      try {
        before = await measure(engine, panels.lm, panels.params, tokens, signal);
      } finally {
        treeDispose(panels.params);
      }
    }
    const format = bits === 8 ? "int8" : "int4";
    const groupSize = flags.groupSize === undefined ? undefined : (Number(flags.groupSize) as GroupSize);
    const converted = await convertLm(model.lm, model.params, {
      format,
      ...(groupSize && { groupSize }),
      ...(engine &&
        exampleTokens && {
          calibration: {
            engine,
            tokens: exampleTokens,
            maxTokens: flags.calibrateTokens,
            signal,
            onProgress: notes.update,
          },
        }),
      consume: true,
    });
    notes.stop();
    rounded = converted.params;
    const { architecture, config, published } = pretrained;
    await saveConverted(out, { architecture, config, params: rounded, ...(published && { published }) }, { dtype });
    await writeTokenizer(out, tokenizer, { endId: undefined, begins: false, blockSize: model.lm.blockSize });
    await writeStopIds(out, stopIds);
    const after = engine && tokens && (await measure(engine, converted.lm, rounded, tokens, signal));
    treeDispose(rounded);
    const sizes = { before: 4 * countParams, after: (await stat(join(out, "model.safetensors"))).size };
    if (json) {
      const both = before && after && { before, after, tokens: tokens!.length };
      printJson({ out, bits, params: countParams, bytes: sizes, ...(both && { measured: both }) });
      return;
    }
    const rows = [["", "32 bits", `${bits} bits`]];
    rows.push(["size", mebibytes(sizes.before), mebibytes(sizes.after)]);
    if (before && after) {
      rows.push(["perplexity", before.perplexity.toFixed(3), after.perplexity.toFixed(3)]);
      rows.push([
        "speed",
        `${before.tokensPerSecond.toFixed(0)} tokens/s`,
        `${after.tokensPerSecond.toFixed(0)} tokens/s`,
      ]);
    }
    for (const line of alignColumns(rows)) printLine(line);
    printLine(`Wrote ${out}`);
  } finally {
    notes.stop();
    engine?.dispose();
    model.dispose();
  }
}

/** A text as training reads it: without a byte order mark, its lines ending in "\n". */
async function readText(option: string, file: string, signal: AbortSignal): Promise<string> {
  try {
    return (await loadTextFiles(file, { signal })).text;
  } catch (error) {
    if (signal.aborted) throw error;
    throw new UsageError(`${option} ${file} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}

function heldOut(tokenizer: Parameters<typeof encodeText>[0], text: string, file: string, most: number): Int32Array {
  // Characters enough for as many tokens, so that a book is not read for its first pages.
  const ids = encodeText(tokenizer, text.slice(0, 40 * most), { addSpecialTokens: false, what: file });
  if (ids.length < 2) throw new UsageError(`--data ${file} holds ${ids.length} tokens; expected at least 2`);
  return ids.subarray(0, most);
}

/** The beginning of very long texts will do. */
const MOST_CHARACTERS = 10_000_000;

function examples(tokenizer: Parameters<typeof encodeText>[0], text: string, file: string): Int32Array {
  const ids = encodeText(tokenizer, text.slice(0, MOST_CHARACTERS), { addSpecialTokens: false, what: file });
  if (ids.length === 0) throw new UsageError(`--calibrate ${file} holds no tokens; expected a text`);
  return ids;
}

const howFar = ({ stage, done, total }: CalibrationProgress): string =>
  stage === "reading"
    ? `read ${done.toLocaleString("en")} of ${total.toLocaleString("en")} tokens`
    : `rounded ${done} of ${total} matrices`;

async function measure(
  engine: Engine,
  lm: CausalLm,
  params: Tree,
  tokens: Int32Array,
  signal: AbortSignal,
): Promise<Quality> {
  const { perplexity: value } = await perplexity(engine, lm, params, tokens, { batchSize: 1, signal });
  const decoder = createDecoder(engine, lm);
  try {
    const prompt = tokens.subarray(0, Math.min(16, tokens.length, Math.ceil(lm.blockSize / 4)));
    const maxNewTokens = Math.min(32, lm.blockSize - prompt.length);
    let tokensPerSecond = 0;
    // The first time compiles; of the others the fastest counts, which other work has held up least.
    for (let run = 0; run < 4; run++) {
      const times: number[] = [];
      for await (const _ of generate(engine, lm, params, [prompt], { maxNewTokens, decoder, signal })) {
        times.push(performance.now());
      }
      const speed = (1000 * (times.length - 1)) / (times.at(-1)! - times[0]!);
      if (run > 0) tokensPerSecond = Math.max(tokensPerSecond, speed);
    }
    return { perplexity: value, tokensPerSecond };
  } finally {
    decoder.dispose();
  }
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
