import { mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { exitCodeHelp } from "../exit-code.ts";
import { abilityOf } from "../families/index.ts";
import { loadTrainedRun } from "../run/trained-run.ts";
import { printJson, printLine } from "../terminal.ts";

/** Adds `genai export RUN`. */
export function addExport(program: Command): void {
  program
    .command("export")
    .description("write a trained model as an ONNX file, which other runtimes and languages open")
    .argument("<run>", "run folder")
    .option("--out <file>", "file to write (default: model.onnx in the run folder)")
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  genai export runs/first
  genai export runs/first --out decoder.onnx --json
${exitCodeHelp}`,
    )
    .action(async (dir: string, { out, json = false }: { out?: string; json?: boolean }) => {
      const run = await loadTrainedRun(dir);
      const file = out ?? join(dir, "model.onnx");
      await mkdir(dirname(file), { recursive: true });
      const { inputs, outputs } = await abilityOf(run.config, "exportOnnx", "be exported")({ run, file });
      const { size } = await stat(file);
      if (json) printJson({ file, bytes: size, inputs, outputs });
      else
        printLine(`Wrote ${file} (${(size / 2 ** 20).toFixed(1)} MiB): ${inputs.join(", ")} -> ${outputs.join(", ")}`);
    });
}
