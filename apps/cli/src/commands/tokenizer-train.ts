import type { TrainProgress } from "@genai/tokenizer";
import { type Command, Option } from "commander";
import { exitCodeHelp, InterruptedError, UsageError } from "../exit-code.ts";
import { withInterrupt } from "../interrupt.ts";
import { collected, wholeNumber } from "../option-parsers.ts";
import { progressNotes } from "../progress-notes.ts";
import { printJson, printLine } from "../terminal.ts";
import { checkFiles, readTexts, standardInput } from "../tokenizer/read-texts.ts";
import {
  algorithms,
  checkTrainOptions,
  normalizers,
  saveTokenizer,
  splits,
  type TokenizerTrainOptions,
  trainTokenizer,
} from "../tokenizer/train-tokenizer.ts";

interface CommandOptions extends TokenizerTrainOptions {
  readonly lines?: boolean;
  readonly out: string;
  readonly json?: boolean;
}

/** Adds `genai tokenizer train`. */
export function addTokenizerTrain(tokenizer: Command): void {
  tokenizer
    .command("train")
    .description("train a vocabulary on text files and write it as a tokenizer.json")
    .argument("[files...]", "UTF-8 text files; - or none for the standard input")
    .addOption(new Option("--algorithm <name>", "what to train").choices(algorithms).default("bpe"))
    .option("--vocab-size <n>", "entries of the vocabulary (default: 30000)", wholeNumber(1))
    .option("--min-frequency <n>", "least count of a pair that is merged, or of a word", wholeNumber(0))
    .option("--max-token-length <n>", "most characters (bpe: bytes) in a token", wholeNumber(1))
    .option("--limit-alphabet <n>", "most characters in the alphabet", wholeNumber(1))
    .option("--special <token>", "a special token; they get the first ids (may be given several times)", collected)
    .addOption(
      new Option("--split <name>", "how a text is cut into words (default: the algorithm's own)").choices(splits),
    )
    .option("--pattern <regex>", "cut where this regular expression matches (bpe)")
    .addOption(new Option("--normalizer <name>", "what happens to a text first").choices(normalizers).default("none"))
    .option("--byte-fallback", "add 256 tokens for bytes, so that nothing is unknown (character-bpe, unigram)")
    .option("--suffix <text>", "mark the last character of each word, as in </w> (character-bpe)")
    .option("--cased", "keep upper case and accents (wordpiece)")
    .option("--lines", "take each line as a text of its own")
    .option("--out <file>", "file to write", "tokenizer.json")
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Algorithms:
  bpe            pairs of bytes, as GPT-2, GPT-4 and Llama 3: encodes any text, decodes exactly
  character-bpe  pairs of characters, as Llama 2 (with --byte-fallback) and CLIP (with --suffix)
  wordpiece      as BERT
  unigram        probabilities of pieces, as T5 and ALBERT
  words          whole words
  characters     one id for each character
  bytes          one id for each byte: needs no text

Examples:
  genai tokenizer train corpus.txt --vocab-size 4096 --special "<|endoftext|>"
  genai tokenizer train part-*.txt --algorithm unigram --vocab-size 8000 --byte-fallback --out unigram.json
  zcat corpus.gz | genai tokenizer train --split cl100k --vocab-size 32000 --json
${exitCodeHelp}`,
    )
    .action(async (files: string[], options: CommandOptions) => {
      const { out, json = false, algorithm } = options;
      checkTrainOptions(options);
      const inputs = algorithm === "bytes" ? [] : files.length > 0 ? files : [standardInput];
      await checkFiles(inputs);
      if (inputs.includes(standardInput) && process.stdin.isTTY) {
        throw new UsageError("No text to train on: name files, or send text to the standard input");
      }
      const notes = progressNotes(howFar);
      const start = performance.now();
      let characters = 0;
      const trained = await withInterrupt(async (signal) => {
        try {
          return await trainTokenizer(readTexts(inputs, { lines: options.lines === true }), options, {
            signal,
            onProgress: (progress) => {
              if (progress.stage === "reading") characters = progress.done;
              notes.update(progress);
            },
          });
        } catch (error) {
          if (signal.aborted) throw new InterruptedError(`Interrupted; ${out} was not written`);
          throw asUsageError(error);
        } finally {
          notes.stop();
        }
      });
      await saveTokenizer(trained, out);
      const seconds = Number(((performance.now() - start) / 1000).toFixed(2));
      const { vocabSize } = trained;
      if (json) printJson({ file: out, algorithm, vocabSize, characters, seconds });
      else printLine(`Wrote ${vocabSize.toLocaleString("en")} tokens to ${out} in ${seconds} s`);
    });
}

function howFar({ stage, done, total }: TrainProgress): string {
  if (stage === "reading") return `read ${(done / 1e6).toFixed(1)} million characters`;
  if (stage === "fitting") return `fitting, step ${done}`;
  return `merging, ${done.toLocaleString("en")} of ${(total ?? done).toLocaleString("en")} tokens`;
}

/** An option whose value does not do; the library names it as its own options do. */
function asUsageError(error: unknown): unknown {
  const isAboutOptions = error instanceof RangeError || error instanceof TypeError;
  return isAboutOptions && /^(train|create)\w+: /.test(error.message) ? new UsageError(error.message) : error;
}
