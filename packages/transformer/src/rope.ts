import * as tf from "@tensorflow/tfjs";
import type { CausalContext } from "./causal-context.ts";

// Rotary position embeddings and the ways in which published models stretch them to longer contexts. Tables are made on
// the host in double precision: sines and cosines of GPUs err by 2e-4.
//
//   J. Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, arXiv:2104.09864
//
// Shapes: B batch, H heads, T tokens, D head dimension (even); pairs are (i, i + D/2).

export type RopeScaling =
  /** Positions divided by a factor (Chen et al. 2023, arXiv:2306.15595). */
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
    };

export interface RopeConfig {
  readonly headDim: number;
  readonly theta: number;
  readonly scaling?: RopeScaling | undefined;
}

/** The angular frequencies, D/2 of them: theta^(-2 i / D), scaled. @param length of the sequence, for "dynamic". */
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
  }
}

/** Rotates queries or keys [B, H, T, D] by their positions. */
export type Rotation = (x: tf.Tensor) => tf.Tensor;

/** The rotation of the tokens of a context, for all of its layers. */
export function ropeRotation(config: RopeConfig, context: CausalContext): Rotation {
  const { length, positions } = context;
  const frequencies = ropeFrequencies(config, length);
  const half = frequencies.length;
  const table = (fn: (angle: number) => number) =>
    tf.tensor2d(
      Float32Array.from({ length: length * half }, (_, n) => fn(Math.floor(n / half) * frequencies[n % half]!)),
      [length, half],
    );
  // [T, D/2], or [B, 1, T, D/2] where rows of the batch stand at positions of their own.
  const rows = (table: tf.Tensor2D) =>
    positions.rank === 1 ? tf.gather(table, positions) : tf.gather(table, positions).expandDims(1);
  const cos = rows(table(Math.cos));
  const sin = rows(table(Math.sin));
  return (x) => {
    const [a, b] = tf.split(x, 2, 3) as [tf.Tensor, tf.Tensor];
    return tf.concat([a.mul(cos).sub(b.mul(sin)), b.mul(cos).add(a.mul(sin))], 3);
  };
}

/** @throws naming what of the scaling does not fit. */
export function checkRope(caller: string, { headDim, theta, scaling }: RopeConfig): void {
  if (headDim % 2 !== 0) throw new Error(`${caller}: headDim (${headDim}) must be even`);
  if (!(theta > 0)) throw new Error(`${caller}: ropeTheta (${theta}) must be positive`);
  if (!scaling) return;
  if (!["linear", "dynamic", "llama3"].includes(scaling.type)) {
    throw new Error(`${caller}: ropeScaling.type (${scaling.type}) must be linear, dynamic or llama3`);
  }
  if (!(scaling.factor >= 1)) throw new Error(`${caller}: ropeScaling.factor (${scaling.factor}) must be at least 1`);
  if (scaling.type === "dynamic" && headDim === 2) throw new Error(`${caller}: dynamic scaling needs headDim above 2`);
  if (scaling.type !== "linear" && !(scaling.originalBlockSize >= 1)) {
    throw new Error(`${caller}: ropeScaling.originalBlockSize (${scaling.originalBlockSize}) must be positive`);
  }
  if (scaling.type === "llama3" && !(scaling.highFreqFactor > scaling.lowFreqFactor)) {
    throw new Error(
      `${caller}: ropeScaling.highFreqFactor (${scaling.highFreqFactor}) must exceed lowFreqFactor (${scaling.lowFreqFactor})`,
    );
  }
}
