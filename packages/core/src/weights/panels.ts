import * as tf from "@tensorflow/tfjs";
import { fusedOp } from "../nn/fused.ts";

// Matrices cut into panels of 32 outputs, each contiguous in memory: [N/32, K, 32]. A product with one row of activations
// then reads the weights once, front to back, which is what decoding spends its time on.
//
// Shapes: N outputs, K inputs of a linear layer, P = ceil(N / 32) panels.

const WIDTH = 32;

/** Which axis of a matrix holds the outputs of its layer: [out, in] as in linear layers, or [in, out] as in GPT-2's. */
export type MatrixLayout = "out-in" | "in-out";

/** The panels [P, K, 32] of a matrix [N, K] or [K, N]; the last one is filled up with zeros. */
export function toPanels(matrix: tf.Tensor2D, layout: MatrixLayout): tf.Tensor3D {
  return tf.tidy(() => {
    const [rows, columns] = matrix.shape;
    const outputs = layout === "out-in" ? rows : columns;
    const padding = Math.ceil(outputs / WIDTH) * WIDTH - outputs;
    if (layout === "out-in") {
      const padded = padding > 0 ? tf.pad(matrix, [[0, padding], [0, 0]]) : matrix; // biome-ignore format: one line
      return padded.reshape([-1, WIDTH, columns]).transpose<tf.Tensor3D>([0, 2, 1]);
    }
    const padded = padding > 0 ? tf.pad(matrix, [[0, 0], [0, padding]]) : matrix; // biome-ignore format: one line
    return padded.reshape([rows, -1, WIDTH]).transpose<tf.Tensor3D>([1, 0, 2]);
  });
}

/** The matrix [N, K] or [K, N] that panels [P, K, 32] were made of. */
export function fromPanels(panels: tf.Tensor3D, outputs: number, layout: MatrixLayout): tf.Tensor2D {
  const [count, inputs] = panels.shape;
  return fusedOp("GenaiFromPanels", { panels }, { outputs, layout }, () =>
    tf.tidy(() => {
      if (layout === "out-in") {
        const whole = panels.transpose([0, 2, 1]).reshape<tf.Tensor2D>([count * WIDTH, inputs]);
        return whole.slice([0, 0], [outputs, inputs]);
      }
      const whole = panels.transpose([1, 0, 2]).reshape<tf.Tensor2D>([inputs, count * WIDTH]);
      return whole.slice([0, 0], [inputs, outputs]);
    }),
  ) as tf.Tensor2D;
}
