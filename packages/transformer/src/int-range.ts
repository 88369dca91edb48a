import * as tf from "@tensorflow/tfjs";

/** int32 [n]: 0 to n - 1. A constant, where `tf.range` is a kernel that runs. */
export const range = (n: number): tf.Tensor =>
  tf.tensor1d(
    Int32Array.from({ length: n }, (_, i) => i),
    "int32",
  );
