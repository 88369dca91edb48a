import * as tf from "@tensorflow/tfjs";
import { customOp, isGradientRecorded } from "./custom-op.ts";
import { fusedOp } from "./fused.ts";

// tfjs forms the gradients of tanh, sigmoid, exp and softmax from their saved results, which its tape cannot
// differentiate: second derivatives silently lose a term. The versions here form them from the inputs instead, so
// that gradient penalties are right. All functions keep the shape of x unless they say otherwise.

/** Logistic function 1 / (1 + exp(-x)). */
export function sigmoid(x: tf.Tensor): tf.Tensor {
  return customOp({
    inputs: { x },
    forward: () => tf.sigmoid(x),
    backward: (dy, { x }) => ({
      x: () => {
        const y = isGradientRecorded() ? sigmoid(x) : tf.sigmoid(x);
        return tf.mul(dy, tf.mul(y, tf.sub(1, y)));
      },
    }),
  });
}

/** Hyperbolic tangent. */
export function tanh(x: tf.Tensor): tf.Tensor {
  return customOp({
    inputs: { x },
    forward: () => tf.tanh(x),
    backward: (dy, { x }) => ({
      x: () => {
        const y = isGradientRecorded() ? tanh(x) : tf.tanh(x);
        return tf.mul(dy, tf.sub(1, tf.mul(y, y)));
      },
    }),
  });
}

/** Exponential, with a gradient that can be differentiated again. */
export function exp(x: tf.Tensor): tf.Tensor {
  return customOp({
    inputs: { x },
    forward: () => tf.exp(x),
    backward: (dy, { x }) => ({ x: () => tf.mul(dy, isGradientRecorded() ? exp(x) : tf.exp(x)) }),
  });
}

/** max(x, 0). */
export function relu(x: tf.Tensor): tf.Tensor {
  return tf.relu(x);
}

/** x where x > 0, slope * x elsewhere. Composed of two relus, which can be differentiated twice. */
export function leakyRelu(x: tf.Tensor, slope = 0.2): tf.Tensor {
  return tf.tidy(() => tf.sub(tf.relu(x), tf.mul(slope, tf.relu(tf.neg(x)))));
}

/** x where x > 0, alpha * (exp(x) - 1) elsewhere. */
export function elu(x: tf.Tensor, alpha = 1): tf.Tensor {
  return tf.tidy(() => tf.add(tf.relu(x), tf.mul(alpha, tf.expm1(tf.neg(tf.relu(tf.neg(x)))))));
}

/** Self-normalising ELU (Klambauer et al. 2017). */
export function selu(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.mul(1.0507009873554805, elu(x, 1.6732632423543772)));
}

/** log(1 + exp(x)). */
export function softplus(x: tf.Tensor): tf.Tensor {
  return customOp({
    inputs: { x },
    forward: () => tf.softplus(x),
    backward: (dy, { x }) => ({ x: () => tf.mul(dy, sigmoid(x)) }),
  });
}

/** log(sigmoid(x)) = -softplus(-x). */
export function logSigmoid(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.neg(softplus(tf.neg(x))));
}

/** x * sigmoid(x), also called swish. */
export function silu(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.mul(x, sigmoid(x)));
}

/** x * tanh(softplus(x)) (Misra 2019). */
export function mish(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.mul(x, tanh(softplus(x))));
}

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);

function geluComposed(x: tf.Tensor, approximate: "none" | "tanh"): tf.Tensor {
  if (approximate === "none") return tf.mul(tf.mul(x, 0.5), tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))));
  const u = tf.mul(SQRT_2_OVER_PI, tf.mul(x, tf.add(1, tf.mul(0.044715, tf.mul(x, x)))));
  return tf.mul(tf.mul(x, 0.5), tf.add(1, tanh(u)));
}

function geluGradComposed(x: tf.Tensor, dy: tf.Tensor, approximate: "none" | "tanh"): tf.Tensor {
  const x2 = tf.mul(x, x);
  if (approximate === "none") {
    const cdf = tf.mul(0.5, tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))));
    const pdf = tf.mul(1 / Math.sqrt(2 * Math.PI), exp(tf.mul(-0.5, x2)));
    return tf.mul(dy, tf.add(cdf, tf.mul(x, pdf)));
  }
  const t = tanh(tf.mul(SQRT_2_OVER_PI, tf.mul(x, tf.add(1, tf.mul(0.044715, x2)))));
  const du = tf.mul(SQRT_2_OVER_PI, tf.add(1, tf.mul(3 * 0.044715, x2)));
  const inner = tf.mul(tf.mul(x, tf.sub(1, tf.mul(t, t))), du);
  return tf.mul(dy, tf.mul(0.5, tf.add(tf.add(1, t), inner)));
}

/**
 * Gaussian error linear unit, x * Phi(x) (Hendrycks and Gimpel 2016).
 *
 * @param options.approximate "none" (default) uses erf, as BERT does; "tanh" the approximation that GPT-2 uses.
 */
export function gelu(x: tf.Tensor, options: { readonly approximate?: "none" | "tanh" } = {}): tf.Tensor {
  const approximate = options.approximate ?? "none";
  return customOp({
    inputs: { x },
    forward: () => fusedOp("GenaiGelu", { x }, { approximate }, () => geluComposed(x, approximate)),
    backward: (dy, { x }) => ({
      x: () =>
        isGradientRecorded()
          ? geluGradComposed(x, dy, approximate)
          : fusedOp("GenaiGeluGrad", { x, dy }, { approximate }, () => geluGradComposed(x, dy, approximate)),
    }),
  });
}

/** x * sigmoid(1.702 x), the GELU of CLIP. */
export function quickGelu(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.mul(x, sigmoid(tf.mul(1.702, x))));
}

/** x / (1 + |x|). */
export function softsign(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.div(x, tf.add(1, tf.abs(x))));
}

/** x * min(max(x + 3, 0), 6) / 6. */
export function hardswish(x: tf.Tensor): tf.Tensor {
  // The difference of two relus is the clip, and unlike clipByValue can be differentiated twice.
  return tf.tidy(() => tf.mul(x, tf.div(tf.sub(tf.relu(tf.add(x, 3)), tf.relu(tf.sub(x, 3))), 6)));
}

/** Softmax over the last axis. */
export function softmax(x: tf.Tensor): tf.Tensor {
  return customOp({
    inputs: { x },
    forward: () => tf.softmax(x),
    backward: (dy, { x }) => ({
      x: () => {
        const y = isGradientRecorded() ? softmax(x) : tf.softmax(x);
        const g = tf.mul(dy, y);
        return tf.sub(g, tf.mul(y, tf.sum(g, -1, true)));
      },
    }),
  });
}

/** Logarithm of the softmax over the last axis. */
export function logSoftmax(x: tf.Tensor): tf.Tensor {
  return customOp({
    inputs: { x },
    forward: () => tf.logSoftmax(x),
    backward: (dy, { x }) => ({ x: () => tf.sub(dy, tf.mul(softmax(x), tf.sum(dy, -1, true))) }),
  });
}

/** log(sum(exp(x))) over one axis, which disappears unless `keepDims`. */
export function logSumExp(x: tf.Tensor, axis = -1, keepDims = false): tf.Tensor {
  const at = axis < 0 ? axis + x.rank : axis;
  if (!(at >= 0 && at < x.rank)) {
    throw new Error(`logSumExp: axis (${axis}) must name an axis of x of shape [${x.shape}]`);
  }
  const kept = x.shape.map((n, i) => (i === at ? 1 : n));
  return customOp({
    inputs: { x },
    forward: () => tf.logSumExp(x, at, keepDims),
    backward: (dy, { x }) => ({
      x: () => {
        const y = isGradientRecorded() ? logSumExp(x, at, true) : tf.logSumExp(x, at, true);
        return tf.mul(tf.reshape(dy, kept), exp(tf.sub(x, y)));
      },
    }),
  });
}

function halves(name: string, x: tf.Tensor): [tf.Tensor, tf.Tensor] {
  const width = x.shape[x.rank - 1] ?? 0;
  if (width === 0 || width % 2 !== 0) {
    throw new Error(`${name}: x has shape [${x.shape}]; its last axis must be even, for it is split in halves`);
  }
  return tf.split(x, 2, -1) as [tf.Tensor, tf.Tensor];
}

/** Gated linear unit: a * sigmoid(b) for the halves (a, b) of the last axis. [..., 2 C] to [..., C]. */
export function glu(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const [a, b] = halves("glu", x);
    return tf.mul(a, sigmoid(b));
  });
}

/** silu(a) * b for the halves (a, b) of the last axis (Shazeer 2020). [..., 2 C] to [..., C]. */
export function swiglu(x: tf.Tensor): tf.Tensor {
  return tf.tidy(() => {
    const [a, b] = halves("swiglu", x);
    return tf.mul(silu(a), b);
  });
}

/** gelu(a) * b for the halves (a, b) of the last axis (Shazeer 2020). [..., 2 C] to [..., C]. */
export function geglu(x: tf.Tensor, options: { readonly approximate?: "none" | "tanh" } = {}): tf.Tensor {
  return tf.tidy(() => {
    const [a, b] = halves("geglu", x);
    return tf.mul(gelu(a, options), b);
  });
}
