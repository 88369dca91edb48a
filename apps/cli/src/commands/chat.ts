import type { Command } from "commander";
import { exitCode, exitCodeHelp, UsageError } from "../exit-code.ts";
import { collected, wholeNumber } from "../option-parsers.ts";
import { formatCount } from "../run/progress.ts";
import { bold, dim, endWithReader, printNote } from "../terminal.ts";
import { type ChatTemplateFlags, chatTemplateOption, readChatTemplate } from "../text/chat-template.ts";
import { type SamplingFlags, samplingFlags, samplingOf } from "../text/sampling-flags.ts";
import { type ModelFlags, modelArgument, modelFlags, openWritingModel } from "../text/writing-model.ts";

interface ChatFlags extends SamplingFlags, ModelFlags, ChatTemplateFlags {
  readonly system?: string;
  readonly maxTokens: number;
  readonly context?: number;
  readonly stop?: readonly string[];
  readonly seed?: number;
}

/** Adds `genai chat MODEL`. */
export function addChat(program: Command): void {
  const command = program
    .command("chat")
    .description("talk with a language model in the terminal")
    .argument("<model>", modelArgument)
    .option("--system <text>", "tell the model how to be")
    .option("--max-tokens <n>", "at most this many tokens for each answer", wholeNumber(1), 512)
    .option("--context <n>", "tokens that the model sees at most (default: its context)", wholeNumber(16));
  for (const option of samplingFlags()) command.addOption(option);
  command
    .option("--stop <text>", "end an answer before this (may be given several times)", collected)
    .option("--seed <n>", "the same seed answers the same (default: a new one each time)", wholeNumber(0))
    .addOption(chatTemplateOption());
  for (const option of modelFlags()) command.addOption(option);
  command
    .addHelpText(
      "after",
      `
/help in the talk lists its commands. What no longer fits the context is left out, the oldest first. Models without a chat
template go on with the text that you write. From a pipe, each line is answered in turn.

Examples:
  genai chat hf:HuggingFaceTB/SmolLM2-135M-Instruct --system "You answer in one sentence."
  genai chat runs/first --temperature 0.7 --max-tokens 200
  printf 'Hello!\\nAnd again.\\n' | genai chat runs/tuned --temperature 0
${exitCodeHelp}`,
    )
    .action(chat);
}

async function chat(path: string, flags: ChatFlags): Promise<void> {
  const { context, seed, system } = flags;
  const template = await readChatTemplate(flags);
  const [{ AnswerWriter }, { ChatRepl }, { createConversation }] = await Promise.all([
    import("../chat/answer-writer.ts"),
    import("../chat/chat-repl.ts"),
    import("../chat/conversation.ts"),
  ]);
  const { model, engine } = await openWritingModel(path, flags);
  const { blockSize } = model.lm;
  if (context !== undefined && context > blockSize) {
    throw new UsageError(`--context ${context} is more than the model's context of ${blockSize} tokens`);
  }
  const writer = new AnswerWriter(engine, model, {
    ...(context !== undefined && { context }),
    ...(seed !== undefined && { seed }),
  });
  if (process.stdin.isTTY) {
    printNote(
      `${bold(model.name)}, ${formatCount(model.countParams)} parameters, context ${writer.context}, ${engine.name}`,
    );
    printNote(dim("/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves"));
  }
  if (!model.chatTemplate && template === undefined) {
    printNote(dim("This model has no chat template: it goes on with the text that you write, and answers nothing."));
  }
  const repl = new ChatRepl({
    conversation: createConversation({ tokenizer: model.tokenizer, template, system }),
    writer,
    answer: { maxNewTokens: flags.maxTokens, stop: flags.stop ?? [], sampling: samplingOf(flags) },
    input: process.stdin,
    output: process.stdout,
    note: printNote,
  });
  endWithReader();
  process.on("SIGINT", () => {
    if (!repl.interrupt()) process.exit(exitCode.interrupted);
  });
  try {
    await repl.run();
  } finally {
    await writer.dispose();
    model.dispose();
    engine.dispose();
  }
}
