import { auroc, calibrateThreshold } from "@genai/vae";
import type { AnomalyScores } from "./family.ts";

export interface JudgedAnomalies {
  readonly threshold: number;
  /** How many scores lie above the threshold. */
  readonly flagged: number;
  /** Indices of the examples, highest score first. */
  readonly order: readonly number[];
  /** How many examples are known to be anomalies, and how well the scores part them from the rest. */
  readonly anomalies?: number;
  readonly auroc?: number;
  readonly baselineAuroc?: number;
}

/** Threshold, what lies above it, and how well scores part known anomalies from the rest. */
export function judgeAnomalies(scored: AnomalyScores, falsePositiveRate: number): JudgedAnomalies {
  const { calibration, scores, truth, baseline } = scored;
  const threshold = calibrateThreshold(calibration, falsePositiveRate);
  const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!);
  const flagged = scores.reduce((count, score) => count + (score > threshold ? 1 : 0), 0);
  const areaOf = (values: Float64Array) =>
    auroc(
      values.filter((_, i) => !truth![i]),
      values.filter((_, i) => truth![i]),
    );
  return {
    threshold,
    flagged,
    order,
    ...(truth
      ? {
          anomalies: truth.filter(Boolean).length,
          auroc: areaOf(scores),
          ...(baseline ? { baselineAuroc: areaOf(baseline.scores) } : {}),
        }
      : {}),
  };
}
