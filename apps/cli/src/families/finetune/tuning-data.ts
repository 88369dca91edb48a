import { type BatchStream, type Engine, Rng, type Tree, treeDispose } from "@genai/core";
import {
  type CausalLm,
  documentPerplexity,
  languageModelLoss,
  type PreferencePair,
  paddedBatches,
  preferenceBatches,
  preferenceLoss,
  type TokenDocument,
  withReference,
} from "@genai/transformer";
import type * as tf from "@tensorflow/tfjs";
import { inEnglish } from "../../data/data-names.ts";
import { UsageError } from "../../exit-code.ts";
import {
  encodeConversation,
  encodePreference,
  parseConversations,
  parsePreferences,
  readJsonLines,
  splitItems,
} from "../../text/conversations.ts";
import { lossMeter } from "../../text/mean-loss.ts";
import { type DocumentKind, loadCorpus } from "../../text/text-corpus.ts";
import type { TextModel } from "../../text/text-model.ts";
import { endIdOf } from "../../text/text-vocabulary.ts";
import { tokenSource } from "../../text/token-source.ts";
import type { Batch, JobRequest } from "../family.ts";

export interface TuningDataOptions {
  readonly documents: DocumentKind;
  /** Tokens of a row; the model's context if null. */
  readonly blockSize: number | null;
  readonly beta: number;
  readonly labelSmoothing: number;
  readonly recompute: boolean;
}

/** What a model is tuned on: batches, the loss of one, and how well it does on what was held out. */
export interface TuningData {
  readonly summary: string;
  batches(rng: Rng): BatchStream<Batch>;
  loss(
    lm: CausalLm,
    params: Tree,
    batch: Batch,
    rng: Rng,
  ): tf.Scalar | ({ loss: tf.Scalar } & Record<string, tf.Scalar>);
  /** `valLoss` first; what is not a loss is named for people by `metricNames`. */
  measure(lm: CausalLm, params: Tree): Promise<Readonly<Record<string, number>>>;
  /** What samples answer, and whether one is drawn or the likeliest is taken. */
  readonly prompts: readonly Int32Array[];
  readonly greedy: boolean;
  readonly stopIds: readonly number[];
}

export interface TuningDataRequest {
  readonly base: TextModel;
  readonly request: JobRequest;
  readonly options: TuningDataOptions;
}

/** Answers that are sampled before and after. */
const sampledAnswers = 4;

export async function runningTextData({ base, request, options }: TuningDataRequest): Promise<TuningData> {
  const { settings, engine, signal } = request;
  const corpus = await loadCorpus(settings.data, { ...request, documents: options.documents });
  const source = tokenSource(corpus, base.tokenizer, {
    blockSize: blockSizeOf(base, options),
    endId: base.stopIds[0] ?? endIdOf(base.tokenizer),
  });
  const rows = source.validationRows();
  return {
    summary: corpus.summary,
    batches: (rng) => source.batches("train", { batchSize: settings.batchSize, rng }),
    loss: nextTokenLoss(options),
    async measure(lm, params) {
      const meter = lossMeter(engine, lm);
      try {
        const { loss } = await meter.measure(params, rows, Math.max(8, settings.batchSize), signal);
        return { valLoss: loss, valPerplexity: Math.exp(loss) };
      } finally {
        meter.dispose();
      }
    },
    prompts: [],
    greedy: false,
    stopIds: corpus.documents ? base.stopIds : [],
  };
}

export async function instructionData({ base, request, options }: TuningDataRequest): Promise<TuningData> {
  const { settings, engine, signal } = request;
  const found = parseConversations(settings.data, await readJsonLines(settings.data));
  const endId = base.stopIds[0] ?? endIdOf(base.tokenizer);
  const encoded = [];
  for (const conversation of found) encoded.push(await encodeConversation(base.tokenizer, conversation, endId));
  const length = blockSizeOf(base, options);
  const kept = encoded.filter(({ document }) => fits(document, length));
  const { train, validation } = checkedSplit(request, kept, encoded.length, length);
  const documents = validation.map(({ document }) => document);
  return {
    summary: summaryOf(settings.data, "conversations", train.length, validation.length),
    batches: (rng) =>
      paddedBatches(
        train.map(({ document }) => document),
        { batchSize: Math.min(settings.batchSize, train.length), length, rng },
      ),
    loss: nextTokenLoss(options),
    async measure(lm, params) {
      const { loss, perplexity } = await documentPerplexity(engine, lm, params, documents, { signal });
      return { valLoss: loss, valPerplexity: perplexity };
    },
    prompts: validation.slice(0, sampledAnswers).map(({ prompt }) => prompt),
    greedy: true,
    stopIds: endOf(base, endId),
  };
}

export async function preferenceData({ base, request, options }: TuningDataRequest): Promise<TuningData> {
  const { settings, engine, signal, note } = request;
  const found = parsePreferences(settings.data, await readJsonLines(settings.data));
  const endId = base.stopIds[0] ?? endIdOf(base.tokenizer);
  const encoded = [];
  for (const preference of found) encoded.push(await encodePreference(base.tokenizer, preference, endId));
  const length = blockSizeOf(base, options);
  const kept = encoded.filter(({ pair }) => fits(pair.chosen, length) && fits(pair.rejected, length));
  const parts = checkedSplit(request, kept, encoded.length, length);
  note("Scoring the answers with the model as it is.");
  const score = (list: typeof kept) =>
    withReference(
      engine,
      base.lm,
      base.params,
      list.map(({ pair }) => pair),
      { signal },
    );
  const [train, validation] = [await score(parts.train), await score(parts.validation)];
  const { beta, labelSmoothing } = options;
  const chosen = validation.map((pair) => pair.chosen);
  return {
    summary: summaryOf(settings.data, "preferences", train.length, validation.length),
    batches: (rng) => preferenceBatches(train, { batchSize: Math.min(settings.batchSize, train.length), length, rng }),
    loss: (lm, params, batch, rng) =>
      preferenceLoss(lm, params, batch, { beta, labelSmoothing, rng, recompute: options.recompute }),
    async measure(lm, params) {
      const sums = await measurePairs(engine, lm, params, validation, { beta, labelSmoothing, length });
      const { loss } = await documentPerplexity(engine, lm, params, chosen, { signal });
      return { ...sums, valChosenLoss: loss };
    },
    prompts: parts.validation.slice(0, sampledAnswers).map(({ prompt }) => prompt),
    greedy: true,
    stopIds: endOf(base, endId),
  };
}

/** DPO's loss, accuracy and margin over held-out pairs. */
async function measurePairs(
  engine: Engine,
  lm: CausalLm,
  params: Tree,
  pairs: readonly PreferencePair[],
  { length, ...dpo }: { readonly beta: number; readonly labelSmoothing: number; readonly length: number },
): Promise<Record<"valLoss" | "valAccuracy" | "valMargin", number>> {
  const batchSize = Math.min(8, pairs.length);
  const run = engine.compile((params: Tree, batch: Batch) => preferenceLoss(lm, params, batch, dpo));
  const result = { valLoss: 0, valAccuracy: 0, valMargin: 0 };
  try {
    // The last pairs, which fill no batch, are measured in one of their own.
    const full = pairs.length - (pairs.length % batchSize);
    for (const part of [pairs.slice(0, full), pairs.slice(full)]) {
      if (part.length === 0) continue;
      const size = Math.min(batchSize, part.length);
      const stream = preferenceBatches(part, { batchSize: size, length, rng: new Rng(0) });
      for (let done = 0; done < part.length; done += size) {
        const batch = (await stream.next()).value!;
        const { loss, accuracy, margin } = await run(params, batch);
        const share = size / pairs.length;
        result.valLoss += share * (await loss.data())[0]!;
        result.valAccuracy += share * (await accuracy.data())[0]!;
        result.valMargin += share * (await margin.data())[0]!;
        treeDispose([batch, loss, accuracy, margin]);
      }
    }
  } finally {
    run.dispose();
  }
  return result;
}

const nextTokenLoss =
  ({ labelSmoothing, recompute }: TuningDataOptions): TuningData["loss"] =>
  (lm, params, batch, rng) =>
    languageModelLoss(lm, params, batch, { rng, labelSmoothing, recompute });

function blockSizeOf(base: TextModel, { blockSize }: TuningDataOptions): number {
  if (blockSize === null) return base.lm.blockSize;
  if (blockSize <= base.lm.blockSize) return blockSize;
  throw new UsageError(`--block-size ${blockSize} exceeds the model's context of ${base.lm.blockSize} tokens`);
}

/** Answers end at what the model's folder says, or, where it says nothing, at the end of a line. */
const endOf = ({ stopIds, tokenizer }: TextModel, endId: number | undefined): readonly number[] => {
  if (stopIds.length > 0) return stopIds;
  return endId === undefined ? [...tokenizer.encode("\n", { addSpecialTokens: false }).ids] : [endId];
};

const fits = ({ ids, learned }: TokenDocument, length: number): boolean =>
  ids.length >= 2 && ids.length <= length + 1 && (!learned || Array.from(learned).slice(1).some(Boolean));

function checkedSplit<T>({ settings, note }: JobRequest, kept: readonly T[], all: number, length: number) {
  if (kept.length < 2) {
    throw new UsageError(
      `${settings.data}: ${kept.length} of ${inEnglish(all)} records fit a context of ${length} tokens; expected at least 2`,
    );
  }
  const left = all - kept.length;
  if (left > 0) note(`${inEnglish(left)} of ${inEnglish(all)} records do not fit ${length} tokens and are left out.`);
  return splitItems(kept);
}

const summaryOf = (data: string, what: string, train: number, validation: number) =>
  `${data}; ${inEnglish(train)} ${what} to learn from, ${inEnglish(validation)} to measure with`;
