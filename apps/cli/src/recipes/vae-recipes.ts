import { vaeFamily } from "../families/vae/index.ts";
import { trainingRecipe } from "./recipe.ts";

const burda = "Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016";

export const vaeMnist = trainingRecipe({
  name: "vae-mnist",
  summary: "test -ELBO of a convolutional VAE on dynamically binarized MNIST",
  duration: "about 5 minutes",
  family: vaeFamily,
  settings: { kind: "conv", data: "mnist", steps: 3500, seconds: 540, batchSize: 128, learningRate: 2e-3 },
  full: { steps: 40_000, seconds: null, options: { nllSamples: 1000 } },
  obtained: ({ results }) => [
    { label: "test -ELBO", value: results.testNegativeElbo!, unit: "nats", atMost: 100 },
    ...(results.testNll === undefined
      ? []
      : [{ label: "test -log p(x)", value: results.testNll, unit: "nats", atMost: 89.9 }]),
  ],
  published: [
    { what: "VAE with one stochastic layer, estimated -log p(x)", value: "86.8 nats", source: `${burda}, table 1` },
    {
      what: "VAE with a diagonal Gaussian posterior, estimated -log p(x)",
      value: "89.9 nats",
      source: "Rezende & Mohamed, Variational Inference with Normalizing Flows, ICML 2015, table 2",
    },
    {
      what: "small mean-field VAE, -ELBO on a fixed binarization",
      value: "103.3 nats",
      source: "github.com/jaanli/variational-autoencoder, PyTorch, 65,000 steps",
    },
  ],
});
