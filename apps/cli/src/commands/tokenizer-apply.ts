import { type AllowedSpecial, loadTokenizer, type TiktokenName, type Tokenizer } from "@genai/tokenizer";
import { type Command, Option } from "commander";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import { withInterrupt } from "../interrupt.ts";
import { collected, wholeNumber } from "../option-parsers.ts";
import { alignColumns, printJson, printLine } from "../terminal.ts";
import { tokenizerFacts } from "../tokenizer/facts.ts";
import { readAll, readTexts, standardInput } from "../tokenizer/read-texts.ts";

const sourceHelp = "a tokenizer: its file (tokenizer.json, *.model, *.tiktoken, vocab.txt ...), folder or URL";
const encodingOption = () =>
  new Option("--encoding <name>", "pattern and special tokens of a *.tiktoken file of another name").choices([
    "gpt2",
    "r50k_base",
    "p50k_base",
    "p50k_edit",
    "cl100k_base",
    "o200k_base",
    "o200k_harmony",
    "llama3",
  ]);

interface SourceOptions {
  readonly encoding?: TiktokenName;
  readonly json?: boolean;
}

interface EncodeCommandOptions extends SourceOptions {
  readonly file?: string;
  readonly lines?: boolean;
  readonly tokens?: boolean;
  readonly offsets?: boolean;
  readonly specialTokens: boolean;
  readonly allowSpecial?: readonly string[];
  readonly maxLength?: number;
}

/** Adds `genai tokenizer encode`. */
export function addEncode(tokenizer: Command): void {
  tokenizer
    .command("encode")
    .description("turn a text into ids")
    .argument("<tokenizer>", sourceHelp)
    .argument("[text...]", "the text; without it, the standard input or --file")
    .option("--file <file>", "UTF-8 text file to encode")
    .option("--lines", "encode each line of the file or the standard input by itself; one line of output for each")
    .option("--tokens", "print the tokens, not their ids")
    .option("--offsets", "print id, start, end and text of each token, one a line")
    .option("--no-special-tokens", "put no special tokens around the text")
    .option(
      "--allow-special <token>",
      'a special token that the text may contain as such, or "all" (may be given several times)',
      collected,
    )
    .option("--max-length <n>", "cut off what is longer than this many tokens", wholeNumber(1))
    .addOption(encodingOption())
    .option("--json", "print the result as one JSON object (with --lines, one for each line)")
    .addHelpText(
      "after",
      `
Examples:
  genai tokenizer encode tokenizer.json "To be, or not to be"
  genai tokenizer encode gpt2/vocab.bpe --offsets "Hello, world"
  genai tokenizer encode cl100k_base.tiktoken --file essay.txt --json | jq '.ids | length'
  cat lines.txt | genai tokenizer encode tokenizer.json --lines
${exitCodeHelp}`,
    )
    .action(async (source: string, words: string[], options: EncodeCommandOptions) => {
      const { file, tokens = false, offsets = false, lines = false, json = false, maxLength } = options;
      if (words.length > 0 && file !== undefined) throw new UsageError("Give a text or --file, not both");
      if (tokens && offsets) throw new UsageError("--tokens and --offsets exclude each other");
      if (words.length > 0 && lines) throw new UsageError("--lines goes with --file or the standard input");
      await withInterrupt(async (signal) => {
        const loaded = await load(source, options, signal);
        const allowedSpecial = allowed(options.allowSpecial);
        const encode = (text: string) => {
          const encoding = loaded.encode(text, {
            addSpecialTokens: options.specialTokens,
            allowedSpecial,
            ...(maxLength === undefined ? {} : { maxLength }),
          });
          if (json) {
            const { ids, tokens: names, offsets: ranges } = encoding;
            printJson({ ids: [...ids], tokens: names, offsets: ranges });
          } else if (offsets) {
            const rows = encoding.offsets.map(([start, end], i) => [
              String(encoding.ids[i]),
              String(start),
              String(end),
              start === end ? encoding.tokens[i]! : JSON.stringify(text.slice(start, end)),
            ]);
            for (const row of alignColumns(rows)) printLine(row);
          } else printLine((tokens ? encoding.tokens.map(oneLine) : [...encoding.ids]).join(" "));
        };
        if (words.length > 0) return encode(words.join(" "));
        const input = [file ?? standardInput];
        if (!lines) return encode(await readAll(input));
        for await (const line of readTexts(input, { lines: true })) {
          signal.throwIfAborted();
          encode(line.replace(/\r?\n$/, ""));
        }
      });
    });
}

/** Adds `genai tokenizer decode`. */
export function addDecode(tokenizer: Command): void {
  tokenizer
    .command("decode")
    .description("turn ids back into text")
    .argument("<tokenizer>", sourceHelp)
    .argument("[ids...]", "the ids, with spaces or commas between them; without them, the standard input")
    .option("--skip-special-tokens", "leave special tokens out")
    .addOption(encodingOption())
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  genai tokenizer decode tokenizer.json 2514 307 11
  genai tokenizer encode tokenizer.json "To be" | genai tokenizer decode tokenizer.json
${exitCodeHelp}`,
    )
    .action(
      async (source: string, words: string[], options: SourceOptions & { readonly skipSpecialTokens?: boolean }) => {
        await withInterrupt(async (signal) => {
          const loaded = await load(source, options, signal);
          const given = words.length > 0 ? words.join(" ") : await readAll([standardInput]);
          const ids = given.split(/[\s,[\]]+/).filter((word) => word !== "");
          const wrong = ids.find((id) => !/^\d+$/.test(id) || loaded.idToToken(Number(id)) === undefined);
          if (wrong !== undefined)
            throw new UsageError(`${wrong} is no id of ${source}; expected whole numbers from 0 on`);
          const text = loaded.decode(ids.map(Number), { skipSpecialTokens: options.skipSpecialTokens === true });
          if (options.json) printJson({ text });
          else printLine(text);
        });
      },
    );
}

/** Adds `genai tokenizer info`. */
export function addInfo(tokenizer: Command): void {
  tokenizer
    .command("info")
    .description("say what a tokenizer is made of")
    .argument("<tokenizer>", sourceHelp)
    .addOption(encodingOption())
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  genai tokenizer info tokenizer.json
  genai tokenizer info gpt2-folder --json | jq .vocabSize
${exitCodeHelp}`,
    )
    .action(async (source: string, options: SourceOptions) => {
      const loaded = await withInterrupt((signal) => load(source, options, signal));
      const facts = tokenizerFacts(loaded);
      if (options.json) return printJson(facts);
      const special = facts.specialTokens.map(({ id, content }) => `${content} (${id})`);
      const rows = [
        ["Model", facts.model],
        ["Vocabulary", `${facts.vocabSize.toLocaleString("en")} tokens`],
        ...(facts.merges === null ? [] : [["Merges", facts.merges.toLocaleString("en")]]),
        ["Special tokens", special.join(", ") || "none"],
        ["Other added tokens", String(facts.addedTokens)],
        ["Normalizer", facts.normalizer ?? "none"],
        ["Pre-tokenizer", facts.preTokenizer ?? "none"],
        ["Post-processor", facts.postProcessor ?? "none"],
        ["Decoder", facts.decoder ?? "none"],
        ["Chat template", facts.chatTemplate ? "yes" : "no"],
      ];
      for (const line of alignColumns(rows)) printLine(line);
    });
}

async function load(source: string, { encoding }: SourceOptions, signal: AbortSignal): Promise<Tokenizer> {
  return loadTokenizer(source, { signal, ...(encoding === undefined ? {} : { encoding }) });
}

function allowed(tokens: readonly string[] | undefined): AllowedSpecial {
  if (tokens === undefined) return "none";
  return tokens.includes("all") ? "all" : tokens;
}

/** A token on one line: its ends of lines and tabs as escapes. */
function oneLine(token: string): string {
  return token.replace(/[\n\r\t ]/g, (c) => (c === " " ? "␠" : JSON.stringify(c).slice(1, -1)));
}
