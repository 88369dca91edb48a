import * as tf from "@tensorflow/tfjs";

/** What stands at `ids` in each row of x [B, V]: ids int32 [B] or [B, N], from 0 to V - 1, to the shape of ids. */
export function rowElements<R extends tf.Rank.R1 | tf.Rank.R2>(x: tf.Tensor, ids: tf.Tensor<R>): tf.Tensor<R> {
  const [rows, width] = x.shape as [number, number];
  return tf.tidy(() => {
    const firstOfRow = tf.tensor(
      Int32Array.from({ length: rows }, (_, i) => i * width),
      ids.rank === 1 ? [rows] : [rows, 1],
      "int32",
    );
    const at = tf.add(ids, firstOfRow).reshape<tf.Tensor1D>([-1]).toInt() as tf.Tensor1D;
    return tf.gather(x.reshape([-1]), at).reshape<tf.Tensor<R>>(ids.shape);
  });
}
