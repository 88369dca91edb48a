import * as tf from "@tensorflow/tfjs";
import type { GradientOverride } from "./gradient-override.ts";

type Size = number | [number, number];

interface PoolAttrs {
  readonly filterSize: Size;
  readonly strides: Size;
  readonly pad: number | "valid" | "same";
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
}

function geometry(shape: readonly number[], { filterSize, strides, pad, dimRoundingMode }: PoolAttrs) {
  const input = shape as [number, number, number, number];
  return tf.backend_util.computePool2DInfo(input, filterSize, strides, 1, pad, dimRoundingMode);
}

/** The gradient of the gradient, which stock tfjs lacks: AvgPoolGrad is linear in dy, and its transpose is pooling. */
export const avgPoolGrad: GradientOverride = {
  kernelName: "AvgPoolGrad",
  inputsToSave: ["input"],
  gradFunc: (g, [input], namedAttrs) => {
    const { filterSize, strides, pad, dimRoundingMode } = namedAttrs as unknown as PoolAttrs;
    return {
      dy: () => tf.avgPool(g as tf.Tensor4D, filterSize, strides, pad, dimRoundingMode),
      input: () => tf.zerosLike(input!),
    };
  },
};

/** The gradient of the gradient, which stock tfjs lacks: takes g from where each window found its maximum. */
export const maxPoolGrad: GradientOverride = {
  kernelName: "MaxPoolGrad",
  inputsToSave: ["input", "output"],
  gradFunc: (g, [input, output], namedAttrs) => ({
    dy: () => {
      const { padInfo, filterHeight, filterWidth, strideHeight, strideWidth, outHeight, outWidth, inHeight, inWidth } =
        geometry(input!.shape, namedAttrs as unknown as PoolAttrs);
      const bottom = (outHeight - 1) * strideHeight + filterHeight - padInfo.top - inHeight;
      const right = (outWidth - 1) * strideWidth + filterWidth - padInfo.left - inWidth;
      const pads: [number, number][] = [
        [0, 0],
        [padInfo.top, Math.max(0, bottom)],
        [padInfo.left, Math.max(0, right)],
        [0, 0],
      ]; // prettier-ignore
      const x = tf.pad(input!, pads, -3e38);
      const padded = tf.pad(g, pads);
      const [n, , , channels] = input!.shape as [number, number, number, number];
      const tap = (v: tf.Tensor, y: number, left: number) =>
        tf.stridedSlice(
          v,
          [0, y, left, 0],
          [n, y + (outHeight - 1) * strideHeight + 1, left + (outWidth - 1) * strideWidth + 1, channels],
          [1, strideHeight, strideWidth, 1],
        );
      let free = tf.onesLike(output!);
      let sum: tf.Tensor = tf.zerosLike(output!);
      for (let y = 0; y < filterHeight; y++) {
        for (let left = 0; left < filterWidth; left++) {
          const hit = tf.mul(free, tf.cast(tf.equal(tap(x, y, left), output!), "float32"));
          sum = tf.add(sum, tf.mul(hit, tap(padded, y, left)));
          free = tf.sub(free, hit); // Of equal maxima the first counts.
        }
      }
      return sum;
    },
    input: () => tf.zerosLike(input!),
    output: () => tf.zerosLike(output!),
  }),
};
