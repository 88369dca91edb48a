import {
  type CrossEntropyOptions,
  crossEntropy,
  dropout,
  embedding,
  linear,
  mergeHeads,
  normalInit,
  type Rng,
  recompute,
  rmsNorm,
  silu,
  splitHeads,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import {
  type CausalContext,
  type CausalContextOptions,
  causalContext,
  type Keep,
  lastTokens,
} from "./causal-context.ts";
import { type CausalLm, type CausalLogitsOptions, checkIds } from "./causal-lm.ts";
import { createKvCache, type KvCache } from "./kv-cache.ts";
import {
  type Affine,
  checkDropout,
  checkSizes,
  type MakeParam,
  makeEmbedding,
  makeLinear,
  makeNorm,
  type Weight,
} from "./param-makers.ts";
import { type Rotation, ropeRotation } from "./rope.ts";
import { checkRope, type RopeConfig, type RopeScaling } from "./rope-scaling.ts";

// Llama: a causal transformer with RMSNorm, rotary positions, gated feed-forward layers (SwiGLU) and key/value heads that
// several query heads share. With a sliding window it is Mistral, with biases of q, k and v Qwen2.
//
//   H. Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023, arXiv:2302.13971
//   J. Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models", EMNLP 2023, arXiv:2305.13245
//   N. Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202
//   A. Q. Jiang et al., "Mistral 7B", 2023, arXiv:2310.06825
//
// Shapes: B batch, T seqLen, C nEmbd, H nHead, G nKvHead, D headDim, F nInner, V vocabSize. Parameters have the published
// names; linear weights are [out, in].

export interface LlamaConfig {
  readonly vocabSize: number;
  /** The largest number of positions. */
  readonly blockSize: number;
  readonly nEmbd: number;
  readonly nHead: number;
  /** Key/value heads, which divide nHead; nHead by default. */
  readonly nKvHead?: number;
  readonly nLayer: number;
  /** Width of the gated feed-forward layers. */
  readonly nInner: number;
  /** nEmbd / nHead by default. */
  readonly headDim?: number;
  /** Base of the rotary frequencies; default 10000. */
  readonly ropeTheta?: number;
  readonly ropeScaling?: RopeScaling;
  /** Default 1e-6. */
  readonly rmsNormEps?: number;
  /** Biases of q, k and v (Qwen2); default false. */
  readonly qkvBias?: boolean;
  /** A bias of the attention's output; default false. */
  readonly outBias?: boolean;
  /** Biases of the feed-forward layers; default false. */
  readonly mlpBias?: boolean;
  /** A token sees itself and the slidingWindow - 1 before it (Mistral); all before it by default. */
  readonly slidingWindow?: number;
  /** Whether the head is the embedding; default false. */
  readonly tieWordEmbeddings?: boolean;
  /** Of attention weights and what enters the residual stream; acts only with an Rng. Default 0. */
  readonly dropout?: number;
}

export type LlamaBlock = {
  input_layernorm: Weight; // [C]
  self_attn: {
    q_proj: Affine; // [H D, C]
    k_proj: Affine; // [G D, C]
    v_proj: Affine; // [G D, C]
    o_proj: Affine; // [C, H D]
  };
  post_attention_layernorm: Weight; // [C]
  mlp: { gate_proj: Affine; up_proj: Affine; down_proj: Affine }; // [F, C], [F, C], [C, F]
};

export type LlamaParams = {
  model: {
    embed_tokens: Weight; // [V, C]
    layers: LlamaBlock[];
    norm: Weight; // [C]
  };
  lm_head?: Weight; // [V, C]; absent when tied
};

/** A Llama language model; see `createLlama`. */
export interface Llama {
  readonly config: LlamaConfig;
  readonly params: LlamaParams;
}

/**
 * Creates a Llama: normal 0.02, and 0.02 / sqrt(2 nLayer) where a result enters the residual stream.
 *
 * @throws if a size is no positive integer, heads do not divide, or the rotary scaling does not fit.
 */
export function createLlama(config: LlamaConfig, rng: Rng): Llama {
  return { config, params: llamaParams(config, (shape, init) => init(shape, rng)) };
}

/** The parameters of a configuration, each made by `make`. */
export function llamaParams(config: LlamaConfig, make: MakeParam): LlamaParams {
  checkLlamaConfig(config);
  const { vocabSize, nEmbd, nHead, nKvHead = nHead, nLayer, nInner, qkvBias = false, outBias = false } = config;
  const { headDim } = ropeOf(config);
  const mlpBias = config.mlpBias ?? false;
  const init = normalInit(0.02);
  const residual = normalInit(0.02 / Math.sqrt(2 * nLayer));
  return {
    model: {
      embed_tokens: makeEmbedding(make, vocabSize, nEmbd),
      layers: Array.from({ length: nLayer }, () => ({
        input_layernorm: makeNorm(make, nEmbd, false),
        self_attn: {
          q_proj: makeLinear(make, nEmbd, nHead * headDim, init, qkvBias),
          k_proj: makeLinear(make, nEmbd, nKvHead * headDim, init, qkvBias),
          v_proj: makeLinear(make, nEmbd, nKvHead * headDim, init, qkvBias),
          o_proj: makeLinear(make, nHead * headDim, nEmbd, residual, outBias),
        },
        post_attention_layernorm: makeNorm(make, nEmbd, false),
        mlp: {
          gate_proj: makeLinear(make, nEmbd, nInner, init, mlpBias),
          up_proj: makeLinear(make, nEmbd, nInner, init, mlpBias),
          down_proj: makeLinear(make, nInner, nEmbd, residual, mlpBias),
        },
      })),
      norm: makeNorm(make, nEmbd, false),
    },
    ...(config.tieWordEmbeddings ? {} : { lm_head: makeEmbedding(make, vocabSize, nEmbd) }),
  };
}

/**
 * Logits of the next token at every position.
 *
 * @param ids int32 [B, T], T <= blockSize, each in [0, V). Not checked against V: see `checkIdRange`.
 * @returns [B, T, V]
 */
export function llamaLogits(llama: Llama, ids: tf.Tensor2D, options: CausalLogitsOptions = {}): tf.Tensor3D {
  checkIds("llamaLogits", ids, llama.config.blockSize);
  return tf.tidy(() => head(llama, forward("llamaLogits", llama, ids, options).hidden) as tf.Tensor3D);
}

/** What the head reads: ids int32 [B, T] to [B, T, C], after the final norm. */
export function llamaHidden(llama: Llama, ids: tf.Tensor2D, options: CausalLogitsOptions = {}): tf.Tensor3D {
  checkIds("llamaHidden", ids, llama.config.blockSize);
  return tf.tidy(() => forward("llamaHidden", llama, ids, options).hidden as tf.Tensor3D);
}

/** Mean cross-entropy, in nats, of the tokens that follow: targets [B, T], -100 where none counts; see `nextTokens`. */
export function llamaLoss(
  llama: Llama,
  ids: tf.Tensor2D,
  targets: tf.Tensor2D,
  options: CausalLogitsOptions & CrossEntropyOptions = {},
): tf.Scalar {
  return tf.tidy(() => crossEntropy(llamaLogits(llama, ids, options), targets, options) as tf.Scalar);
}

/** Llama as decoding and fine-tuning see it. */
export function llamaLm(config: LlamaConfig): CausalLm<LlamaParams> {
  checkLlamaConfig(config);
  const { vocabSize, blockSize, nHead, nKvHead = nHead, nLayer } = config;
  return {
    vocabSize,
    blockSize,
    logits: (params, ids, options) => llamaLogits({ config, params }, ids, options),
    createCache: (batchSize, length) =>
      createKvCache({ batchSize, layers: nLayer, heads: nKvHead, length, headDim: ropeOf(config).headDim }),
    step: (params, ...read) => step({ config, params }, ...read),
    matrixLayout: () => "out-in",
    ...(goesByLength(config) && { fixedCacheLength: true }),
  };
}

const goesByLength = ({ ropeScaling, blockSize }: LlamaConfig): boolean =>
  (ropeScaling?.type === "dynamic" || ropeScaling?.type === "longrope") && blockSize > ropeScaling.originalBlockSize;

/** See `CausalLm.step`. */
function step(
  llama: Llama,
  ids: tf.Tensor2D,
  cache: KvCache,
  counts?: tf.Tensor1D,
): { logits: tf.Tensor2D; cache: KvCache } {
  checkIds("llamaLm.step", ids, llama.config.blockSize);
  return tf.tidy(() => {
    const { hidden, context } = forward("llamaLm.step", llama, ids, { cache, keep: (x) => lastTokens(x, counts) });
    return { logits: head(llama, hidden) as tf.Tensor2D, cache: context.advanced(counts) };
  });
}

/** Where tokens stand. */
type Marks = { readonly ids: tf.Tensor2D } & Pick<CausalContextOptions, "start" | "segments">;

function forward(
  caller: string,
  { config, params }: Llama,
  ids: tf.Tensor2D,
  options: CausalContextOptions & Pick<CausalLogitsOptions, "rng" | "recompute"> & { readonly keep?: Keep },
): { hidden: tf.Tensor; context: CausalContext } {
  const { rng, start, segments } = options;
  const window = config.slidingWindow;
  const context = causalContext(caller, ids, { ...options, window });
  const rotate = ropeRotation(ropeOf(config), context);
  let x = embedding(params.model.embed_tokens, ids); // [B, T, C]
  for (const [i, block] of params.model.layers.entries()) {
    const keep = i === params.model.layers.length - 1 ? options.keep : undefined;
    // What runs again must not capture tensors: it makes a context of its own.
    const again = (at: { x: tf.Tensor; block: LlamaBlock; rng: Rng | undefined }, { ids, ...marks }: Marks) => {
      const context = causalContext(caller, ids, { ...marks, window });
      const rotate = ropeRotation(ropeOf(config), context);
      return llamaBlock(at.block, config, at.x, { context, rotate, layer: i, rng: at.rng });
    };
    x = options.recompute
      ? recompute(again, { x, block, rng }, { ids, start, segments })
      : llamaBlock(block, config, x, { context, rotate, layer: i, rng, keep });
  }
  return { hidden: rmsNorm(params.model.norm, x, { eps: epsOf(config) }), context };
}

/** One block: x + attention(norm(x)), then x + feed-forward(norm(x)). x [B, T, C] to [B, T, C], or to what `keep` leaves. */
export function llamaBlock(
  p: LlamaBlock,
  config: Pick<LlamaConfig, "nHead" | "nKvHead" | "rmsNormEps" | "dropout">,
  x: tf.Tensor,
  at: {
    readonly context: CausalContext;
    readonly rotate: Rotation;
    readonly layer: number;
    readonly rng?: Rng | undefined;
    readonly keep?: Keep | undefined;
  },
): tf.Tensor {
  const { context, rotate, rng, keep = (x) => x } = at;
  const { nHead, nKvHead = nHead, dropout: rate = 0 } = config;
  const eps = epsOf(config);
  const normed = rmsNorm(p.input_layernorm, x, { eps });
  const q = rotate(splitHeads(linear(p.self_attn.q_proj, normed), nHead)); // [B, H, T, D]
  const k = rotate(splitHeads(linear(p.self_attn.k_proj, normed), nKvHead)); // [B, G, T, D]
  const v = splitHeads(linear(p.self_attn.v_proj, normed), nKvHead);
  const mixed = mergeHeads(context.attend(at.layer, q, k, v, { dropout: rate, rng }));
  const attended = tf.add(keep(x), dropout(linear(p.self_attn.o_proj, keep(mixed)), rate, rng));
  const h = rmsNorm(p.post_attention_layernorm, attended, { eps });
  const gated = tf.mul(silu(linear(p.mlp.gate_proj, h)), linear(p.mlp.up_proj, h)); // [B, T, F]
  return tf.add(attended, dropout(linear(p.mlp.down_proj, gated), rate, rng));
}

const head = ({ params }: Llama, x: tf.Tensor): tf.Tensor => linear(params.lm_head ?? params.model.embed_tokens, x);
const epsOf = ({ rmsNormEps = 1e-6 }: Pick<LlamaConfig, "rmsNormEps">): number => rmsNormEps;

function ropeOf(config: LlamaConfig): RopeConfig {
  const { nEmbd, nHead, headDim = nEmbd / nHead, ropeTheta: theta = 10000, ropeScaling: scaling } = config;
  return { headDim, theta, scaling };
}

function checkLlamaConfig(config: LlamaConfig): void {
  const { vocabSize, blockSize, nEmbd, nHead, nKvHead = nHead, nLayer, nInner } = config;
  checkSizes("createLlama", { vocabSize, blockSize, nEmbd, nHead, nKvHead, nLayer, nInner });
  const rope = ropeOf(config);
  if (!Number.isInteger(rope.headDim)) {
    throw new Error(`createLlama: nEmbd (${nEmbd}) must be a multiple of nHead (${nHead}), or headDim be given`);
  }
  if (nHead % nKvHead !== 0) throw new Error(`createLlama: nKvHead (${nKvHead}) must divide nHead (${nHead})`);
  if (config.slidingWindow !== undefined) checkSizes("createLlama", { slidingWindow: config.slidingWindow });
  checkRope("createLlama", rope);
  checkDropout("createLlama", config.dropout ?? 0);
}

/** Published sizes; spread one to change a field. */
export const llamaPresets = {
  "llama-7b": { vocabSize: 32000, blockSize: 2048, nEmbd: 4096, nHead: 32, nLayer: 32, nInner: 11008 },
  "llama-2-7b": {
    vocabSize: 32000,
    blockSize: 4096,
    nEmbd: 4096,
    nHead: 32,
    nLayer: 32,
    nInner: 11008,
    rmsNormEps: 1e-5,
  },
  "llama-3.2-1b": {
    vocabSize: 128256,
    blockSize: 131072,
    nEmbd: 2048,
    nHead: 32,
    nKvHead: 8,
    nLayer: 16,
    nInner: 8192,
    headDim: 64,
    ropeTheta: 500000,
    ropeScaling: { type: "llama3", factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalBlockSize: 8192 },
    rmsNormEps: 1e-5,
    tieWordEmbeddings: true,
  },
  "tinyllama-1.1b": {
    vocabSize: 32000,
    blockSize: 2048,
    nEmbd: 2048,
    nHead: 32,
    nKvHead: 4,
    nLayer: 22,
    nInner: 5632,
    rmsNormEps: 1e-5,
  },
  "mistral-7b": {
    vocabSize: 32000,
    blockSize: 32768,
    nEmbd: 4096,
    nHead: 32,
    nKvHead: 8,
    nLayer: 32,
    nInner: 14336,
    rmsNormEps: 1e-5,
    slidingWindow: 4096,
  },
  "qwen2-0.5b": {
    vocabSize: 151936,
    blockSize: 131072,
    nEmbd: 896,
    nHead: 14,
    nKvHead: 2,
    nLayer: 24,
    nInner: 4864,
    ropeTheta: 1000000,
    qkvBias: true,
    tieWordEmbeddings: true,
  },
  "smollm2-135m": {
    vocabSize: 49152,
    blockSize: 8192,
    nEmbd: 576,
    nHead: 9,
    nKvHead: 3,
    nLayer: 30,
    nInner: 1536,
    ropeTheta: 100000,
    rmsNormEps: 1e-5,
    tieWordEmbeddings: true,
  },
} as const satisfies Record<string, LlamaConfig>;
