import { checkActivation } from "../activation.ts";
import { type BertConfig, bertParams } from "../bert.ts";
import type { Architecture } from "./architecture.ts";
import { configFields } from "./config-fields.ts";

/** BERT as Hugging Face publishes it. Which heads there are is told by the tensors in the file. */
export const publishedBert: Architecture<BertConfig> = {
  modelTypes: ["bert"],
  makeParams: bertParams,
  read(published, where, shapes) {
    const f = configFields(published, where);
    f.only("position_embedding_type", "absolute");
    f.only("is_decoder", false);
    f.only("tie_word_embeddings", true);
    const activation = f.string("hidden_act", "gelu");
    checkActivation(where, activation);
    const labels = shapes.get("classifier.weight")?.[0];
    return {
      vocabSize: f.number("vocab_size"),
      blockSize: f.number("max_position_embeddings"),
      nEmbd: f.number("hidden_size"),
      nHead: f.number("num_attention_heads"),
      nLayer: f.number("num_hidden_layers"),
      nInner: f.number("intermediate_size"),
      typeVocabSize: f.number("type_vocab_size", 2),
      layerNormEps: f.number("layer_norm_eps", 1e-12),
      activation,
      dropout: f.number("hidden_dropout_prob", 0.1),
      maskedLmHead: shapes.has("cls.predictions.bias"),
      pooler: shapes.has("bert.pooler.dense.weight") || labels !== undefined,
      ...(labels === undefined ? {} : { labels }),
    };
  },
  write(config) {
    const { labels, maskedLmHead = true, dropout = 0 } = config;
    const names = Array.from({ length: labels ?? 0 }, (_, i) => `LABEL_${i}`);
    return {
      model_type: "bert",
      architectures: [labels ? "BertForSequenceClassification" : maskedLmHead ? "BertForMaskedLM" : "BertModel"],
      vocab_size: config.vocabSize,
      max_position_embeddings: config.blockSize,
      hidden_size: config.nEmbd,
      num_attention_heads: config.nHead,
      num_hidden_layers: config.nLayer,
      intermediate_size: config.nInner ?? 4 * config.nEmbd,
      type_vocab_size: config.typeVocabSize ?? 2,
      layer_norm_eps: config.layerNormEps ?? 1e-12,
      hidden_act: config.activation ?? "gelu",
      hidden_dropout_prob: dropout,
      attention_probs_dropout_prob: dropout,
      // Readers count the labels by their names.
      ...(labels === undefined
        ? {}
        : {
            id2label: Object.fromEntries(names.map((name, i) => [i, name])),
            label2id: Object.fromEntries(names.map((name, i) => [name, i])),
          }),
    };
  },
  pathOf(name, _, has) {
    const path = name.replace(/LayerNorm\.gamma$/, "LayerNorm.weight").replace(/LayerNorm\.beta$/, "LayerNorm.bias");
    // The decoder is tied to the embeddings and the bias; the head for the next sentence is not read.
    if (path === "cls.predictions.decoder.bias" && !has("cls.predictions.bias")) return "cls.predictions.bias";
    if (/^cls\.(predictions\.decoder|seq_relationship)\./.test(path)) return undefined;
    if (/(^|\.)embeddings\.(position|token_type)_ids$/.test(path)) return undefined;
    return /^(bert|cls|classifier)\./.test(path) ? path : `bert.${path}`;
  },
  nameOf: (path) => path,
};
