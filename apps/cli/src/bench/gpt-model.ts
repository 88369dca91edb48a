import {
  attention,
  createLinear,
  crossEntropy,
  embedding,
  gelu,
  type LinearParams,
  layerNorm,
  linear,
  mergeHeads,
  normalInit,
  type Rng,
  splitHeads,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";

// A character GPT as a plain function over core's layers: nanoGPT's block with tied embeddings and no biases but the
// norms'. It is the engine's second test case; the family's own package comes later.
//
// Shapes: B batch, T seqLen, C nEmbd, V vocabSize.

export interface GptConfig {
  readonly vocabSize: number;
  readonly blockSize: number;
  readonly nLayer: number;
  readonly nHead: number;
  readonly nEmbd: number;
}

interface NormWeights {
  weight: tf.Tensor; // [C]
  bias: tf.Tensor; // [C]
}

interface BlockParams {
  ln_1: NormWeights;
  attn: { qkv: LinearParams; proj: LinearParams }; // [3C, C], [C, C]
  ln_2: NormWeights;
  mlp: { fc: LinearParams; proj: LinearParams }; // [4C, C], [C, 4C]
}

export interface GptParams {
  wte: { weight: tf.Tensor }; // [V, C]
  wpe: { weight: tf.Tensor }; // [blockSize, C]
  h: BlockParams[];
  ln_f: NormWeights;
}

export interface Gpt {
  readonly config: GptConfig;
  readonly params: GptParams;
}

/** nanoGPT's initialisation: normal 0.02, and 0.02 / sqrt(2 nLayer) where a result enters the residual stream. */
export function createGpt(config: GptConfig, rng: Rng): Gpt {
  const { vocabSize, blockSize, nLayer, nHead, nEmbd } = config;
  if (nEmbd % nHead !== 0) throw new Error(`createGpt: nEmbd (${nEmbd}) must be a multiple of nHead (${nHead})`);
  const inner = { bias: false, init: normalInit(0.02) };
  const outer = { bias: false, init: normalInit(0.02 / Math.sqrt(2 * nLayer)) };
  const norm = () => ({ weight: tf.ones([nEmbd]), bias: tf.zeros([nEmbd]) });
  return {
    config,
    params: {
      wte: { weight: rng.normal([vocabSize, nEmbd], 0, 0.02) },
      wpe: { weight: rng.normal([blockSize, nEmbd], 0, 0.02) },
      h: Array.from({ length: nLayer }, () => ({
        ln_1: norm(),
        attn: { qkv: createLinear(nEmbd, 3 * nEmbd, rng, inner), proj: createLinear(nEmbd, nEmbd, rng, outer) },
        ln_2: norm(),
        mlp: { fc: createLinear(nEmbd, 4 * nEmbd, rng, inner), proj: createLinear(4 * nEmbd, nEmbd, rng, outer) },
      })),
      ln_f: norm(),
    },
  };
}

/** Logits of the next token at every position: tokens int32 [B, T] -> [B, T, V]. */
export function gptLogits({ config, params }: Gpt, tokens: tf.Tensor2D): tf.Tensor {
  const { nHead } = config;
  return tf.tidy(() => {
    const positions = tf.range(0, tokens.shape[1], 1, "int32");
    let x = tf.add(embedding(params.wte, tokens), embedding(params.wpe, positions)); // [B, T, C]
    for (const block of params.h) {
      const [q, k, v] = tf
        .split(linear(block.attn.qkv, layerNorm(block.ln_1, x)), 3, -1)
        .map((part) => splitHeads(part, nHead));
      x = tf.add(x, linear(block.attn.proj, mergeHeads(attention(q!, k!, v!, { causal: true }))));
      x = tf.add(x, linear(block.mlp.proj, gelu(linear(block.mlp.fc, layerNorm(block.ln_2, x)))));
    }
    return linear(params.wte, layerNorm(params.ln_f, x)); // the head is the embedding, tied
  });
}

/** Mean cross-entropy of the targets in nats: tokens and targets int32 [B, T]. */
export function gptLoss(gpt: Gpt, tokens: tf.Tensor2D, targets: tf.Tensor2D): tf.Scalar {
  return tf.tidy(() => crossEntropy(gptLogits(gpt, tokens), targets) as tf.Scalar);
}
