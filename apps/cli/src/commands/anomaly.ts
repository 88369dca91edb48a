import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import Papa from "papaparse";
import { inEnglish } from "../data/data-names.ts";
import { exitCodeHelp, UsageError } from "../exit-code.ts";
import type { AnomalyScores } from "../families/family.ts";
import { abilityOf } from "../families/index.ts";
import { type JudgedAnomalies, judgeAnomalies } from "../families/judge-anomalies.ts";
import { deviceOption } from "../open-engine.ts";
import { share, wholeNumber } from "../option-parsers.ts";
import { openRun } from "../run/trained-run.ts";
import { alignColumns, bold, dim, printJson, printLine } from "../terminal.ts";

interface AnomalyOptions {
  data?: string;
  score?: string;
  falsePositiveRate: number;
  seed: number;
  skipBroken?: boolean;
  device: string;
  out?: string;
  json?: boolean;
}

/** Adds `genai anomaly RUN`. */
export function addAnomaly(program: Command): void {
  program
    .command("anomaly")
    .description("score examples by how unlike the training data they are, and flag those above a calibrated threshold")
    .argument("<run>", "run folder")
    .option("--data <name|path>", "what to score (default: the test part of the training data)")
    .option(
      "--score <name>",
      "how: bound (of -log p(x), the default), relative (the same for the ink, for grey images) or reconstruction",
    )
    .option("--false-positive-rate <share>", "share of normal examples that may be flagged", share, 0.05)
    .option("--skip-broken", "go on without images that cannot be read")
    .option("--seed <n>", "seed of the draws of codes", wholeNumber(0), 0)
    .option("--out <file>", "CSV file with every score (default: anomalies.csv in the run folder)")
    .addOption(deviceOption())
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
Beside the CSV file, images get a picture of the highest scores.

Examples:
  genai train vae --without-class 7 --out runs/no-sevens
  genai anomaly runs/no-sevens
  genai anomaly runs/first --data scans/ --false-positive-rate 0.01 --out scans.csv
${exitCodeHelp}`,
    )
    .action(async (dir: string, options: AnomalyOptions) => {
      const { data, score, skipBroken = false, falsePositiveRate, seed, device, out, json = false } = options;
      if (falsePositiveRate === 0) throw new UsageError("--false-positive-rate must be greater than 0");
      const report = await openRun(dir, { device, seed }, async (request) => {
        const scored = await abilityOf(
          request.run.config,
          "scoreAnomalies",
          "score anomalies",
        )({ ...request, data, score, skipBroken });
        const judged = judgeAnomalies(scored, falsePositiveRate);
        const file = out ?? join(dir, "anomalies.csv");
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, csvOf(scored, judged.threshold));
        const picture = scored.picture && file.replace(/(\.csv)?$/, ".png");
        if (scored.picture && picture) await writeFile(picture, scored.picture(judged.order.slice(0, 48)));
        return { file, ...(picture ? { picture } : {}), engine: request.engine.name, scored, judged };
      });
      const { scored, judged, ...files } = report;
      const { order, ...figures } = judged;
      const top = order.slice(0, 5).map((i) => ({ name: scored.names[i]!, score: scored.scores[i]! }));
      if (json) printJson({ ...files, falsePositiveRate, ...figures, scored: scored.scores.length, top });
      else print(scored, figures, top, falsePositiveRate, files);
    });
}

type Figures = Omit<JudgedAnomalies, "order">;

function csvOf({ scores, names, truth }: AnomalyScores, threshold: number): string {
  const rows = names.map((name, i) => ({
    name,
    score: Number(scores[i]!.toPrecision(6)),
    flagged: scores[i]! > threshold ? 1 : 0,
    ...(truth ? { anomaly: truth[i] ? 1 : 0 } : {}),
  }));
  return `${Papa.unparse(rows, { newline: "\n" })}\n`;
}

function print(
  { scoreName, scores, baseline }: AnomalyScores,
  figures: Figures,
  top: readonly { readonly name: string; readonly score: number }[],
  rate: number,
  { file, picture }: { readonly file: string; readonly picture?: string },
): void {
  const { threshold, flagged, anomalies, auroc: area, baselineAuroc } = figures;
  const rows = [
    ["Scored", bold(inEnglish(scores.length)), dim(scoreName)],
    ["Threshold", bold(threshold.toFixed(2)), dim(`a normal example exceeds it with a probability of at most ${rate}`)],
    ["Flagged", bold(inEnglish(flagged)), dim("above the threshold")],
    ...(area === undefined
      ? []
      : [["AUROC", bold(area.toFixed(3)), dim(`${inEnglish(anomalies!)} of the class that training left out`)]]),
    ...(baselineAuroc === undefined ? [] : [["AUROC beside", baselineAuroc.toFixed(3), dim(baseline!.name)]]),
  ];
  for (const line of alignColumns(rows)) printLine(line);
  printLine();
  printLine("Highest scores:");
  for (const line of alignColumns(top.map(({ name, score }) => [`  ${name}`, score.toFixed(2)]))) printLine(line);
  printLine();
  printLine(`Scores   ${file}`);
  if (picture) printLine(`Picture  ${picture}`);
}
