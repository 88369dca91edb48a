import * as tf from "@tensorflow/tfjs";
import type { Rng } from "../rng.ts";

/**
 * Inverted dropout: zeroes each element with probability `rate` and divides the rest by 1 - rate.
 *
 * @param rate in [0, 1)
 * @param rng its presence means training; without it x is returned unchanged.
 */
export function dropout(x: tf.Tensor, rate: number, rng?: Rng): tf.Tensor {
  if (!(rate >= 0 && rate < 1)) throw new Error(`dropout: rate (${rate}) must be in [0, 1)`);
  if (!rng || rate === 0) return tf.clone(x);
  return tf.tidy(() => {
    const keep = tf.cast(tf.greaterEqual(rng.uniform(x.shape), rate), "float32");
    return tf.mul(x, tf.mul(keep, 1 / (1 - rate)));
  });
}
