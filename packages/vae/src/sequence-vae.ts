import {
  createLinear,
  crossEntropy,
  embedding,
  klStandardNormal,
  type LinearParams,
  linear,
  lstm,
  lstmCell,
  normalInit,
  type RecurrentParams,
  type Rng,
  reparameterise,
  tanh,
  uniformInit,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { END_OF_STRING } from "./character-codes.ts";
import { interpolateCodes } from "./latent-tasks.ts";
import type { Posterior } from "./vae-functions.ts";

// A VAE for short strings: an LSTM reads a string into a Gaussian over z, another LSTM, started from z, writes it again.
// Without help the writer learns to ignore z; a KL term that is warmed up and dropped input characters prevent it.
//
//   S. R. Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016, arXiv:1511.06349
//
// Shapes: B batch, T length of the rows of ids, V vocabSize, E nEmbd, H hiddenSize, Z latentDim. A row is a string's ids,
// a 0, and zeros; see `encodeStrings`.

export interface SequenceVaeConfig {
  /** V: ids are in [0, V); 0 ends a string. One more than the alphabet has characters. */
  readonly vocabSize: number;
  /** T: a string has at most T - 1 characters. */
  readonly length: number;
  readonly nEmbd: number;
  readonly hiddenSize: number;
  readonly latentDim: number;
}

export type SequenceVaeParams = {
  embedding: { weight: tf.Tensor }; // [V + 2, E]; row V stands before a string, row V + 1 for a dropped character
  encoder: { lstm: RecurrentParams; mu: LinearParams; logvar: LinearParams }; // [4 H, E], [4 H, H]; [Z, H]; [Z, H]
  decoder: { init: LinearParams; lstm: RecurrentParams; head: LinearParams }; // [2 H, Z]; as above; [V, H]
};

/** A VAE for short strings; see `createSequenceVae`. */
export interface SequenceVae {
  readonly config: SequenceVaeConfig;
  readonly params: SequenceVaeParams;
}

/**
 * Creates a VAE for strings, with PyTorch's initial values of LSTMs.
 *
 * @throws if a size is no positive integer.
 */
export function createSequenceVae(config: SequenceVaeConfig, rng: Rng): SequenceVae {
  const { vocabSize, length, nEmbd, hiddenSize: h, latentDim } = config;
  for (const [name, n] of Object.entries({ vocabSize, length, nEmbd, hiddenSize: h, latentDim })) {
    const least = name === "vocabSize" || name === "length" ? 2 : 1;
    if (Number.isInteger(n) && n >= least) continue;
    throw new Error(`createSequenceVae: ${name} (${n}) must be an integer of at least ${least}`);
  }
  const uniform = uniformInit(-1 / Math.sqrt(h), 1 / Math.sqrt(h));
  const recurrent = (): RecurrentParams => ({
    weight_ih: uniform([4 * h, nEmbd], rng),
    weight_hh: uniform([4 * h, h], rng),
    bias_ih: uniform([4 * h], rng),
    bias_hh: uniform([4 * h], rng),
  });
  const params: SequenceVaeParams = {
    embedding: { weight: normalInit(0.1)([vocabSize + 2, nEmbd], rng) },
    encoder: { lstm: recurrent(), mu: createLinear(h, latentDim, rng), logvar: createLinear(h, latentDim, rng) },
    decoder: {
      init: createLinear(latentDim, 2 * h, rng),
      lstm: recurrent(),
      head: createLinear(h, vocabSize, rng),
    },
  };
  return { config, params };
}

/**
 * The approximate posterior q(z | string), from the reader's state at the string's end.
 *
 * @param tokens int32 [B, T]
 * @returns mu and logvar, each [B, Z]
 */
export function encodeSequenceVae(vae: SequenceVae, tokens: tf.Tensor2D): Posterior {
  checkTokens("encodeSequenceVae", vae.config, tokens);
  return tf.tidy(() => encode(vae, tokens));
}

export interface SequenceVaeLossOptions {
  /** Weight of the KL term: a scalar that rises from 0 to 1 over the first steps of training (section 3.1). 1 by default. */
  readonly beta?: number | tf.Scalar;
  /** Share of the characters that the writer is not shown (section 3.1, "word dropout"); 0 by default. */
  readonly wordDropout?: number;
}

/**
 * The negative evidence lower bound, one draw of z for each string.
 *
 * @param tokens int32 [B, T]
 * @returns scalars in nats per string: recon = -log p(string | z), its end included, kl, loss = recon + beta * kl.
 */
export function sequenceVaeLoss(
  vae: SequenceVae,
  tokens: tf.Tensor2D,
  rng: Rng,
  options: SequenceVaeLossOptions = {},
): { loss: tf.Scalar; recon: tf.Scalar; kl: tf.Scalar } {
  checkTokens("sequenceVaeLoss", vae.config, tokens);
  const { beta = 1, wordDropout = 0 } = options;
  if (!(wordDropout >= 0 && wordDropout <= 1)) {
    throw new Error(`sequenceVaeLoss: wordDropout (${wordDropout}) must be in [0, 1]`);
  }
  const { vocabSize } = vae.config;
  const [batch, length] = tokens.shape;
  return tf.tidy(() => {
    const { mu, logvar } = encode(vae, tokens);
    const z = reparameterise(mu, logvar, rng) as tf.Tensor2D;
    let before: tf.Tensor = tokens.slice([0, 0], [batch, length - 1]);
    if (wordDropout > 0) {
      const dropped = rng.uniform(before.shape).less(wordDropout);
      before = tf.where(dropped, tf.fill(before.shape, vocabSize + 1, "int32"), before);
    }
    const inputs = tf.concat([tf.fill([batch, 1], vocabSize, "int32"), before], 1); // [B, T]
    const { decoder } = vae.params;
    const { y } = lstm(decoder.lstm, embedding(vae.params.embedding, inputs), firstState(vae, z));
    const nll = crossEntropy(linear(decoder.head, y), tokens, { reduction: "none" }); // [B, T]
    const recon = nll.mul(upToEnd(tokens)).sum().div(batch) as tf.Scalar;
    const kl = klStandardNormal(mu, logvar, { reduction: "batchMean" }) as tf.Scalar;
    return { loss: recon.add(kl.mul(beta)) as tf.Scalar, recon, kl };
  });
}

export interface DecodeSequenceOptions {
  /** Its presence means that characters are drawn; without it each is the likeliest (greedy decoding). */
  readonly rng?: Rng;
  /** Of drawn characters; 1 by default, below it likelier ones are preferred. */
  readonly temperature?: number;
}

/**
 * Writes strings from codes.
 *
 * @param z [B, Z]
 * @returns int32 [B, T], zeros from the string's end on
 */
export function decodeSequenceVae(vae: SequenceVae, z: tf.Tensor2D, options: DecodeSequenceOptions = {}): tf.Tensor2D {
  const { rng, temperature = 1 } = options;
  const { latentDim, vocabSize, length } = vae.config;
  if (z.rank !== 2 || z.shape[1] !== latentDim) {
    throw new Error(`decodeSequenceVae: z has shape [${z.shape}]; expected [batch, ${latentDim}]`);
  }
  if (!(temperature > 0)) throw new Error(`decodeSequenceVae: temperature (${temperature}) must be positive`);
  return tf.tidy(() => {
    const { embedding: table, decoder } = vae.params;
    let state = firstState(vae, z);
    let id: tf.Tensor = tf.fill([z.shape[0]], vocabSize, "int32");
    let running: tf.Tensor = tf.ones([z.shape[0]], "int32"); // 0 after a string's end
    const out: tf.Tensor[] = [];
    for (let t = 0; t < length; t++) {
      state = lstmCell(decoder.lstm, embedding(table, id), state);
      const logits = linear(decoder.head, state.h); // [B, V]
      const next = rng ? rng.categorical(logits.div(temperature)) : logits.argMax(-1);
      id = next.toInt().mul(running);
      running = running.mul(id.notEqual(tf.scalar(END_OF_STRING, "int32")).toInt());
      out.push(id);
    }
    return tf.stack(out, 1) as tf.Tensor2D;
  });
}

/** Draws strings: z from N(0, I), then each character from its distribution. Returns int32 [count, T]. */
export function sampleSequenceVae(
  vae: SequenceVae,
  options: { readonly count: number; readonly rng: Rng; readonly temperature?: number },
): tf.Tensor2D {
  const { count, rng, temperature = 1 } = options;
  if (!Number.isInteger(count) || count < 1) {
    throw new Error(`sampleSequenceVae: count (${count}) must be a positive integer`);
  }
  return tf.tidy(() => {
    const z = rng.normal([count, vae.config.latentDim]) as tf.Tensor2D;
    return decodeSequenceVae(vae, z, { rng, temperature });
  });
}

/** The likeliest strings at the posterior's means. tokens int32 [B, T]; returns the same shape. */
export function reconstructSequenceVae(vae: SequenceVae, tokens: tf.Tensor2D): tf.Tensor2D {
  checkTokens("reconstructSequenceVae", vae.config, tokens);
  return tf.tidy(() => decodeSequenceVae(vae, encode(vae, tokens).mu));
}

/**
 * Strings on the straight way between the codes of two batches (section 5.1), greedily decoded.
 *
 * @returns int32 [B, steps, T]
 */
export function interpolateSequenceVae(
  vae: SequenceVae,
  from: tf.Tensor2D,
  to: tf.Tensor2D,
  options: { readonly steps: number },
): tf.Tensor3D {
  checkTokens("interpolateSequenceVae", vae.config, from);
  checkTokens("interpolateSequenceVae", vae.config, to);
  const { latentDim, length } = vae.config;
  return tf.tidy(() => {
    const z = interpolateCodes(encode(vae, from).mu, encode(vae, to).mu, { ...options, path: "linear" });
    const rows = decodeSequenceVae(vae, z.reshape([-1, latentDim]));
    return rows.reshape([from.shape[0], options.steps, length]) as tf.Tensor3D;
  });
}

function encode({ params }: SequenceVae, tokens: tf.Tensor2D): Posterior {
  const p = params.encoder;
  const { y } = lstm(p.lstm, embedding(params.embedding, tokens)); // [B, T, H]
  // The last place that counts is the string's end: the state there has read the string and nothing else.
  const counts = upToEnd(tokens);
  const [batch, length] = tokens.shape;
  const later = tf.concat([counts.slice([0, 1], [batch, length - 1]), tf.zeros([batch, 1])], 1);
  const last = y.mul(counts.sub(later).expandDims(2)).sum(1); // [B, H]
  return { mu: linear(p.mu, last) as tf.Tensor2D, logvar: linear(p.logvar, last) as tf.Tensor2D };
}

/** 1 for a string's characters and its end, 0 after: [B, T]. */
function upToEnd(tokens: tf.Tensor2D): tf.Tensor2D {
  const ends = tokens.equal(tf.scalar(END_OF_STRING, "int32")).toFloat();
  return ends.cumsum(1, true).less(0.5).toFloat() as tf.Tensor2D;
}

function firstState({ config, params }: SequenceVae, z: tf.Tensor2D): { h: tf.Tensor; c: tf.Tensor } {
  const [h, c] = tf.split(linear(params.decoder.init, z), [config.hiddenSize, config.hiddenSize], 1);
  return { h: tanh(h!), c: c! };
}

function checkTokens(caller: string, { length }: SequenceVaeConfig, tokens: tf.Tensor): void {
  if (tokens.rank === 2 && tokens.shape[1] === length && tokens.dtype === "int32") return;
  throw new Error(
    `${caller}: tokens are ${tokens.dtype} of shape [${tokens.shape}]; expected int32 [batch, ${length}]`,
  );
}
