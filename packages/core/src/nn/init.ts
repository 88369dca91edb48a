import * as tf from "@tensorflow/tfjs";
import type { Rng } from "../rng.ts";

/** Makes the first value of a parameter. Float32; the shape is in PyTorch's layout, [out, in, ...]. */
export type Initialiser = (shape: readonly number[], rng: Rng) => tf.Tensor;

/** Inputs to, and outputs of, one unit: for [out, in, kh, kw] in * kh * kw and out * kh * kw. */
export function fans(shape: readonly number[]): { fanIn: number; fanOut: number } {
  const [outDim = 1, inDim = outDim, ...kernel] = shape;
  const field = kernel.reduce((a, b) => a * b, 1);
  return { fanIn: inDim * field, fanOut: outDim * field };
}

/** Every element is 0. */
export function zerosInit(): Initialiser {
  return (shape) => tf.zeros(shape as number[]);
}

/** Every element is 1. */
export function onesInit(): Initialiser {
  return (shape) => tf.ones(shape as number[]);
}

/** Every element is `value`. */
export function constantInit(value: number): Initialiser {
  return (shape) => tf.fill(shape as number[], value, "float32");
}

/** Normal with the given standard deviation (default 0.02, as GPT-2 and DCGAN). */
export function normalInit(std = 0.02, mean = 0): Initialiser {
  return (shape, rng) => rng.normal(shape, mean, std);
}

/** Uniform in [low, high). */
export function uniformInit(low: number, high: number): Initialiser {
  return (shape, rng) => rng.uniform(shape, low, high);
}

/** Normal with values beyond `limit` standard deviations drawn again on the host. */
export function truncatedNormalInit(std = 0.02, limit = 2): Initialiser {
  if (!(limit > 0)) throw new Error(`truncatedNormalInit: limit (${limit}) must be positive`);
  return (shape, rng) => {
    const size = shape.reduce((a, b) => a * b, 1);
    const out = new Float32Array(size);
    for (let at = 0; at < size; ) {
      for (const z of rng.draw({ kind: "normal", size: Math.max(16, size - at), mean: 0, std: 1 })) {
        if (Math.abs(z) > limit) continue;
        out[at++] = z * std;
        if (at === size) break;
      }
    }
    return tf.tensor(out, shape as number[]);
  };
}

/** Xavier / Glorot uniform: U(-a, a) with a = gain * sqrt(6 / (fanIn + fanOut)). */
export function xavierUniform(options: { readonly gain?: number } = {}): Initialiser {
  return (shape, rng) => {
    const { fanIn, fanOut } = fans(shape);
    const a = (options.gain ?? 1) * Math.sqrt(6 / (fanIn + fanOut));
    return rng.uniform(shape, -a, a);
  };
}

/** Xavier / Glorot normal: standard deviation gain * sqrt(2 / (fanIn + fanOut)). */
export function xavierNormal(options: { readonly gain?: number } = {}): Initialiser {
  return (shape, rng) => {
    const { fanIn, fanOut } = fans(shape);
    return rng.normal(shape, 0, (options.gain ?? 1) * Math.sqrt(2 / (fanIn + fanOut)));
  };
}

/** Kaiming / He uniform: U(-a, a) with a = gain * sqrt(3 / fanIn); the default gain sqrt(2) is for relu. */
export function kaimingUniform(options: { readonly gain?: number } = {}): Initialiser {
  return (shape, rng) => {
    const a = (options.gain ?? Math.SQRT2) * Math.sqrt(3 / fans(shape).fanIn);
    return rng.uniform(shape, -a, a);
  };
}

/** Kaiming / He normal: standard deviation gain / sqrt(fanIn); the default gain sqrt(2) is for relu. */
export function kaimingNormal(options: { readonly gain?: number } = {}): Initialiser {
  return (shape, rng) => rng.normal(shape, 0, (options.gain ?? Math.SQRT2) / Math.sqrt(fans(shape).fanIn));
}

/** Rows (or columns, whichever are fewer) of [out, rest] orthonormal, times gain (Saxe et al. 2013). */
export function orthogonalInit(options: { readonly gain?: number } = {}): Initialiser {
  return (shape, rng) => {
    const rows = shape[0] ?? 1;
    const columns = shape.slice(1).reduce((a, b) => a * b, 1);
    const count = Math.min(rows, columns);
    const length = Math.max(rows, columns);
    const noise = rng.draw({ kind: "normal", size: count * length, mean: 0, std: 1 });
    const basis: Float64Array[] = [];
    for (let i = 0; i < count; i++) {
      const v = Float64Array.from(noise.subarray(i * length, (i + 1) * length));
      // Twice is enough: the second pass removes what rounding left of the first.
      for (let pass = 0; pass < 2; pass++) {
        for (const b of basis) {
          const dot = b.reduce((sum, x, k) => sum + x * v[k]!, 0);
          for (let k = 0; k < length; k++) v[k]! -= dot * b[k]!;
        }
      }
      const norm = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
      basis.push(v.map((x) => x / norm));
    }
    const gain = options.gain ?? 1;
    const out = new Float32Array(rows * columns);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        out[r * columns + c] = gain * (rows <= columns ? basis[r]![c]! : basis[c]![r]!);
      }
    }
    return tf.tensor(out, shape as number[]);
  };
}
