import { attention } from "@genai/core";
import { describeGolden, goldenNumbers } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { causalContext } from "../../src/causal-context.ts";
import { relativeBuckets } from "../../src/relative-buckets.ts";
import { type Attend, relativeBias, type T5SelfAttention, t5SelfAttention } from "../../src/t5.ts";
import { nestedParams } from "../nested-params.ts";

await describeGolden("t5_attention", ({ name, params = {}, inputs: values }) => {
  const p = params as Record<string, number>;
  const options = {
    buckets: p.num_buckets!,
    maxDistance: p.max_distance!,
    bidirectional: params.bidirectional === true,
  };
  if (name.startsWith("buckets")) {
    const relative = goldenNumbers(values.relative_position!);
    const sensitive = new Set(params.rounding_sensitive_positions as number[]);
    if (sensitive.size > 0) throw new Error("t5_attention: this test expects no positions that rounding decides");
    return { outputs: () => ({ bucket: tf.tensor1d(relativeBuckets(relative, options), "int32") }) };
  }
  return {
    outputs: ({ x, cotangent: _, ...weights }) => {
      const layer = nestedParams<T5SelfAttention>(weights);
      const t = x!.shape[1]!;
      const context = causalContext("test", tf.zeros([x!.shape[0]!, t], "int32"));
      const bias = relativeBias(layer.SelfAttention.relative_attention_bias!, context.positions, t, options);
      const attend: Attend = (q, k, v, how) =>
        params.causal === true ? context.attend(0, q, k, v, { ...how, bias }) : attention(q, k, v, { ...how, bias });
      const config = { nHead: p.num_heads!, layerNormEps: p.layer_norm_epsilon! };
      return { position_bias: bias.squeeze([0]), y: t5SelfAttention(layer, config, x!, { attend }) };
    },
  };
});
