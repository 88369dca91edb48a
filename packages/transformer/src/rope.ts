import { cachedRope, rotateHalves } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalContext } from "./causal-context.ts";
import { type RopeConfig, ropeAttentionFactor, ropeFrequencies } from "./rope-scaling.ts";

// Rotary position embeddings. Tables are made on the host in double precision: sines and cosines of GPUs err by 2e-4.
//
//   J. Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, arXiv:2104.09864
//
// Shapes: B batch, H heads, T tokens, D head dimension (even); pairs are (i, i + D/2).

/** Rotates queries or keys [B, H, T, D] by their positions. */
export type Rotation = (x: tf.Tensor4D) => tf.Tensor4D;

/** The rotation of the tokens of a context, for all of its layers. */
export function ropeRotation(config: RopeConfig, context: CausalContext): Rotation {
  const { length, positions, cached } = context;
  const frequencies = ropeFrequencies(config, length);
  const half = frequencies.length;
  const scale = ropeAttentionFactor(config);
  const table = (fn: (angle: number) => number) =>
    tf.tensor2d(
      Float32Array.from({ length: length * half }, (_, n) => scale * fn(Math.floor(n / half) * frequencies[n % half]!)),
      [length, half],
    );
  const tables = { cos: table(Math.cos), sin: table(Math.sin) };
  if (cached) return (x) => cachedRope(x, tables, positions as tf.Tensor2D);
  // [T, D/2], or [B, 1, T, D/2] where rows of the batch stand at positions of their own.
  const rows = (table: tf.Tensor2D) =>
    positions.rank === 1 ? tf.gather(table, positions) : tf.gather(table, positions).expandDims(1);
  const [cos, sin] = [rows(tables.cos), rows(tables.sin)];
  return (x) => rotateHalves(x, cos, sin) as tf.Tensor4D;
}
