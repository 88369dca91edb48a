import { checkCount, checkDecayRate, checkFinite, checkNotNegative, checkPositive } from "./option-checks.ts";

// A schedule gives the value for step 0, 1, 2 ... in double precision. Schedules for the learning rate and for other
// things that change while training (the weight of a KL term, a temperature, an EMA decay) are the same kind of thing.

/** The value of a setting at a training step; steps count from 0. */
export type Schedule = (step: number) => number;

const lerp = (from: number, to: number, part: number) => from + (to - from) * part;
/** From `from` to `to` along half a cosine wave. */
const cosineLerp = (from: number, to: number, part: number) => to + ((from - to) * (1 + Math.cos(Math.PI * part))) / 2;

export interface WarmupOptions {
  /** The rate after the warm-up; not negative. */
  learningRate: number;
  /** Steps until the full rate is reached; 0 for no warm-up. */
  warmupSteps: number;
}

export interface WarmupDecayOptions extends WarmupOptions {
  /** The step at which the decay ends; above warmupSteps. */
  totalSteps: number;
  /** Where the decay ends; 0 by default. */
  minLearningRate?: number | undefined;
}

function checkWarmup(caller: string, { learningRate, warmupSteps }: WarmupOptions): void {
  checkNotNegative(caller, "learningRate", learningRate);
  checkCount(caller, "warmupSteps", warmupSteps, 0);
}

function checkWarmupDecay(caller: string, options: WarmupDecayOptions): void {
  checkWarmup(caller, options);
  checkCount(caller, "totalSteps", options.totalSteps, options.warmupSteps + 1);
  checkNotNegative(caller, "minLearningRate", options.minLearningRate ?? 0);
}

/**
 * A straight line from `from` at step `start` to `to`, `steps` steps later; constant before and after. For the weight of
 * a KL term, for instance.
 */
export function linearWarmup(options: { to: number; steps: number; from?: number; start?: number }): Schedule {
  const { to, steps, from = 0, start = 0 } = options;
  checkFinite("linearWarmup", "to", to);
  checkFinite("linearWarmup", "from", from);
  checkCount("linearWarmup", "steps", steps, 0);
  checkCount("linearWarmup", "start", start, 0);
  return (step) => {
    if (step >= start + steps) return to;
    return lerp(from, to, Math.max(0, step - start) / steps);
  };
}

/** Runs `schedules[i]` until step `boundaries[i]`, then the next one, whose own count starts at 0 there. */
export function joinSchedules(schedules: readonly Schedule[], boundaries: readonly number[]): Schedule {
  if (schedules.length === 0 || boundaries.length !== schedules.length - 1) {
    throw new Error(
      `joinSchedules: got ${schedules.length} schedules and ${boundaries.length} boundaries; expected one boundary less`,
    );
  }
  for (const [i, at] of boundaries.entries()) {
    checkCount("joinSchedules", `boundaries[${i}]`, at, (boundaries[i - 1] ?? 0) + (i > 0 ? 1 : 0));
  }
  return (step) => {
    let i = 0;
    while (i < boundaries.length && step >= boundaries[i]!) i++;
    return schedules[i]!(step - (boundaries[i - 1] ?? 0));
  };
}

/** `learningRate * step / warmupSteps`, then `learningRate`. */
export function constantWithWarmup(options: WarmupOptions): Schedule {
  checkWarmup("constantWithWarmup", options);
  return linearWarmup({ to: options.learningRate, steps: options.warmupSteps });
}

/** Linear warm-up from 0, then a straight line down to minLearningRate at totalSteps, which stays. */
export function linearWithWarmup(options: WarmupDecayOptions): Schedule {
  checkWarmupDecay("linearWithWarmup", options);
  const { learningRate, warmupSteps, totalSteps, minLearningRate = 0 } = options;
  const down = linearWarmup({ from: learningRate, to: minLearningRate, steps: totalSteps - warmupSteps });
  return joinSchedules([linearWarmup({ to: learningRate, steps: warmupSteps }), down], [warmupSteps]);
}

export interface CosineWithWarmupOptions extends WarmupDecayOptions {
  /**
   * "from-zero" starts at 0: learningRate * step / warmupSteps. "after-one" takes a real step at once, as nanoGPT does:
   * learningRate * (step + 1) / (warmupSteps + 1). "from-zero" by default.
   */
  warmup?: "from-zero" | "after-one" | undefined;
  /** After totalSteps, "hold" stays at minLearningRate; "cycle" follows the cosine up again, as Hugging Face does. */
  afterEnd?: "hold" | "cycle" | undefined;
}

/**
 * Linear warm-up, then half a cosine wave down to minLearningRate at totalSteps.
 *
 * Hugging Face's get_cosine_schedule_with_warmup is `{ afterEnd: "cycle" }`; nanoGPT's is `{ warmup: "after-one" }`.
 */
export function cosineWithWarmup(options: CosineWithWarmupOptions): Schedule {
  checkWarmupDecay("cosineWithWarmup", options);
  const { learningRate, warmupSteps, totalSteps, minLearningRate = 0 } = options;
  const { warmup = "from-zero", afterEnd = "hold" } = options;
  const early = warmup === "after-one" ? 1 : 0;
  return (step) => {
    if (step < warmupSteps) return (learningRate * (step + early)) / (warmupSteps + early);
    const part = (step - warmupSteps) / (totalSteps - warmupSteps);
    return cosineLerp(learningRate, minLearningRate, afterEnd === "hold" ? Math.min(1, part) : part);
  };
}

/**
 * Linear warm-up from 0, then learningRate * sqrt(timescale / (step - warmupSteps + timescale)).
 *
 * @param options timescale is the number of warm-up steps by default, which gives learningRate * sqrt(warmupSteps / step),
 * or 10,000 without warm-up.
 */
export function inverseSqrt(options: WarmupOptions & { timescale?: number | undefined }): Schedule {
  checkWarmup("inverseSqrt", options);
  const { learningRate, warmupSteps, timescale = warmupSteps || 10_000 } = options;
  checkPositive("inverseSqrt", "timescale", timescale);
  return (step) => {
    if (step < warmupSteps) return (learningRate * step) / warmupSteps;
    return learningRate * Math.sqrt(timescale / (step - warmupSteps + timescale));
  };
}

/**
 * The schedule of the first transformer: factor * nEmbd^-0.5 * min(s^-0.5, s * warmupSteps^-1.5), with s = step + 1.
 *
 * A. Vaswani et al., "Attention is all you need", NeurIPS 2017, equation 3.
 */
export function noam(options: { nEmbd: number; warmupSteps: number; factor?: number | undefined }): Schedule {
  const { nEmbd, warmupSteps, factor = 1 } = options;
  checkCount("noam", "nEmbd", nEmbd, 1);
  checkCount("noam", "warmupSteps", warmupSteps, 1);
  checkNotNegative("noam", "factor", factor);
  return (step) => factor * nEmbd ** -0.5 * Math.min((step + 1) ** -0.5, (step + 1) * warmupSteps ** -1.5);
}

/**
 * Linear warm-up from 0, constant until decayStart, then a straight line down to minLearningRate at totalSteps.
 *
 * S. Hu et al., "MiniCPM: unveiling the potential of small language models with scalable training strategies", 2024.
 */
export function warmupStableDecay(options: WarmupDecayOptions & { decayStart: number }): Schedule {
  checkWarmupDecay("warmupStableDecay", options);
  const { learningRate, warmupSteps, decayStart, totalSteps, minLearningRate = 0 } = options;
  checkCount("warmupStableDecay", "decayStart", decayStart, warmupSteps);
  if (decayStart >= totalSteps) {
    throw new Error(`warmupStableDecay: decayStart (${decayStart}) must be below totalSteps (${totalSteps})`);
  }
  const down = linearWarmup({ from: learningRate, to: minLearningRate, steps: totalSteps - decayStart });
  return joinSchedules([linearWarmup({ to: learningRate, steps: warmupSteps }), down], [decayStart]);
}

export interface OneCycleOptions {
  /** The peak; not negative. */
  maxLearningRate: number;
  totalSteps: number;
  /** Part of the steps that go up; in (0, 1), 0.3 by default. */
  warmupFraction?: number | undefined;
  anneal?: "cosine" | "linear" | undefined;
  /** The start is maxLearningRate / divFactor; 25 by default. */
  divFactor?: number | undefined;
  /** The end is the start / finalDivFactor; 10,000 by default. */
  finalDivFactor?: number | undefined;
}

/**
 * Up to the peak and far down again, in two phases.
 *
 * L. Smith and N. Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018;
 * phases as in PyTorch's OneCycleLR: the peak is at step warmupFraction * totalSteps - 1, the end at totalSteps - 1.
 */
export function oneCycle(options: OneCycleOptions): Schedule {
  const { maxLearningRate, totalSteps, warmupFraction = 0.3, anneal = "cosine" } = options;
  const { divFactor = 25, finalDivFactor = 10_000 } = options;
  checkNotNegative("oneCycle", "maxLearningRate", maxLearningRate);
  checkCount("oneCycle", "totalSteps", totalSteps, 2);
  checkPositive("oneCycle", "divFactor", divFactor);
  checkPositive("oneCycle", "finalDivFactor", finalDivFactor);
  const peak = warmupFraction * totalSteps - 1;
  const last = totalSteps - 1;
  if (!(peak > 0 && peak < last)) {
    throw new Error(
      `oneCycle: warmupFraction (${warmupFraction}) of totalSteps (${totalSteps}) must leave steps on both sides of the peak`,
    );
  }
  const start = maxLearningRate / divFactor;
  const between = anneal === "cosine" ? cosineLerp : lerp;
  return (step) => {
    if (step <= peak) return between(start, maxLearningRate, step / peak);
    return between(maxLearningRate, start / finalDivFactor, Math.min(1, (step - peak) / (last - peak)));
  };
}

/**
 * A cosine wave between learningRate, at step 0, and minLearningRate, at step `period`; it goes on up and down after it.
 *
 * I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, equation 5.
 */
export function cosineAnnealing(options: {
  learningRate: number;
  period: number;
  minLearningRate?: number | undefined;
}): Schedule {
  const { learningRate, period, minLearningRate = 0 } = options;
  checkNotNegative("cosineAnnealing", "learningRate", learningRate);
  checkNotNegative("cosineAnnealing", "minLearningRate", minLearningRate);
  checkCount("cosineAnnealing", "period", period, 1);
  return (step) => cosineLerp(learningRate, minLearningRate, step / period);
}

/** `cosineAnnealing` that jumps back to learningRate after `period` steps, then after `period * periodFactor` more ... */
export function cosineWarmRestarts(options: {
  learningRate: number;
  period: number;
  periodFactor?: number | undefined;
  minLearningRate?: number | undefined;
}): Schedule {
  const { learningRate, period, periodFactor = 1, minLearningRate = 0 } = options;
  checkNotNegative("cosineWarmRestarts", "learningRate", learningRate);
  checkNotNegative("cosineWarmRestarts", "minLearningRate", minLearningRate);
  checkCount("cosineWarmRestarts", "period", period, 1);
  checkCount("cosineWarmRestarts", "periodFactor", periodFactor, 1);
  return (step) => {
    let length = period;
    let since = periodFactor === 1 ? step % period : step;
    while (since >= length) {
      since -= length;
      length *= periodFactor;
    }
    return cosineLerp(learningRate, minLearningRate, since / length);
  };
}

/** learningRate * gamma^floor(step / stepSize). */
export function stepDecay(options: { learningRate: number; stepSize: number; gamma: number }): Schedule {
  const { learningRate, stepSize, gamma } = options;
  checkNotNegative("stepDecay", "learningRate", learningRate);
  checkCount("stepDecay", "stepSize", stepSize, 1);
  checkPositive("stepDecay", "gamma", gamma);
  return (step) => learningRate * gamma ** Math.floor(step / stepSize);
}

/** learningRate * gamma^step. */
export function exponentialDecay(options: { learningRate: number; gamma: number }): Schedule {
  const { learningRate, gamma } = options;
  checkNotNegative("exponentialDecay", "learningRate", learningRate);
  checkPositive("exponentialDecay", "gamma", gamma);
  return (step) => learningRate * gamma ** step;
}

/** From learningRate down to minLearningRate at totalSteps, which stays, along (1 - step / totalSteps)^power. */
export function polynomialDecay(options: {
  learningRate: number;
  totalSteps: number;
  power?: number | undefined;
  minLearningRate?: number | undefined;
}): Schedule {
  const { learningRate, totalSteps, power = 1, minLearningRate = 0 } = options;
  checkNotNegative("polynomialDecay", "learningRate", learningRate);
  checkNotNegative("polynomialDecay", "minLearningRate", minLearningRate);
  checkCount("polynomialDecay", "totalSteps", totalSteps, 1);
  checkPositive("polynomialDecay", "power", power);
  return (step) => lerp(minLearningRate, learningRate, (1 - Math.min(step, totalSteps) / totalSteps) ** power);
}

/**
 * A decay for `emaUpdate` that lets the average follow early steps: min(decay, (1 + step) / (10 + step)).
 *
 * @param decay the decay reached in the end; in [0, 1).
 */
export function emaDecayWarmup(decay: number): Schedule {
  checkDecayRate("emaDecayWarmup", "decay", decay);
  return (step) => Math.min(decay, (1 + step) / (10 + step));
}
