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

/**
 * Window area / number of window positions inside the image, [1, outHeight, outWidth, 1]; undefined where it is 1
 * everywhere. Average pooling divides by the second, tfjs' AvgPoolGrad kernel by the first.
 */
function borderScale(shape: readonly number[], attrs: PoolAttrs): tf.Tensor4D | undefined {
  const { outHeight, outWidth, inHeight, inWidth, filterHeight, filterWidth, strideHeight, strideWidth, padInfo } =
    geometry(shape, attrs);
  const inside = (at: number, stride: number, before: number, filter: number, size: number) =>
    Math.min(at * stride - before + filter, size) - Math.max(at * stride - before, 0);
  const scale = new Float32Array(outHeight * outWidth);
  for (let y = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++) {
      const rows = inside(y, strideHeight, padInfo.top, filterHeight, inHeight);
      const columns = inside(x, strideWidth, padInfo.left, filterWidth, inWidth);
      scale[y * outWidth + x] = (filterHeight * filterWidth) / (rows * columns);
    }
  }
  return scale.every((value) => value === 1) ? undefined : tf.tensor4d(scale, [1, outHeight, outWidth, 1]);
}

const times = (x: tf.Tensor, scale: tf.Tensor | undefined) => (scale ? tf.mul(x, scale) : x);

/** Stock tfjs divides by the window's area at the borders too, where the forward pass divides by what is inside. */
export const avgPool: GradientOverride = {
  kernelName: "AvgPool",
  inputsToSave: ["x"],
  gradFunc: (dy, [x], namedAttrs) => ({
    x: () => {
      const attrs = namedAttrs as unknown as PoolAttrs;
      const inputs = { dy: times(dy, borderScale(x!.shape, attrs)), input: x! };
      return tf.engine().runKernel("AvgPoolGrad", inputs, namedAttrs) as tf.Tensor;
    },
  }),
};

/** The gradient of the gradient, which stock tfjs lacks: AvgPoolGrad is linear in dy, and its transpose is pooling. */
export const avgPoolGrad: GradientOverride = {
  kernelName: "AvgPoolGrad",
  inputsToSave: ["input"],
  gradFunc: (g, [input], namedAttrs) => {
    const attrs = namedAttrs as unknown as PoolAttrs;
    return {
      dy: () => {
        const pooled = tf.avgPool(g as tf.Tensor4D, attrs.filterSize, attrs.strides, attrs.pad, attrs.dimRoundingMode);
        const scale = borderScale(input!.shape, attrs);
        return scale ? tf.div(pooled, scale) : pooled;
      },
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
