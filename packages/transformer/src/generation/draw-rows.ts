import { logSoftmax, type Rng } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { historiesOf, type SamplingOptions } from "./draw-tokens.ts";
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
  const [rows, vocab] = logits.shape;
  const firstOfRow = tf.tensor1d(
    Int32Array.from({ length: rows }, (_, i) => i * vocab),
    "int32",
  );
  const at = tf.add(tf.maximum(ids, tf.scalar(0, "int32")), firstOfRow).toInt() as tf.Tensor1D;
  const all = logSoftmax(logits);
  const logProbs = tf.gather(all.reshape([-1]), at) as tf.Tensor1D;
  if (count === 0) return { logProbs };
  const { values, indices } = tf.topk(all, Math.min(count, vocab));
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
 * The inputs of a draw for rows, the last of which is repeated up to `size`. Options that no row has are left out; rows
 * that lack an option which another has get a value that leaves their logits as they are.
 *
 * @param length columns of the histories
 */
export function rowDrawInputs(
  rows: readonly DrawnRow[],
  { size, length, vocabSize }: { readonly size: number; readonly length: number; readonly vocabSize: number },
): { inputs: RowDrawInputs; shape: RowDrawShape } {
  const samples = rows.map(({ rng, sampling }) => rng !== undefined && sampling.temperature !== 0);
  const anySamples = samples.includes(true);
  const bias = rowBiases(rows, size, vocabSize);
  const column = (value: (row: DrawnRow, samples: boolean) => number): tf.Tensor2D => {
    const values = new Float32Array(size);
    for (let i = 0; i < size; i++)
      values[i] = i < rows.length ? value(rows[i]!, samples[i]!) : values[rows.length - 1]!;
    return tf.tensor2d(values, [size, 1]);
  };
  const filter = (name: keyof SamplingOptions, none: number, of = (n: number) => n) =>
    rows.some(({ sampling }, i) => samples[i] && sampling[name] !== undefined)
      ? column(({ sampling }, mine) => (mine && sampling[name] !== undefined ? of(sampling[name]) : none))
      : undefined;
  const histories = rows.map(({ sampling }) => historiesOf(sampling));
  const penalises = (name: "repetitionPenalty" | "frequencyPenalty" | "presencePenalty", none: number) =>
    column(({ sampling }) => sampling[name] ?? none);
  const lastOf = (wanted: (i: number) => boolean, ids: (row: DrawnRow) => readonly number[]): tf.Tensor2D => {
    const values = new Int32Array(size * length).fill(-1);
    for (const [i, row] of rows.entries()) {
      if (!wanted(i)) continue;
      const last = ids(row).slice(-length);
      values.set(last, (i + 1) * length - last.length);
    }
    return tf.tensor2d(values, [size, length], "int32");
  };
  const repeats = rows.some(({ sampling }) => (sampling.repetitionPenalty ?? 1) !== 1);
  const penalty = histories.some(({ generated }) => generated);
  const topK = filter("topK", 0, (k) => (k >= vocabSize ? 0 : k));
  const largestK = Math.max(1, ...rows.map(({ sampling }) => Math.min(sampling.topK ?? 1, vocabSize)));
  const topPAmongTopK = rows.every(
    ({ sampling }, i) => !samples[i] || sampling.topP === undefined || (sampling.topK ?? vocabSize) < vocabSize,
  );
  const optional = {
    uniform: anySamples ? column((row, mine) => (mine ? row.rng!.draw(UNIFORM)[0]! : 0)) : undefined,
    greedy: anySamples && samples.includes(false) ? column((_, mine) => (mine ? 0 : 1)) : undefined,
    temperature: filter("temperature", 1),
    topK,
    // 1 has no effect, and rounding must not give it one.
    topP: filter("topP", 2, (p) => (p === 1 ? 2 : p)),
    logMinP: filter("minP", Number.NEGATIVE_INFINITY, Math.log),
    typicalP: filter("typicalP", 2, (p) => (p === 1 ? 2 : p)),
    repetition: repeats ? penalises("repetitionPenalty", 1) : undefined,
    frequency: penalty ? penalises("frequencyPenalty", 0) : undefined,
    presence: penalty ? penalises("presencePenalty", 0) : undefined,
    previous: repeats
      ? lastOf(
          (i) => histories[i]!.previous,
          ({ prompt, generated }) => [...prompt, ...generated],
        )
      : undefined,
    generated: penalty
      ? lastOf(
          (i) => histories[i]!.generated,
          ({ generated }) => generated,
        )
      : undefined,
    bias: bias && tf.tensor2d(bias, [size, vocabSize]),
  };
  const inputs = Object.fromEntries(
    Object.entries(optional).filter(([, tensor]) => tensor !== undefined),
  ) as RowDrawInputs;
  // Few different constants, so that few graphs are compiled.
  const topKMost = topK ? Math.min(2 ** Math.ceil(Math.log2(Math.max(16, largestK))), vocabSize) : 0;
  const wanted = Math.max(...rows.map(({ likeliest }) => likeliest));
  const likeliest = wanted <= 0 ? wanted : Math.min(Math.max(8, 2 ** Math.ceil(Math.log2(wanted))), vocabSize);
  return { inputs, shape: { topKMost, topPAmongTopK: topK !== undefined && topPAmongTopK, likeliest } };
}

function rowBiases(rows: readonly DrawnRow[], size: number, vocabSize: number): Float32Array | undefined {
  let all: Float32Array | undefined;
  for (const [i, { bias }] of rows.entries()) {
    if (bias === undefined) continue;
    all ??= new Float32Array(size * vocabSize);
    all.set(bias, i * vocabSize);
  }
  return all;
}
