import type { Rng } from "@genai/core";
import { describeModelContract } from "@genai/testing";
import type * as tf from "@tensorflow/tfjs";
import {
  createTableVae,
  encodeTableVae,
  hideCells,
  imputeTableVae,
  sampleTableVae,
  type TableColumn,
  tableRows,
  tableVaeLogLikelihood,
  tableVaeLoss,
} from "../src/index.ts";

const columns: TableColumn[] = [
  { name: "length", kind: "numeric", mean: 2, std: 3 },
  { name: "colour", kind: "categorical", categories: ["red", "green", "blue"] },
  { name: "weight", kind: "numeric", mean: 0, std: 1 },
];

const rowsOf = (rng: Rng, count: number) =>
  tableRows(columns, [
    { name: "length", kind: "numeric", values: rng.draw({ kind: "normal", size: count, mean: 2, std: 3 }) },
    {
      name: "colour",
      kind: "categorical",
      values: rng.draw({ kind: "integers", size: count, low: -1, high: 3 }),
      categories: ["red", "green", "blue"],
    },
    {
      name: "weight",
      kind: "numeric",
      values: [Number.NaN, ...rng.draw({ kind: "normal", size: count - 1, mean: 0, std: 1 })],
    },
  ]);

for (const mixtures of [1, 3]) {
  describeModelContract({
    name: `a VAE for tables with ${mixtures === 1 ? "a Gaussian" : "mixtures"} for each number`,
    create: (rng) => createTableVae({ columns, hiddenDims: [6, 5], latentDim: 2, minStd: 0.05, mixtures }, rng),
    batch: (rng) => rowsOf(rng, 7),
    loss: (vae, rows, rng) => tableVaeLoss(vae, rows, rng, { beta: 0.5, hide: 0.3 }),
    outputs: {
      run: (vae, rows, rng) => ({
        ...encodeTableVae(vae, rows),
        likelihood: tableVaeLogLikelihood(vae, rows, { samples: 4, rng }),
        samples: sampleTableVae(vae, { count: 5, rng }),
        filled: imputeTableVae(
          vae,
          { ...rows, observed: hideCells(rows.observed, 0.5, rng) as tf.Tensor2D },
          { samples: 3, rng },
        ),
      }),
      shapes: { mu: [7, 2], logvar: [7, 2], likelihood: [7], samples: [5, 3], filled: [7, 3] },
    },
  });
}
