import { attention, embedding, linear, mergeHeads, rmsNorm, splitHeads } from "@genai/core";
import { describeGolden } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { gpt2Block, llamaBlock } from "./transformer-models.ts";

await describeGolden("gpt2_block", ({ params = {} }) => {
  const { n_head, layer_norm_epsilon } = params as Record<string, number>;
  return { outputs: (inputs) => ({ y: gpt2Block(inputs, "", inputs.x!, n_head!, layer_norm_epsilon!) }) };
});

await describeGolden("llama_block", ({ params = {} }) => {
  const p = params as Record<string, number>;
  const shape = {
    heads: p.num_attention_heads!,
    kvHeads: p.num_key_value_heads!,
    eps: p.rms_norm_eps!,
    theta: p.rope_theta!,
  };
  return { outputs: (inputs) => ({ y: llamaBlock(inputs, "", inputs.x!, shape) }) };
});

/** T5's bucket of key position - query position (Raffel et al. 2020). */
function bucket(relative: number, bidirectional: boolean, buckets: number, maxDistance: number): number {
  let count = buckets;
  let offset = 0;
  let distance = Math.max(-relative, 0);
  if (bidirectional) {
    count = Math.floor(buckets / 2);
    offset = relative > 0 ? count : 0;
    distance = Math.abs(relative);
  }
  const exact = Math.floor(count / 2);
  if (distance < exact) return offset + distance;
  const log = Math.fround(Math.log(Math.fround(distance / exact)));
  const far = exact + Math.trunc(Math.fround((log / Math.fround(Math.log(maxDistance / exact))) * (count - exact)));
  return offset + Math.min(far, count - 1);
}

await describeGolden("t5_attention", ({ name, params = {} }) => {
  if (name.startsWith("buckets")) return undefined;
  const p = params as Record<string, number>;
  return {
    outputs: (inputs) => {
      const x = inputs.x!;
      const [heads, t] = [p.num_heads!, x.shape[1]!];
      const project = (letter: string, h: tf.Tensor) =>
        linear({ weight: inputs[`SelfAttention.${letter}.weight`]! }, h);
      const ids = Int32Array.from({ length: t * t }, (_, at) =>
        bucket((at % t) - Math.floor(at / t), params.bidirectional === true, p.num_buckets!, p.max_distance!),
      );
      const table = { weight: inputs["SelfAttention.relative_attention_bias.weight"]! };
      const position_bias = tf.transpose(embedding(table, tf.tensor2d(ids, [t, t], "int32")), [2, 0, 1]);
      const normed = rmsNorm({ weight: inputs["layer_norm.weight"]! }, x, { eps: p.layer_norm_epsilon! });
      const [q, k, v] = ["q", "k", "v"].map((letter) => splitHeads(project(letter, normed), heads)) as [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
      ];
      const y = attention(q, k, v, { bias: position_bias, scale: 1, causal: params.causal === true });
      return { position_bias, y: tf.add(x, project("o", mergeHeads(y))) };
    },
  };
});
