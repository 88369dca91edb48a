import { join } from "node:path";
import { abilityOf } from "../families/index.ts";
import { judgeAnomalies } from "../families/judge-anomalies.ts";
import { vaeFamily } from "../families/vae/index.ts";
import { newRunFolder } from "../run/run-folder.ts";
import type { RunOutcome } from "../run/run-outcome.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { openRun } from "../run/trained-run.ts";
import type { Recipe } from "./recipe.ts";

const digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/** For each digit: train on the nine others, and find it among them by its score. */
export const anomalyMnist: Recipe = {
  name: "anomaly-mnist",
  summary: "finding a digit that was not trained on, for each of the ten, beside principal components",
  duration: "about 6 minutes",
  async run({ seed, seconds, device, out, full }) {
    const { dir } = newRunFolder("anomaly-mnist", out);
    const runs: RunOutcome[] = [];
    const rows: [digit: string, bound: number, relative: number, pca: number][] = [];
    for (const digit of digits) {
      const settings = completeSettings(vaeFamily, {
        kind: "mlp",
        data: "mnist",
        steps: full ? 20_000 : 1500,
        seconds,
        seed,
        options: { withoutClass: digit, hiddenDims: [400, 200], latentDim: 8 },
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
      rows.push([digit, ...(await areasOf(run.dir, { device, seed }))]);
    }
    const mean = (column: 1 | 2 | 3) => rows.reduce((sum, row) => sum + row[column] / rows.length, 0);
    return {
      obtained: [
        { label: "mean AUROC, bound of -log p(x)", value: mean(1), unit: "", digits: 3 },
        { label: "mean AUROC, relative to the ink", value: mean(2), unit: "", digits: 3, atLeast: mean(3) },
        { label: "mean AUROC, PCA", value: mean(3), unit: "", digits: 3 },
      ],
      table: { columns: ["digit left out", "bound of -log p(x)", "relative to the ink", "PCA reconstruction"], rows },
      published: [],
      runs,
    };
  },
};

/** AUROC by the bound, by the score relative to the ink, and of principal components. */
async function areasOf(
  dir: string,
  options: { readonly device: string; readonly seed: number },
): Promise<[bound: number, relative: number, pca: number]> {
  return openRun(dir, options, async (request) => {
    const scoreAnomalies = abilityOf(request.run.config, "scoreAnomalies", "score anomalies");
    const judged = async (score: string) =>
      judgeAnomalies(await scoreAnomalies({ ...request, data: undefined, skipBroken: false, score }), 0.05);
    const bound = await judged("bound");
    const relative = await judged("relative");
    return [bound.auroc!, relative.auroc!, bound.baselineAuroc!];
  });
}
