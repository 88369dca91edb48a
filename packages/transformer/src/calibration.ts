import { type Engine, plainWeights, type Tree, throwIfAborted, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type CausalLm, checkIdRange } from "./causal-lm.ts";
import { checkCount } from "./check-count.ts";
import { mapLayers } from "./map-layers.ts";

// What the layers of a model read of a text, by which its matrices are rounded: see `Calibration` of @genai/core.
//
// Shapes: B windows, T tokens of each, K inputs of a layer.

export interface CalibrationProgress {
  /** `reading` counts the tokens of the text, `rounding` matrices. Where Grams would take much memory both take turns. */
  readonly stage: "reading" | "rounding";
  readonly done: number;
  readonly total: number;
}

/** A text to round a model by. */
export interface LmCalibration {
  /** Runs the model on the text. */
  readonly engine: Engine;
  /** Text like that which the model is to write; one that it was trained with will do, one that it is measured on will not. */
  readonly tokens: ArrayLike<number>;
  /** Tokens that are read of it, in windows spread over the whole; default 16,384. */
  readonly maxTokens?: number;
  /** Tokens of a window; default 512, or blockSize if that is less. */
  readonly windowSize?: number;
  /** Memory for the Gram matrices of a round, in bytes; default 2^30. One of K inputs takes 4 K^2, and there are two of each. */
  readonly gramBytes?: number;
  readonly onProgress?: (progress: CalibrationProgress) => void;
  readonly signal?: AbortSignal;
}

/** A matrix of a model, and how many inputs its layer has. */
export interface CalibratedMatrix {
  readonly path: string;
  readonly inputs: number;
}

/** Tokens that are read at once, if windows are not longer. */
const BATCH_TOKENS = 2048;

/**
 * The sums of x x^T [K, K] over what the matrices' layers read, by path. Matrices whose layers are not part of the
 * model's logits, such as an embedding that is not its head, have none.
 *
 * @param params may hold converted matrices
 * @throws if there are no tokens, or ids out of range
 */
export async function inputGrams<P extends Tree>(
  caller: string,
  lm: CausalLm<P>,
  params: Tree,
  matrices: readonly CalibratedMatrix[],
  calibration: LmCalibration,
): Promise<ReadonlyMap<string, tf.Tensor2D>> {
  const { engine, tokens, signal, onProgress } = calibration;
  const { width, size, starts } = windowsOf(caller, lm, calibration);
  const read = engine.compile(
    (params: Tree, ids: tf.Tensor2D, before: Grams): Grams => {
      const after = new Map<string, tf.Tensor2D>();
      tf.tidy(() => {
        const observed = mapLayers(plainWeights<P>(params), (layer, path) => {
          const matrix = `${path}.weight`;
          const sum = before[matrix];
          if (!sum) return layer;
          const observe = (x: tf.Tensor2D) => {
            const earlier = after.get(matrix);
            // Kept from the model's own tidies.
            after.set(matrix, tf.keep(tf.add(earlier ?? sum, tf.matMul(x, x, true, false))));
            earlier?.dispose();
          };
          return { ...layer, observe };
        });
        lm.logits(observed, ids);
      });
      return Object.fromEntries(after);
    },
    { donated: [2] },
  );
  let grams: Grams = Object.fromEntries(matrices.map(({ path, inputs: k }) => [path, tf.zeros([k, k])]));
  try {
    for (let first = 0; first < starts.length; first += size) {
      throwIfAborted(caller, signal);
      const ids = starts
        .slice(first, first + size)
        .flatMap((at) => Array.from({ length: width }, (_, i) => tokens[at + i]!));
      const input = tf.tensor2d(ids, [size, width], "int32");
      try {
        grams = await read(params, input, grams);
      } finally {
        input.dispose();
      }
      onProgress?.({ stage: "reading", done: (first + size) * width, total: starts.length * width });
    }
    return new Map(Object.entries(grams));
  } catch (error) {
    treeDispose(grams);
    throw error;
  } finally {
    read.dispose();
  }
}

type Grams = Record<string, tf.Tensor2D>;

/** Where windows of `width` tokens begin, evenly spread over the text, in whole batches of `size`. */
function windowsOf(
  caller: string,
  { blockSize, vocabSize }: CausalLm<never>,
  { tokens, maxTokens = 16_384, windowSize = Math.min(blockSize, 512) }: LmCalibration,
): { width: number; size: number; starts: number[] } {
  checkCount(caller, "calibration.windowSize", windowSize, blockSize);
  checkCount(caller, "calibration.maxTokens", maxTokens);
  if (tokens.length === 0) throw new Error(`${caller}: calibration.tokens is empty; expected ids of a text`);
  checkIdRange(`${caller}: calibration.tokens`, tokens, vocabSize);
  const width = Math.min(windowSize, maxTokens, tokens.length);
  const most = Math.floor(Math.min(maxTokens, tokens.length) / width);
  const size = Math.min(most, Math.max(1, Math.floor(BATCH_TOKENS / width)));
  const count = size * Math.floor(most / size);
  const stride = (tokens.length - width) / Math.max(1, count - 1);
  return { width, size, starts: Array.from({ length: count }, (_, i) => Math.floor(i * stride)) };
}
