import type { Command } from "commander";
import { exitCodeHelp } from "../exit-code.ts";
import { addDecode, addEncode, addInfo } from "./tokenizer-apply.ts";
import { addTokenizerTrain } from "./tokenizer-train.ts";

/** Adds `genai tokenizer train | encode | decode | info`. */
export function addTokenizer(program: Command): void {
  const tokenizer = program
    .command("tokenizer")
    .description("train a vocabulary, and turn text into ids and back")
    .addHelpText(
      "after",
      `
Examples:
  genai tokenizer train corpus.txt --vocab-size 4096 --out tokenizer.json
  genai tokenizer encode tokenizer.json "To be, or not to be"
  genai tokenizer decode tokenizer.json 2514 307 11
  genai tokenizer info gpt2-folder
  genai tokenizer COMMAND --help
${exitCodeHelp}`,
    );
  addTokenizerTrain(tokenizer);
  addEncode(tokenizer);
  addDecode(tokenizer);
  addInfo(tokenizer);
}
