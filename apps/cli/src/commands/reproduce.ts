import type { Command } from "commander";
import { exitCode, exitCodeHelp } from "../exit-code.ts";
import type { Recipe } from "../families/family.ts";
import { families, recipeNamed } from "../families/index.ts";
import { deviceOption } from "../open-engine.ts";
import { positiveNumber, wholeNumber } from "../option-parsers.ts";
import { formatDuration } from "../run/progress.ts";
import { type RunOutcome, startRun } from "../run/train-run.ts";
import { alignColumns, bold, dim, green, printJson, printLine, red } from "../terminal.ts";

interface ReproduceOptions {
  seed: number;
  seconds?: number;
  device: string;
  out?: string;
  json?: boolean;
}

/** Adds `genai reproduce RECIPE`. */
export function addReproduce(program: Command): void {
  const recipes = families.flatMap((family) => family.recipes);
  program
    .command("reproduce")
    .description("train to a stated number and print it beside the published ones")
    .argument("<recipe>", recipes.map((recipe) => recipe.name).join(", "))
    .option("--seed <n>", "seed of everything random", wholeNumber(0), 0)
    .option("--seconds <n>", "stop after this much training, in place of the recipe's limit", positiveNumber)
    .addOption(deviceOption())
    .option("--out <dir>", "run folder (default: runs/RECIPE-TIMESTAMP)")
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Recipes:
${alignColumns(recipes.map((recipe) => [`  ${recipe.name}`, recipe.summary])).join("\n")}

Examples:
  genai reproduce ${recipes[0]!.name}
  genai reproduce ${recipes[0]!.name} --seed 1 --json | jq .obtained
${exitCodeHelp}`,
    )
    .action(async (name: string, options: ReproduceOptions) => {
      const { family, recipe } = recipeNamed(name);
      const { seed, device, out, json = false, seconds = recipe.settings.seconds } = options;
      const run = await startRun({
        family,
        settings: { ...recipe.settings, seconds, seed },
        name: recipe.name,
        out,
        device,
        checkpointEvery: 1000,
      });
      const obtained = run.results[recipe.target.result]!;
      const reached = obtained <= recipe.target.atMost;
      if (json) printJson({ recipe: recipe.name, reached, obtained, ...pick(recipe), run });
      else printComparison(recipe, run, obtained, reached);
      if (!reached) process.exitCode = exitCode.failure;
    });
}

const pick = ({ target, published }: Recipe) => ({ target, published });

function printComparison({ target, published }: Recipe, run: RunOutcome, obtained: number, reached: boolean): void {
  const { label, atMost, unit } = target;
  const verdict = reached ? green("reached") : red("missed");
  printLine();
  const rows = [
    [`Obtained ${label}`, bold(`${obtained.toFixed(2)} ${unit}`), `${verdict}: at most ${atMost} ${unit} was stated`],
    ...published.map(({ what, value, source }) => [`Published: ${what}`, value, dim(source)]),
  ];
  for (const line of alignColumns(rows)) printLine(line);
  printLine();
  printLine(
    `${run.steps} steps in ${formatDuration(run.trainSeconds)} on ${run.engine} (${run.stepsPerSecond.toFixed(1)} steps/s), ${formatDuration(run.totalSeconds)} with everything`,
  );
  printLine(`Run folder  ${run.dir}`);
  printLine(`Report      ${run.report}`);
}
