import { type Rng, treeDispose } from "@genai/core";
import { subset, take } from "@genai/datasets";
import {
  pcaScore,
  scoreAll,
  type TableRows,
  type TableVae,
  tableColumnData,
  tableRows,
  tableVaeLogLikelihood,
} from "@genai/vae";
import { loadTable, loadTableToJudge } from "../../data/table-data.ts";
import { UsageError } from "../../exit-code.ts";
import type { AnomalyRequest, AnomalyScores } from "../family.ts";
import { fitTablePca, numberRows } from "./table-cells.ts";

const draws = 50;

/** Scores rows by -log p(known cells). */
export async function scoreTable(request: AnomalyRequest): Promise<AnomalyScores> {
  const { run, engine, rng, data, score: scoreName, signal } = request;
  if (scoreName !== undefined && scoreName !== "bound") {
    throw new UsageError(`--score ${scoreName} is no score of this model; there is bound`);
  }
  const { config, params } = { config: run.config.model, params: run.params } as TableVae;
  const { columns } = config;
  const { train, test } = await loadTable(run.config.settings.data, request);
  const half = test.shape[0] >> 1;
  const own = data === undefined || data === run.config.settings.data;
  const judged = own
    ? subset(
        test,
        Array.from({ length: test.shape[0] - half }, (_, i) => half + i),
      )
    : await loadTableToJudge(data, columns, request);
  const rowsOf = (table: typeof test) => tableRows(columns, tableColumnData(table));
  const score = async (rows: TableRows, noise: Rng) => {
    const logLikelihoods = await scoreAll(
      engine,
      params,
      (p: TableVae["params"], batch: TableRows, draw: Rng) =>
        tableVaeLogLikelihood({ config, params: p }, batch, { samples: draws, rng: draw }),
      rows,
      { rng: noise, batchSize: 400, signal },
    );
    return logLikelihoods.map((value) => -value);
  };
  const [trained, calibration, rows] = [rowsOf(train), rowsOf(own ? take(test, half) : test), rowsOf(judged)];
  const pca = await fitTablePca(columns, trained);
  const result: AnomalyScores = {
    scoreName: "-log p(row), nats",
    calibration: await score(calibration, rng.fork("calibration")),
    scores: await score(rows, rng.fork("scores")),
    names: Array.from({ length: judged.shape[0] }, (_, i) => `row ${own ? half + i : i + 1}`),
    baseline: {
      name: `squared reconstruction error of ${pca.components.length} principal components`,
      scores: pcaScore(pca, (await numberRows(columns, rows)).values),
    },
  };
  treeDispose([trained, calibration, rows]);
  return result;
}
