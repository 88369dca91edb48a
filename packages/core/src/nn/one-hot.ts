import * as tf from "@tensorflow/tfjs";

/** Float32 [N, classes] with a 1 at each id of `ids`, int32 [N]; rows of other ids are 0. */
export function oneHot(ids: tf.Tensor, classes: number): tf.Tensor2D {
  return tf.tidy(() => {
    // tf.oneHot wants two classes or more.
    if (classes === 1) return tf.cast(tf.equal(ids, tf.scalar(0, "int32")).reshape([-1, 1]), "float32") as tf.Tensor2D;
    // In int32 and then cast: asked for float32, the wasm backend writes integers' bits.
    return tf.cast(tf.oneHot(ids as tf.Tensor1D, classes), "float32") as tf.Tensor2D;
  });
}
