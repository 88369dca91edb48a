import type { Rng } from "@genai/core";
import {
  createGpt2,
  createLlama,
  type Gpt2Config,
  gpt2Presets,
  type LlamaConfig,
  type PretrainedModel,
} from "@genai/transformer";
import { UsageError } from "../../exit-code.ts";

/** Sizes that options give. */
export interface NetworkOptions {
  readonly nLayer: number;
  readonly nHead: number;
  readonly nKvHead?: number | null;
  readonly nEmbd: number;
  readonly nInner: number | null;
  readonly blockSize: number;
  readonly dropout: number;
  readonly bias?: boolean;
  readonly untiedHead: boolean;
}

/** One architecture as the command line trains it. */
export interface Network {
  readonly name: "gpt2" | "llama";
  readonly summary: string;
  /** The options that it alone takes. */
  readonly options: Readonly<Record<string, unknown>>;
  configOf(options: NetworkOptions, vocabSize: number): PretrainedModel["config"];
  create(config: PretrainedModel["config"], rng: Rng): PretrainedModel;
}

export const gpt2Network: Network = {
  name: "gpt2",
  summary: "GPT-2: learned positions, LayerNorm, GELU",
  options: { bias: false },
  configOf(options, vocabSize): Gpt2Config {
    const { nLayer, nHead, nEmbd, nInner, blockSize, dropout, untiedHead, bias = false } = options;
    if (nEmbd % nHead !== 0) throw new UsageError(`--n-embd ${nEmbd} must be a multiple of --n-head ${nHead}`);
    const { activation } = gpt2Presets.nanoCpu;
    const inner = nInner === null ? {} : { nInner };
    const sizes = { vocabSize, blockSize, nEmbd, nHead, nLayer, ...inner };
    return { ...sizes, dropout, activation, bias, tieWordEmbeddings: !untiedHead };
  },
  create: (config, rng) => ({ architecture: "gpt2", ...createGpt2(config as Gpt2Config, rng) }),
};

export const llamaNetwork: Network = {
  name: "llama",
  summary: "Llama: rotary positions, RMSNorm, SwiGLU, grouped queries",
  options: { nKvHead: null },
  configOf(options, vocabSize): LlamaConfig {
    const { nLayer, nHead, nKvHead, nEmbd, nInner, blockSize, dropout, untiedHead } = options;
    const kvHeads = nKvHead ?? nHead;
    if (nEmbd % (2 * nHead) !== 0) {
      throw new UsageError(`--n-embd ${nEmbd} must be an even multiple of --n-head ${nHead}: positions turn pairs`);
    }
    if (nHead % kvHeads !== 0) throw new UsageError(`--n-head ${nHead} must be a multiple of --n-kv-head ${kvHeads}`);
    // Three matrices in place of two: two thirds as wide for the same size, in whole steps of 32.
    const inner = nInner ?? Math.ceil((8 * nEmbd) / 3 / 32) * 32;
    const sizes = { vocabSize, blockSize, nEmbd, nHead, nKvHead: kvHeads, nLayer, nInner: inner };
    return { ...sizes, dropout, tieWordEmbeddings: !untiedHead };
  },
  create: (config, rng) => ({ architecture: "llama", ...createLlama(config as LlamaConfig, rng) }),
};
