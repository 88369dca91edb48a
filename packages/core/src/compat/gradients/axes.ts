import * as tf from "@tensorflow/tfjs";

// Linear maps along one axis of a tensor of any rank, done on [outer, n, inner] so that no backend meets a high rank.

function alongAxis(x: tf.Tensor, axis: number, fn: (x: tf.Tensor3D) => tf.Tensor3D): tf.Tensor {
  const product = (shape: number[]) => shape.reduce((a, b) => a * b, 1);
  const outer = x.shape.slice(0, axis);
  const inner = x.shape.slice(axis + 1);
  const y = fn(tf.reshape(x, [product(outer), x.shape[axis]!, product(inner)]));
  return tf.reshape(y, [...outer, y.shape[1], ...inner]);
}

/** Reverses the axis. */
export function reverseAxis(x: tf.Tensor, axis: number): tf.Tensor {
  return alongAxis(x, axis, (v) => tf.reverse(v, 1));
}

/** Takes `size` entries from `begin`. */
export function sliceAxis(x: tf.Tensor, axis: number, begin: number, size: number): tf.Tensor {
  if (begin === 0 && size === x.shape[axis]) return x;
  return alongAxis(x, axis, (v) => tf.slice(v, [0, begin, 0], [v.shape[0], size, v.shape[2]]));
}

/** Puts zeros before and after. */
export function padAxis(x: tf.Tensor, axis: number, before: number, after: number): tf.Tensor {
  if (before === 0 && after === 0) return x;
  return alongAxis(x, axis, (v) =>
    tf.pad(v, [
      [0, 0],
      [before, after],
      [0, 0],
    ]),
  );
}

/** Puts `stride` - 1 zeros between neighbours: n becomes (n - 1) * stride + 1. */
export function spreadAxis(x: tf.Tensor, axis: number, stride: number): tf.Tensor {
  if (stride === 1) return x;
  return alongAxis(x, axis, (v): tf.Tensor3D => {
    const [outer, n, inner] = v.shape;
    const wide = tf.pad(tf.reshape(v, [outer * n, 1, inner]), [
      [0, 0],
      [0, stride - 1],
      [0, 0],
    ]);
    return tf.slice(
      tf.reshape(wide, [outer, n * stride, inner]) as tf.Tensor3D,
      [0, 0, 0],
      [outer, (n - 1) * stride + 1, inner],
    );
  });
}

/** Sums the `count` repetitions that tiling laid side by side along the axis. */
export function sumRepeats(x: tf.Tensor, axis: number, count: number): tf.Tensor {
  if (count === 1) return x;
  return alongAxis(x, axis, (v) => {
    const [outer, n, inner] = v.shape;
    const sum = tf.sum(tf.reshape(v, [outer, count, (n / count) * inner]), 1);
    return tf.reshape(sum, [outer, n / count, inner]) as tf.Tensor3D;
  });
}
