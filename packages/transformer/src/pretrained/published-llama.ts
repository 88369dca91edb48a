import { FormatError } from "@genai/core";
import { type LlamaConfig, llamaParams } from "../llama.ts";
import type { RopeScaling } from "../rope.ts";
import type { Architecture } from "./architecture.ts";
import { configFields, type PublishedConfig } from "./config-fields.ts";

/** Llama, Mistral and Qwen2 as Hugging Face publishes them. */
export const publishedLlama: Architecture<LlamaConfig> = {
  modelTypes: ["llama", "mistral", "qwen2"],
  makeParams: llamaParams,
  read(published, where) {
    const f = configFields(published, where);
    f.only("hidden_act", "silu", "swish");
    f.only("partial_rotary_factor", 1);
    const type = f.string("model_type", "llama");
    const positions = f.number("max_position_embeddings");
    const { theta, scaling } = readRope(published, where, positions);
    const nHead = f.number("num_attention_heads");
    const headDim = f.optionalNumber("head_dim");
    const attentionBias = type === "llama" && f.boolean("attention_bias", false);
    const window = readWindow(published, where, type);
    return {
      vocabSize: f.number("vocab_size"),
      blockSize: scaling?.type === "dynamic" ? Math.floor(positions * scaling.factor) : positions,
      nEmbd: f.number("hidden_size"),
      nHead,
      nKvHead: f.number("num_key_value_heads", nHead),
      nLayer: f.number("num_hidden_layers"),
      nInner: f.number("intermediate_size"),
      ...(headDim === undefined ? {} : { headDim }),
      ropeTheta: theta,
      ...(scaling ? { ropeScaling: scaling } : {}),
      rmsNormEps: f.number("rms_norm_eps", 1e-6),
      qkvBias: type === "qwen2" || attentionBias,
      outBias: attentionBias,
      mlpBias: type === "llama" && f.boolean("mlp_bias", false),
      ...(window === undefined ? {} : { slidingWindow: window }),
      tieWordEmbeddings: f.boolean("tie_word_embeddings", false),
      dropout: f.number("attention_dropout", 0),
    };
  },
  write(config) {
    const { nHead, qkvBias = false, outBias = false, mlpBias = false, slidingWindow, ropeScaling } = config;
    const type = qkvBias && !outBias ? "qwen2" : slidingWindow === undefined ? "llama" : "mistral";
    const unfit = type === "llama" ? outBias !== qkvBias : type === "mistral" ? qkvBias || outBias || mlpBias : mlpBias;
    if (unfit) {
      throw new Error(
        `savePretrained: no published architecture has qkvBias (${qkvBias}), outBias (${outBias}), mlpBias (${mlpBias}) ` +
          `and slidingWindow (${slidingWindow}); expected those of Llama, Mistral or Qwen2`,
      );
    }
    return {
      model_type: type,
      architectures: [{ llama: "LlamaForCausalLM", mistral: "MistralForCausalLM", qwen2: "Qwen2ForCausalLM" }[type]],
      vocab_size: config.vocabSize,
      max_position_embeddings: ropeScaling?.type === "dynamic" ? ropeScaling.originalBlockSize : config.blockSize,
      hidden_size: config.nEmbd,
      num_attention_heads: nHead,
      num_key_value_heads: config.nKvHead ?? nHead,
      num_hidden_layers: config.nLayer,
      intermediate_size: config.nInner,
      ...(config.headDim === undefined ? {} : { head_dim: config.headDim }),
      hidden_act: "silu",
      rope_theta: config.ropeTheta ?? 10000,
      rope_scaling: ropeScaling ? writeScaling(ropeScaling) : null,
      rope_parameters: undefined, // a newer form of the two, which would win over them
      rms_norm_eps: config.rmsNormEps ?? 1e-6,
      tie_word_embeddings: config.tieWordEmbeddings ?? false,
      attention_dropout: config.dropout ?? 0,
      ...(type === "llama" ? { attention_bias: outBias, mlp_bias: mlpBias } : {}),
      ...(type === "mistral" ? { sliding_window: slidingWindow } : {}),
      ...(type === "qwen2"
        ? {
            use_sliding_window: slidingWindow !== undefined,
            sliding_window: slidingWindow ?? null,
            max_window_layers: 0,
          }
        : {}),
    };
  },
  pathOf(name, { tieWordEmbeddings = false }) {
    if (name.endsWith("rotary_emb.inv_freq")) return undefined;
    if (name.startsWith("lm_head.")) return tieWordEmbeddings ? undefined : name;
    // Files of the model without its head leave the prefix out.
    return name.startsWith("model.") ? name : `model.${name}`;
  },
  nameOf: (path) => path,
};

function readWindow(published: PublishedConfig, where: string, type: string): number | undefined {
  const f = configFields(published, where);
  if (type === "mistral") return f.optionalNumber("sliding_window");
  if (type !== "qwen2" || !f.boolean("use_sliding_window", false)) return undefined;
  // Layers from max_window_layers on have the window.
  const layers = f.number("num_hidden_layers");
  const from = f.number("max_window_layers", layers);
  if (from >= layers) return undefined;
  if (from === 0) return f.number("sliding_window");
  throw new FormatError(
    `${where}: max_window_layers is ${from}; expected 0 or at least ${layers}, the same for all layers`,
  );
}

function readRope(
  published: PublishedConfig,
  where: string,
  positions: number,
): { theta: number; scaling?: RopeScaling } {
  const f = configFields(published, where);
  const inner = f.record("rope_parameters") ?? f.record("rope_scaling");
  const r = configFields(inner ?? {}, `${where}: rope_scaling`);
  const theta = f.number("rope_theta", r.number("rope_theta", 10000));
  const type = r.string("rope_type", r.string("type", "default"));
  if (type === "default") return { theta };
  const original = () => r.number("original_max_position_embeddings", positions);
  switch (type) {
    case "linear":
      return { theta, scaling: { type, factor: r.number("factor") } };
    case "dynamic":
      return { theta, scaling: { type, factor: r.number("factor"), originalBlockSize: positions } };
    case "llama3":
      return {
        theta,
        scaling: {
          type,
          factor: r.number("factor"),
          lowFreqFactor: r.number("low_freq_factor"),
          highFreqFactor: r.number("high_freq_factor"),
          originalBlockSize: original(),
        },
      };
    default:
      throw new FormatError(`${where}: rope_scaling is of type ${type}; expected default, linear, dynamic or llama3`);
  }
}

function writeScaling(scaling: RopeScaling): PublishedConfig {
  const common = { rope_type: scaling.type, factor: scaling.factor };
  if (scaling.type === "linear") return common;
  if (scaling.type === "dynamic") return common;
  return {
    ...common,
    low_freq_factor: scaling.lowFreqFactor,
    high_freq_factor: scaling.highFreqFactor,
    original_max_position_embeddings: scaling.originalBlockSize,
  };
}
