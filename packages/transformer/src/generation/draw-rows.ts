import { logSoftmax, type Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { historiesOf, type SamplingOptions } from "./draw-tokens.ts";
import { rowElements } from "./row-elements.ts";
import {
  drawByInverseCdf,
  drawGreedily,
  frequencyPresencePenalty,
  minPByLog,
  repetitionPenalty,
  temperature,
  topKPerRow,
  topP,
  typical,
} from "./sampling-filters.ts";

// `drawTokens` for rows that each have options of their own: what differs from row to row is a tensor, so that one compiled
// graph draws for all. A row gets what `drawTokens` would give it with its options, whatever the others ask for.
//
// Shapes: B batch, V vocabulary, L previous tokens.

/** What a draw reads besides the logits; what no row asks for is left out. */
export type RowDrawInputs = {
  /** [B, 1] in [0, 1) */
  uniform?: tf.Tensor2D;
  /** float32 [B, 1], not 0 for rows that take the likeliest token; without `uniform` all do */
  greedy?: tf.Tensor2D;
  /** float32 [B, 1] each; see `rowDrawInputs` for what has no effect */
  temperature?: tf.Tensor2D;
  topK?: tf.Tensor2D;
  topP?: tf.Tensor2D;
  logMinP?: tf.Tensor2D;
  typicalP?: tf.Tensor2D;
  repetition?: tf.Tensor2D;
  frequency?: tf.Tensor2D;
  presence?: tf.Tensor2D;
  /** int32 [B, L], the latest token last, -1 before the first */
  previous?: tf.Tensor2D;
  /** as `previous`, without the tokens of the prompts */
  generated?: tf.Tensor2D;
  /** float32 [B, V], added to the logits: biases, and -Infinity for tokens that may not be drawn */
  bias?: tf.Tensor2D;
};

/** Constants of a compiled draw. */
export type RowDrawShape = {
  /** No row's topK is above this. */
  topKMost: number;
  /** Whether each row with topP has a topK too. */
  topPAmongTopK: boolean;
  /** -1: no log-probabilities; 0: of the drawn tokens; above: of this many of the likeliest, too. */
  likeliest: number;
};

export type DrawnRows = {
  /** int32 [B], -1 where the row has a NaN or no token left */
  ids: tf.Tensor1D;
  /** of the drawn tokens, under the logits as the model gave them */
  logProbs?: tf.Tensor1D;
  /** int32 [B, N], the likeliest first */
  likeliest?: tf.Tensor2D;
  likeliestLogProbs?: tf.Tensor2D;
};

/** Draws one token a row: logits [B, V]. */
export function drawRows(logits: tf.Tensor2D, inputs: RowDrawInputs, shape: RowDrawShape): DrawnRows {
  const { uniform, greedy, previous, generated, bias, topK, logMinP, typicalP } = inputs;
  const { repetition, frequency, presence } = inputs;
  return tf.tidy(() => {
    let x = bias ? (tf.add(logits, bias) as tf.Tensor2D) : logits;
    if (previous && repetition) x = repetitionPenalty(x, previous, repetition);
    if (generated && frequency && presence) x = frequencyPresencePenalty(x, generated, { frequency, presence });
    let ids = !uniform || greedy ? drawGreedily(x) : undefined;
    if (uniform) {
      let y = inputs.temperature ? temperature(x, inputs.temperature) : x;
      if (topK) y = topKPerRow(y, topK, shape.topKMost);
      if (inputs.topP) y = topP(y, inputs.topP, shape.topPAmongTopK ? shape.topKMost : undefined);
      if (logMinP) y = minPByLog(y, logMinP);
      if (typicalP) y = typical(y, typicalP);
      const drawn = drawByInverseCdf(y, uniform).squeeze<tf.Tensor1D>([1]);
      ids = ids && greedy ? tf.where(tf.greater(greedy.squeeze([1]), 0), ids, drawn).toInt() : drawn;
    }
    if (shape.likeliest < 0) return { ids: ids! };
    return { ids: ids!, ...logProbsOf(logits, ids!, shape.likeliest) };
  });
}

function logProbsOf(logits: tf.Tensor2D, ids: tf.Tensor1D, count: number): Omit<DrawnRows, "ids"> {
  const all = logSoftmax(logits);
  const logProbs = rowElements(all, tf.maximum(ids, tf.scalar(0, "int32")) as tf.Tensor1D);
  if (count === 0) return { logProbs };
  const { values, indices } = tf.topk(all, Math.min(count, logits.shape[1]));
  return { logProbs, likeliest: indices as tf.Tensor2D, likeliestLogProbs: values as tf.Tensor2D };
}

/** A row as a draw sees it. */
export interface DrawnRow {
  readonly sampling: SamplingOptions;
  /** Without it the likeliest token is taken. Each draw takes one number from it. */
  readonly rng: Rng | undefined;
  readonly prompt: readonly number[];
  readonly generated: readonly number[];
  /** What is added to the logits, [V]. */
  readonly bias: Float32Array | undefined;
  /** -1: no log-probabilities; otherwise how many of the likeliest tokens are wanted with theirs. */
  readonly likeliest: number;
}

const UNIFORM = { kind: "uniform", size: 1, low: 0, high: 1 } as const;

/**
 * The inputs of a draw. Options that no row has are left out; rows that lack an option which another has get a value that
 * leaves their logits as they are.
 *
 * @param rows undefined where nobody looks at what is drawn
 * @param length columns of the histories
 */
export function rowDrawInputs(
  rows: readonly (DrawnRow | undefined)[],
  { length, vocabSize }: { readonly length: number; readonly vocabSize: number },
): { inputs: RowDrawInputs; shape: RowDrawShape } {
  const size = rows.length;
  const given = rows.filter((row) => row !== undefined);
  const bias = rowBiases(rows, vocabSize);
  const column = (none: number, of: (row: DrawnRow) => number): tf.Tensor2D =>
    tf.tensor2d(
      rows.map((row) => (row ? of(row) : none)),
      [size, 1],
    );
  /** A filter of rows that are drawn, where there is one. */
  const filter = (name: keyof SamplingOptions, none: number, of = (n: number) => n): tf.Tensor2D | undefined =>
    given.some((row) => isDrawn(row) && row.sampling[name] !== undefined)
      ? column(none, (row) => {
          const value = row.sampling[name];
          return isDrawn(row) && value !== undefined ? of(value) : none;
        })
      : undefined;
  const history = (wanted: (row: DrawnRow) => boolean, ids: (row: DrawnRow) => readonly number[]): tf.Tensor2D => {
    const values = new Int32Array(size * length).fill(-1);
    for (const [i, row] of rows.entries()) {
      if (!row || !wanted(row)) continue;
      const last = ids(row).slice(-length);
      values.set(last, (i + 1) * length - last.length);
    }
    return tf.tensor2d(values, [size, length], "int32");
  };
  const isRepetitive = ({ sampling }: DrawnRow) => (sampling.repetitionPenalty ?? 1) !== 1;
  const isPenalised = ({ sampling }: DrawnRow) => historiesOf(sampling).generated;
  const optional: { [K in keyof RowDrawInputs]: RowDrawInputs[K] | undefined } = {
    uniform: given.some(isDrawn) ? column(0, (row) => (isDrawn(row) ? row.rng!.draw(UNIFORM)[0]! : 0)) : undefined,
    greedy: given.some(isDrawn) && !given.every(isDrawn) ? column(0, (row) => (isDrawn(row) ? 0 : 1)) : undefined,
    temperature: filter("temperature", 1),
    topK: filter("topK", 0, (k) => (k >= vocabSize ? 0 : k)),
    // 1 has no effect, and rounding must not give it one.
    topP: filter("topP", 2, (p) => (p === 1 ? 2 : p)),
    logMinP: filter("minP", Number.NEGATIVE_INFINITY, Math.log),
    typicalP: filter("typicalP", 2, (p) => (p === 1 ? 2 : p)),
    ...(given.some(isRepetitive) && {
      repetition: column(1, ({ sampling }) => sampling.repetitionPenalty ?? 1),
      previous: history(isRepetitive, ({ prompt, generated }) => [...prompt, ...generated]),
    }),
    ...(given.some(isPenalised) && {
      frequency: column(0, ({ sampling }) => sampling.frequencyPenalty ?? 0),
      presence: column(0, ({ sampling }) => sampling.presencePenalty ?? 0),
      generated: history(isPenalised, ({ generated }) => generated),
    }),
    bias: bias && tf.tensor2d(bias, [size, vocabSize]),
  };
  const inputs = Object.fromEntries(
    Object.entries(optional).filter(([, tensor]) => tensor !== undefined),
  ) as RowDrawInputs;
  return { inputs, shape: drawShape(given, inputs.topK !== undefined, vocabSize) };
}

const isDrawn = ({ rng, sampling }: DrawnRow): boolean => rng !== undefined && sampling.temperature !== 0;

/** Few different constants, so that few graphs are compiled. */
function drawShape(rows: readonly DrawnRow[], withTopK: boolean, vocabSize: number): RowDrawShape {
  const largest = Math.max(16, ...rows.map(({ sampling }) => Math.min(sampling.topK ?? 1, vocabSize)));
  const topPAmongTopK = rows.every(
    (row) => !isDrawn(row) || row.sampling.topP === undefined || (row.sampling.topK ?? vocabSize) < vocabSize,
  );
  const wanted = Math.max(-1, ...rows.map(({ likeliest }) => likeliest));
  return {
    topKMost: withTopK ? Math.min(powerOfTwo(largest), vocabSize) : 0,
    topPAmongTopK: withTopK && topPAmongTopK,
    likeliest: wanted <= 0 ? wanted : Math.min(Math.max(8, powerOfTwo(wanted)), vocabSize),
  };
}

const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(n));

function rowBiases(rows: readonly (DrawnRow | undefined)[], vocabSize: number): Float32Array | undefined {
  let all: Float32Array | undefined;
  for (const [i, row] of rows.entries()) {
    if (row?.bias === undefined) continue;
    all ??= new Float32Array(rows.length * vocabSize);
    all.set(row.bias, i * vocabSize);
  }
  return all;
}
