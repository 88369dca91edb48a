import {
  attention,
  type CrossEntropyOptions,
  crossEntropy,
  dropout,
  embedding,
  layerNorm,
  linear,
  maskBias,
  mergeHeads,
  type NormParams,
  normalInit,
  type Rng,
  splitHeads,
  tanh,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type Activation, activate, checkActivation } from "./activation.ts";
import { checkIds } from "./causal-lm.ts";
import { range } from "./int-range.ts";
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

// BERT: a transformer encoder that sees both sides of a token, normalised behind each sub-layer, with a head that fills in
// masked tokens and one that classifies the whole text.
//
//   J. Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019,
//   arXiv:1810.04805
//
// Shapes: B batch, T seqLen, C nEmbd, H nHead, F nInner, V vocabSize, N labels. Parameters have the published names;
// linear weights are [out, in].

export interface BertConfig {
  readonly vocabSize: number;
  /** The largest number of positions. */
  readonly blockSize: number;
  readonly nEmbd: number;
  readonly nHead: number;
  readonly nLayer: number;
  /** Width of the feed-forward layers; 4 nEmbd by default. */
  readonly nInner?: number;
  /** Kinds of segment (question, answer, ...); 2 by default. */
  readonly typeVocabSize?: number;
  /** Default 1e-12. */
  readonly layerNormEps?: number;
  /** Default "gelu", with the error function. */
  readonly activation?: Activation;
  /** Of embeddings, attention weights and sub-layers' results; acts only with an Rng. Default 0. */
  readonly dropout?: number;
  /** Whether there is a head for masked tokens; default true. */
  readonly maskedLmHead?: boolean;
  /** Whether there is a pooler of the first token; default only with `labels`. */
  readonly pooler?: boolean;
  /** Number of classes of the classification head; none by default. */
  readonly labels?: number;
}

export type BertLayer = {
  attention: {
    self: { query: Affine; key: Affine; value: Affine }; // [C, C]
    output: { dense: Affine; LayerNorm: NormParams }; // [C, C]
  };
  intermediate: { dense: Affine }; // [F, C]
  output: { dense: Affine; LayerNorm: NormParams }; // [C, F]
};

export type BertParams = {
  bert: {
    embeddings: {
      word_embeddings: Weight; // [V, C]
      position_embeddings: Weight; // [blockSize, C]
      token_type_embeddings: Weight; // [typeVocabSize, C]
      LayerNorm: NormParams; // [C]
    };
    encoder: { layer: BertLayer[] };
    pooler?: { dense: Affine }; // [C, C]
  };
  cls?: {
    predictions: {
      bias: tf.Tensor; // [V]; the weight is that of the word embeddings
      transform: { dense: Affine; LayerNorm: NormParams }; // [C, C]
    };
  };
  classifier?: Affine; // [N, C]
};

/** A BERT encoder with its heads; see `createBert`. */
export interface Bert {
  readonly config: BertConfig;
  readonly params: BertParams;
}

export interface BertOptions {
  /** [B, T]: 1 for tokens, 0 for padding, which is not attended to. Default all tokens. */
  readonly attentionMask?: tf.Tensor2D;
  /** int32 [B, T]: the segment of each token. Default 0. */
  readonly tokenTypes?: tf.Tensor2D;
  /** Its presence means training: it draws the dropout. */
  readonly rng?: Rng;
}

/**
 * Creates a BERT, weights normal 0.02.
 *
 * @throws if a size is no positive integer, nHead does not divide nEmbd, or `labels` come without a pooler.
 */
export function createBert(config: BertConfig, rng: Rng): Bert {
  return { config, params: bertParams(config, (shape, init) => init(shape, rng)) };
}

/** The parameters of a configuration, each made by `make`. */
export function bertParams(config: BertConfig, make: MakeParam): BertParams {
  checkBertConfig(config);
  const { vocabSize, blockSize, nEmbd, nLayer, nInner = 4 * nEmbd, typeVocabSize = 2, labels } = config;
  const dense = (inDim: number, outDim: number) => makeLinear(make, inDim, outDim, normalInit(0.02), true);
  const norm = () => makeNorm(make, nEmbd, true);
  return {
    bert: {
      embeddings: {
        word_embeddings: makeEmbedding(make, vocabSize, nEmbd),
        position_embeddings: makeEmbedding(make, blockSize, nEmbd),
        token_type_embeddings: makeEmbedding(make, typeVocabSize, nEmbd),
        LayerNorm: norm(),
      },
      encoder: {
        layer: Array.from({ length: nLayer }, () => ({
          attention: {
            self: { query: dense(nEmbd, nEmbd), key: dense(nEmbd, nEmbd), value: dense(nEmbd, nEmbd) },
            output: { dense: dense(nEmbd, nEmbd), LayerNorm: norm() },
          },
          intermediate: { dense: dense(nEmbd, nInner) },
          output: { dense: dense(nInner, nEmbd), LayerNorm: norm() },
        })),
      },
      ...(hasPooler(config) ? { pooler: { dense: dense(nEmbd, nEmbd) } } : {}),
    },
    ...((config.maskedLmHead ?? true)
      ? {
          cls: {
            predictions: {
              bias: make([vocabSize], (shape) => tf.zeros([...shape])),
              transform: { dense: dense(nEmbd, nEmbd), LayerNorm: norm() },
            },
          },
        }
      : {}),
    ...(labels === undefined ? {} : { classifier: dense(nEmbd, labels) }),
  };
}

/**
 * The last hidden state of every token, its embedding in context.
 *
 * @param ids int32 [B, T], T <= blockSize, each in [0, V)
 * @returns [B, T, C]; of padding too, where it means nothing
 */
export function bertHidden(bert: Bert, ids: tf.Tensor2D, options: BertOptions = {}): tf.Tensor3D {
  checkInputs("bertHidden", bert, ids, options);
  return tf.tidy(() => encode(bert, ids, options) as tf.Tensor3D);
}

/**
 * The text as one vector: tanh of a linear map of the first token's hidden state.
 *
 * @returns [B, C]
 * @throws if the model has no pooler.
 */
export function bertPooled(bert: Bert, ids: tf.Tensor2D, options: BertOptions = {}): tf.Tensor2D {
  const { pooler } = bert.params.bert;
  if (!pooler) throw new Error("bertPooled: the model has no pooler; expected a configuration with pooler or labels");
  return tf.tidy(() => {
    const [b] = ids.shape;
    const first = bertHidden(bert, ids, options).slice([0, 0, 0], [b, 1, bert.config.nEmbd]).reshape([b, -1]);
    return tanh(linear(pooler.dense, first)) as tf.Tensor2D;
  });
}

/**
 * Logits of the token at every position, for filling in masked ones.
 *
 * @returns [B, T, V]
 * @throws if the model has no head for masked tokens.
 */
export function bertMaskedLmLogits(bert: Bert, ids: tf.Tensor2D, options: BertOptions = {}): tf.Tensor3D {
  return tf.tidy(() => maskedLmHead(bert, bertHidden(bert, ids, options)));
}

/**
 * Mean cross-entropy of masked tokens, in nats.
 *
 * @param ids int32 [B, T], masked
 * @param targets int32 [B, T]: the token at each position (not shifted), or `ignoreIndex` (-100) where none is asked for
 */
export function bertMaskedLmLoss(
  bert: Bert,
  ids: tf.Tensor2D,
  targets: tf.Tensor2D,
  options: BertOptions & CrossEntropyOptions = {},
): tf.Scalar {
  return tf.tidy(() => crossEntropy(bertMaskedLmLogits(bert, ids, options), targets, options) as tf.Scalar);
}

/**
 * Logits of the text's class.
 *
 * @returns [B, N]
 * @throws if the model has no classification head.
 */
export function bertClassLogits(bert: Bert, ids: tf.Tensor2D, options: BertOptions = {}): tf.Tensor2D {
  const { classifier } = bert.params;
  if (!classifier)
    throw new Error("bertClassLogits: the model has no classifier; expected a configuration with labels");
  return tf.tidy(() => {
    const pooled = dropout(bertPooled(bert, ids, options), bert.config.dropout ?? 0, options.rng);
    return linear(classifier, pooled) as tf.Tensor2D;
  });
}

/** Mean cross-entropy of the texts' classes, in nats. @param classes int32 [B] */
export function bertClassLoss(
  bert: Bert,
  ids: tf.Tensor2D,
  classes: tf.Tensor1D,
  options: BertOptions & CrossEntropyOptions = {},
): tf.Scalar {
  return tf.tidy(() => crossEntropy(bertClassLogits(bert, ids, options), classes, options) as tf.Scalar);
}

function encode({ config, params }: Bert, ids: tf.Tensor2D, options: BertOptions): tf.Tensor {
  const { rng, attentionMask } = options;
  const [b, t] = ids.shape;
  const rate = config.dropout ?? 0;
  const eps = config.layerNormEps ?? 1e-12;
  const p = params.bert.embeddings;
  const types = options.tokenTypes ?? (tf.zeros([b, t], "int32") as tf.Tensor2D);
  const words = embedding(p.word_embeddings, ids).add(embedding(p.token_type_embeddings, types));
  let x = layerNorm(p.LayerNorm, words.add(embedding(p.position_embeddings, range(t))), { eps }); // [B, T, C]
  x = dropout(x, rate, rng);
  const bias = attentionMask && maskBias(attentionMask.reshape([b, 1, 1, t]));
  for (const layer of params.bert.encoder.layer) {
    const { self, output } = layer.attention;
    const [q, k, v] = [self.query, self.key, self.value].map((part) => splitHeads(linear(part, x), config.nHead));
    const mixed = attention(q!, k!, v!, { ...(bias ? { bias } : {}), dropout: rate, rng });
    const attended = dropout(linear(output.dense, mergeHeads(mixed)), rate, rng);
    x = layerNorm(output.LayerNorm, x.add(attended), { eps });
    const inner = activate(config.activation ?? "gelu", linear(layer.intermediate.dense, x)); // [B, T, F]
    x = layerNorm(layer.output.LayerNorm, x.add(dropout(linear(layer.output.dense, inner), rate, rng)), { eps });
  }
  return x;
}

/** Logits [..., V] of hidden states [..., C]. */
function maskedLmHead({ config, params }: Bert, hidden: tf.Tensor): tf.Tensor3D {
  if (!params.cls) {
    throw new Error("bertMaskedLmLogits: the model has no head for masked tokens; expected one with maskedLmHead");
  }
  const { bias, transform } = params.cls.predictions;
  const inner = activate(config.activation ?? "gelu", linear(transform.dense, hidden));
  const normed = layerNorm(transform.LayerNorm, inner, { eps: config.layerNormEps ?? 1e-12 });
  return linear({ ...params.bert.embeddings.word_embeddings, bias }, normed) as tf.Tensor3D;
}

const hasPooler = ({ pooler, labels }: BertConfig): boolean => pooler ?? labels !== undefined;

function checkInputs(caller: string, { config }: Bert, ids: tf.Tensor2D, options: BertOptions): void {
  checkIds(caller, ids, config.blockSize);
  for (const name of ["attentionMask", "tokenTypes"] as const) {
    const shape = options[name]?.shape;
    if (shape && (shape[0] !== ids.shape[0] || shape[1] !== ids.shape[1])) {
      throw new Error(`${caller}: ${name} has shape [${shape}]; expected [${ids.shape}], that of ids`);
    }
  }
}

function checkBertConfig(config: BertConfig): void {
  const { vocabSize, blockSize, nEmbd, nHead, nLayer, nInner = 4 * nEmbd, typeVocabSize = 2, labels = 1 } = config;
  checkSizes("createBert", { vocabSize, blockSize, nEmbd, nHead, nLayer, nInner, typeVocabSize, labels });
  if (nEmbd % nHead !== 0) throw new Error(`createBert: nEmbd (${nEmbd}) must be a multiple of nHead (${nHead})`);
  if (config.labels !== undefined && !hasPooler(config)) {
    throw new Error(`createBert: labels (${config.labels}) need the pooler; expected pooler not to be false`);
  }
  checkDropout("createBert", config.dropout ?? 0);
  checkActivation("createBert", config.activation ?? "gelu");
}

const published = { vocabSize: 30522, blockSize: 512, dropout: 0.1 } as const;

/** Published sizes; spread one to change a field. */
export const bertPresets = {
  /** bert-base-uncased: 110 million parameters. */
  "bert-base": { ...published, nEmbd: 768, nHead: 12, nLayer: 12 },
  /** bert-large-uncased: 335 million parameters. */
  "bert-large": { ...published, nEmbd: 1024, nHead: 16, nLayer: 24 },
  /** Turc et al. 2019, arXiv:1908.08962: 4.4 million parameters. */
  "bert-tiny": { ...published, nEmbd: 128, nHead: 2, nLayer: 2 },
  /** Turc et al. 2019: 11 million parameters. */
  "bert-mini": { ...published, nEmbd: 256, nHead: 4, nLayer: 4 },
} as const satisfies Record<string, BertConfig>;
