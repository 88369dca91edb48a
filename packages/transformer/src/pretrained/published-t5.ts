import { FormatError } from "@genai/core";
import { type T5Config, t5Params } from "../t5.ts";
import type { Architecture } from "./architecture.ts";
import { configFields } from "./config-fields.ts";

/** T5 as Hugging Face publishes it, and mT5, which is T5 1.1 with another vocabulary. */
export const publishedT5: Architecture<T5Config> = {
  modelTypes: ["t5", "mt5"],
  makeParams: t5Params,
  read(published, where) {
    const f = configFields(published, where);
    const multilingual = published.model_type === "mt5";
    const feedForward = f.string("feed_forward_proj", multilingual ? "gated-gelu" : "relu");
    if (feedForward !== "relu" && feedForward !== "gated-gelu") {
      throw new FormatError(`${where}: feed_forward_proj is ${feedForward}; expected relu or gated-gelu`);
    }
    const nLayer = f.number("num_layers");
    return {
      vocabSize: f.number("vocab_size"),
      nEmbd: f.number("d_model"),
      nHead: f.number("num_heads"),
      headDim: f.number("d_kv"),
      nInner: f.number("d_ff"),
      nLayer,
      nDecoderLayer: f.number("num_decoder_layers", nLayer),
      buckets: f.number("relative_attention_num_buckets", 32),
      maxDistance: f.number("relative_attention_max_distance", 128),
      layerNormEps: f.number("layer_norm_epsilon", 1e-6),
      feedForward,
      tieWordEmbeddings: f.boolean("tie_word_embeddings", !multilingual),
      decoderStartId: f.number("decoder_start_token_id", f.number("pad_token_id", 0)),
      dropout: f.number("dropout_rate", 0.1),
    };
  },
  write: (config) => ({
    model_type: "t5",
    architectures: ["T5ForConditionalGeneration"],
    is_encoder_decoder: true,
    vocab_size: config.vocabSize,
    d_model: config.nEmbd,
    num_heads: config.nHead,
    d_kv: config.headDim,
    d_ff: config.nInner,
    num_layers: config.nLayer,
    num_decoder_layers: config.nDecoderLayer ?? config.nLayer,
    relative_attention_num_buckets: config.buckets ?? 32,
    relative_attention_max_distance: config.maxDistance ?? 128,
    layer_norm_epsilon: config.layerNormEps ?? 1e-6,
    feed_forward_proj: config.feedForward ?? "relu",
    tie_word_embeddings: config.tieWordEmbeddings ?? true,
    decoder_start_token_id: config.decoderStartId ?? 0,
    dropout_rate: config.dropout ?? 0,
  }),
  pathOf(name, { tieWordEmbeddings = true }, has) {
    // A table that the authors' conversion wrote and nothing reads.
    if (name === "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight") return undefined;
    const copies = ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
    if (tieWordEmbeddings) copies.push("lm_head.weight");
    if (!copies.includes(name)) return name;
    return name === copies.find(has) ? "shared.weight" : undefined;
  },
  nameOf: (path) => path,
};
