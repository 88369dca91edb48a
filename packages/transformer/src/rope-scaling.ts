// The frequencies of rotary positions, and the ways in which published models stretch them to longer contexts.
//
//   S. Chen et al., "Extending Context Window of Large Language Models via Position Interpolation", 2023, arXiv:2306.15595
//   B. Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023, arXiv:2309.00071
//   Y. Ding et al., "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens", 2024, arXiv:2402.13753

export type RopeScaling =
  /** Positions divided by a factor (Chen et al.). */
  | { readonly type: "linear"; readonly factor: number }
  /**
   * Beyond `originalBlockSize` theta grows with the length of the sequence ("dynamic NTK"); with a cache, with the
   * cache's length, since keys in it are not rotated anew.
   */
  | { readonly type: "dynamic"; readonly factor: number; readonly originalBlockSize: number }
  /** Llama 3.1: slow frequencies divided by a factor, fast ones kept, those between blended. */
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalBlockSize: number;
    }
  /**
   * Peng et al.: frequencies that turn fewer than `betaSlow` times in the original context divided by a factor, those that
   * turn more than `betaFast` times kept, those between blended by their index; and queries and keys lengthened.
   */
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly originalBlockSize: number;
      /** Default 32. */
      readonly betaFast?: number;
      /** Default 1. */
      readonly betaSlow?: number;
      /** Of queries and of keys; 0.1 ln(factor) + 1 by default. */
      readonly attentionFactor?: number;
      /** Whether the bounds of the blend are rounded outwards to whole indices; default true. */
      readonly truncate?: boolean;
    }
  /**
   * Ding et al., as Phi-3 has it: every frequency divided by a factor of its own, of one list up to `originalBlockSize`
   * tokens and of another beyond; with a cache the cache's length decides, since keys in it are not rotated anew.
   */
  | {
      readonly type: "longrope";
      /** headDim / 2 of them. */
      readonly shortFactors: readonly number[];
      /** headDim / 2 of them. */
      readonly longFactors: readonly number[];
      readonly originalBlockSize: number;
      /** By how much the context is longer than the original; decides on the default of `attentionFactor` alone. */
      readonly factor: number;
      /** Of queries and of keys; sqrt(1 + ln(factor) / ln(originalBlockSize)) by default. */
      readonly attentionFactor?: number;
    };

export interface RopeConfig {
  readonly headDim: number;
  readonly theta: number;
  readonly scaling?: RopeScaling | undefined;
}

/** The angular frequencies, D/2 of them: theta^(-2 i / D), scaled. @param length of the sequence, where that decides. */
export function ropeFrequencies(config: RopeConfig, length: number): Float64Array {
  const { headDim, scaling } = config;
  const plain = (theta: number) => Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
  if (!scaling) return plain(config.theta);
  const { factor } = scaling;
  switch (scaling.type) {
    case "linear":
      return plain(config.theta).map((f) => f / factor);
    case "dynamic": {
      const stretch = (factor * Math.max(length, scaling.originalBlockSize)) / scaling.originalBlockSize - (factor - 1);
      return plain(config.theta * stretch ** (headDim / (headDim - 2)));
    }
    case "llama3": {
      const { lowFreqFactor: low, highFreqFactor: high, originalBlockSize } = scaling;
      return plain(config.theta).map((f) => {
        const turns = (originalBlockSize * f) / (2 * Math.PI); // in the original context
        const kept = Math.min(Math.max((turns - low) / (high - low), 0), 1);
        return kept * f + ((1 - kept) * f) / factor;
      });
    }
    case "yarn": {
      const { betaFast = 32, betaSlow = 1, truncate = true } = scaling;
      // The index, no integer, whose frequency turns so many times in the original context.
      const indexOf = (turns: number) =>
        (headDim * Math.log(scaling.originalBlockSize / (turns * 2 * Math.PI))) / (2 * Math.log(config.theta));
      const low = Math.max(truncate ? Math.floor(indexOf(betaFast)) : indexOf(betaFast), 0);
      const high = Math.min(truncate ? Math.ceil(indexOf(betaSlow)) : indexOf(betaSlow), headDim - 1);
      const width = high === low ? 0.001 : high - low;
      return plain(config.theta).map((f, i) => {
        const divided = Math.min(Math.max((i - low) / width, 0), 1);
        return (divided * f) / factor + (1 - divided) * f;
      });
    }
    case "longrope": {
      const factors = length > scaling.originalBlockSize ? scaling.longFactors : scaling.shortFactors;
      return plain(config.theta).map((f, i) => f / factors[i]!);
    }
  }
}

/** By how much queries and keys are lengthened beside being rotated. */
export function ropeAttentionFactor({ scaling }: RopeConfig): number {
  switch (scaling?.type) {
    case "yarn":
      return scaling.attentionFactor ?? yarnMscale(scaling.factor);
    case "longrope": {
      const { factor, originalBlockSize, attentionFactor } = scaling;
      return attentionFactor ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalBlockSize)));
    }
    default:
      return 1;
  }
}

/** YaRN's 0.1 mscale ln(factor) + 1. */
export const yarnMscale = (factor: number, mscale = 1): number =>
  factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;

const TYPES = ["linear", "dynamic", "llama3", "yarn", "longrope"] as const satisfies readonly RopeScaling["type"][];

/** @throws naming what of the scaling does not fit. */
export function checkRope(caller: string, { headDim, theta, scaling }: RopeConfig): void {
  const need = (fits: boolean, what: string) => {
    if (!fits) throw new Error(`${caller}: ${what}`);
  };
  need(headDim % 2 === 0, `headDim (${headDim}) must be even`);
  need(theta > 0, `ropeTheta (${theta}) must be positive`);
  if (!scaling) return;
  need(TYPES.includes(scaling.type), `ropeScaling.type (${scaling.type}) must be one of ${TYPES.join(", ")}`);
  need(scaling.factor >= 1, `ropeScaling.factor (${scaling.factor}) must be at least 1`);
  if (scaling.type !== "linear") {
    const { originalBlockSize } = scaling;
    need(originalBlockSize >= 1, `ropeScaling.originalBlockSize (${originalBlockSize}) must be positive`);
  }
  if (scaling.type === "dynamic") need(headDim > 2, "dynamic scaling needs headDim above 2");
  if (scaling.type === "llama3") {
    const { highFreqFactor: high, lowFreqFactor: low } = scaling;
    need(high > low, `ropeScaling.highFreqFactor (${high}) must exceed lowFreqFactor (${low})`);
  }
  if (scaling.type === "yarn") {
    const { betaFast = 32, betaSlow = 1 } = scaling;
    need(theta > 1, `ropeTheta (${theta}) must exceed 1 with yarn`);
    need(
      betaSlow > 0 && betaFast >= betaSlow,
      `ropeScaling.betaFast (${betaFast}) must be at least betaSlow (${betaSlow})`,
    );
  }
  if (scaling.type === "longrope") {
    for (const name of ["shortFactors", "longFactors"] as const) {
      const factors = scaling[name];
      need(
        factors.length === headDim / 2,
        `ropeScaling.${name} hold ${factors.length} numbers; expected ${headDim / 2}`,
      );
      const at = factors.findIndex((factor) => !(factor > 0));
      need(at < 0, `ropeScaling.${name}[${at}] (${factors[at]}) must be positive`);
    }
  }
  if (scaling.type === "yarn" || scaling.type === "longrope") {
    const factor = scaling.attentionFactor ?? 1;
    need(factor > 0, `ropeScaling.attentionFactor (${factor}) must be positive`);
  }
}
