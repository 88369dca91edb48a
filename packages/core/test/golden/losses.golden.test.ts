import {
  binaryCrossEntropyWithLogits,
  crossEntropy,
  discretizedLogisticMixtureNll,
  gaussianMixtureNll,
  gaussianNll,
  huber,
  infoNce,
  klCategorical,
  klDiagonalGaussians,
  l1,
  mse,
} from "@genai/core";
import { describeGolden } from "@genai/testing";

await describeGolden("losses", ({ name, params = {} }) => {
  const p = params as Record<string, number>;
  switch (name) {
    case "cross_entropy_mean":
      return {
        outputs: ({ logits, labels }) => ({
          loss: crossEntropy(logits!, labels!),
          per_item: crossEntropy(logits!, labels!, { reduction: "none" }),
        }),
      };
    case "cross_entropy_ignore":
      return {
        outputs: ({ logits, labels }) => ({ loss: crossEntropy(logits!, labels!, { ignoreIndex: p.ignore_index! }) }),
      };
    case "cross_entropy_smoothed":
      return {
        outputs: ({ logits, labels }) => ({
          loss: crossEntropy(logits!, labels!, { labelSmoothing: p.label_smoothing! }),
        }),
      };
    case "cross_entropy_z_loss":
      return {
        outputs: ({ logits, labels }) => ({ loss: crossEntropy(logits!, labels!, { zLoss: p.z_coefficient! }) }),
      };
    case "bce_with_logits":
    case "bce_large_logits":
      return { outputs: ({ logits, target }) => ({ loss: binaryCrossEntropyWithLogits(logits!, target!) }) };
    case "huber":
      return { outputs: ({ pred, target }) => ({ loss: huber(pred!, target!, { delta: p.delta! }) }) };
    case "mse":
      return { outputs: ({ pred, target }) => ({ loss: mse(pred!, target!) }) };
    case "l1":
      return { outputs: ({ pred, target }) => ({ loss: l1(pred!, target!) }) };
    case "gaussian_nll":
      return { outputs: ({ mean, logvar, target }) => ({ loss: gaussianNll(mean!, logvar!, target!) }) };
    case "kl_diagonal_gaussians":
      return {
        outputs: ({ mean1, logvar1, mean2, logvar2 }) => ({
          loss: klDiagonalGaussians(mean1!, logvar1!, mean2!, logvar2!),
        }),
      };
    case "kl_categorical_distillation":
      return {
        outputs: ({ student, teacher }) => ({
          loss: klCategorical(teacher!, student!, { temperature: p.temperature! }),
        }),
      };
    case "gaussian_mixture_nll":
      return {
        outputs: ({ mixture_logits, mean, log_scale, target }) => ({
          loss: gaussianMixtureNll(mixture_logits!, mean!, log_scale!, target!),
        }),
      };
    case "discretized_logistic_mixture_nll":
      return {
        outputs: ({ mixture_logits, mean, log_scale, target }) => ({
          loss: discretizedLogisticMixtureNll(mixture_logits!, mean!, log_scale!, target!, { levels: p.levels! }),
        }),
      };
    case "clip_symmetric_infonce":
      return { outputs: ({ a, b }) => ({ loss: infoNce(a!, b!, { temperature: p.temperature! }) }) };
    default:
      throw new Error(`losses: no test for the case ${name}`);
  }
});
