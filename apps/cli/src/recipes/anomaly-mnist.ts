import { join } from "node:path";
import { abilityOf } from "../families/index.ts";
import { judgeAnomalies } from "../families/judge-anomalies.ts";
import { vaeFamily } from "../families/vae/index.ts";
import { newRunFolder } from "../run/run-folder.ts";
import { type RunOutcome, startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { openRun } from "../run/trained-run.ts";
import type { Recipe } from "./recipe.ts";

const digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/** For each digit: train on the nine others, and find it among them by its score. */
export const anomalyMnist: Recipe = {
  name: "anomaly-mnist",
  summary: "finding a digit that was not trained on, for each of the ten, beside principal components",
  duration: "about 8 minutes",
  async run({ seed, seconds, device, out, full }) {
    const { dir } = newRunFolder("anomaly-mnist", out);
    const runs: RunOutcome[] = [];
    const rows: [string, number, number][] = [];
    for (const digit of digits) {
      const settings = completeSettings(vaeFamily, {
        kind: "conv",
        data: "mnist",
        steps: full ? 10_000 : 500,
        seconds,
        seed,
        options: { withoutClass: digit },
      });
      const run = await startRun({
        family: vaeFamily,
        settings,
        name: `without-${digit}`,
        out: join(dir, `without-${digit}`),
        device,
        checkpointEvery: 10_000,
      });
      runs.push(run);
      const { auroc, baselineAuroc } = await openRun(run.dir, { device, seed }, async (request) =>
        judgeAnomalies(
          await abilityOf(request.run.config, "scoreAnomalies", "score anomalies")({ ...request, data: undefined }),
          0.05,
        ),
      );
      rows.push([digit, auroc!, baselineAuroc!]);
    }
    const mean = (column: 1 | 2) => rows.reduce((sum, row) => sum + row[column] / rows.length, 0);
    return {
      obtained: [
        { label: "mean AUROC", value: mean(1), unit: "", digits: 3, atLeast: mean(2) },
        { label: "mean AUROC of PCA", value: mean(2), unit: "", digits: 3 },
      ],
      table: { columns: ["digit left out", "VAE", "PCA reconstruction error"], rows },
      published: [],
      runs,
    };
  },
};
