import type { Command } from "commander";
import { exitCode, exitCodeHelp } from "../exit-code.ts";
import { deviceOption } from "../open-engine.ts";
import { positiveNumber, wholeNumber } from "../option-parsers.ts";
import { recipeNamed, recipes } from "../recipes/index.ts";
import { isReached, type Obtained, type RecipeReport } from "../recipes/recipe.ts";
import { formatDuration } from "../run/progress.ts";
import { speedOf } from "../run/run-outcome.ts";
import { alignColumns, bold, dim, green, printJson, printLine, red } from "../terminal.ts";

interface ReproduceOptions {
  seed: number;
  seconds?: number;
  full?: boolean;
  device: string;
  out?: string;
  json?: boolean;
}

/** Adds `genai reproduce RECIPE`. */
export function addReproduce(program: Command): void {
  const [first] = recipes;
  program
    .command("reproduce")
    .description("train to a stated number and print it beside the published ones")
    .argument("<recipe>", recipes.map((recipe) => recipe.name).join(", "))
    .option("--full", "train as long as the published work did, in place of minutes")
    .option("--seed <n>", "seed of everything random", wholeNumber(0), 0)
    .option("--seconds <n>", "stop each training after this long, in place of the recipe's limit", positiveNumber)
    .addOption(deviceOption())
    .option("--out <dir>", "run folder (default: runs/RECIPE-TIMESTAMP)")
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Recipes, with their time on two cores:
${alignColumns(recipes.map(({ name, summary, duration }) => [`  ${name}`, summary, duration])).join("\n")}

Examples:
  genai reproduce ${first.name}
  genai reproduce ${first.name} --full --out runs/full
  genai reproduce ${first.name} --seed 1 --json | jq .obtained
${exitCodeHelp}`,
    )
    .action(async (name: string, options: ReproduceOptions) => {
      const recipe = recipeNamed(name);
      const { seed, device, out, json = false, full = false, seconds } = options;
      const report = await recipe.run({ seed, seconds, device, out, full });
      const reached = report.obtained.every(isReached);
      if (json) printJson({ recipe: recipe.name, reached, ...report });
      else printComparison(report);
      if (!reached) process.exitCode = exitCode.failure;
    });
}

function printComparison({ obtained, table, published, runs }: RecipeReport): void {
  printLine();
  if (table) {
    const text = (cell: string | number) => (typeof cell === "number" ? cell.toFixed(4) : cell);
    for (const line of alignColumns([table.columns, ...table.rows.map((row) => row.map(text))])) printLine(line);
    printLine();
  }
  const rows = [
    ...obtained.map((number) => [`Obtained ${number.label}`, bold(shownValue(number)), verdictOf(number)]),
    ...published.map(({ what, value, source }) => [`Published: ${what}`, value, dim(source)]),
  ];
  for (const line of alignColumns(rows)) printLine(line);
  printLine();
  for (const run of runs) {
    const { steps, trainSeconds, engine, totalSeconds, dir, report } = run;
    printLine(
      `${steps} steps in ${formatDuration(trainSeconds)} on ${engine} (${speedOf(run)}), ${formatDuration(totalSeconds)} with everything`,
    );
    printLine(`Run folder  ${dir}`);
    printLine(`Report      ${report}`);
  }
}

const shownValue = ({ value, unit, digits = 2 }: Obtained) => `${value.toFixed(digits)} ${unit}`.trim();

function verdictOf(number: Obtained): string {
  const { atMost, atLeast, unit, digits = 2 } = number;
  if (atMost === undefined && atLeast === undefined) return "";
  const limit = atMost === undefined ? `at least ${atLeast!.toFixed(digits)}` : `at most ${atMost.toFixed(digits)}`;
  return `${isReached(number) ? green("reached") : red("missed")}: ${`${limit} ${unit}`.trim()}`;
}
