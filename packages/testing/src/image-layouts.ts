import * as tf from "@tensorflow/tfjs";

/** Channels first to channels last: [N, C, ...] to [N, ..., C]. */
export function channelsLast(x: tf.Tensor): tf.Tensor {
  const axes = Array.from({ length: x.rank }, (_, i) => i);
  return tf.transpose(x, [0, ...axes.slice(2), 1]);
}

/** Channels last to channels first: [N, ..., C] to [N, C, ...]. */
export function channelsFirst(x: tf.Tensor): tf.Tensor {
  const axes = Array.from({ length: x.rank }, (_, i) => i);
  return tf.transpose(x, [0, x.rank - 1, ...axes.slice(1, -1)]);
}
