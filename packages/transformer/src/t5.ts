import {
  attention,
  type CrossEntropyOptions,
  crossEntropy,
  dropout,
  embedding,
  gelu,
  linear,
  maskBias,
  mergeHeads,
  normalInit,
  type Rng,
  relu,
  rmsNorm,
  splitHeads,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type AttendOptions, type CausalContext, causalContext } from "./causal-context.ts";
import { checkIds } from "./causal-lm.ts";
import { range } from "./int-range.ts";
import {
  checkDropout,
  checkSizes,
  type MakeParam,
  makeEmbedding,
  makeLinear,
  makeNorm,
  type Weight,
} from "./param-makers.ts";
import { type RelativeBuckets, relativeBuckets } from "./relative-buckets.ts";

// T5: an encoder that reads a text and a decoder that writes another, with biases of relative positions instead of
// embeddings of absolute ones, no biases in linear layers and no 1/sqrt(D) in attention.
//
//   C. Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 2020,
//   arXiv:1910.10683
//
// Shapes: B batch, S tokens read, T tokens written, C nEmbd, H nHead, D headDim, F nInner, V vocabSize. Parameters have
// the published names; linear weights are [out, in].

export interface T5Config {
  readonly vocabSize: number;
  readonly nEmbd: number;
  readonly nHead: number;
  readonly headDim: number;
  /** Width of the feed-forward layers. */
  readonly nInner: number;
  /** Layers of the encoder. */
  readonly nLayer: number;
  /** nLayer by default. */
  readonly nDecoderLayer?: number;
  /** Buckets of relative positions; 32 by default. */
  readonly buckets?: number;
  /** Distances from here on share a bucket; 128 by default. */
  readonly maxDistance?: number;
  /** Default 1e-6. */
  readonly layerNormEps?: number;
  /** "relu" (default), or "gated-gelu" as T5 1.1 has it. */
  readonly feedForward?: "relu" | "gated-gelu";
  /** Whether the head is the embedding, its logits then scaled by 1 / sqrt(C); default true. */
  readonly tieWordEmbeddings?: boolean;
  /** The id before the first that the decoder writes; 0 by default, the padding's. */
  readonly decoderStartId?: number;
  /** Acts only with an Rng. Default 0. */
  readonly dropout?: number;
}

export type T5Attention = {
  q: Weight; // [H D, C]
  k: Weight; // [H D, C]
  v: Weight; // [H D, C]
  o: Weight; // [C, H D]
  relative_attention_bias?: Weight; // [buckets, H]; in the first block, for all
};
export type T5SelfAttention = { SelfAttention: T5Attention; layer_norm: Weight };
export type T5CrossAttention = { EncDecAttention: T5Attention; layer_norm: Weight };
export type T5FeedForward = {
  DenseReluDense: { wi: Weight; wo: Weight } | { wi_0: Weight; wi_1: Weight; wo: Weight }; // [F, C] and [C, F]
  layer_norm: Weight;
};

export type T5Params = {
  shared: Weight; // [V, C]
  encoder: { block: { layer: [T5SelfAttention, T5FeedForward] }[]; final_layer_norm: Weight };
  decoder: { block: { layer: [T5SelfAttention, T5CrossAttention, T5FeedForward] }[]; final_layer_norm: Weight };
  lm_head?: Weight; // [V, C]; absent when tied
};

/** A T5 encoder-decoder; see `createT5`. */
export interface T5 {
  readonly config: T5Config;
  readonly params: T5Params;
}

export interface T5Options {
  /** [B, S]: 1 for tokens read, 0 for padding, which is not attended to. Default all tokens. */
  readonly attentionMask?: tf.Tensor2D;
  /** Its presence means training: it draws the dropout. */
  readonly rng?: Rng;
}

/** Keys and values of the texts read, for every block of the decoder. */
export type T5CrossKeys = { k: tf.Tensor4D; v: tf.Tensor4D }[]; // [B, H, S, D]

/**
 * Creates a T5 with the initialisation of its authors' code: variances of 1 / fan in, embeddings of variance 1.
 *
 * @throws if a size is no positive integer.
 */
export function createT5(config: T5Config, rng: Rng): T5 {
  return { config, params: t5Params(config, (shape, init) => init(shape, rng)) };
}

/** The parameters of a configuration, each made by `make`. */
export function t5Params(config: T5Config, make: MakeParam): T5Params {
  checkT5Config(config);
  const { vocabSize, nEmbd, nHead, headDim, nInner, nLayer, nDecoderLayer = nLayer, buckets = 32 } = config;
  const inner = nHead * headDim;
  const dense = (inDim: number, outDim: number, variance: number) =>
    makeLinear(make, inDim, outDim, normalInit(Math.sqrt(variance)), false);
  const norm = () => makeNorm(make, nEmbd, false);
  const attentionOf = (hasBias: boolean): T5Attention => ({
    q: dense(nEmbd, inner, 1 / (nEmbd * headDim)), // the missing 1/sqrt(D) of the scores is here
    k: dense(nEmbd, inner, 1 / nEmbd),
    v: dense(nEmbd, inner, 1 / nEmbd),
    o: dense(inner, nEmbd, 1 / inner),
    ...(hasBias ? { relative_attention_bias: makeEmbedding(make, buckets, nHead, normalInit(nEmbd ** -0.5)) } : {}),
  });
  const selfAttention = (i: number): T5SelfAttention => ({ SelfAttention: attentionOf(i === 0), layer_norm: norm() });
  const feedForward = (): T5FeedForward => ({
    DenseReluDense:
      config.feedForward === "gated-gelu"
        ? {
            wi_0: dense(nEmbd, nInner, 1 / nEmbd),
            wi_1: dense(nEmbd, nInner, 1 / nEmbd),
            wo: dense(nInner, nEmbd, 1 / nInner),
          }
        : { wi: dense(nEmbd, nInner, 1 / nEmbd), wo: dense(nInner, nEmbd, 1 / nInner) },
    layer_norm: norm(),
  });
  return {
    shared: makeEmbedding(make, vocabSize, nEmbd, normalInit(1)),
    encoder: {
      block: Array.from({ length: nLayer }, (_, i) => ({ layer: [selfAttention(i), feedForward()] })),
      final_layer_norm: norm(),
    },
    decoder: {
      block: Array.from({ length: nDecoderLayer }, (_, i) => ({
        layer: [selfAttention(i), { EncDecAttention: attentionOf(false), layer_norm: norm() }, feedForward()],
      })),
      final_layer_norm: norm(),
    },
    ...((config.tieWordEmbeddings ?? true)
      ? {}
      : { lm_head: makeEmbedding(make, vocabSize, nEmbd, normalInit(nEmbd ** -0.5)) }),
  };
}

/** What the decoder reads of a text. @param ids int32 [B, S], each in [0, V) @returns [B, S, C] */
export function t5Encode(t5: T5, ids: tf.Tensor2D, options: T5Options = {}): tf.Tensor3D {
  checkIds("t5Encode", ids, Number.POSITIVE_INFINITY);
  checkMask("t5Encode", options.attentionMask, ids.shape);
  return tf.tidy(() => encode(t5, ids, options) as tf.Tensor3D);
}

/**
 * Logits of the next token written at every position.
 *
 * @param ids int32 [B, S], the text read
 * @param decoderIds int32 [B, T], what is written, beginning with `decoderStartId`; see `t5DecoderIds`
 * @returns [B, T, V]
 */
export function t5Logits(t5: T5, ids: tf.Tensor2D, decoderIds: tf.Tensor2D, options: T5Options = {}): tf.Tensor3D {
  checkIds("t5Logits", decoderIds, Number.POSITIVE_INFINITY);
  return tf.tidy(() => {
    const cross = t5CrossKeys(t5, t5Encode(t5, ids, options));
    const context = causalContext("t5Logits", decoderIds);
    return t5Head(t5, t5Decode(t5, decoderIds, { ...options, context, cross })) as tf.Tensor3D;
  });
}

/**
 * Mean cross-entropy of the text to be written, in nats.
 *
 * @param ids int32 [B, S], the text read
 * @param targets int32 [B, T]: the text to be written with its end of sequence, and -100 for padding
 */
export function t5Loss(
  t5: T5,
  ids: tf.Tensor2D,
  targets: tf.Tensor2D,
  options: T5Options & Omit<CrossEntropyOptions, "ignoreIndex"> = {},
): tf.Scalar {
  return tf.tidy(() => {
    const decoderIds = t5DecoderIds(t5.config, targets);
    return crossEntropy(t5Logits(t5, ids, decoderIds, options), targets, options) as tf.Scalar;
  });
}

/** What the decoder reads to write targets int32 [B, T]: them one place later, behind `decoderStartId`; 0 for -100. */
export function t5DecoderIds(config: T5Config, targets: tf.Tensor2D): tf.Tensor2D {
  const [b, t] = targets.shape;
  return tf.tidy(() => {
    const before = tf.maximum(targets.slice([0, 0], [b, t - 1]), tf.scalar(0, "int32"));
    return tf.concat([tf.fill([b, 1], config.decoderStartId ?? 0, "int32"), before], 1) as tf.Tensor2D;
  });
}

function encode({ config, params }: T5, ids: tf.Tensor2D, { attentionMask, rng }: T5Options): tf.Tensor {
  const rate = config.dropout ?? 0;
  const places = range(ids.shape[1]);
  const table = params.encoder.block[0]!.layer[0].SelfAttention.relative_attention_bias!;
  const relative = relativeBias(table, places, ids.shape[1], { ...bucketsOf(config), bidirectional: true });
  const bias = attentionMask ? relative.add(paddingBias(attentionMask)) : relative;
  let x = dropout(embedding(params.shared, ids), rate, rng); // [B, S, C]
  for (const { layer } of params.encoder.block) {
    const attend: Attend = (q, k, v, how) => attention(q, k, v, { ...how, bias });
    x = t5SelfAttention(layer[0], config, x, { attend, rng });
    x = feedForward(layer[1], config, x, rng);
  }
  return dropout(rmsNorm(params.encoder.final_layer_norm, x, normOf(config)), rate, rng);
}

/** The decoder's hidden states [B, T, C], which the head reads; `cross` has B rows, or one that all look at. */
export function t5Decode(
  { config, params }: T5,
  ids: tf.Tensor2D,
  at: {
    readonly context: CausalContext;
    readonly cross: T5CrossKeys;
    readonly attentionMask?: tf.Tensor2D;
    readonly rng?: Rng | undefined;
  },
): tf.Tensor {
  const { context, cross, attentionMask, rng } = at;
  const rate = config.dropout ?? 0;
  const table = params.decoder.block[0]!.layer[0].SelfAttention.relative_attention_bias!;
  const bias = relativeBias(table, context.positions, context.length, { ...bucketsOf(config), bidirectional: false });
  const hidden = attentionMask && paddingBias(attentionMask);
  let x = dropout(embedding(params.shared, ids), rate, rng); // [B, T, C]
  for (const [i, { layer }] of params.decoder.block.entries()) {
    const attend: Attend = (q, k, v, how) => context.attend(i, q, k, v, { ...how, bias });
    x = t5SelfAttention(layer[0], config, x, { attend, rng });
    const p = layer[1].EncDecAttention;
    const q = splitHeads(linear(p.q, rmsNorm(layer[1].layer_norm, x, normOf(config))), config.nHead);
    const options = { scale: 1, ...(hidden ? { bias: hidden } : {}), dropout: rate, rng };
    const read = linear(p.o, mergeHeads(crossAttention(q, cross[i]!, options)));
    x = feedForward(layer[2], config, x.add(dropout(read, rate, rng)), rng);
  }
  return dropout(rmsNorm(params.decoder.final_layer_norm, x, normOf(config)), rate, rng);
}

/** Attention of q to k and v, each [B, H, T, D], with the bias of their places. */
export type Attend = (q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, how: AttendOptions) => tf.Tensor;

/** x + attention of the norm of x to itself. x [B, T, C] to [B, T, C]. */
export function t5SelfAttention(
  p: T5SelfAttention,
  config: Pick<T5Config, "nHead" | "layerNormEps" | "dropout">,
  x: tf.Tensor,
  at: { readonly attend: Attend; readonly rng?: Rng | undefined },
): tf.Tensor {
  const { attend, rng } = at;
  const { nHead, dropout: rate = 0 } = config;
  const normed = rmsNorm(p.layer_norm, x, normOf(config));
  const { q: wq, k: wk, v: wv, o } = p.SelfAttention;
  const [q, k, v] = [wq, wk, wv].map((w) => splitHeads(linear(w, normed), nHead)); // [B, H, T, D]
  const mixed = attend(q!, k!, v!, { scale: 1, dropout: rate, rng });
  return x.add(dropout(linear(o, mergeHeads(mixed)), rate, rng));
}

function feedForward(p: T5FeedForward, config: T5Config, x: tf.Tensor, rng: Rng | undefined): tf.Tensor {
  const rate = config.dropout ?? 0;
  const dense = p.DenseReluDense;
  const h = rmsNorm(p.layer_norm, x, normOf(config));
  const inner =
    "wi" in dense
      ? relu(linear(dense.wi, h))
      : gelu(linear(dense.wi_0, h), { approximate: "tanh" }).mul(linear(dense.wi_1, h)); // [B, T, F]
  return x.add(dropout(linear(dense.wo, dropout(inner, rate, rng)), rate, rng));
}

/**
 * The bias of relative positions: table[bucket(key - query)].
 *
 * @param table `weight` [buckets, H]
 * @param queries int32 [T], places of the queries among the keys, or [B, T] where rows differ
 * @returns [1, H, T, S] or [B, H, T, S]
 */
export function relativeBias(table: Weight, queries: tf.Tensor, keys: number, options: RelativeBuckets): tf.Tensor {
  // The buckets of all differences there can be, -(S - 1) to S - 1, of which each pair picks one.
  const all = relativeBuckets(
    Array.from({ length: 2 * keys - 1 }, (_, i) => i - (keys - 1)),
    options,
  );
  const differences = range(keys)
    .reshape([1, 1, keys])
    .sub(queries.reshape([-1, queries.shape.at(-1)!, 1])); // [B, T, S]
  const buckets = tf.gather(tf.tensor1d(all, "int32"), differences.add(tf.scalar(keys - 1, "int32")).toInt());
  return embedding(table, buckets).transpose([0, 3, 1, 2]);
}

/** Attention of q [B, H, T, D] to the texts read, B of them or one that all rows look at. */
function crossAttention(q: tf.Tensor4D, { k, v }: T5CrossKeys[number], options: AttendOptions): tf.Tensor {
  const [b, h, t, d] = q.shape;
  if (k.shape[0] === b) return attention(q, k, v, options);
  // The rows as more queries to the one text, so that its keys are not repeated.
  const folded = q.transpose([1, 0, 2, 3]).reshape([1, h, b * t, d]);
  return attention(folded, k, v, options).reshape([h, b, t, d]).transpose([1, 0, 2, 3]);
}

/** Keys and values of what was read. @param encoded [B, S, C], from `t5Encode` */
export function t5CrossKeys({ config, params }: T5, encoded: tf.Tensor): T5CrossKeys {
  return params.decoder.block.map(({ layer }) => ({
    k: splitHeads(linear(layer[1].EncDecAttention.k, encoded), config.nHead),
    v: splitHeads(linear(layer[1].EncDecAttention.v, encoded), config.nHead),
  }));
}

/** Logits [..., V] of hidden states [..., C]. */
export function t5Head({ config, params }: T5, x: tf.Tensor): tf.Tensor {
  return params.lm_head ? linear(params.lm_head, x) : linear(params.shared, x.mul(config.nEmbd ** -0.5));
}

const normOf = ({ layerNormEps = 1e-6 }: Pick<T5Config, "layerNormEps">) => ({ eps: layerNormEps });
const bucketsOf = ({ buckets = 32, maxDistance = 128 }: T5Config) => ({ buckets, maxDistance });
const paddingBias = (mask: tf.Tensor2D) => maskBias(mask.reshape([mask.shape[0], 1, 1, mask.shape[1]]));

export function checkMask(caller: string, mask: tf.Tensor | undefined, want: readonly number[]): void {
  if (!mask || (mask.shape[0] === want[0] && mask.shape[1] === want[1])) return;
  throw new Error(`${caller}: attentionMask has shape [${mask.shape}]; expected [${want}], that of the text read`);
}

function checkT5Config(config: T5Config): void {
  const { vocabSize, nEmbd, nHead, headDim, nInner, nLayer, nDecoderLayer = nLayer } = config;
  const { buckets = 32, maxDistance = 128, feedForward = "relu", decoderStartId = 0 } = config;
  const sizes = { vocabSize, nEmbd, nHead, headDim, nInner, nLayer, nDecoderLayer, buckets, maxDistance };
  checkSizes("createT5", sizes);
  if (buckets % 4 !== 0) throw new Error(`createT5: buckets (${buckets}) must be a multiple of 4`);
  if (maxDistance <= buckets / 2) {
    throw new Error(`createT5: maxDistance (${maxDistance}) must exceed half of buckets (${buckets})`);
  }
  if (feedForward !== "relu" && feedForward !== "gated-gelu") {
    throw new Error(`createT5: feedForward (${feedForward}) must be relu or gated-gelu`);
  }
  if (!(decoderStartId >= 0 && decoderStartId < vocabSize)) {
    throw new Error(`createT5: decoderStartId (${decoderStartId}) must be from 0 to ${vocabSize - 1}`);
  }
  checkDropout("createT5", config.dropout ?? 0);
}

const t5Sizes = { vocabSize: 32128, headDim: 64, dropout: 0.1 } as const;
const t511Sizes = { ...t5Sizes, feedForward: "gated-gelu", tieWordEmbeddings: false } as const;

/** Published sizes; spread one to change a field. The flan-t5 models have those of T5 1.1. */
export const t5Presets = {
  /** 60.5 million parameters. */
  "t5-small": { ...t5Sizes, nEmbd: 512, nHead: 8, nInner: 2048, nLayer: 6 },
  /** 223 million parameters. */
  "t5-base": { ...t5Sizes, nEmbd: 768, nHead: 12, nInner: 3072, nLayer: 12 },
  /** 77 million parameters. */
  "t5-v1_1-small": { ...t511Sizes, nEmbd: 512, nHead: 6, nInner: 1024, nLayer: 8 },
  /** 248 million parameters. */
  "t5-v1_1-base": { ...t511Sizes, nEmbd: 768, nHead: 12, nInner: 2048, nLayer: 12 },
} as const satisfies Record<string, T5Config>;
