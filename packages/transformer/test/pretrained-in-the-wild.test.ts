import { collectBytes, concatBytes, createEagerEngine, encodeSafetensors, Rng, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  createBert,
  createGpt2,
  createLlama,
  createT5,
  encodePretrained,
  loadPretrained,
  type PretrainedModel,
} from "../src/index.ts";
import { loadedTensors, type Tensors } from "./safetensors-tensors.ts";

// Fields of config.json as published models have them, their sizes made small, and the names that tensors go by in files
// of different ages: what loads must be the model that was written.

const gpt2 = { vocabSize: 11, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1 };
const llama = { ...gpt2, nInner: 6, nKvHead: 1 };
const bert = { ...gpt2, nInner: 12 };
const t5 = { vocabSize: 11, nEmbd: 8, nHead: 2, headDim: 4, nInner: 6, nLayer: 1 };

const llamaSizes = {
  vocab_size: 11,
  hidden_size: 8,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  num_key_value_heads: 1,
  intermediate_size: 6,
  hidden_act: "silu",
};
const bertSizes = {
  vocab_size: 11,
  hidden_size: 8,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  intermediate_size: 12,
  max_position_embeddings: 8,
};
const gpt2Sizes = { vocab_size: 11, n_positions: 8, n_ctx: 8, n_embd: 8, n_head: 2, n_layer: 1 };
const t5Sizes = { vocab_size: 11, d_model: 8, num_heads: 2, d_kv: 4, d_ff: 6, num_layers: 1 };

/** The other tensors with their names changed, or more of them. */
type Change = (tensors: Tensors) => Tensors;
const renamed =
  (rename: (name: string) => string): Change =>
  (tensors) =>
    Object.fromEntries(Object.entries(tensors).map(([name, x]) => [rename(name), x]));
const without =
  (...names: string[]): Change =>
  (tensors) =>
    Object.fromEntries(Object.entries(tensors).filter(([name]) => !names.includes(name)));
const withMore =
  (more: (tensors: Tensors) => Tensors): Change =>
  (tensors) => ({ ...tensors, ...more(tensors) });

interface Case {
  readonly name: string;
  readonly model: () => PretrainedModel;
  readonly published: Record<string, unknown>;
  readonly changes?: readonly Change[];
  /** Of the configuration that is read. */
  readonly config?: Record<string, unknown>;
}

const rng = () => new Rng(3);
const aGpt2 =
  (change = {}) =>
  (): PretrainedModel => ({ architecture: "gpt2", ...createGpt2({ ...gpt2, ...change }, rng()) });
const aLlama =
  (change = {}) =>
  (): PretrainedModel => ({ architecture: "llama", ...createLlama({ ...llama, ...change }, rng()) });
const aBert =
  (change = {}) =>
  (): PretrainedModel => ({ architecture: "bert", ...createBert({ ...bert, ...change }, rng()) });
const aT5 =
  (change = {}) =>
  (): PretrainedModel => ({ architecture: "t5", ...createT5({ ...t5, ...change }, rng()) });

const CASES: readonly Case[] = [
  {
    name: "gpt2, with masks and without a prefix",
    model: aGpt2(),
    published: {
      ...gpt2Sizes,
      activation_function: "gelu_new",
      architectures: ["GPT2LMHeadModel"],
      attn_pdrop: 0.1,
      embd_pdrop: 0.1,
      initializer_range: 0.02,
      layer_norm_epsilon: 1e-5,
      model_type: "gpt2",
      resid_pdrop: 0.1,
      summary_activation: null,
      task_specific_params: { "text-generation": { do_sample: true, max_length: 50 } },
    },
    changes: [withMore(() => ({ "h.0.attn.bias": tf.ones([1, 1, 8, 8]), "h.0.attn.masked_bias": tf.scalar(-1e4) }))],
    config: { dropout: 0.1, activation: "gelu_new", tieWordEmbeddings: true },
  },
  {
    name: "distilgpt2, with a prefix and a copy of the head",
    model: aGpt2(),
    published: {
      ...gpt2Sizes,
      _num_labels: 1,
      architectures: ["GPT2LMHeadModel"],
      id2label: { 0: "LABEL_0" },
      model_type: "gpt2",
      n_inner: null,
      reorder_and_upcast_attn: false,
      scale_attn_by_inverse_layer_idx: false,
      scale_attn_weights: true,
      torch_dtype: "float32",
    },
    changes: [
      renamed((name) => `transformer.${name}`),
      withMore((all) => ({ "lm_head.weight": all["transformer.wte.weight"]! })),
    ],
  },
  {
    name: "gpt2, of which the file kept the head in place of the embedding that is the same",
    model: aGpt2(),
    published: { ...gpt2Sizes, architectures: ["GPT2LMHeadModel"] }, // and no model_type
    changes: [renamed((name) => (name === "wte.weight" ? "lm_head.weight" : `transformer.${name}`))],
  },
  {
    name: "llama 1, with the frequencies that older files have",
    model: aLlama({ nKvHead: 2 }),
    published: {
      ...llamaSizes,
      num_key_value_heads: undefined,
      architectures: ["LLaMAForCausalLM"],
      max_sequence_length: 8,
      model_type: "llama",
      pad_token_id: 0,
      rms_norm_eps: 1e-6,
      torch_dtype: "float16",
    },
    changes: [withMore(() => ({ "model.layers.0.self_attn.rotary_emb.inv_freq": tf.ones([2]) }))],
    config: { blockSize: 8, nKvHead: 2, ropeTheta: 10000 },
  },
  {
    name: "llama 2",
    model: aLlama({ rmsNormEps: 1e-5 }),
    published: {
      ...llamaSizes,
      architectures: ["LlamaForCausalLM"],
      max_position_embeddings: 8,
      model_type: "llama",
      pretraining_tp: 1,
      rms_norm_eps: 1e-5,
      rope_scaling: null,
      tie_word_embeddings: false,
      use_cache: true,
    },
    config: { rmsNormEps: 1e-5, tieWordEmbeddings: false },
  },
  {
    name: "llama 3.2, tied, with head_dim and a copy of the head",
    model: aLlama({
      tieWordEmbeddings: true,
      headDim: 6,
      ropeTheta: 500000,
      ropeScaling: { type: "llama3", factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalBlockSize: 4 },
    }),
    published: {
      ...llamaSizes,
      architectures: ["LlamaForCausalLM"],
      attention_bias: false,
      eos_token_id: [9, 10],
      head_dim: 6,
      max_position_embeddings: 8,
      mlp_bias: false,
      model_type: "llama",
      rope_scaling: {
        factor: 32.0,
        high_freq_factor: 4.0,
        low_freq_factor: 1.0,
        original_max_position_embeddings: 4,
        rope_type: "llama3",
      },
      rope_theta: 500000.0,
      tie_word_embeddings: true,
      torch_dtype: "bfloat16",
    },
    changes: [withMore((all) => ({ "lm_head.weight": all["model.embed_tokens.weight"]! }))],
  },
  {
    name: "llama with the rope_parameters and the dtype of newer files",
    model: aLlama({ ropeTheta: 1000, ropeScaling: { type: "linear", factor: 2 } }),
    published: {
      ...llamaSizes,
      architectures: ["LlamaForCausalLM"],
      dtype: "bfloat16",
      head_dim: null,
      max_position_embeddings: 8,
      model_type: "llama",
      rope_parameters: { factor: 2.0, rope_theta: 1000.0, rope_type: "linear", partial_rotary_factor: 1.0 },
    },
  },
  {
    name: "a vicuna with a linear scaling of the old form and a longer context beside it",
    model: aLlama({ blockSize: 32, ropeScaling: { type: "linear", factor: 4 } }),
    published: {
      ...llamaSizes,
      model_type: "llama",
      max_position_embeddings: 8,
      max_sequence_length: 32,
      rope_scaling: { factor: 4.0, type: "linear" },
    },
    config: { blockSize: 32 },
  },
  {
    name: "mistral 0.1, with a window",
    model: aLlama({ slidingWindow: 4 }),
    published: {
      ...llamaSizes,
      architectures: ["MistralForCausalLM"],
      max_position_embeddings: 8,
      model_type: "mistral",
      rms_norm_eps: 1e-6,
      rope_theta: 10000.0,
      sliding_window: 4,
    },
    config: { slidingWindow: 4 },
  },
  {
    name: "mistral 0.3, whose window is null",
    model: aLlama({ ropeTheta: 1e6 }),
    published: {
      ...llamaSizes,
      architectures: ["MistralForCausalLM"],
      max_position_embeddings: 8,
      model_type: "mistral",
      rope_theta: 1000000.0,
      sliding_window: null,
    },
  },
  {
    name: "qwen2.5, whose window is not used",
    model: aLlama({ qkvBias: true, tieWordEmbeddings: true, ropeTheta: 1e6 }),
    published: {
      ...llamaSizes,
      architectures: ["Qwen2ForCausalLM"],
      attention_dropout: 0.0,
      max_position_embeddings: 8,
      max_window_layers: 21,
      model_type: "qwen2",
      rms_norm_eps: 1e-6,
      rope_theta: 1000000.0,
      sliding_window: 32768,
      tie_word_embeddings: true,
      use_mrope: false,
      use_sliding_window: false,
    },
    changes: [renamed((name) => (name === "model.embed_tokens.weight" ? "lm_head.weight" : name))],
  },
  {
    name: "qwen2 with layer_types and yarn as its authors advise",
    model: aLlama({
      qkvBias: true,
      blockSize: 32,
      ropeTheta: 1e6,
      slidingWindow: 4,
      ropeScaling: { type: "yarn", factor: 4, originalBlockSize: 8 },
    }),
    published: {
      ...llamaSizes,
      layer_types: ["sliding_attention"],
      max_position_embeddings: 8,
      max_window_layers: 0,
      model_type: "qwen2",
      rope_scaling: { factor: 4.0, original_max_position_embeddings: 8, type: "yarn" },
      rope_theta: 1000000.0,
      sliding_window: 4,
      use_sliding_window: true,
    },
    config: { blockSize: 32 },
  },
  {
    name: "a deepseek's yarn, whose scales of attention are two",
    model: aLlama({
      blockSize: 160,
      ropeScaling: {
        type: "yarn",
        factor: 40,
        originalBlockSize: 4,
        betaFast: 32,
        betaSlow: 1,
        attentionFactor: 0.9461039968029624,
      },
    }),
    published: {
      ...llamaSizes,
      max_position_embeddings: 160,
      model_type: "llama",
      rope_scaling: {
        beta_fast: 32,
        beta_slow: 1,
        factor: 40,
        mscale: 0.8,
        mscale_all_dim: 1.0,
        original_max_position_embeddings: 4,
        type: "yarn",
      },
    },
  },
  {
    name: "a phi's long rope, its original context beside it",
    model: aLlama({
      ropeScaling: { type: "longrope", factor: 2, originalBlockSize: 4, shortFactors: [1, 1.5], longFactors: [2, 3] },
    }),
    published: {
      ...llamaSizes,
      max_position_embeddings: 8,
      model_type: "llama",
      original_max_position_embeddings: 4,
      rope_scaling: { long_factor: [2, 3], short_factor: [1, 1.5], type: "su" },
    },
  },
  {
    name: "smollm2",
    model: aLlama({ tieWordEmbeddings: true, ropeTheta: 100000 }),
    published: {
      ...llamaSizes,
      is_llama_config: true,
      max_position_embeddings: 8,
      model_type: "llama",
      pad_token_id: 2,
      rope_interleaved: false,
      rope_scaling: null,
      rope_theta: 100000,
      tie_word_embeddings: true,
    },
  },
  {
    name: "a mistral without its head, its names without a prefix",
    model: aLlama({ tieWordEmbeddings: true }),
    published: { ...llamaSizes, architectures: ["MistralModel"], max_position_embeddings: 8, model_type: "mistral" },
    changes: [renamed((name) => name.replace(/^model\./, ""))],
  },
  {
    name: "bert-base-uncased, its norms with gamma and beta and the heads of its training",
    model: aBert({ pooler: true }),
    published: {
      ...bertSizes,
      architectures: ["BertForMaskedLM"],
      attention_probs_dropout_prob: 0.1,
      gradient_checkpointing: false,
      hidden_act: "gelu",
      hidden_dropout_prob: 0.1,
      layer_norm_eps: 1e-12,
      model_type: "bert",
      pad_token_id: 0,
      position_embedding_type: "absolute",
      type_vocab_size: 2,
    },
    changes: [
      renamed((name) =>
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
      ),
      withMore((all) => ({
        "cls.seq_relationship.weight": tf.zeros([2, 8]),
        "cls.seq_relationship.bias": tf.zeros([2]),
        "cls.predictions.decoder.weight": all["bert.embeddings.word_embeddings.weight"]!,
        "bert.embeddings.position_ids": tf.zeros([1, 8], "int32"),
      })),
    ],
  },
  {
    name: "bert-base-multilingual-cased, of which the file kept the decoder's copy of the bias",
    model: aBert(),
    published: {
      ...bertSizes,
      architectures: ["BertForMaskedLM"],
      classifier_dropout: null,
      directionality: "bidi",
      pooler_fc_size: 768,
      pooler_num_attention_heads: 12,
      pooler_num_fc_layers: 3,
      pooler_size_per_head: 128,
      pooler_type: "first_token_transform",
      model_type: "bert",
    },
    changes: [renamed((name) => (name === "cls.predictions.bias" ? "cls.predictions.decoder.bias" : name))],
  },
  {
    name: "a sentence encoder: no heads, no prefix",
    model: aBert({ maskedLmHead: false, pooler: true }),
    published: { ...bertSizes, architectures: ["BertModel"], model_type: "bert", gradient_checkpointing: false },
    changes: [
      renamed((name) => name.replace(/^bert\./, "")),
      withMore(() => ({ "embeddings.position_ids": tf.zeros([1, 8], "int32") })),
    ],
  },
  {
    name: "t5 1.0, with copies of its embedding and the table that nothing reads",
    model: aT5(),
    published: {
      ...t5Sizes,
      architectures: ["T5ForConditionalGeneration"],
      decoder_start_token_id: 0,
      dropout_rate: 0.1,
      eos_token_id: 1,
      initializer_factor: 1.0,
      is_encoder_decoder: true,
      layer_norm_epsilon: 1e-6,
      model_type: "t5",
      n_positions: 512,
      output_past: true,
      pad_token_id: 0,
      relative_attention_num_buckets: 32,
    },
    changes: [
      withMore((all) => ({
        "encoder.embed_tokens.weight": all["shared.weight"]!,
        "decoder.embed_tokens.weight": all["shared.weight"]!,
        "lm_head.weight": all["shared.weight"]!,
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": tf.zeros([32, 2]),
      })),
    ],
    config: { feedForward: "relu", tieWordEmbeddings: true },
  },
  {
    name: "flan-t5, of which the file kept the encoder's copy of the embedding",
    model: aT5({ feedForward: "gated-gelu", tieWordEmbeddings: false }),
    published: {
      ...t5Sizes,
      dense_act_fn: "gelu_new",
      feed_forward_proj: "gated-gelu",
      is_gated_act: true,
      model_type: "t5",
      num_decoder_layers: 1,
      relative_attention_max_distance: 128,
      tie_word_embeddings: false,
    },
    changes: [
      withMore((all) => ({
        "encoder.embed_tokens.weight": all["shared.weight"]!,
        "decoder.embed_tokens.weight": all["shared.weight"]!,
      })),
      without("shared.weight"),
    ],
  },
  {
    name: "mt5, which does not say what it has of T5 1.1",
    model: aT5({ feedForward: "gated-gelu", tieWordEmbeddings: false }),
    published: { ...t5Sizes, architectures: ["MT5ForConditionalGeneration"], model_type: "mt5" },
  },
];

beforeAll(async () => {
  await createEagerEngine("cpu");
});

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

describe("loadPretrained", () => {
  it.each(CASES.map((each) => [each.name, each] as const))(
    "reads %s",
    async (_, { model, published, changes = [], config }) => {
      const original = model();
      const written: Record<string, Uint8Array> = {};
      for await (const { file, chunks } of encodePretrained(original)) written[file] = await collectBytes(chunks);
      const tensors = changes.reduce((all, change) => change(all), await loadedTensors(written["model.safetensors"]!));
      const files = {
        "config.json": json(published),
        "model.safetensors": concatBytes(await encodeSafetensors(Object.entries(tensors))),
      };
      treeDispose(tensors);
      const loaded = await loadPretrained(files);
      expect(loaded.architecture).toBe(original.architecture);
      expect(loaded.config).toMatchObject({ ...sizesOf(original), ...config });
      expect(await valuesOf(loaded)).toEqual(await valuesOf(original));
      // What is saved of it is read again as the same.
      const again: Record<string, Uint8Array> = {};
      for await (const { file, chunks } of encodePretrained(loaded, { dtype: "F16" }))
        again[file] = await collectBytes(chunks);
      expect((await loadPretrained(again)).config).toEqual(loaded.config);
      const fields = JSON.parse(new TextDecoder().decode(again["config.json"]));
      expect(fields.dtype ?? fields.torch_dtype).toBe("float16");
    },
  );

  it("refuses what a configuration asks for and is not there", async () => {
    const refuse = (published: object) =>
      loadPretrained({ "config.json": json(published), "model.safetensors": json("") }).catch((e: Error) => e.message);
    const base = { ...llamaSizes, max_position_embeddings: 8, model_type: "llama" };
    const files = async (published: object) => ({
      "config.json": json(published),
      "model.safetensors": concatBytes(await encodeSafetensors([["x", tf.ones([1])]])),
    });
    const load = async (change: object) => loadPretrained(await files({ ...base, ...change }));
    await expect(load({ rope_interleaved: true })).rejects.toThrow("rope_interleaved is true; expected false");
    await expect(load({ rope_scaling: { type: "longrope", short_factor: [1, "2"] } })).rejects.toThrow(
      'short_factor is [1,"2"]; expected a list of numbers',
    );
    await expect(load({ rope_scaling: { type: "su", short_mscale: 1.2, short_factor: [1, 1] } })).rejects.toThrow(
      "short_mscale is 1.2",
    );
    await expect(
      load({ rope_scaling: { type: "longrope", factor: 2, short_factor: [1], long_factor: [1] } }),
    ).rejects.toThrow("ropeScaling.shortFactors hold 1 numbers; expected 2");
    const qwen = { model_type: "qwen2", use_sliding_window: true, sliding_window: 4, num_hidden_layers: 2 };
    await expect(load({ ...qwen, layer_types: ["full_attention", "sliding_attention"] })).rejects.toThrow(
      "the sliding window begins at layer 1",
    );
    await expect(load({ model_type: undefined, architectures: ["MambaForCausalLM"] })).rejects.toThrow(
      'model_type is "mamba"; expected one of gpt2',
    );
    expect(await refuse({})).toMatch(/model_type is undefined|header/);
  });
});

/** The parts of a configuration that fix its parameters and what they compute. */
function sizesOf({ config }: PretrainedModel): Record<string, unknown> {
  const { dropout: _, ...rest } = config as unknown as Record<string, unknown>;
  return rest;
}

async function valuesOf({ params }: PretrainedModel): Promise<unknown> {
  const values: unknown[] = [];
  const visit = async (x: unknown, path: string): Promise<void> => {
    if (x instanceof tf.Tensor) values.push([path, x.shape, [...(await x.data())]]);
    else for (const [key, child] of Object.entries(x as object)) await visit(child, `${path}.${key}`);
  };
  await visit(params, "");
  return values;
}
