import { type Engine, type Rng, throwIfAborted } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { VaeFunctions } from "./vae-functions.ts";

// What one does with codes, for any model: each function takes the model as functions between images and codes.
//
// Shapes: B batch, Z size of a code, ... the shape of an image.

/** A model as functions between images and codes. */
export interface LatentCodec {
  /** x [B, ...] to codes [B, Z]. */
  encode(x: tf.Tensor): tf.Tensor2D;
  /** Codes [N, Z] to images [N, ...]. */
  decode(z: tf.Tensor2D): tf.Tensor;
}

/** The codec of a VAE: the posterior's mean, and the mean image of p(x | z). */
export function latentCodec(vae: Pick<VaeFunctions, "encode" | "decode" | "likelihood">): LatentCodec {
  return {
    encode: (x) => tf.tidy(() => vae.encode(x).mu),
    decode: (z) => tf.tidy(() => vae.likelihood.mean(vae.decode(z))),
  };
}

export interface SampleVaeOptions {
  readonly count: number;
  readonly rng: Rng;
  /** "mean" (the default) shows the mean image of p(x | z), "drawn" an image drawn from it, with the pixels' noise. */
  readonly pixels?: "mean" | "drawn";
}

/** Draws new images: z from the prior, then x from p(x | z). Returns [count, ...]. */
export function sampleVae(
  vae: Pick<VaeFunctions, "decode" | "likelihood" | "prior">,
  options: SampleVaeOptions,
): tf.Tensor {
  const { count, rng, pixels = "mean" } = options;
  if (!Number.isInteger(count) || count < 1) throw new Error(`sampleVae: count (${count}) must be a positive integer`);
  return tf.tidy(() => {
    const params = vae.decode(vae.prior.sample(count, rng));
    return pixels === "mean" ? vae.likelihood.mean(params) : vae.likelihood.sample(params, rng);
  });
}

/** Images decoded from the codes of x: [B, ...]. */
export function reconstruct(codec: LatentCodec, x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => codec.decode(codec.encode(x)));
}

export interface InterpolateOptions {
  /** Images along the way, both ends included; at least 2. */
  readonly steps: number;
  /**
   * `spherical` (the default) turns from one code to the other and keeps its length, as typical draws from the prior
   * do; `linear` takes the chord.
   */
  readonly path?: "linear" | "spherical";
}

/**
 * Walks through latent space from the codes of the images `from` to those of the images `to`.
 *
 * @param from [B, ...]
 * @param to [B, ...]
 * @returns images [B, steps, ...]; the first and last of a row are reconstructions of its ends.
 */
export function interpolate(
  codec: LatentCodec,
  from: tf.Tensor,
  to: tf.Tensor,
  options: InterpolateOptions,
): tf.Tensor {
  checkWalk("interpolate", from, to, options);
  return tf.tidy(() => {
    const z = interpolateCodes(codec.encode(from), codec.encode(to), options); // [B, steps, Z]
    return decodeRows(codec, z);
  });
}

/** The codes on the way from a [B, Z] to b [B, Z]: [B, steps, Z]. */
export function interpolateCodes(a: tf.Tensor2D, b: tf.Tensor2D, options: InterpolateOptions): tf.Tensor3D {
  const { steps, path = "spherical" } = options;
  checkWalk("interpolateCodes", a, b, options);
  return tf.tidy(() => {
    const [from, to] = [tf.expandDims(a, 1), tf.expandDims(b, 1)]; // [B, 1, Z]
    const t = tf.linspace(0, 1, steps).reshape([1, steps, 1]);
    const z = path === "linear" ? from.mul(tf.sub(1, t)).add(to.mul(t)) : slerp(from, to, t);
    return z as tf.Tensor3D;
  });
}

function checkWalk(caller: string, from: tf.Tensor, to: tf.Tensor, { steps, path = "spherical" }: InterpolateOptions) {
  if (from.shape[0] !== to.shape[0]) {
    throw new Error(`${caller}: ${from.shape[0]} images to start from and ${to.shape[0]} to end at; expected as many`);
  }
  if (!Number.isInteger(steps) || steps < 2) {
    throw new Error(`${caller}: steps (${steps}) must be an integer of at least 2`);
  }
  if (path !== "linear" && path !== "spherical") {
    throw new Error(`${caller}: path (${path}) must be linear or spherical`);
  }
}

/**
 * Spherical interpolation (K. Shoemake, SIGGRAPH 1985) of [B, 1, Z] at t [1, steps, 1], with the chord where the arc is too
 * short.
 */
function slerp(a: tf.Tensor, b: tf.Tensor, t: tf.Tensor): tf.Tensor {
  const lengths = a.norm("euclidean", -1, true).mul(b.norm("euclidean", -1, true));
  const cosine = a.mul(b).sum(-1, true).div(lengths.maximum(1e-12)).clipByValue(-1, 1);
  const angle = tf.acos(cosine); // [B, 1, 1]
  const sine = tf.sin(angle);
  const usable = sine.greater(1e-4);
  const divisor = tf.where(usable, sine, tf.onesLike(sine));
  const weight = (u: tf.Tensor) => tf.where(usable, tf.sin(angle.mul(u)).div(divisor), u); // [B, steps, 1]
  return a.mul(weight(tf.sub(1, t))).add(b.mul(weight(t)));
}

export interface LatentTraversalOptions {
  /** Dimensions to move along; all by default. */
  readonly dimensions?: readonly number[];
  /** Images along each dimension; at least 2, 7 by default. */
  readonly steps?: number;
  /** Ends of the way; [-3, 3] by default: nearly all of the standard normal prior. */
  readonly range?: readonly [from: number, to: number];
}

/**
 * Sets one dimension of codes to each of a range of values and leaves the others: shows what a dimension means.
 *
 * @param z [B, Z]
 * @returns images [B, dimensions, steps, ...]
 */
export function latentTraversal(
  codec: Pick<LatentCodec, "decode">,
  z: tf.Tensor2D,
  options: LatentTraversalOptions = {},
): tf.Tensor {
  const [batch, latentDim] = z.shape;
  const { dimensions = Array.from({ length: latentDim }, (_, i) => i), steps = 7, range = [-3, 3] } = options;
  for (const d of dimensions) {
    if (!Number.isInteger(d) || d < 0 || d >= latentDim) {
      throw new Error(`latentTraversal: dimension ${d} does not exist; expected 0 to ${latentDim - 1}`);
    }
  }
  if (!Number.isInteger(steps) || steps < 2) {
    throw new Error(`latentTraversal: steps (${steps}) must be an integer of at least 2`);
  }
  return tf.tidy(() => {
    // 1 at the dimension that moves, and the value that it gets, for each row of the result.
    const rows = dimensions.length * steps;
    const moved = new Float32Array(rows * latentDim);
    const values = new Float32Array(rows * latentDim);
    for (const [i, d] of dimensions.entries()) {
      for (let step = 0; step < steps; step++) {
        const at = (i * steps + step) * latentDim + d;
        moved[at] = 1;
        values[at] = range[0] + ((range[1] - range[0]) * step) / (steps - 1);
      }
    }
    const mask = tf.tensor3d(moved, [1, rows, latentDim]);
    const codes = tf.add(tf.mul(tf.expandDims(z, 1), tf.sub(1, mask)), tf.tensor3d(values, [1, rows, latentDim]));
    const images = decodeRows(codec, codes as tf.Tensor3D); // [B, rows, ...]
    return tf.reshape(images, [batch, dimensions.length, steps, ...images.shape.slice(2)]);
  });
}

/** Decodes [B, S, Z] to [B, S, ...]. The decoder gets S as the outer axis, where conditional models expect it. */
function decodeRows(codec: Pick<LatentCodec, "decode">, z: tf.Tensor3D): tf.Tensor {
  const [batch, steps, latentDim] = z.shape;
  const images = codec.decode(tf.reshape(tf.transpose(z, [1, 0, 2]), [steps * batch, latentDim]) as tf.Tensor2D);
  const swapped = tf.transpose(tf.reshape(images, [steps, batch, -1]), [1, 0, 2]);
  return tf.reshape(swapped, [batch, steps, ...images.shape.slice(1)]);
}

export interface LatentRepresentationOptions<M> {
  /** The codes of a batch: `(vae, x) => encodeMlpVae(vae, x).mu`, or any function to [B, ...]. */
  readonly encode: (model: M, x: tf.Tensor) => tf.Tensor;
  /** Images in one call of the engine; 500 by default. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
}

/**
 * The codes of a whole data set, for clustering, neighbours and maps.
 *
 * @param x [N, ...]
 * @returns codes row by row, and their shape [N, Z].
 * @throws AbortError when the signal fires between two batches.
 */
export async function latentRepresentation<M>(
  engine: Engine,
  model: M,
  x: tf.Tensor,
  options: LatentRepresentationOptions<M>,
): Promise<{ codes: Float32Array; shape: [count: number, latentDim: number] }> {
  const { encode, batchSize = 500, signal } = options;
  const total = x.shape[0] ?? 0;
  if (total === 0) throw new Error("latentRepresentation: got no images; expected at least one");
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new Error(`latentRepresentation: batchSize (${batchSize}) must be a positive integer`);
  }
  const run = engine.compile((m: M, batch: tf.Tensor) => encode(m, batch));
  let codes = new Float32Array(0);
  try {
    for (let start = 0; start < total; start += batchSize) {
      throwIfAborted("latentRepresentation", signal);
      const count = Math.min(batchSize, total - start);
      const batch = tf.slice(x, start, count);
      const z = await run(model, batch);
      const values = (await z.data()) as Float32Array;
      const width = values.length / count;
      if (start === 0) codes = new Float32Array(total * width);
      codes.set(values, start * width);
      tf.dispose([batch, z]);
    }
  } finally {
    run.dispose();
  }
  return { codes, shape: [total, codes.length / total] };
}
