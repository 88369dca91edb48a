import * as tf from "@tensorflow/tfjs";
import { type Tree, treeLeaves, treeMap } from "../tree.ts";
import { checkPositive } from "./option-checks.ts";

/**
 * The Euclidean norm of all tensors of a tree, taken as one long vector.
 *
 * @returns scalar; 0 for a tree without tensors.
 */
export function globalNorm(tree: Tree): tf.Scalar {
  return tf.tidy(() => {
    const squares = treeLeaves(tree).map((tensor) => tensor.square().sum());
    const total = squares.reduce((a, b) => a.add(b), squares.shift() ?? tf.scalar(0));
    return total.sqrt() as tf.Scalar;
  });
}

/** The factor that brings a gradient of this global norm down to `maxNorm`, 1 if it is short enough already. */
export function clipCoefficient(norm: tf.Scalar, maxNorm: number): tf.Scalar {
  return tf.tidy(() => tf.minimum(tf.scalar(1), tf.scalar(maxNorm).div(norm.add(1e-6))) as tf.Scalar);
}

/**
 * Shortens gradients so that their global norm is at most `maxNorm`: grads * min(1, maxNorm / (norm + 1e-6)).
 *
 * R. Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013; constants as in PyTorch.
 *
 * @returns the clipped gradients, and their global norm before clipping.
 * @throws if maxNorm is not above 0.
 */
export function clipByGlobalNorm<G extends Tree>(grads: G, maxNorm: number): { grads: G; norm: tf.Scalar } {
  checkPositive("clipByGlobalNorm", "maxNorm", maxNorm);
  return tf.tidy(() => {
    const norm = globalNorm(grads);
    const factor = clipCoefficient(norm, maxNorm);
    return { grads: treeMap(grads, (grad) => grad.mul(factor)) as tf.TensorContainer, norm };
  }) as { grads: G; norm: tf.Scalar };
}
