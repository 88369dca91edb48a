import { silenceTfjsBanner } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { Command, CommanderError } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { commands } from "./commands/index.ts";
import { exitCode, exitCodeHelp, exitCodeOf } from "./exit-code.ts";
import { printNote } from "./terminal.ts";

// Chosen before it is silenced: tfjs makes a new backend, with a banner, when it has to choose for itself.
await tf.setBackend("cpu");
silenceTfjsBanner();

const program = new Command("genai")
  .description("Train, sample, measure and export generative models.")
  .version(packageJson.version)
  .showSuggestionAfterError()
  .exitOverride()
  .option("--verbose", "print the whole stack when something fails")
  .addHelpText(
    "after",
    `
Examples:
  genai quickstart
  genai train vae --data mnist --steps 2000
  genai sample runs/quickstart-2026-01-31-120000 --count 100
  genai tokenizer train corpus.txt --vocab-size 4096
  genai COMMAND --help
${exitCodeHelp}`,
  );
for (const add of commands) add(program);
inheritSettings(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // Commander has printed its own errors and help.
  if (!(error instanceof CommanderError)) {
    const verbose = program.opts<{ verbose?: boolean }>().verbose === true;
    printNote(verbose && error instanceof Error ? (error.stack ?? error.message) : sentenceOf(error));
  }
}
// Runtimes keep threads and timers of their own alive; what had to be written has been awaited.
process.stdout.write("", () => process.exit(process.exitCode ?? exitCode.ok));

/** Subcommands throw like the program does, and know its options in any place. */
function inheritSettings(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    if (child.commands.length === 0) {
      child.option("--verbose", "print the whole stack when something fails").hook("preAction", () => {
        if (child.opts<{ verbose?: boolean }>().verbose) program.setOptionValue("verbose", true);
      });
    }
    inheritSettings(child);
  }
}

function sentenceOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return `${message.replace(/\.$/, "")}.`;
}
