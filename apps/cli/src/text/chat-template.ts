import { readFile } from "node:fs/promises";
import { Option } from "commander";
import { UsageError } from "../exit-code.ts";

// `--chat-template`, by which chat and serve lay out conversations.

export interface ChatTemplateFlags {
  readonly chatTemplate?: string;
}

export const chatTemplateOption = (): Option =>
  new Option("--chat-template <file>", "Jinja template of conversations, in place of the tokenizer's own");

/** The template that is given, if one is. Throws a UsageError if its file cannot be read. */
export async function readChatTemplate({ chatTemplate: file }: ChatTemplateFlags): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new UsageError(`--chat-template ${file} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}
