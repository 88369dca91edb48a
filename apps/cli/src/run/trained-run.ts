import { existsSync } from "node:fs";
import { fileCheckpoints, loadModel, Rng, treeDispose } from "@genai/core";
import { UsageError } from "../exit-code.ts";
import type { RunRequest, TrainedRun } from "../families/family.ts";
import { withInterrupt } from "../interrupt.ts";
import { openEngine } from "../open-engine.ts";
import { printNote } from "../terminal.ts";
import { RunFolder } from "./run-folder.ts";

/** The model of a run: as it was at the end of training or, of a run that was cut short, at its newest checkpoint. */
export async function loadTrainedRun(dir: string): Promise<TrainedRun> {
  const folder = new RunFolder(dir);
  const config = await folder.readConfig();
  if (existsSync(folder.modelFile)) return { config, params: (await loadModel(folder.modelFile)).params };
  const latest = await fileCheckpoints(folder.checkpointsDir).latest();
  if (!latest)
    throw new UsageError(`${dir} holds no trained model yet; go on with: genai train ${config.family} --resume ${dir}`);
  return { config, params: (latest.checkpoint.state as { params: unknown }).params };
}

/** Opens a run and an engine, does something with them and closes both. */
export async function openRun<T>(
  dir: string,
  { device, seed }: { readonly device: string; readonly seed: number },
  work: (request: RunRequest) => Promise<T>,
): Promise<T> {
  return withInterrupt(async (signal) => {
    const run = await loadTrainedRun(dir);
    const engine = await openEngine(device);
    try {
      return await work({ run, engine, rng: new Rng(seed), signal, note: printNote });
    } finally {
      treeDispose(run.params);
      engine.dispose();
    }
  });
}
