import {
  attention,
  batchNormTrain,
  conv2d,
  convTranspose2d,
  createConv2d,
  createConvTranspose2d,
  createLinear,
  crossEntropy,
  embedding,
  gelu,
  groupNorm,
  layerNorm,
  leakyRelu,
  linear,
  maxPool2d,
  mergeHeads,
  mse,
  rmsNorm,
  splitHeads,
  upsampleNearest,
} from "@genai/core";
import { describeModelContract } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";

type Layer = { weight: tf.Tensor; bias?: tf.Tensor };

describeModelContract({
  name: "a convolutional autoencoder with a penalty on its gradient",
  create: (rng) => ({
    config: {},
    params: {
      down: createConv2d(2, 4, rng, { kernel: 3 }),
      norm: { weight: rng.normal([4], 1, 0.1), bias: rng.normal([4], 0, 0.1) },
      up: createConvTranspose2d(4, 4, rng, { kernel: 4 }),
      out: createConv2d(4, 2, rng, { kernel: 3 }),
    } as Record<string, Layer>,
  }),
  batch: (rng) => rng.normal([3, 8, 8, 2]),
  loss: ({ params }, x) => {
    const { down, norm, up, out } = params as { down: Layer; norm: Layer; up: Layer; out: Layer };
    const encode = (x: tf.Tensor) => {
      const h = groupNorm(norm, conv2d(down, x, { padding: 1 }), { groups: 2 });
      return leakyRelu(h);
    };
    const slope = tf.grad((x: tf.Tensor) => tf.sum(tf.square(encode(x))))(x);
    const stats = { running_mean: tf.zeros([4]), running_var: tf.ones([4]) };
    const small = batchNormTrain(norm, upsampleNearest(maxPool2d(maxPool2d(encode(x)))), stats).y;
    const decoded = conv2d(out, convTranspose2d(up, small, { stride: 2, padding: 1 }), { padding: 1 });
    return tf.add(mse(decoded, x), tf.mul(0.01, tf.mean(tf.square(slope))));
  },
});

describeModelContract({
  name: "a one-layer language model",
  create: (rng) => ({
    config: { heads: 2 },
    params: {
      wte: { weight: rng.normal([11, 8]) },
      ln: { weight: rng.normal([8], 1, 0.1), bias: rng.normal([8], 0, 0.1) },
      attn: createLinear(8, 24, rng),
      mlp: createLinear(8, 8, rng),
      rms: { weight: rng.normal([8], 1, 0.1) },
    } as Record<string, Layer>,
  }),
  batch: (rng) => rng.integers([2, 5], 0, 11),
  loss: ({ params, config }, ids, rng) => {
    const { wte, ln, attn, mlp, rms } = params as Record<"wte" | "ln" | "attn" | "mlp" | "rms", Layer>;
    const x = embedding(wte, ids);
    const [q, k, v] = tf.split(linear(attn, layerNorm(ln, x)), 3, -1).map((t) => splitHeads(t, config.heads)) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const h = tf.add(x, mergeHeads(attention(q, k, v, { causal: true, dropout: 0.1, rng })));
    const y = tf.add(h, gelu(linear(mlp, rmsNorm(rms, h))));
    return crossEntropy(linear({ weight: wte.weight }, y), ids, { labelSmoothing: 0.1 });
  },
});
