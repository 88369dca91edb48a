import { checkActivation } from "../activation.ts";
import { type Gpt2Config, gpt2Params } from "../gpt2.ts";
import { type Architecture, paramShapes } from "./architecture.ts";
import { configFields } from "./config-fields.ts";

/** GPT-2 as Hugging Face publishes it. */
export const publishedGpt2: Architecture<Gpt2Config> = {
  modelTypes: ["gpt2"],
  makeParams: gpt2Params,
  read(published, where) {
    const f = configFields(published, where);
    f.only("scale_attn_weights", true);
    f.only("scale_attn_by_inverse_layer_idx", false);
    f.only("add_cross_attention", false);
    const activation = f.string("activation_function", "gelu_new");
    checkActivation(where, activation);
    const nInner = f.optionalNumber("n_inner");
    return {
      vocabSize: f.number("vocab_size"),
      blockSize: f.number("n_positions", f.optionalNumber("n_ctx")),
      nEmbd: f.number("n_embd"),
      nHead: f.number("n_head"),
      nLayer: f.number("n_layer"),
      ...(nInner === undefined ? {} : { nInner }),
      dropout: f.number("resid_pdrop", 0.1),
      layerNormEps: f.number("layer_norm_epsilon", 1e-5),
      activation,
      tieWordEmbeddings: f.boolean("tie_word_embeddings", true),
    };
  },
  write(config) {
    const { dropout = 0 } = config;
    return {
      model_type: "gpt2",
      architectures: ["GPT2LMHeadModel"],
      vocab_size: config.vocabSize,
      n_positions: config.blockSize,
      n_embd: config.nEmbd,
      n_head: config.nHead,
      n_layer: config.nLayer,
      n_inner: config.nInner ?? null,
      resid_pdrop: dropout,
      embd_pdrop: dropout,
      attn_pdrop: dropout,
      layer_norm_epsilon: config.layerNormEps ?? 1e-5,
      activation_function: config.activation ?? "gelu_new",
      tie_word_embeddings: config.tieWordEmbeddings ?? true,
    };
  },
  pathOf(name, { tieWordEmbeddings = true }, has) {
    const path = name.replace(/^transformer\./, "");
    // Masks that older files carry along, and a second copy of the tied embedding.
    if (/^h\.\d+\.attn\.(bias|masked_bias)$/.test(path)) return undefined;
    if (!tieWordEmbeddings || path !== "lm_head.weight") return path;
    return has("wte.weight") || has("transformer.wte.weight") ? undefined : "wte.weight";
  },
  // Beside a head, readers look for the other parameters under this prefix.
  nameOf: (path, { tieWordEmbeddings = true }) =>
    tieWordEmbeddings || path.startsWith("lm_head.") ? path : `transformer.${path}`,
  // The published architecture always has biases; zeros compute the same.
  zeros: ({ bias = true, ...config }) =>
    bias ? [] : [...paramShapes((make) => gpt2Params(config, make)).shapes].filter(([path]) => path.endsWith(".bias")),
};
