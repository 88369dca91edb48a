import { availableParallelism } from "node:os";
import { type Command, Option } from "commander";
import { benchJobs } from "../bench/index.ts";
import type { BenchJob, BenchRequest } from "../bench/job.ts";
import type { BenchResult } from "../bench/measure.ts";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import { deviceOption, openEngine } from "../open-engine.ts";
import { wholeNumber } from "../option-parsers.ts";
import { alignColumns, printJson, printLine } from "../terminal.ts";

interface BenchOptions {
  readonly device: string;
  readonly steps?: number;
  readonly warmup?: number;
  readonly seed: number;
  readonly json?: boolean;
}

/** Adds `genai bench`. */
export function addBench(program: Command): void {
  program
    .command("bench")
    .argument("<job>", `one of ${benchJobs.map(({ name }) => name).join(", ")}`)
    .description("measure the speed and memory of one job")
    .addOption(deviceOption())
    .option("--steps <n>", "timed steps; each job has its own default", wholeNumber(1))
    .option("--warmup <n>", "untimed steps before them", wholeNumber(1))
    .addOption(new Option("--seed <n>", "seed of data and weights").argParser(wholeNumber(0)).default(0))
    .option("--json", "print the result as one JSON line")
    .addHelpText(
      "after",
      `
Jobs:
${alignColumns(benchJobs.map(({ name, summary }) => ["", name, summary])).join("\n")}

Examples:
  genai bench vae
  genai bench gpt_cpu --device tfjs:wasm --steps 5 --json
${exitCodeHelp}`,
    )
    .action(async (name: string, options: BenchOptions) => {
      const job = benchJobs.find((candidate) => candidate.name === name);
      if (!job)
        throw new UsageError(`No benchmark is called ${name}; there is ${benchJobs.map((b) => b.name).join(", ")}`);
      const { steps, warmup, seed } = options;
      const request = {
        seed,
        threads: availableParallelism(),
        ...(steps === undefined ? {} : { steps }),
        ...(warmup === undefined ? {} : { warmup }),
      };
      const result = await runJob(job, options.device, request);
      if (options.json) {
        printJson(result);
        return;
      }
      const rows = Object.entries(result).map(([key, value]) => [
        "",
        key,
        typeof value === "object" ? JSON.stringify(value) : String(value),
      ]);
      for (const line of alignColumns(rows)) printLine(line);
    });
}

async function runJob(job: BenchJob, device: string, request: BenchRequest): Promise<BenchResult> {
  if (job.needsEngine === false) return job.run(null, request);
  const engine = await openEngine(device);
  const result = await job.run(engine, request);
  engine.dispose();
  return result;
}
