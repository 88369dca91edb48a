import {
  type ConvertWeightsOptions,
  convertWeights,
  type GroupSize,
  MIN_GROUP_SIZE,
  plainWeights,
  type Tree,
  treeDispose,
  treeEntries,
  type WeightFormat,
} from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type CalibratedMatrix, inputGrams, type LmCalibration } from "./calibration.ts";
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
  /**
   * How many inputs of a layer share a scale in rounded weights; see `convertWeights`. Default 128 in 8 bits and for what is
   * calibrated, else 64.
   */
  readonly groupSize?: GroupSize;
  /** Overrides the format of single matrices, by path; undefined leaves one as it is. */
  readonly formatOf?: (path: string, format: WeightFormat) => WeightFormat | undefined;
  /**
   * A text by which weights are rounded (GPTQ, Frantar et al. 2023, arXiv:2210.17323), so that what the model makes of it
   * changes little. It takes minutes where plain rounding takes seconds; in 4 bits it loses less in groups of 128 than plain
   * rounding in groups of 32.
   */
  readonly calibration?: LmCalibration;
  /** Disposes of the original's tensors as they are converted. */
  readonly consume?: boolean;
}

/**
 * Prepares a causal model for generating and scoring much. The result is used like any other causal model; training goes on
 * with the original.
 *
 * @throws if the model does not say which of its parameters are matrices; AbortError when the calibration's signal fires
 */
export async function convertLm<P extends Tree>(
  lm: CausalLm<P>,
  params: P,
  options: ConvertLmOptions = {},
): Promise<ConvertedLm> {
  const { matrixLayout } = lm;
  if (!matrixLayout) throw new Error("convertLm: the model has no matrixLayout; expected one that names its matrices");
  const { calibration, ...rest } = options;
  const groupSize = calibration ? { groupSize: 128 as const } : {};
  const how: ConvertWeightsOptions = { format: "panels", ...groupSize, ...rest, layoutOf: matrixLayout };
  const converted = calibration ? await calibrate(lm, params, how, calibration) : await convertWeights(params, how);
  return { lm: withConvertedParams(lm), params: converted };
}

/** Converts in as many rounds as the Grams' memory asks for: later ones read what the matrices rounded before have made of the text. */
async function calibrate<P extends Tree>(
  lm: CausalLm<P>,
  params: P,
  how: ConvertWeightsOptions,
  calibration: LmCalibration,
): Promise<Tree> {
  const { engine, signal, onProgress, gramBytes = 2 ** 30 } = calibration;
  const { format, layoutOf, formatOf = (_, f) => f, consume = false } = how;
  const matrices = treeEntries(params).flatMap(([path, tensor]) => {
    const layout = tensor.rank === 2 ? layoutOf(path, tensor) : undefined;
    const form = layout && formatOf(path, format);
    const inputs = tensor.shape[layout === "out-in" ? 1 : 0]!;
    return (form === "int8" || form === "int4") && inputs % MIN_GROUP_SIZE === 0 ? [{ path, inputs }] : [];
  });
  if (matrices.length === 0) {
    throw new Error("convertLm: a calibration, but no matrix to be rounded; expected the format int8 or int4");
  }
  const waiting = new Set(matrices.map(({ path }) => path));
  let current: Tree = params;
  let rounded = 0;
  try {
    for (const round of roundsOf(matrices, gramBytes)) {
      for (const { path } of round) waiting.delete(path);
      const grams = await inputGrams("convertLm", lm, current, round, calibration);
      try {
        const gramOf = (path: string) => {
          onProgress?.({ stage: "rounding", done: rounded++, total: matrices.length });
          return grams.get(path);
        };
        current = await convertWeights(current, {
          ...how,
          formatOf: (path, format) => (waiting.has(path) ? undefined : formatOf(path, format)),
          calibration: { engine, gramOf, signal },
          // What an earlier round made is our own.
          consume: consume || current !== params,
        });
      } finally {
        treeDispose([...grams.values()]);
      }
    }
  } catch (error) {
    if (current !== params) treeDispose(current);
    throw error;
  }
  onProgress?.({ stage: "rounding", done: rounded, total: matrices.length });
  return current;
}

/** Matrices in their order, as many at a time as there is memory for their Grams, but at least one. */
function roundsOf(matrices: readonly CalibratedMatrix[], most: number): CalibratedMatrix[][] {
  const rounds: CalibratedMatrix[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const matrix of matrices) {
    const more = 4 * matrix.inputs ** 2;
    if (bytes + more > most) {
      rounds.push([]);
      bytes = 0;
    }
    rounds.at(-1)!.push(matrix);
    bytes += more;
  }
  return rounds;
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
