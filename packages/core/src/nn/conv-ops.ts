import type * as tf from "@tensorflow/tfjs";
import { composedConv2d, composedConv2dFilterGrad, composedConv2dInputGrad } from "./conv-composed.ts";
import { customOp } from "./custom-op.ts";
import { type Conv2dAttrs, fusedOp } from "./fused.ts";

// Convolution is linear in the images x and in the filter w. For a cotangent dy the number <conv(x, w), dy> is linear in
// all three, so the derivative of each of the three ops below is one of the other two: differentiable any number of times.

/** x NHWC, weight [O, I/groups, kh, kw] to NHWC. */
export function conv2dOp(x: tf.Tensor, weight: tf.Tensor, attrs: Conv2dAttrs): tf.Tensor {
  const inputShape = x.shape.slice();
  const filterShape = weight.shape.slice();
  return customOp({
    inputs: { x, weight },
    forward: () => fusedOp("GenaiConv2d", { x, weight }, attrs, () => composedConv2d(x, weight, attrs)),
    backward: (dy, { x, weight }) => ({
      x: () => conv2dInputGradOp(dy, weight, attrs, inputShape),
      weight: () => conv2dFilterGradOp(x, dy, attrs, filterShape),
    }),
  });
}

/** The gradient of `conv2dOp` with respect to x; the forward pass of a transposed convolution. */
export function conv2dInputGradOp(
  dy: tf.Tensor,
  weight: tf.Tensor,
  attrs: Conv2dAttrs,
  inputShape: number[],
): tf.Tensor {
  const filterShape = weight.shape.slice();
  return customOp({
    inputs: { dy, weight },
    forward: () =>
      fusedOp("GenaiConv2dInputGrad", { dy, weight }, { ...attrs, inputShape }, () =>
        composedConv2dInputGrad(dy, weight, attrs, inputShape),
      ),
    backward: (g, { dy, weight }) => ({
      dy: () => conv2dOp(g, weight, attrs),
      weight: () => conv2dFilterGradOp(g, dy, attrs, filterShape),
    }),
  });
}

/** The gradient of `conv2dOp` with respect to its weight. */
export function conv2dFilterGradOp(x: tf.Tensor, dy: tf.Tensor, attrs: Conv2dAttrs, filterShape: number[]): tf.Tensor {
  const inputShape = x.shape.slice();
  return customOp({
    inputs: { x, dy },
    forward: () =>
      fusedOp("GenaiConv2dFilterGrad", { x, dy }, { ...attrs, filterShape }, () =>
        composedConv2dFilterGrad(x, dy, attrs, filterShape),
      ),
    backward: (g, { x, dy }) => ({
      x: () => conv2dInputGradOp(dy, g, attrs, inputShape),
      dy: () => conv2dOp(x, g, attrs),
    }),
  });
}
