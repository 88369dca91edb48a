import {
  addLowRank,
  type CrossEntropyOptions,
  crossEntropy,
  dropout,
  embedding,
  layerNorm,
  linear,
  mergeHeads,
  type NormParams,
  normalInit,
  type Rng,
  recompute,
  splitHeads,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type Activation, activate, checkActivation } from "./activation.ts";
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
  makeConv1d,
  makeEmbedding,
  makeNorm,
  type Weight,
} from "./param-makers.ts";

// GPT-2: a causal transformer with learned positions, normalised before each sub-layer, its head tied to its embedding.
//
//   A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019
//   A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762
//
// Shapes: B batch, T seqLen, C nEmbd, H nHead, D = C/H, F nInner, V vocabSize. Parameters have the names and layouts of
// the published files, in which the blocks' linear layers are [in, out].

export interface Gpt2Config {
  readonly vocabSize: number;
  /** The largest number of positions. */
  readonly blockSize: number;
  readonly nEmbd: number;
  readonly nHead: number;
  readonly nLayer: number;
  /** Width of the feed-forward layers; 4 nEmbd by default. */
  readonly nInner?: number;
  /** Of embeddings, attention weights and what enters the residual stream; acts only with an Rng. Default 0. */
  readonly dropout?: number;
  /** Default 1e-5. */
  readonly layerNormEps?: number;
  /** Default "gelu_new", the tanh approximation. */
  readonly activation?: Activation;
  /** Whether linear layers and norms have biases; default true. */
  readonly bias?: boolean;
  /** Whether the head is the embedding; default true. */
  readonly tieWordEmbeddings?: boolean;
}

export type Gpt2Block = {
  ln_1: NormParams; // [C]
  attn: { c_attn: Affine; c_proj: Affine }; // [C, 3 C], columns q | k | v; [C, C]
  ln_2: NormParams; // [C]
  mlp: { c_fc: Affine; c_proj: Affine }; // [C, F], [F, C]
};

export type Gpt2Params = {
  wte: Weight; // [V, C]
  wpe: Weight; // [blockSize, C]
  h: Gpt2Block[];
  ln_f: NormParams; // [C]
  lm_head?: Weight; // [V, C]; absent when tied
};

/** A GPT-2 language model; see `createGpt2`. */
export interface Gpt2 {
  readonly config: Gpt2Config;
  readonly params: Gpt2Params;
}

/**
 * Creates a GPT-2 with the paper's initialisation: normal 0.02, and 0.02 / sqrt(2 nLayer) where a result enters the
 * residual stream.
 *
 * @throws if a size is no positive integer or nHead does not divide nEmbd.
 */
export function createGpt2(config: Gpt2Config, rng: Rng): Gpt2 {
  return { config, params: gpt2Params(config, (shape, init) => init(shape, rng)) };
}

/** The parameters of a configuration, each made by `make`. */
export function gpt2Params(config: Gpt2Config, make: MakeParam): Gpt2Params {
  checkGpt2Config(config);
  const { vocabSize, blockSize, nEmbd, nLayer, bias = true } = config;
  const nInner = config.nInner ?? 4 * nEmbd;
  const init = normalInit(0.02);
  const residual = normalInit(0.02 / Math.sqrt(2 * nLayer));
  return {
    wte: makeEmbedding(make, vocabSize, nEmbd),
    wpe: makeEmbedding(make, blockSize, nEmbd),
    h: Array.from({ length: nLayer }, () => ({
      ln_1: makeNorm(make, nEmbd, bias),
      attn: {
        c_attn: makeConv1d(make, nEmbd, 3 * nEmbd, init, bias),
        c_proj: makeConv1d(make, nEmbd, nEmbd, residual, bias),
      },
      ln_2: makeNorm(make, nEmbd, bias),
      mlp: {
        c_fc: makeConv1d(make, nEmbd, nInner, init, bias),
        c_proj: makeConv1d(make, nInner, nEmbd, residual, bias),
      },
    })),
    ln_f: makeNorm(make, nEmbd, bias),
    ...((config.tieWordEmbeddings ?? true) ? {} : { lm_head: makeEmbedding(make, vocabSize, nEmbd) }),
  };
}

/**
 * Logits of the next token at every position.
 *
 * @param ids int32 [B, T], T <= blockSize, each in [0, V). Not checked against V: see `checkIdRange`.
 * @returns [B, T, V]
 */
export function gpt2Logits(gpt: Gpt2, ids: tf.Tensor2D, options: CausalLogitsOptions = {}): tf.Tensor3D {
  checkIds("gpt2Logits", ids, gpt.config.blockSize);
  return tf.tidy(() => head(gpt, forward("gpt2Logits", gpt, ids, options).states.at(-1)!) as tf.Tensor3D);
}

/**
 * The hidden states: the embeddings, the results of all blocks but the last, and that of the last after the final norm,
 * which the head reads.
 *
 * @param ids int32 [B, T]
 * @returns nLayer + 1 tensors [B, T, C]
 */
export function gpt2HiddenStates(gpt: Gpt2, ids: tf.Tensor2D, options: CausalLogitsOptions = {}): tf.Tensor3D[] {
  checkIds("gpt2HiddenStates", ids, gpt.config.blockSize);
  return tf.tidy(() => forward("gpt2HiddenStates", gpt, ids, options).states as tf.Tensor3D[]);
}

/** Mean cross-entropy, in nats, of the tokens that follow: targets [B, T], -100 where none counts; see `nextTokens`. */
export function gpt2Loss(
  gpt: Gpt2,
  ids: tf.Tensor2D,
  targets: tf.Tensor2D,
  options: CausalLogitsOptions & CrossEntropyOptions = {},
): tf.Scalar {
  return tf.tidy(() => crossEntropy(gpt2Logits(gpt, ids, options), targets, options) as tf.Scalar);
}

/** GPT-2 as decoding and fine-tuning see it. */
export function gpt2Lm(config: Gpt2Config): CausalLm<Gpt2Params> {
  checkGpt2Config(config);
  const { vocabSize, blockSize, nHead, nEmbd, nLayer } = config;
  return {
    vocabSize,
    blockSize,
    logits: (params, ids, options) => gpt2Logits({ config, params }, ids, options),
    createCache: (batchSize, length) =>
      createKvCache({ batchSize, layers: nLayer, heads: nHead, length, headDim: nEmbd / nHead }),
    step: (params, ...read) => step({ config, params }, ...read),
    matrixLayout: (path) => (/^h\..*weight$/.test(path) ? "in-out" : path.startsWith("wpe") ? undefined : "out-in"),
  };
}

/** See `CausalLm.step`. */
function step(
  gpt: Gpt2,
  ids: tf.Tensor2D,
  cache: KvCache,
  counts?: tf.Tensor1D,
): { logits: tf.Tensor2D; cache: KvCache } {
  checkIds("gpt2Lm.step", ids, gpt.config.blockSize);
  return tf.tidy(() => {
    const { states, context } = forward("gpt2Lm.step", gpt, ids, { cache, keep: (x) => lastTokens(x, counts) });
    return { logits: head(gpt, states.at(-1)!) as tf.Tensor2D, cache: context.advanced(counts) };
  });
}

function forward(
  caller: string,
  { config, params }: Gpt2,
  ids: tf.Tensor2D,
  options: CausalContextOptions & Pick<CausalLogitsOptions, "rng" | "recompute"> & { readonly keep?: Keep },
): { states: tf.Tensor[]; context: CausalContext } {
  const { rng, start, segments } = options;
  const context = causalContext(caller, ids, options);
  let x = tf.add(embedding(params.wte, ids), embedding(params.wpe, context.positions)); // [B, T, C]
  x = dropout(x, config.dropout ?? 0, rng);
  const states: tf.Tensor[] = [];
  for (const [i, block] of params.h.entries()) {
    const keep = i === params.h.length - 1 ? options.keep : undefined;
    states.push(x);
    // What runs again must not capture tensors: it makes a context of its own.
    x = options.recompute
      ? recompute(
          (at, { ids, ...marks }) =>
            gpt2Block(at.block, config, at.x, { ...at, context: causalContext(caller, ids, marks), layer: i }),
          { x, block, rng },
          { ids, start, segments },
        )
      : gpt2Block(block, config, x, { context, layer: i, rng, keep });
  }
  states.push(layerNorm(params.ln_f, x, { eps: config.layerNormEps ?? 1e-5 }));
  return { states, context };
}

/** One block: x + attention(norm(x)), then x + feed-forward(norm(x)). x [B, T, C] to [B, T, C], or to what `keep` leaves. */
export function gpt2Block(
  p: Gpt2Block,
  config: Pick<Gpt2Config, "nHead" | "dropout" | "layerNormEps" | "activation">,
  x: tf.Tensor,
  at: {
    readonly context: CausalContext;
    readonly layer: number;
    readonly rng?: Rng | undefined;
    readonly keep?: Keep | undefined;
  },
): tf.Tensor {
  const { context, rng, keep = (x) => x } = at;
  const { nHead, dropout: rate = 0, activation = "gelu_new" } = config;
  const eps = config.layerNormEps ?? 1e-5;
  const qkv = splitHeads(conv1d(p.attn.c_attn, layerNorm(p.ln_1, x, { eps })), 3 * nHead);
  const [q, k, v] = tf.split(qkv, 3, 1) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D]; // [B, H, T, D]
  const mixed = mergeHeads(context.attend(at.layer, q, k, v, { dropout: rate, rng }));
  const attended = tf.add(keep(x), dropout(conv1d(p.attn.c_proj, keep(mixed)), rate, rng));
  const inner = activate(activation, conv1d(p.mlp.c_fc, layerNorm(p.ln_2, attended, { eps }))); // [B, T, F]
  return tf.add(attended, dropout(conv1d(p.mlp.c_proj, inner), rate, rng));
}

/** y = x W + b with W [in, out]. */
function conv1d(p: Affine, x: tf.Tensor): tf.Tensor {
  const [inDim, outDim] = p.weight.shape as [number, number];
  const flat = x.reshape<tf.Tensor2D>([-1, inDim]);
  p.observe?.(flat);
  const product = tf.matMul(flat, p.weight);
  const y = p.lowRank ? addLowRank(p.lowRank, flat, product) : product;
  return tf.reshape(p.bias ? y.add(p.bias) : y, [...x.shape.slice(0, -1), outDim]);
}

const head = ({ params }: Gpt2, x: tf.Tensor): tf.Tensor => linear(params.lm_head ?? params.wte, x);

function checkGpt2Config(config: Gpt2Config): void {
  const { vocabSize, blockSize, nEmbd, nHead, nLayer, nInner = 4 * nEmbd } = config;
  checkSizes("createGpt2", { vocabSize, blockSize, nEmbd, nHead, nLayer, nInner });
  if (nEmbd % nHead !== 0) throw new Error(`createGpt2: nEmbd (${nEmbd}) must be a multiple of nHead (${nHead})`);
  checkDropout("createGpt2", config.dropout ?? 0);
  checkActivation("createGpt2", config.activation ?? "gelu_new");
}

const published = { vocabSize: 50257, blockSize: 1024, dropout: 0.1 } as const;

/** Published sizes; spread one to change a field. */
export const gpt2Presets = {
  /** 124 million parameters. */
  gpt2: { ...published, nEmbd: 768, nHead: 12, nLayer: 12 },
  /** 355 million parameters. */
  "gpt2-medium": { ...published, nEmbd: 1024, nHead: 16, nLayer: 24 },
  /** 774 million parameters. */
  "gpt2-large": { ...published, nEmbd: 1280, nHead: 20, nLayer: 36 },
  /** 1,558 million parameters. */
  "gpt2-xl": { ...published, nEmbd: 1600, nHead: 25, nLayer: 48 },
  /** nanoGPT's character model for a CPU: 0.8 million parameters, tiny Shakespeare's 65 characters, no biases. */
  nanoCpu: {
    vocabSize: 65,
    blockSize: 64,
    nEmbd: 128,
    nHead: 4,
    nLayer: 4,
    dropout: 0,
    activation: "gelu",
    bias: false,
  },
} as const satisfies Record<string, Gpt2Config>;
