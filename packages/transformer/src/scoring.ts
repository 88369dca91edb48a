import { type Compiled, crossEntropy, type Engine, type Tree, throwIfAborted, treeDispose } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { type CausalLm, checkIdRange } from "./causal-lm.ts";
import { checkCount } from "./check-count.ts";
import { promptWidth } from "./generation/decoder.ts";

// What a causal model thinks of text that is given: continuations of a context, for multiple-choice evaluation, and the
// perplexity of a stream of tokens.
//
// Shapes: B batch, T tokens, V vocabulary.

/** A continuation to be scored in its context. */
export interface ScoredText {
  /** At least one id: where there is no context, the id of the text's beginning. */
  readonly context: ArrayLike<number>;
  readonly continuation: ArrayLike<number>;
}

export interface ContinuationScore {
  /** Sum of the log-probabilities of the continuation's tokens, in nats. */
  readonly logProb: number;
  /** Of each token of the continuation. */
  readonly tokenLogProbs: readonly number[];
  /** Whether the continuation is what greedy decoding would give. */
  readonly isGreedy: boolean;
}

export interface ScoringOptions {
  /** Texts read at once; default 8. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
}

/**
 * The log-probability of continuations. The likeliest of several answers to a question, perhaps by token, is a model's
 * choice in a multiple-choice task.
 *
 * @param options.slide drops the beginning of contexts that are too long instead of refusing them
 * @returns scores in the order of the texts
 * @throws if a context or continuation is empty, too long, or holds ids out of range; if a log-probability is NaN
 */
export async function scoreContinuations<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  texts: readonly ScoredText[],
  options: ScoringOptions & { readonly slide?: boolean } = {},
): Promise<ContinuationScore[]> {
  const caller = "scoreContinuations";
  const { slide = false } = options;
  const { blockSize, vocabSize } = lm;
  const rows = texts.map(({ context, continuation }, i): Row => {
    for (const [name, ids] of Object.entries({ context, continuation })) {
      if (ids.length === 0) throw new Error(`${caller}: ${name} ${i} is empty; expected at least one id`);
      checkIdRange(`${caller}: ${name} ${i}`, ids, vocabSize);
    }
    // The last token is a target only.
    const excess = context.length + continuation.length - 1 - blockSize;
    if (excess > 0 && (!slide || continuation.length > blockSize)) {
      throw new Error(
        `${caller}: context and continuation ${i} have ${context.length} + ${continuation.length} tokens, ${excess} more ` +
          `than the context of ${blockSize} can score; ${slide ? "shorten the continuation" : "shorten them or set slide"}`,
      );
    }
    const ids = [...Array.from(context).slice(Math.max(0, excess)), ...Array.from(continuation)];
    return { ids, scored: continuation.length, name: `text ${i}` };
  });
  const scores: ContinuationScore[] = new Array(rows.length);
  // Rows of similar length share a batch, so that little is padded.
  const order = rows.map((_, i) => i).sort((a, b) => rows[b]!.ids.length - rows[a]!.ids.length);
  await scoreRows(
    caller,
    engine,
    lm,
    params,
    order.map((i) => rows[i]!),
    options,
    (at, tokenLogProbs, isGreedy) => {
      const logProb = tokenLogProbs.reduce((a, b) => a + b, 0);
      scores[order[at]!] = { logProb, tokenLogProbs, isGreedy };
    },
  );
  return scores;
}

export interface PerplexityOptions extends ScoringOptions {
  /** Tokens of a window; default blockSize. */
  readonly windowSize?: number;
  /**
   * How far a window lies behind the one before; default windowSize, the fastest. With less, windows overlap: each token is
   * scored once, with at least windowSize - stride tokens before it (but for the beginning), and perplexity falls.
   */
  readonly stride?: number;
}

export interface Perplexity {
  /** exp(loss) */
  readonly perplexity: number;
  /** Mean negative log-probability, in nats a token. */
  readonly loss: number;
  /** Tokens scored: all but the first. */
  readonly tokens: number;
}

/**
 * How well a model predicts a stream of tokens, read in windows. The first token, which nothing precedes, is not scored.
 *
 * @throws if there are fewer than two tokens, ids are out of range, or a log-probability is NaN
 */
export async function perplexity<P extends Tree>(
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  tokens: ArrayLike<number>,
  options: PerplexityOptions = {},
): Promise<Perplexity> {
  const caller = "perplexity";
  const { windowSize = lm.blockSize, stride = windowSize } = options;
  checkCount(caller, "windowSize", windowSize, lm.blockSize);
  checkCount(caller, "stride", stride, windowSize);
  if (tokens.length < 2) throw new Error(`${caller}: got ${tokens.length} tokens; expected at least 2`);
  checkIdRange(caller, tokens, lm.vocabSize);
  const last = tokens.length - 1;
  const rows: Row[] = [];
  for (let begin = 0, scored = 0; scored < last; begin += stride) {
    const end = Math.min(begin + windowSize, last);
    const ids = Array.from({ length: end - begin + 1 }, (_, i) => tokens[begin + i]!);
    rows.push({ ids, scored: end - scored, name: `the window at ${begin}` });
    scored = end;
  }
  let sum = 0;
  await scoreRows(caller, engine, lm, params, rows, options, (_, logProbs) => {
    for (const logProb of logProbs) sum -= logProb;
  });
  const loss = sum / last;
  return { perplexity: Math.exp(loss), loss, tokens: last };
}

/** A text of which the last `scored` tokens count. */
interface Row {
  readonly ids: readonly number[];
  readonly scored: number;
  readonly name: string;
}

/** Scores rows in batches of one shape each for widths that are alike, and hands over each row's result. */
async function scoreRows<P extends Tree>(
  caller: string,
  engine: Engine,
  lm: CausalLm<P>,
  params: P,
  rows: readonly Row[],
  { batchSize = 8, signal }: ScoringOptions,
  take: (row: number, logProbs: number[], isGreedy: boolean) => void,
): Promise<void> {
  checkCount(caller, "batchSize", batchSize);
  throwIfAborted(caller, signal);
  const score = engine.compile((params: P, ids: tf.Tensor2D, targets: tf.Tensor2D) => {
    const logits = lm.logits(params, ids);
    return {
      losses: crossEntropy(logits, targets, { reduction: "none" }) as tf.Tensor2D,
      likeliest: tf.argMax(logits, -1) as tf.Tensor2D,
    };
  });
  try {
    // A last batch that is not full is filled up with rows that score nothing.
    const size = Math.min(batchSize, rows.length);
    for (let first = 0; first < rows.length; first += size) {
      throwIfAborted(caller, signal);
      const batch = rows.slice(first, first + size);
      const longest = Math.max(...batch.map(({ ids }) => ids.length - 1));
      const width = promptWidth(longest, lm.blockSize);
      const { losses, likeliest } = await scoreBatch(score, params, batch, [size, width]);
      for (const [i, { ids, scored, name }] of batch.entries()) {
        const end = i * width + ids.length - 1;
        const logProbs = Array.from(losses.subarray(end - scored, end), (loss) => -loss);
        const nan = logProbs.findIndex(Number.isNaN);
        if (nan >= 0) {
          throw new Error(
            `${caller}: the log-probability of token ${ids.length - scored + nan} of ${name} is NaN; expected a number. ` +
              "The parameters may have diverged in training or been read wrongly",
          );
        }
        const wanted = ids.slice(-scored);
        take(
          first + i,
          logProbs,
          wanted.every((id, j) => likeliest[end - scored + j] === id),
        );
      }
    }
  } finally {
    score.dispose();
  }
}

async function scoreBatch<P>(
  score: Compiled<[P, tf.Tensor2D, tf.Tensor2D], { losses: tf.Tensor2D; likeliest: tf.Tensor2D }>,
  params: P,
  batch: readonly Row[],
  [size, width]: [number, number],
): Promise<{ losses: Float32Array; likeliest: Int32Array }> {
  // Padding behind the tokens changes nothing: a causal model does not see it.
  const ids = new Int32Array(size * width);
  const targets = new Int32Array(size * width).fill(-100);
  for (const [i, row] of batch.entries()) {
    const inputs = row.ids.length - 1;
    ids.set(row.ids.slice(0, inputs), i * width);
    targets.set(row.ids.slice(-row.scored), i * width + inputs - row.scored);
  }
  const inputs = [tf.tensor2d(ids, [size, width], "int32"), tf.tensor2d(targets, [size, width], "int32")] as const;
  let result: { losses: tf.Tensor2D; likeliest: tf.Tensor2D } | undefined;
  try {
    result = await score(params, ...inputs);
    return {
      losses: (await result.losses.data()) as Float32Array,
      likeliest: (await result.likeliest.data()) as Int32Array,
    };
  } finally {
    treeDispose([inputs, result]);
  }
}
