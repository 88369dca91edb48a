import {
  applyRope,
  attention,
  crossEntropy,
  embedding,
  gelu,
  layerNorm,
  linear,
  mergeHeads,
  rmsNorm,
  ropeTables,
  silu,
  splitHeads,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// GPT-2, Llama and BERT out of core's layers, under Hugging Face's parameter names, for the golden tests alone.

type Params = Record<string, tf.Tensor>;

/** The linear layer, norm or embedding whose parameters start with `prefix`. */
function at(params: Params, prefix: string): { weight: tf.Tensor; bias?: tf.Tensor } {
  const weight = params[`${prefix}.weight`];
  if (!weight) throw new Error(`no parameter ${prefix}.weight`);
  const bias = params[`${prefix}.bias`];
  return bias ? { weight, bias } : { weight };
}

/** A linear layer whose weight is [in, out], as GPT-2's files have it. */
function conv1dLinear(params: Params, prefix: string, x: tf.Tensor): tf.Tensor {
  const { weight, bias } = at(params, prefix);
  return linear({ weight: tf.transpose(weight), bias: bias! }, x);
}

export function gpt2Block(p: Params, prefix: string, x: tf.Tensor, heads: number, eps: number): tf.Tensor {
  const qkv = conv1dLinear(p, `${prefix}attn.c_attn`, layerNorm(at(p, `${prefix}ln_1`), x, { eps }));
  const [q, k, v] = tf.split(qkv, 3, -1).map((part) => splitHeads(part, heads)) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const attended = tf.add(x, conv1dLinear(p, `${prefix}attn.c_proj`, mergeHeads(attention(q, k, v, { causal: true }))));
  const hidden = conv1dLinear(p, `${prefix}mlp.c_fc`, layerNorm(at(p, `${prefix}ln_2`), attended, { eps }));
  return tf.add(attended, conv1dLinear(p, `${prefix}mlp.c_proj`, gelu(hidden, { approximate: "tanh" })));
}

interface LlamaShape {
  heads: number;
  kvHeads: number;
  eps: number;
  theta: number;
}

export function llamaBlock(p: Params, prefix: string, x: tf.Tensor, shape: LlamaShape): tf.Tensor {
  const { heads, kvHeads, eps, theta } = shape;
  const project = (name: string, h: tf.Tensor) => linear(at(p, `${prefix}${name}`), h);
  const tables = ropeTables(x.shape[1]!, x.shape[2]! / heads, { theta });
  const normed = rmsNorm(at(p, `${prefix}input_layernorm`), x, { eps });
  const q = applyRope(splitHeads(project("self_attn.q_proj", normed), heads), tables);
  const k = applyRope(splitHeads(project("self_attn.k_proj", normed), kvHeads), tables);
  const v = splitHeads(project("self_attn.v_proj", normed), kvHeads);
  const attended = tf.add(x, project("self_attn.o_proj", mergeHeads(attention(q, k, v, { causal: true }))));
  const h = rmsNorm(at(p, `${prefix}post_attention_layernorm`), attended, { eps });
  const gated = tf.mul(silu(project("mlp.gate_proj", h)), project("mlp.up_proj", h));
  return tf.add(attended, project("mlp.down_proj", gated));
}

const positions = (length: number) =>
  tf.tensor1d(
    Int32Array.from({ length }, (_, i) => i),
    "int32",
  );

/** The loss of predicting each token from those before it; labels of -100 are left out. */
export function nextTokenLoss(logits: tf.Tensor, labels: tf.Tensor): tf.Tensor {
  const [b, t, v] = logits.shape as [number, number, number];
  return crossEntropy(tf.slice(logits, [0, 0, 0], [b, t - 1, v]), tf.slice(labels, [0, 1], [b, t - 1]));
}

type Config = Record<string, number>;

export function gpt2(p: Params, ids: tf.Tensor, config: Config): { logits: tf.Tensor; hidden: tf.Tensor[] } {
  const eps = config.layer_norm_epsilon!;
  let x = tf.add(embedding(at(p, "wte"), ids), embedding(at(p, "wpe"), positions(ids.shape[1]!)));
  const hidden = [x];
  for (let i = 0; i < config.n_layer!; i++) {
    x = gpt2Block(p, `h.${i}.`, x, config.n_head!, eps);
    if (i < config.n_layer! - 1) hidden.push(x);
  }
  x = layerNorm(at(p, "ln_f"), x, { eps });
  hidden.push(x);
  return { logits: linear({ weight: p["wte.weight"]! }, x), hidden };
}

export function llama(p: Params, ids: tf.Tensor, config: Config): tf.Tensor {
  const shape = {
    heads: config.num_attention_heads!,
    kvHeads: config.num_key_value_heads!,
    eps: config.rms_norm_eps!,
    theta: config.rope_theta!,
  };
  let x = embedding(at(p, "model.embed_tokens"), ids);
  for (let i = 0; i < config.num_hidden_layers!; i++) x = llamaBlock(p, `model.layers.${i}.`, x, shape);
  x = rmsNorm(at(p, "model.norm"), x, { eps: shape.eps });
  return linear(at(p, config.tie_word_embeddings ? "model.embed_tokens" : "lm_head"), x);
}

export function bert(
  p: Params,
  inputs: { input_ids: tf.Tensor; token_type_ids: tf.Tensor; attention_mask: tf.Tensor },
  config: Config,
): { logits: tf.Tensor; hidden: tf.Tensor } {
  const options = { eps: config.layer_norm_eps! };
  const { input_ids, token_type_ids, attention_mask } = inputs;
  const [b, t] = input_ids.shape as [number, number];
  const heads = config.num_attention_heads!;
  const mask = tf.reshape(attention_mask, [b, 1, 1, t]);
  const embedded = tf.add(
    tf.add(
      embedding(at(p, "bert.embeddings.word_embeddings"), input_ids),
      embedding(at(p, "bert.embeddings.token_type_embeddings"), token_type_ids),
    ),
    embedding(at(p, "bert.embeddings.position_embeddings"), positions(t)),
  );
  let x = layerNorm(at(p, "bert.embeddings.LayerNorm") as { weight: tf.Tensor }, embedded, options);
  for (let i = 0; i < config.num_hidden_layers!; i++) {
    const project = (name: string, h: tf.Tensor) => linear(at(p, `bert.encoder.layer.${i}.${name}`), h);
    const norm = (name: string, h: tf.Tensor) => layerNorm(at(p, `bert.encoder.layer.${i}.${name}`), h, options);
    const [q, k, v] = ["query", "key", "value"].map((n) => splitHeads(project(`attention.self.${n}`, x), heads)) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const attended = project("attention.output.dense", mergeHeads(attention(q, k, v, { mask })));
    x = norm("attention.output.LayerNorm", tf.add(x, attended));
    x = norm("output.LayerNorm", tf.add(x, project("output.dense", gelu(project("intermediate.dense", x)))));
  }
  const head = gelu(linear(at(p, "cls.predictions.transform.dense"), x));
  const transformed = layerNorm(at(p, "cls.predictions.transform.LayerNorm"), head, options);
  const decoder = { weight: p["bert.embeddings.word_embeddings.weight"]!, bias: p["cls.predictions.bias"]! };
  return { logits: linear(decoder, transformed), hidden: x };
}
