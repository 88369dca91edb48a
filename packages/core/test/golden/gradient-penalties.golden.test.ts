import { linear, softplus, tanh } from "@genai/core";
import { describeGolden } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";

// Penalties on the gradient of a critic need second derivatives through linear layers and activations. The other cases of
// the file belong to the package of adversarial models.

type Named = Record<string, tf.Tensor>;

const critic = ({ w1, b1, w2, b2, w3, b3 }: Named, x: tf.Tensor) => {
  const h1 = softplus(linear({ weight: w1!, bias: b1! }, x));
  const h2 = tanh(linear({ weight: w2!, bias: b2! }, h1));
  return linear({ weight: w3!, bias: b3! }, h2);
};

await describeGolden("gan_losses", ({ name, params = {} }) => {
  const p = params as Record<string, number>;
  if (name === "wgan_gp") {
    return {
      outputs: (inputs) => {
        const { real, fake, alpha } = inputs as { real: tf.Tensor; fake: tf.Tensor; alpha: tf.Tensor };
        const interpolates = tf.add(tf.mul(alpha, real), tf.mul(tf.sub(1, alpha), fake));
        const input_gradient = tf.grad((x: tf.Tensor) => tf.sum(critic(inputs, x)))(interpolates);
        const gradient_norm = tf.sqrt(tf.sum(tf.square(input_gradient), 1));
        const penalty = tf.mean(tf.square(tf.sub(gradient_norm, 1)));
        const wasserstein_loss = tf.sub(tf.mean(critic(inputs, fake)), tf.mean(critic(inputs, real)));
        const loss = tf.add(wasserstein_loss, tf.mul(p.lambda!, penalty));
        return { interpolates, input_gradient, gradient_norm, penalty, wasserstein_loss, loss };
      },
    };
  }
  if (name === "r1") {
    return {
      outputs: (inputs) => {
        const input_gradient = tf.grad((x: tf.Tensor) => tf.sum(critic(inputs, x)))(inputs.real!);
        const penalty = tf.mean(tf.sum(tf.square(input_gradient), 1));
        return { input_gradient, penalty, loss: tf.mul(p.gamma! / 2, penalty) };
      },
    };
  }
  return undefined;
});
