import * as tf from "@tensorflow/tfjs";
import type { GradientOverride } from "./gradient-override.ts";

// Resizing is linear along each axis: y = R x. Its gradient is the product with the transposed matrices, which is right
// for every option, on every backend, and can be differentiated again.

interface ResizeAttrs {
  readonly size: readonly [number, number];
  readonly alignCorners: boolean;
  readonly halfPixelCenters: boolean;
}

/** For each output position the input positions it reads, with their weights; as tfjs' kernels compute them. */
type Taps = (at: number, input: number) => readonly (readonly [index: number, weight: number])[];

function position(i: number, input: number, output: number, { alignCorners, halfPixelCenters }: ResizeAttrs): number {
  const scale = alignCorners && output > 1 ? (input - 1) / (output - 1) : input / output;
  return halfPixelCenters ? scale * (i + 0.5) : scale * i;
}

/** R transposed, [input, output]. */
function transposedMatrix(input: number, output: number, attrs: ResizeAttrs, taps: Taps): tf.Tensor {
  const matrix = new Float32Array(input * output);
  for (let i = 0; i < output; i++) {
    for (const [index, weight] of taps(position(i, input, output, attrs), input)) matrix[index * output + i]! += weight;
  }
  return tf.tensor(matrix, [1, input, output]);
}

function gradient(dy: tf.Tensor, shape: readonly number[], attrs: ResizeAttrs, taps: Taps): tf.Tensor {
  const [n, height, width, channels] = shape as [number, number, number, number];
  const [, outHeight, outWidth] = dy.shape as [number, number, number, number];
  const rows = transposedMatrix(height, outHeight, attrs, taps);
  const columns = transposedMatrix(width, outWidth, attrs, taps);
  const overRows = tf.matMul(rows, tf.reshape(dy, [n, outHeight, outWidth * channels]));
  const byColumn = tf.transpose(tf.reshape(overRows, [n, height, outWidth, channels]), [0, 2, 1, 3]);
  const overColumns = tf.matMul(columns, tf.reshape(byColumn, [n, outWidth, height * channels]));
  return tf.transpose(tf.reshape(overColumns, [n, width, height, channels]), [0, 2, 1, 3]);
}

/** Stock tfjs ignores half-pixel centers in the gradient. */
export const resizeBilinear: GradientOverride = {
  kernelName: "ResizeBilinear",
  inputsToSave: ["images"],
  gradFunc: (dy, [images], namedAttrs) => ({
    images: () => {
      const attrs = namedAttrs as unknown as ResizeAttrs;
      return gradient(dy, images!.shape, attrs, (at, input) => {
        const exact = attrs.halfPixelCenters ? at - 0.5 : at;
        const low = Math.max(0, Math.floor(exact));
        const high = Math.min(input - 1, Math.ceil(exact));
        const fraction = exact - low;
        return [
          [low, 1 - fraction],
          [high, fraction],
        ];
      });
    },
  }),
};

/** Stock tfjs mixes up the images of a batch on cpu, and ignores half-pixel centers. */
export const resizeNearestNeighbor: GradientOverride = {
  kernelName: "ResizeNearestNeighbor",
  inputsToSave: ["images"],
  gradFunc: (dy, [images], namedAttrs) => ({
    images: () => {
      const attrs = namedAttrs as unknown as ResizeAttrs;
      const [, height, width] = images!.shape as [number, number, number, number];
      const factors: [number, number] = [attrs.size[0] / height, attrs.size[1] / width];
      if (!attrs.alignCorners && factors.every(Number.isInteger)) {
        // The upsampling of decoders: each input pixel fills a block, whose gradients add up.
        return tf.mul(tf.avgPool(dy as tf.Tensor4D, factors, factors, "valid"), factors[0] * factors[1]);
      }
      const round = attrs.alignCorners ? Math.round : Math.floor;
      return gradient(dy, images!.shape, attrs, (at, input) => [[Math.max(0, Math.min(input - 1, round(at))), 1]]);
    },
  }),
};
