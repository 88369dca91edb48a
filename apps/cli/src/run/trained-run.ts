import { existsSync } from "node:fs";
import { fileCheckpoints, loadModel } from "@genai/core";
import { UsageError } from "../exit-code.ts";
import type { TrainedRun } from "../families/family.ts";
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
