import { FormatError } from "@genai/core";
import { type LlamaConfig, llamaParams } from "../llama.ts";
import { type RopeScaling, yarnMscale } from "../rope-scaling.ts";
import type { Architecture } from "./architecture.ts";
import { configFields, type PublishedConfig } from "./config-fields.ts";

const EMBEDDING = "model.embed_tokens.weight";

/** Llama, Mistral and Qwen2 as Hugging Face publishes them. */
export const publishedLlama: Architecture<LlamaConfig> = {
  modelTypes: ["llama", "mistral", "qwen2"],
  makeParams: llamaParams,
  read(published, where, shapes) {
    const f = configFields(published, where);
    f.only("hidden_act", "silu", "swish");
    f.only("partial_rotary_factor", 1);
    f.only("rope_interleaved", false);
    const type = f.string("model_type", "llama");
    const positions = f.number("max_position_embeddings", f.number("max_sequence_length", 2048));
    const { theta, scaling } = readRope(published, where, positions);
    // Files of the model without its head, from which embeddings are taken.
    const [name] = f.optionalStrings("architectures") ?? [];
    const headless = name !== undefined && /[a-z0-9]Model$/.test(name) && !shapes.has("lm_head.weight");
    const nHead = f.number("num_attention_heads");
    const headDim = f.optionalNumber("head_dim");
    const attentionBias = type === "llama" && f.boolean("attention_bias", false);
    const window = readWindow(published, where, type);
    return {
      vocabSize: f.number("vocab_size"),
      blockSize: readBlockSize(published, where, positions, scaling),
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
      tieWordEmbeddings: headless || f.boolean("tie_word_embeddings", false),
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
      // Readers of long ropes look for it here too.
      original_max_position_embeddings: ropeScaling?.type === "longrope" ? ropeScaling.originalBlockSize : undefined,
      rope_parameters: undefined, // a newer form of the two, which would win over them
      layer_types: undefined, // a newer form of what is said of windows
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
  pathOf(name, { tieWordEmbeddings = false }, has) {
    if (name.endsWith("rotary_emb.inv_freq")) return undefined;
    if (name === "lm_head.weight" && tieWordEmbeddings) {
      return has(EMBEDDING) || has("embed_tokens.weight") ? undefined : EMBEDDING;
    }
    if (name.startsWith("lm_head.")) return name;
    // Files of the model without its head leave the prefix out.
    return name.startsWith("model.") ? name : `model.${name}`;
  },
  nameOf: (path) => path,
};

function readWindow(published: PublishedConfig, where: string, type: string): number | undefined {
  const f = configFields(published, where);
  if (type === "mistral") return f.optionalNumber("sliding_window");
  if (type !== "qwen2" || !f.boolean("use_sliding_window", false)) return undefined;
  // Layers from max_window_layers on have the window; newer files say it of each.
  const layers = f.number("num_hidden_layers");
  const types = f.optionalStrings("layer_types");
  const from = types ? types.lastIndexOf("full_attention") + 1 : f.number("max_window_layers", layers);
  if (from >= layers) return undefined;
  if (from === 0) return f.number("sliding_window");
  throw new FormatError(
    `${where}: the sliding window begins at layer ${from} (max_window_layers); expected 0 or at least ${layers}, the ` +
      "same for all layers",
  );
}

/** The largest number of positions, where a scaling stretches what the file says. */
function readBlockSize(
  published: PublishedConfig,
  where: string,
  positions: number,
  scaling: RopeScaling | undefined,
): number {
  const stretched = Math.floor(positions * (scaling?.factor ?? 1));
  switch (scaling?.type) {
    case "linear":
      return Math.max(positions, configFields(published, where).number("max_sequence_length", positions));
    case "dynamic":
      return stretched;
    case "yarn": // some files give the stretched length, others the original one
      return positions > scaling.originalBlockSize ? positions : stretched;
    default:
      return positions;
  }
}

function readRope(
  published: PublishedConfig,
  where: string,
  positions: number,
): { theta: number; scaling?: RopeScaling } {
  const f = configFields(published, where);
  const inner = f.record("rope_parameters") ?? f.record("rope_scaling");
  const r = configFields(inner ?? {}, `${where}: rope_scaling`);
  r.only("partial_rotary_factor", 1);
  const theta = f.number("rope_theta", r.number("rope_theta", 10000));
  const type = r.string("rope_type", r.string("type", "default"));
  if (type === "default") return { theta };
  const original = () =>
    r.number("original_max_position_embeddings", f.number("original_max_position_embeddings", positions));
  const attention = r.optionalNumber("attention_factor");
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
    case "yarn": {
      const factor = r.number("factor", positions / original());
      const [mscale, all] = [r.number("mscale", 0), r.number("mscale_all_dim", 0)];
      const [betaFast, betaSlow] = [r.number("beta_fast", 0), r.number("beta_slow", 0)]; // 0 is none there
      const byScales = mscale && all ? yarnMscale(factor, mscale) / yarnMscale(factor, all) : undefined;
      const attentionFactor = attention ?? byScales;
      return {
        theta,
        scaling: {
          type,
          factor,
          originalBlockSize: original(),
          ...(betaFast ? { betaFast } : {}),
          ...(betaSlow ? { betaSlow } : {}),
          ...(attentionFactor === undefined ? {} : { attentionFactor }),
          ...(r.boolean("truncate", true) ? {} : { truncate: false }),
        },
      };
    }
    case "su": // its first name
    case "longrope":
      r.only("short_mscale", 1);
      r.only("long_mscale", 1);
      return {
        theta,
        scaling: {
          type: "longrope",
          shortFactors: r.numbers("short_factor"),
          longFactors: r.numbers("long_factor"),
          originalBlockSize: original(),
          factor: original() === positions ? r.number("factor", 1) : positions / original(),
          ...(attention === undefined ? {} : { attentionFactor: attention }),
        },
      };
    default:
      throw new FormatError(
        `${where}: rope_scaling is of type ${type}; expected default, linear, dynamic, llama3, yarn or longrope`,
      );
  }
}

function writeScaling(scaling: RopeScaling): PublishedConfig {
  const common = { rope_type: scaling.type, factor: scaling.factor };
  switch (scaling.type) {
    case "linear":
    case "dynamic":
      return common;
    case "llama3":
      return {
        ...common,
        low_freq_factor: scaling.lowFreqFactor,
        high_freq_factor: scaling.highFreqFactor,
        original_max_position_embeddings: scaling.originalBlockSize,
      };
    case "yarn":
      return {
        ...common,
        original_max_position_embeddings: scaling.originalBlockSize,
        ...(scaling.betaFast === undefined ? {} : { beta_fast: scaling.betaFast }),
        ...(scaling.betaSlow === undefined ? {} : { beta_slow: scaling.betaSlow }),
        ...(scaling.attentionFactor === undefined ? {} : { attention_factor: scaling.attentionFactor }),
        ...(scaling.truncate === false ? { truncate: false } : {}),
      };
    case "longrope":
      return {
        ...common,
        original_max_position_embeddings: scaling.originalBlockSize,
        short_factor: scaling.shortFactors,
        long_factor: scaling.longFactors,
        ...(scaling.attentionFactor === undefined ? {} : { attention_factor: scaling.attentionFactor }),
      };
  }
}
