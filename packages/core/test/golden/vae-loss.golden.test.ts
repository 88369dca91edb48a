import {
  binaryCrossEntropyWithLogits,
  gumbelSoftmax,
  iwaeBound,
  klFreeBits,
  klStandardNormal,
  mse,
  type Reduction,
  reparameterise,
  vectorQuantise,
} from "@genai/core";
import { describeGolden } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";

const reductions: Record<string, Reduction> = { sum: "sum", batch_mean: "batchMean", mean: "mean" };

await describeGolden("vae_loss", ({ name, params = {} }) => {
  const p = params as Record<string, number>;
  if (name.startsWith("bce_") || name.startsWith("mse_")) {
    const reduction = reductions[String(params.reduction)]!;
    const compare = params.reconstruction === "bce" ? binaryCrossEntropyWithLogits : mse;
    return {
      outputs: ({ logits, x, mu, logvar }) => {
        const reconstruction = compare(logits!, x!, { reduction });
        const kl = klStandardNormal(mu!, logvar!, { reduction });
        return {
          reconstruction,
          kl,
          kl_per_item: tf.sum(klStandardNormal(mu!, logvar!, { reduction: "none" }), -1),
          loss: tf.add(reconstruction, tf.mul(p.beta!, kl)),
        };
      },
    };
  }
  switch (name) {
    case "free_bits":
      return {
        outputs: ({ mu, logvar }) => {
          const { loss, klPerDim } = klFreeBits(mu!, logvar!, p.free_bits_nats_per_dim!);
          return { loss, kl_per_dim: klPerDim };
        },
      };
    case "reparameterise":
      return {
        outputs: ({ mu, logvar, eps, cotangent }) => {
          const z = reparameterise(mu!, logvar!, eps!);
          return { z, loss: tf.sum(tf.mul(z, cotangent!)) };
        },
      };
    case "iwae_bound":
      return {
        outputs: ({ log_weights }) => {
          const bound = iwaeBound(log_weights!);
          return { bound, loss: tf.neg(bound) };
        },
      };
    case "vector_quantise":
      return {
        outputs: ({ z_e, codebook, cotangent }) => {
          const { indices, quantised, codebookLoss, commitmentLoss, perplexity } = vectorQuantise(z_e!, codebook!);
          const penalty = tf.add(codebookLoss, tf.mul(p.commitment_cost!, commitmentLoss));
          return {
            indices,
            quantised,
            codebook_loss: codebookLoss,
            commitment_loss: commitmentLoss,
            perplexity,
            loss: tf.add(penalty, tf.sum(tf.mul(quantised, cotangent!))),
          };
        },
      };
    case "gumbel_softmax":
      return {
        outputs: ({ logits, uniform }) => ({
          y: gumbelSoftmax(logits!, tf.neg(tf.log(tf.neg(tf.log(uniform!)))), { temperature: p.temperature! }),
        }),
      };
    default:
      throw new Error(`vae_loss: no test for the case ${name}`);
  }
});
