import type { Command } from "commander";
import { linesOf } from "../data/word-data.ts";
import { exitCodeHelp, InterruptedError, UsageError } from "../exit-code.ts";
import { withInterrupt } from "../interrupt.ts";
import { collected, wholeNumber } from "../option-parsers.ts";
import { formatCount } from "../run/progress.ts";
import { bold, dim, endWithReader, printJson, printNote } from "../terminal.ts";
import { type GenerateTextsOptions, generateTexts, searchTexts, type WholeText } from "../text/generate-texts.ts";
import { promptIds } from "../text/prompt-ids.ts";
import { printable } from "../text/sample-log.ts";
import { type SamplingFlags, samplingFlags, samplingOf } from "../text/sampling-flags.ts";
import type { WritingModel } from "../text/text-model.ts";
import { TextsInOrder } from "../text/texts-in-order.ts";
import { type ModelFlags, modelArgument, modelFlags, openWritingModel } from "../text/writing-model.ts";
import { readAll, standardInput } from "../tokenizer/read-texts.ts";

interface GenerateFlags extends SamplingFlags, ModelFlags {
  readonly prompt?: readonly string[];
  readonly file?: string;
  readonly maxTokens: number;
  readonly count: number;
  readonly beams?: number;
  readonly stop?: readonly string[];
  readonly seed: number;
  readonly batchSize: number;
  readonly slide?: boolean;
  readonly echo?: boolean;
  readonly allowSpecial?: boolean;
  readonly logprobs?: boolean;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** Adds `genai generate PATH`. */
export function addGenerate(program: Command): void {
  const command = program
    .command("generate")
    .description("write text with a language model: a run folder, a Hugging Face folder or hf:OWNER/NAME")
    .argument("<model>", modelArgument)
    .option(
      "--prompt <text>",
      "what to go on from; - reads it from the standard input (may be given several times)",
      collected,
    )
    .option("--file <prompts>", "a text file with a prompt on each line")
    .option("--max-tokens <n>", "at most this many new tokens for each text", wholeNumber(1), 200)
    .option("--count <n>", "texts for each prompt", wholeNumber(1), 1);
  for (const option of samplingFlags()) command.addOption(option);
  command
    .option("--beams <n>", "search for the likeliest texts with this many beams, in place of drawing", wholeNumber(1))
    .option(
      "--stop <text>",
      "end a text before this, with \\n for the end of a line (may be given several times)",
      collected,
    )
    .option("--seed <n>", "the same seed writes the same texts", wholeNumber(0), 0)
    .option("--batch-size <n>", "texts that are written at once", wholeNumber(1), 16)
    .option("--slide", "keep the end of a prompt that is longer than the context")
    .option("--echo", "print each prompt before its text")
    .option("--allow-special", "read special tokens that are typed in prompts as such")
    .option("--logprobs", "with --json: ids and log-probabilities of the tokens")
    .option("--json", "print the result as one JSON object");
  for (const option of modelFlags()) command.addOption(option);
  command
    .addHelpText(
      "after",
      `
Text goes to stdout as it is written. Behind the end of the context it goes on with the later half of what it has seen.

Examples:
  genai generate runs/first --prompt "ROMEO:"
  genai generate runs/names --count 20 --temperature 1
  genai generate gpt2-folder --prompt "The answer is" --max-tokens 40 --top-p 0.9 --stop "\\n"
  cat letter.txt | genai generate hf:HuggingFaceTB/SmolLM2-135M --prompt - --beams 4
  genai generate runs/first --file prompts.txt --json | jq -r '.texts[].text'
${exitCodeHelp}`,
    )
    .action(async (path: string) => {
      // The program takes --verbose itself, wherever it stands.
      const flags = command.optsWithGlobals<GenerateFlags>();
      checkFlags(flags, (name) => command.getOptionValueSource(name) === "cli");
      await withInterrupt((signal) => run(path, flags, signal));
    });
}

function checkFlags(flags: GenerateFlags, given: (name: string) => boolean): void {
  const { prompt, file, beams, count, logprobs, json, echo } = flags;
  if (prompt && file !== undefined) throw new UsageError("Give --prompt or --file, not both");
  if ((prompt?.filter((text) => text === standardInput).length ?? 0) > 1) {
    throw new UsageError("--prompt - can be given once: there is one standard input");
  }
  if (logprobs && !json) throw new UsageError("--logprobs goes with --json");
  if (echo && json) throw new UsageError("--echo goes without --json, which names the prompts anyway");
  if (beams === undefined) return;
  const drawing = samplingFlags().filter((option) => given(option.attributeName()));
  if (drawing.length > 0) {
    throw new UsageError(
      `${drawing.map(({ long }) => long).join(", ")} cannot be given with --beams, which draws nothing`,
    );
  }
  if (logprobs) throw new UsageError("--logprobs cannot be given with --beams; each text has its logProb");
  if (count > beams)
    throw new UsageError(`--count ${count} is more than the ${beams} texts that --beams ${beams} finds`);
}

/** A text with what it goes on from. */
interface Continued extends Omit<WholeText, "logProb"> {
  readonly prompt: string;
  readonly logProb?: number;
  readonly stopString?: string;
  readonly ids?: readonly number[];
  readonly logProbs?: readonly number[];
}

async function run(path: string, flags: GenerateFlags, signal: AbortSignal): Promise<void> {
  const { slide = false, allowSpecial = false, json = false, beams } = flags;
  const prompts = await promptsOf(flags, signal);
  const { model, engine } = await openWritingModel(path, flags, signal);
  try {
    const what = (i: number) => (flags.file === undefined ? "--prompt" : `line ${i + 1} of ${flags.file}`);
    const ids = prompts.map((text, i) => promptIds(model, text, { what: what(i), slide, allowSpecial }));
    const options: GenerateTextsOptions = {
      engine,
      signal,
      count: flags.count,
      maxTokens: flags.maxTokens,
      sampling: samplingOf(flags),
      seed: flags.seed,
      stop: (flags.stop ?? []).map(unescaped),
      batchSize: flags.batchSize,
      logProbs: flags.logprobs ?? false,
    };
    const clock = new GenerationClock();
    const out = json ? undefined : new TextOutput(prompts, flags, model);
    const texts: Continued[] =
      beams === undefined
        ? await drawn(model, { prompts, ids, options, clock, out })
        : await searched(model, { prompts, ids, options: { ...options, beams }, clock, out });
    const { tokens, seconds, tokensPerSecond, firstSeconds } = clock;
    if (json) {
      printJson({
        model: model.name,
        architecture: model.architecture,
        engine: engine.name,
        texts,
        tokens,
        seconds,
        tokensPerSecond,
      });
    } else if (process.stderr.isTTY || flags.verbose) {
      const rate = `${tokens} tokens in ${seconds.toFixed(1)} s, ${formatCount(tokensPerSecond)} tokens/s`;
      printNote(dim(`${rate}, the first after ${firstSeconds.toFixed(2)} s, ${engine.name}`));
    }
  } finally {
    model.dispose();
    engine.dispose();
  }
}

interface Work<O> {
  readonly prompts: readonly string[];
  readonly ids: readonly (readonly number[])[];
  readonly options: O;
  readonly clock: GenerationClock;
  readonly out: TextOutput | undefined;
}

async function drawn(
  model: WritingModel,
  { prompts, ids, options, clock, out }: Work<GenerateTextsOptions>,
): Promise<Continued[]> {
  const { count, logProbs, signal } = options;
  const texts = prompts.flatMap((prompt) =>
    Array.from({ length: count }, () => ({
      prompt,
      text: "",
      tokens: 0,
      finish: "length" as const,
      ids: [] as number[],
      logProbs: [] as number[],
    })),
  );
  const done: Continued[] = [];
  try {
    for await (const piece of generateTexts(model, ids, options)) {
      clock.tick();
      const at = piece.prompt * count + piece.sample;
      const text = texts[at]!;
      text.text += piece.text;
      text.tokens += 1;
      text.ids.push(piece.id);
      if (piece.logProb !== undefined) text.logProbs.push(piece.logProb);
      if (piece.finish) {
        const { ids: written, logProbs: logs, ...plain } = text;
        done[at] = {
          ...plain,
          finish: piece.finish,
          ...(piece.stopString === undefined ? {} : { stopString: piece.stopString }),
          ...(logProbs ? { logProb: logs.reduce((a, b) => a + b, 0), ids: written, logProbs: logs } : {}),
        };
      }
      out?.add(at, piece.text, piece.finish !== undefined);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    out?.breakOff();
    throw new InterruptedError(`Stopped after ${clock.tokens} tokens`);
  }
  return done;
}

async function searched(
  model: WritingModel,
  { prompts, ids, options, clock, out }: Work<GenerateTextsOptions & { readonly beams: number }>,
): Promise<Continued[]> {
  const { count } = options;
  const found = await searchTexts(model, ids, options);
  const texts = found.flatMap((list, i) => list.map((text) => ({ prompt: prompts[i]!, ...text })));
  for (const [i, list] of found.entries()) {
    for (let sample = 0; sample < count; sample++) {
      clock.tick(list[sample]?.tokens ?? 0);
      out?.add(i * count + sample, list[sample]?.text ?? "", true);
    }
  }
  return texts;
}

/** The prompts: given ones, the lines of a file, or one that is empty. */
async function promptsOf({ prompt, file }: GenerateFlags, signal: AbortSignal): Promise<string[]> {
  if (file !== undefined) return linesOf(file, signal);
  const prompts: string[] = [];
  for (const text of prompt ?? [""]) {
    // An editor's last line end is not meant.
    prompts.push(text === standardInput ? (await readAll([standardInput])).replace(/\r?\n$/, "") : text);
  }
  return prompts;
}

/** "\n" as people type it in a shell. */
const unescaped = (text: string): string =>
  text.replace(/\\([nrt\\])/g, (_, letter: string) => ({ n: "\n", r: "\r", t: "\t" })[letter] ?? "\\");

/** Texts on stdout: the first as it is written, others behind it. */
class TextOutput {
  readonly #order: TextsInOrder;
  #atLineStart = true;

  constructor(prompts: readonly string[], { count, echo }: GenerateFlags, { stopIds }: WritingModel) {
    const isTerminal = process.stdout.isTTY === true;
    const several = prompts.length * count > 1;
    endWithReader();
    const write = (text: string) => {
      if (text === "") return;
      process.stdout.write(isTerminal ? printable(text) : text);
      this.#atLineStart = text.endsWith("\n");
    };
    this.#order = new TextsInOrder(prompts.length * count, {
      write,
      begin: (index) => {
        const prompt = prompts[Math.floor(index / count)]!;
        // Running texts hold empty lines of their own; texts with an end are told apart by it.
        if (several && index > 0 && stopIds.length === 0) process.stdout.write(dim("---\n"));
        if (echo) write(prompt);
        else if (isTerminal && prompt !== "") process.stdout.write(bold(printable(prompt)));
      },
      end: () => this.breakOff(),
    });
  }

  add(index: number, text: string, ended: boolean): void {
    this.#order.add(index, text, ended);
  }

  /** Ends the line. */
  breakOff(): void {
    if (!this.#atLineStart) process.stdout.write("\n");
    this.#atLineStart = true;
  }
}

/** Counts tokens and seconds. */
class GenerationClock {
  readonly #start = performance.now();
  #first = 0;
  #last = this.#start;
  tokens = 0;

  tick(tokens = 1): void {
    this.#last = performance.now();
    if (this.tokens === 0) this.#first = this.#last;
    this.tokens += tokens;
  }

  get seconds(): number {
    return Number(((this.#last - this.#start) / 1000).toFixed(3));
  }

  get firstSeconds(): number {
    return Number(((this.#first - this.#start) / 1000).toFixed(3));
  }

  get tokensPerSecond(): number {
    return this.seconds > 0 ? Number((this.tokens / this.seconds).toFixed(1)) : 0;
  }
}
