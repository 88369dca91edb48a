import { adam, Rng, valueAndGrad } from "@genai/core";
import {
  createTableVae,
  describeTableColumns,
  type TableColumnData,
  type TableRows,
  type TableVae,
  tableRows,
  tableVaeLoss,
} from "@genai/vae";
import * as tf from "@tensorflow/tfjs";
import type { EngineBenchJob } from "./job.ts";
import { runTrainingBench } from "./training-job.ts";

/** A training step of the VAE for tables on drawn rows like those of the diamonds: batch 256, Adam. */
export const tableVae: EngineBenchJob = {
  name: "table_vae",
  summary: "training step of the table VAE, 7 numbers and 3 categories, batch 256",
  async run(engine, request) {
    const batchSize = 256;
    const rng = new Rng(request.seed);
    const data = drawTable(4096, rng);
    const columns = describeTableColumns(data);
    const all = tableRows(columns, data);
    const model = createTableVae({ columns, hiddenDims: [128, 128], latentDim: 8, minStd: 0.05 }, rng);
    const optimizer = adam({ learningRate: 1e-3 });
    let start = 0;
    const nextBatch = (): TableRows => {
      const slice = (t: tf.Tensor2D) => tf.slice(t, [start, 0], [batchSize, -1]);
      const rows = { cells: slice(all.cells), observed: slice(all.observed) };
      start = (start + batchSize) % all.cells.shape[0];
      return rows;
    };
    type State = { params: TableVae["params"]; opt: ReturnType<typeof optimizer.init> };
    const result = await runTrainingBench(
      engine,
      {
        name: "table_vae_train",
        unit: "samples",
        perStep: batchSize,
        steps: 100,
        warmup: 10,
        state: { params: model.params, opt: optimizer.init(model.params) } satisfies State,
        step: function tableVaeStep(state: State, rows: TableRows, noise: Rng) {
          const { loss, grads } = valueAndGrad(
            (params: TableVae["params"]) => tableVaeLoss({ config: model.config, params }, rows, noise, { hide: 0.2 }),
            state.params,
          );
          const next = optimizer.update(grads, state.opt, state.params);
          return { state: { params: next.params, opt: next.state }, loss };
        },
        nextBatch,
        rng,
        config: { batch: batchSize, columns: columns.length, latent: model.config.latentDim, seed: request.seed },
      },
      request,
    );
    tf.dispose([all.cells, all.observed]);
    return result;
  },
};

/** Numbers that follow one hidden size, categories that follow another, one cell in twenty missing. */
function drawTable(rows: number, rng: Rng): TableColumnData[] {
  const normal = (size: number) => rng.draw({ kind: "normal", size, mean: 0, std: 1 });
  const gaps = () => rng.draw({ kind: "uniform", size: rows, low: 0, high: 1 });
  const [size, quality] = [normal(rows), normal(rows)];
  const numbers = Array.from({ length: 7 }, (_, m): TableColumnData => {
    const [noise, missing] = [normal(rows), gaps()];
    const values = Array.from(size, (s, i) => (missing[i]! < 0.05 ? Number.NaN : m + s + 0.3 * noise[i]!));
    return { name: `number ${m}`, kind: "numeric", values };
  });
  const categories = [5, 7, 8].map((count): TableColumnData => {
    const missing = gaps();
    const values = Array.from(quality, (q, i) => {
      if (missing[i]! < 0.05) return -1;
      return Math.min(count - 1, Math.max(0, Math.floor(count * (0.5 + q / 4))));
    });
    const names = Array.from({ length: count }, (_, k) => `level ${k}`);
    return { name: `category of ${count}`, kind: "categorical", values, categories: names };
  });
  return [...numbers, ...categories];
}
