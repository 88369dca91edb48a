import { cosineWithWarmup, type Schedule } from "@genai/core";
import type { TrainSettings } from "../../run/run-folder.ts";

/** A short linear warm-up, then half a cosine down to a twentieth. */
export function learningRateSchedule({ steps, learningRate }: TrainSettings): Schedule {
  return cosineWithWarmup({
    learningRate,
    warmupSteps: Math.min(100, Math.floor(steps / 10)),
    totalSteps: steps,
    minLearningRate: learningRate / 20,
    warmup: "after-one",
  });
}
