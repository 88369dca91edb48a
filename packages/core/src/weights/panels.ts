import * as tf from "@tensorflow/tfjs";
import { fusedOp } from "../nn/fused.ts";

// Matrices cut into panels of 32 outputs, each contiguous in memory: [N/32, K, 32]. A product with one row of activations
// then reads the weights once, front to back, which is what decoding spends its time on.
//
// Shapes: N outputs, K inputs of a linear layer, P = ceil(N / 32) panels.

const WIDTH = 32;

/** Which axis of a matrix holds the outputs of its layer: [out, in] as in linear layers, or [in, out] as in GPT-2's. */
export type MatrixLayout = "out-in" | "in-out";

/** Numbers of a matrix, row by row. */
export interface MatrixData {
  readonly values: Float32Array;
  readonly shape: readonly [number, number];
}

/** The panels [P, K, 32] of a matrix [N, K] or [K, N]; the last one is filled up with zeros. */
export function toPanels({ values, shape }: MatrixData, layout: MatrixLayout): Float32Array {
  const [outputs, inputs] = layout === "out-in" ? shape : [shape[1], shape[0]];
  const [nextOutput, nextInput] = layout === "out-in" ? [inputs, 1] : [1, outputs];
  const panels = new Float32Array(Math.ceil(outputs / WIDTH) * inputs * WIDTH);
  for (let first = 0, at = 0; first < outputs; first += WIDTH) {
    const count = Math.min(WIDTH, outputs - first);
    for (let k = 0; k < inputs; k++, at += WIDTH) {
      const from = first * nextOutput + k * nextInput;
      for (let j = 0; j < count; j++) panels[at + j] = values[from + j * nextOutput]!;
    }
  }
  return panels;
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
