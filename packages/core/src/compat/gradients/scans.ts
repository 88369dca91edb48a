import * as tf from "@tensorflow/tfjs";
import type { GradientOverride } from "./gradient-override.ts";

/** Stock tfjs transposes the result along any axis but the last, and loses its way with a negative axis. */
export const cumsum: GradientOverride = {
  kernelName: "Cumsum",
  inputsToSave: ["x"],
  gradFunc: (dy, [x], attrs) => ({
    x: () => {
      const [axis] = tf.util.parseAxisParam(attrs.axis as number, x!.shape);
      return tf.cumsum(dy, axis!, attrs.exclusive as boolean, !attrs.reverse);
    },
  }),
};

/**
 * With P the exclusive product before i: dL/dx_i = P_i S_i, where S_i = dy_i + x_(i+1) S_(i+1) (for exclusive products
 * S_i = dy_(i+1) + x_(i+1) S_(i+1)). No division, so zeros among the factors are right; as many ops as the axis is long.
 */
export const cumprod: GradientOverride = {
  kernelName: "Cumprod",
  inputsToSave: ["x"],
  gradFunc: (dy, [x], attrs) => ({
    x: () => {
      const [axis = 0] = tf.util.parseAxisParam(attrs.axis as number, x!.shape);
      const { exclusive, reverse } = attrs as { exclusive: boolean; reverse: boolean };
      const n = x!.shape[axis]!;
      const xs = tf.split(x!, n, axis);
      const dys = tf.split(dy, n, axis);
      if (reverse) {
        xs.reverse();
        dys.reverse();
      }
      const suffix: tf.Tensor[] = new Array(n);
      for (let i = n - 1; i >= 0; i--) {
        const later = i + 1 < n ? tf.mul(xs[i + 1]!, suffix[i + 1]!) : undefined;
        const own = exclusive ? dys[i + 1] : dys[i];
        suffix[i] = own && later ? tf.add(own, later) : (own ?? tf.zerosLike(dys[i]!));
      }
      if (reverse) suffix.reverse();
      return tf.mul(tf.cumprod(x!, axis, true, reverse), tf.concat(suffix, axis));
    },
  }),
};
