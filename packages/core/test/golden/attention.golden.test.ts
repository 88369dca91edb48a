import { alibiBias, applyRope, attention, ropeTables, sinusoidalEmbedding } from "@genai/core";
import { describeGolden, goldenNumbers } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";

await describeGolden("attention", ({ name, params = {}, inputs }) => {
  const p = params as Record<string, number>;
  switch (name) {
    case "plain":
      return { outputs: ({ q, k, v }) => ({ y: attention(q!, k!, v!) }) };
    case "causal":
      return { outputs: ({ q, k, v }) => ({ y: attention(q!, k!, v!, { causal: true }) }) };
    case "key_padding":
      return { outputs: ({ q, k, v, mask }) => ({ y: attention(q!, k!, v!, { mask: mask! }) }) };
    case "alibi_causal":
      return {
        outputs: ({ q, k, v }) => ({
          y: attention(q!, k!, v!, { causal: true, bias: alibiBias(q!.shape[1]!, q!.shape[2]!) }),
        }),
      };
    case "rope":
      return {
        outputs: ({ x, cotangent }) => {
          const tables = ropeTables(x!.shape[2]!, x!.shape[3]!, { theta: p.theta! });
          const half_split = applyRope(x!, tables);
          return {
            ...tables,
            half_split,
            interleaved: applyRope(x!, tables, { interleaved: true }),
            loss: tf.sum(tf.mul(half_split, cotangent!)),
          };
        },
      };
    case "sinusoidal":
      return {
        outputs: () => {
          const t = goldenNumbers(inputs.t!);
          return {
            ddpm_sin_cos: sinusoidalEmbedding(t, p.dim!, { layout: "sin-cos" }),
            guided_cos_sin: sinusoidalEmbedding(t, p.dim!, { layout: "cos-sin" }),
            transformer_interleaved: sinusoidalEmbedding(t, p.dim!, { layout: "transformer" }),
          };
        },
      };
    default:
      throw new Error(`attention: no test for the case ${name}`);
  }
});
