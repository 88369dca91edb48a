import { expectClose, goldenNumbers, loadGolden } from "@genai/testing";
import { describe, expect, it } from "vitest";
import {
  constantWithWarmup,
  cosineAnnealing,
  cosineWarmRestarts,
  cosineWithWarmup,
  exponentialDecay,
  inverseSqrt,
  linearWithWarmup,
  noam,
  oneCycle,
  polynomialDecay,
  type Schedule,
  stepDecay,
  warmupStableDecay,
} from "../../src/optim/schedules.ts";

/** The schedule of a golden case: which function by the case's name, and its numbers from the case. */
function scheduleOf(name: string, p: Record<string, number>): Schedule {
  const learningRate = p.lr!;
  const warm = { learningRate, warmupSteps: p.warmup_steps! };
  const warmDecay = { ...warm, totalSteps: p.total_steps! };
  const minLearningRate = p.min_lr!;
  if (name === "cosine_warmup_from_zero") return cosineWithWarmup({ ...warmDecay, minLearningRate });
  if (name === "cosine_warmup_nanogpt") return cosineWithWarmup({ ...warmDecay, minLearningRate, warmup: "after-one" });
  if (name === "cosine_warmup_hf") return cosineWithWarmup({ ...warmDecay, afterEnd: "cycle" });
  if (name === "linear_warmup_decay_hf") return linearWithWarmup(warmDecay);
  if (name === "constant_warmup") return constantWithWarmup(warm);
  if (name === "inverse_sqrt") return inverseSqrt(warm);
  if (name === "noam") return noam({ nEmbd: p.d_model!, warmupSteps: p.warmup_steps! });
  if (name === "warmup_stable_decay") return warmupStableDecay({ ...warmDecay, decayStart: p.decay_start! });
  if (name.startsWith("one_cycle")) {
    return oneCycle({
      maxLearningRate: p.max_lr!,
      totalSteps: p.total_steps!,
      warmupFraction: p.pct_start!,
      anneal: String(p.anneal) === "cos" ? "cosine" : "linear",
      divFactor: p.div_factor!,
      finalDivFactor: p.final_div_factor!,
    });
  }
  if (name === "cosine_annealing") {
    return cosineAnnealing({ learningRate, period: p.T_max!, minLearningRate: p.eta_min! });
  }
  if (name === "cosine_warm_restarts") {
    return cosineWarmRestarts({ learningRate, period: p.T_0!, periodFactor: p.T_mult!, minLearningRate: p.eta_min! });
  }
  if (name === "step") return stepDecay({ learningRate, stepSize: p.step_size!, gamma: p.gamma! });
  if (name === "exponential") return exponentialDecay({ learningRate, gamma: p.gamma! });
  if (name.startsWith("polynomial"))
    return polynomialDecay({ learningRate, totalSteps: p.total_steps!, power: p.power! });
  throw new Error(`no schedule for the golden case ${name}`);
}

describe("golden lr_schedules", async () => {
  const file = await loadGolden("lr_schedules");
  it.each(file.cases)("$name gives the tabulated rates", async ({ name, params, outputs, tolerance }) => {
    const schedule = scheduleOf(name, params as Record<string, number>);
    const want = goldenNumbers(outputs.lr!);
    const got = want.map((_, step) => schedule(step));
    expect(want.length).toBeGreaterThan(0);
    await expectClose(got, want, tolerance ?? file.tolerance, "learning rates by step");
  });
});
