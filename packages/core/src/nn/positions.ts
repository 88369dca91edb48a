import * as tf from "@tensorflow/tfjs";

// Sines and cosines come from tables made on the host in double precision: on GPUs they err by 2e-4.

/** Cosines and sines of rotary embeddings, [T, D/2] each. */
export interface RopeTables {
  readonly cos: tf.Tensor2D;
  readonly sin: tf.Tensor2D;
}

/**
 * The tables of rotary embeddings (Su et al. 2021): angle of (position, i) is position * theta^(-2 i / headDim).
 *
 * @param positions a number T for the positions 0 to T - 1, or the positions themselves
 * @param headDim even
 * @param options.theta default 10000
 */
export function ropeTables(
  positions: number | readonly number[],
  headDim: number,
  options: { readonly theta?: number } = {},
): RopeTables {
  if (headDim % 2 !== 0) throw new Error(`ropeTables: headDim (${headDim}) must be even`);
  const theta = options.theta ?? 10000;
  const at = typeof positions === "number" ? Array.from({ length: positions }, (_, i) => i) : positions;
  const half = headDim / 2;
  const cos = new Float32Array(at.length * half);
  const sin = new Float32Array(at.length * half);
  at.forEach((position, row) => {
    for (let i = 0; i < half; i++) {
      const angle = position * theta ** ((-2 * i) / headDim);
      cos[row * half + i] = Math.cos(angle);
      sin[row * half + i] = Math.sin(angle);
    }
  });
  return { cos: tf.tensor2d(cos, [at.length, half]), sin: tf.tensor2d(sin, [at.length, half]) };
}

/**
 * Rotates queries or keys by their positions.
 *
 * @param x [B, H, T, D]
 * @param tables of T positions
 * @param options.interleaved false (default): pairs (i, i + D/2), as Hugging Face's Llama; true: pairs (2i, 2i + 1), as
 *   the original RoFormer and GPT-J
 * @returns [B, H, T, D]
 */
export function applyRope(
  x: tf.Tensor,
  tables: RopeTables,
  options: { readonly interleaved?: boolean } = {},
): tf.Tensor {
  const [b, h, t, d] = x.shape as [number, number, number, number];
  if (x.rank !== 4 || tables.cos.shape[0] !== t || tables.cos.shape[1]! * 2 !== d) {
    throw new Error(
      `applyRope: x has shape [${x.shape}] and the tables [${tables.cos.shape}]; expected [B, H, T, D] and [T, D/2]`,
    );
  }
  const { cos, sin } = tables;
  return tf.tidy(() => {
    if (!options.interleaved) return rotateHalves(x, cos, sin);
    const pairs = tf
      .split(tf.reshape(x, [b * h, t, d / 2, 2]), 2, 3)
      .map((half) => tf.reshape(half, [b * h, t, d / 2]));
    return tf.reshape(tf.stack(rotatePairs(pairs[0]!, pairs[1]!, cos, sin), 3), x.shape);
  });
}

/**
 * Rotates pairs (i, i + D/2) of the last axis.
 *
 * @param x [B, H, T, D]
 * @param cos as `sin`: [T, D/2], or [B, 1, T, D/2] where rows stand at positions of their own
 * @returns [B, H, T, D]
 */
export function rotateHalves(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const [a, b] = tf.split(x, 2, 3) as [tf.Tensor, tf.Tensor];
    return tf.concat(rotatePairs(a, b, cos, sin), 3);
  });
}

/** (a, b) turned: (a cos - b sin, b cos + a sin). */
const rotatePairs = (a: tf.Tensor, b: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor): [tf.Tensor, tf.Tensor] => [
  tf.sub(tf.mul(a, cos), tf.mul(b, sin)),
  tf.add(tf.mul(b, cos), tf.mul(a, sin)),
];

export interface SinusoidalOptions {
  /**
   * "transformer" (default): sines at even, cosines at odd places (Vaswani et al. 2017); "sin-cos": all sines first, with
   * frequencies to 1/maxPeriod inclusive (Ho et al. 2020); "cos-sin": all cosines first (Dhariwal and Nichol 2021).
   */
  readonly layout?: "transformer" | "sin-cos" | "cos-sin";
  /** Default 10000. */
  readonly maxPeriod?: number;
}

/** Angular frequencies of sinusoidal embeddings: maxPeriod^(-i / n), n = dim/2, or dim/2 - 1 for "sin-cos". */
export function sinusoidalFrequencies(dim: number, options: SinusoidalOptions = {}): Float64Array {
  const { layout = "transformer", maxPeriod = 10000 } = options;
  if (!Number.isInteger(dim) || dim < 2 || dim % 2 !== 0) {
    throw new Error(`sinusoidalEmbedding: dim (${dim}) must be even and positive`);
  }
  const half = dim / 2;
  const denominator = layout === "sin-cos" ? Math.max(half - 1, 1) : half;
  return Float64Array.from({ length: half }, (_, i) => maxPeriod ** (-i / denominator));
}

/**
 * Sinusoidal embeddings of positions or timesteps known on the host.
 *
 * For timesteps that are drawn at every step make the table of all timesteps once and look rows up with `embedding`.
 *
 * @returns [positions.length, dim]
 */
export function sinusoidalEmbedding(
  positions: ArrayLike<number>,
  dim: number,
  options: SinusoidalOptions = {},
): tf.Tensor2D {
  const frequencies = sinusoidalFrequencies(dim, options);
  const { layout = "transformer" } = options;
  const half = dim / 2;
  const out = new Float32Array(positions.length * dim);
  for (let row = 0; row < positions.length; row++) {
    for (let i = 0; i < half; i++) {
      const angle = positions[row]! * frequencies[i]!;
      const sinAt = layout === "transformer" ? 2 * i : layout === "sin-cos" ? i : half + i;
      const cosAt = layout === "transformer" ? 2 * i + 1 : layout === "sin-cos" ? half + i : i;
      out[row * dim + sinAt] = Math.sin(angle);
      out[row * dim + cosAt] = Math.cos(angle);
    }
  }
  return tf.tensor2d(out, [positions.length, dim]);
}
