import { convertWeights, type GroupSize, plainWeights, type Tree, type WeightFormat } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import type { CausalLm } from "./causal-lm.ts";

/** A causal model for inference, with its matrices in another form. */
export interface ConvertedLm {
  readonly lm: CausalLm;
  readonly params: Tree;
}

export interface ConvertLmOptions {
  /**
   * `panels` (the default): the same float32 numbers, ordered for decoding. `int8` and `int4`: rounded weights in
   * a quarter and an eighth of the memory, which on the ONNX engine are also faster.
   */
  readonly format?: WeightFormat;
  /** How many inputs of a layer share a scale in rounded weights; see `convertWeights`. Default 128 in 8 bits, 64 in 4. */
  readonly groupSize?: GroupSize;
  /** Overrides the format of single matrices, by path; undefined leaves one as it is. */
  readonly formatOf?: (path: string, format: WeightFormat) => WeightFormat | undefined;
  /** Disposes of the original's tensors as they are converted. */
  readonly consume?: boolean;
}

/**
 * Prepares a causal model for generating and scoring much. The result is used like any other causal model; training goes on
 * with the original.
 *
 * @throws if the model does not say which of its parameters are matrices
 */
export async function convertLm<P extends Tree>(
  lm: CausalLm<P>,
  params: P,
  options: ConvertLmOptions = {},
): Promise<ConvertedLm> {
  const { matrixLayout } = lm;
  if (!matrixLayout) throw new Error("convertLm: the model has no matrixLayout; expected one that names its matrices");
  const converted = await convertWeights(params, { format: "panels", ...options, layoutOf: matrixLayout });
  return { lm: withConvertedParams(lm), params: converted };
}

/** A model whose parameters may hold converted matrices. */
export function withConvertedParams<P extends Tree>(lm: CausalLm<P>): CausalLm {
  const tidied = <R>(run: () => R): R => tf.tidy(() => run() as tf.TensorContainer) as R;
  return {
    vocabSize: lm.vocabSize,
    blockSize: lm.blockSize,
    ...(lm.fixedCacheLength && { fixedCacheLength: true }),
    logits: (params, ...read) => tidied(() => lm.logits(plainWeights<P>(params), ...read)),
    createCache: (...size) => lm.createCache(...size),
    step: (params, ...read) => tidied(() => lm.step(plainWeights<P>(params, { constant: true }), ...read)),
  };
}
