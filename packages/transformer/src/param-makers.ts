import { type Initialiser, type LowRankTerm, type NormParams, normalInit, onesInit, zerosInit } from "@genai/core";
import type * as tf from "@tensorflow/tfjs";

// An architecture lists its parameters once, as a function of how to make one: drawn for a new model, or merely noted, to
// compare a file with it before anything is read.

/** Makes the parameter of a shape; `init` is how a new model draws it. */
export type MakeParam = (shape: readonly number[], init: Initialiser) => tf.Tensor;

/** `lowRank` is there while an adapter is attached (`attachLora`), `observe` while a model is calibrated (`inputGrams`). */
export type Weight = { weight: tf.Tensor; lowRank?: LowRankTerm; observe?: (x: tf.Tensor2D) => void };
export type Affine = Weight & { bias?: tf.Tensor };

/** A linear layer in PyTorch's layout: weight [out, in]. */
export function makeLinear(make: MakeParam, inDim: number, outDim: number, init: Initialiser, bias: boolean): Affine {
  const weight = make([outDim, inDim], init);
  return bias ? { weight, bias: make([outDim], zerosInit()) } : { weight };
}

/** A linear layer in the layout of GPT-2's files: weight [in, out]. */
export function makeConv1d(make: MakeParam, inDim: number, outDim: number, init: Initialiser, bias: boolean): Affine {
  const weight = make([inDim, outDim], init);
  return bias ? { weight, bias: make([outDim], zerosInit()) } : { weight };
}

export function makeNorm(make: MakeParam, dim: number, bias: boolean): NormParams {
  const weight = make([dim], onesInit());
  return bias ? { weight, bias: make([dim], zerosInit()) } : { weight };
}

export function makeEmbedding(make: MakeParam, count: number, dim: number, init = normalInit(0.02)): Weight {
  return { weight: make([count, dim], init) };
}

/** @throws naming the first entry that is no positive integer. */
export function checkSizes(caller: string, sizes: Readonly<Record<string, number>>): void {
  for (const [name, n] of Object.entries(sizes)) {
    if (!Number.isInteger(n) || n < 1) throw new Error(`${caller}: ${name} (${n}) must be a positive integer`);
  }
}

/** @throws unless `rate` is in [0, 1). */
export function checkDropout(caller: string, rate: number): void {
  if (!(rate >= 0 && rate < 1)) throw new Error(`${caller}: dropout (${rate}) must be in [0, 1)`);
}
