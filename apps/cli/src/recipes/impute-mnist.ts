import { abilityOf } from "../families/index.ts";
import { vaeFamily } from "../families/vae/index.ts";
import { startRun } from "../run/train-run.ts";
import { completeSettings } from "../run/train-settings.ts";
import { openRun } from "../run/trained-run.ts";
import type { Recipe } from "./recipe.ts";

const shares = [0.25, 0.5, 0.75];

/** Hides pixels of test images and fills them in, beside the mean image and principal components. */
export const imputeMnist: Recipe = {
  name: "impute-mnist",
  summary: "filling in a quarter, a half and three quarters of the pixels, beside the mean and principal components",
  duration: "about 2 minutes",
  async run({ seed, seconds, device, out, full }) {
    const settings = completeSettings(vaeFamily, {
      kind: "conv",
      data: "mnist",
      steps: full ? 20_000 : 1500,
      seconds,
      seed,
      options: { latentDim: 32 },
    });
    const run = await startRun({
      family: vaeFamily,
      settings,
      name: "impute-mnist",
      out,
      device,
      checkpointEvery: 5000,
    });
    const rows: [string, number, number, number][] = [];
    for (const hide of shares) {
      const { errors } = await openRun(run.dir, { device, seed }, (request) =>
        abilityOf(
          request.run.config,
          "impute",
          "fill in missing values",
        )({ ...request, data: undefined, skipBroken: false, hide }),
      );
      const [{ model, mean, pca }] = errors as [(typeof errors)[number]];
      rows.push([`${100 * hide} %`, model, mean, pca!]);
    }
    return {
      obtained: rows.map(([label, model, mean, pca]) => ({
        label: `error at ${label} missing`,
        value: model,
        unit: "",
        digits: 4,
        atMost: Math.min(mean, pca),
      })),
      table: { columns: ["missing", "VAE", "mean image", "PCA"], rows },
      published: [],
      runs: [run],
    };
  },
};
