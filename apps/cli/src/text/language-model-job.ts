import {
  accumulateGradients,
  adamw,
  cosineWithWarmup,
  decayMatrices,
  gradientStep,
  type ParamFilter,
  type Rng,
  type Schedule,
  type Tree,
} from "@genai/core";
import type { Tokenizer } from "@genai/tokenizer";
import { type CausalLm, languageModelLoss, type TokenBatch } from "@genai/transformer";
import { inEnglish } from "../data/data-names.ts";
import { UsageError } from "../exit-code.ts";
import type { JobOutcome, JobRequest, RunContext, TrainingJob, TrainingState } from "../families/family.ts";
import type { MetricsLine } from "../run/metrics-log.ts";
import type { RunFolder, TrainSettings } from "../run/run-folder.ts";
import { lossMeter } from "./mean-loss.ts";
import { appendSamples, readSamples, type SampledTexts, showSamples } from "./sample-log.ts";
import { startIds, TextSampler } from "./sample-texts.ts";
import { encodeText } from "./text-vocabulary.ts";
import type { TokenSource } from "./token-source.ts";

/** What training a language model asks of its settings besides the shared ones. Plain JSON. */
export interface LanguageTraining {
  readonly weightDecay: number;
  readonly beta2: number;
  /** Gradients are scaled down to this norm; 0 does not. */
  readonly maxGradNorm: number;
  /** Batches whose gradients make one step. */
  readonly accumulate: number;
  /** Where the cosine ends; a tenth of the learning rate if null. */
  readonly minLearningRate: number | null;
  readonly warmup: number;
  readonly labelSmoothing: number;
  /** Steps between estimates of the losses, each with a sample; 0 for none but at the end. */
  readonly evalEvery: number;
  /** Batches of an estimate. */
  readonly evalBatches: number;
  /** Tokens of a sample; 0 for none. */
  readonly sampleTokens: number;
  readonly samplePrompt: string;
  readonly sampleTemperature: number;
}

/** A language model and what training it needs: see `languageModelJob`. */
export interface LanguageModelSpec<P extends Tree> {
  readonly request: JobRequest;
  /** Plain JSON for the run's config.json. */
  readonly config: unknown;
  readonly params: P;
  /** Which parameters learn; all by default. */
  readonly trainable?: ParamFilter;
  readonly lm: CausalLm<P>;
  readonly tokenizer: Tokenizer;
  readonly source: TokenSource;
  /** Ends the texts that are sampled; undefined for running text. */
  readonly endId: number | undefined;
  readonly training: LanguageTraining;
  /** Writes into the run folder what is needed besides the weights: the tokenizer, and how the model is configured. */
  prepare(folder: RunFolder): Promise<void>;
  /** Writes the weights into the run folder. */
  save(params: P, folder: RunFolder): Promise<void>;
  /** Reads them back. */
  load(folder: RunFolder): Promise<{ readonly params: P; dispose(): void }>;
}

/** Texts of a sample where texts have an end, which are short. */
const sampledDocuments = 10;
const sampleTopK = 200;
/** Samples of training in the report. */
const mostShownSamples = 11;

/**
 * The training of a causal language model: AdamW with decay on matrices, warm-up and cosine, clipped gradients; losses
 * estimated and text sampled every `evalEvery` steps; the weights with the best validation loss are kept; at the end
 * their loss is measured on all of the validation set.
 */
export function languageModelJob<P extends Tree>(spec: LanguageModelSpec<P>): TrainingJob {
  const { request, params, lm, tokenizer, source, training, endId, trainable } = spec;
  const { settings, engine, rng, signal } = request;
  const { batchSize } = settings;
  const { accumulate, labelSmoothing, weightDecay, beta2, maxGradNorm } = training;
  const adam = adamw({
    learningRate: settings.learningRate,
    betas: [0.9, beta2],
    weightDecay,
    decayMask: decayMatrices,
    ...(maxGradNorm > 0 ? { maxGradNorm } : {}),
    ...(trainable ? { trainable } : {}),
  });
  const lossOf = (p: P, batch: TokenBatch, noise: Rng) =>
    languageModelLoss(lm, p, batch, { rng: noise, labelSmoothing });
  const filter = trainable ? { trainable } : {};
  const { init, step } =
    accumulate > 1
      ? gradientStep(accumulateGradients(adam, accumulate), lossOf, filter)
      : gradientStep(adam, lossOf, filter);
  const meter = lossMeter(engine, lm);
  const prompt = promptOf(spec);
  const sampler = new TextSampler({
    engine,
    lm,
    tokenizer,
    prompt,
    stopIds: endId === undefined ? [] : [endId],
    temperature: training.sampleTemperature,
    topK: sampleTopK,
  });
  const count = endId === undefined ? 1 : sampledDocuments;
  const validation = source.validationRows();
  // A small part is measured whole.
  const isSmall = validation.count <= training.evalBatches * batchSize;
  const estimate = (state: TrainingState, split: "train" | "validation", noise: Rng) =>
    meter.estimate(
      state.params as P,
      source.batches(split, { batchSize, rng: noise.fork(split) }),
      training.evalBatches,
    );

  return {
    config: spec.config,
    state: (init as (params: P) => TrainingState)(params),
    step: step as unknown as TrainingJob["step"],
    batches: source.batches("train", { batchSize, rng: rng.fork("batches") }),
    batchesPerStep: accumulate,
    schedules: { "opt.learningRate": learningRateSchedule(settings, training) },
    shownMetrics: ["loss", "valLoss"],
    work: { unit: "tokens", perStep: batchSize * source.length * accumulate },
    dataSummary: source.summary,
    measuring: "Measuring on all of the validation text and drawing samples.",
    charts: [
      {
        title: "Loss",
        caption: "Nats a token: of each step's batch, and estimated without dropout on training and validation text.",
        metrics: ["loss", "trainLoss", "valLoss"],
      },
      { title: "Perplexity", caption: "exp(loss) of validation text, estimated.", metrics: ["valPerplexity"] },
    ],
    prepare: ({ folder }) => spec.prepare(folder),
    evaluation: {
      every: training.evalEvery,
      async run(state, { step: at, rng: noise, folder, lines, show }) {
        const trainLoss = await estimate(state, "train", noise);
        const valLoss = isSmall
          ? (await meter.measure(state.params as P, validation, batchSize, new AbortController().signal)).loss
          : await estimate(state, "validation", noise);
        const before = bestOf(lines);
        if (!before || valLoss < before.valLoss) await spec.save(state.params as P, folder);
        if (training.sampleTokens > 0 && !signal.aborted) {
          const texts = await sampler.write(state.params as P, {
            count,
            tokens: training.sampleTokens,
            rng: noise.fork("samples"),
          });
          const sampled = { step: at, valLoss, trainLoss, texts };
          await appendSamples(folder, sampled);
          show(showSamples(sampled));
        }
        return { trainLoss, valLoss, valPerplexity: Math.exp(valLoss) };
      },
    },
    async save(state, { folder, lines }) {
      if (!bestOf(lines)) await spec.save(state.params as P, folder);
    },
    finish: (state, noise, context) => assess(spec, { state, noise, context, meter, sampler, count }),
  };
}

/** Linear warm-up, then half a cosine down to the least rate at the last step, as nanoGPT does. */
function learningRateSchedule({ steps, learningRate }: TrainSettings, training: LanguageTraining): Schedule {
  const { warmup, minLearningRate } = training;
  return cosineWithWarmup({
    learningRate,
    // A short run warms up for a tenth of it.
    warmupSteps: Math.min(warmup, Math.floor(steps / 10)),
    totalSteps: steps,
    minLearningRate: minLearningRate ?? learningRate / 10,
    warmup: "after-one",
  });
}

function promptOf<P extends Tree>({ tokenizer, training, endId }: LanguageModelSpec<P>): number[] {
  const { samplePrompt } = training;
  if (samplePrompt === "") return endId === undefined ? startIds(tokenizer) : [endId];
  const ids = encodeText(tokenizer, samplePrompt, { addSpecialTokens: false, what: "--sample-prompt" });
  return endId === undefined ? [...ids] : [endId, ...ids];
}

type Estimated = MetricsLine & { readonly valLoss: number };

/** The estimate with the least validation loss. */
function bestOf(lines: readonly MetricsLine[]): Estimated | undefined {
  let best: Estimated | undefined;
  for (const line of lines) {
    if (line.valLoss !== undefined && (!best || line.valLoss < best.valLoss)) best = line as Estimated;
  }
  return best;
}

async function assess<P extends Tree>(
  { source, load, request, training }: LanguageModelSpec<P>,
  {
    state,
    noise,
    context: { folder, lines },
    meter,
    sampler,
    count,
  }: {
    readonly state: TrainingState;
    readonly noise: Rng;
    readonly context: RunContext;
    readonly meter: ReturnType<typeof lossMeter<P>>;
    readonly sampler: TextSampler<P>;
    readonly count: number;
  },
): Promise<JobOutcome> {
  const best = bestOf(lines);
  const last = lines.at(-1)?.step;
  const loaded = best && best.step !== last ? await load(folder) : undefined;
  const params = loaded?.params ?? (state.params as P);
  try {
    const { signal } = request;
    const rows = source.validationRows();
    const { loss, tokens } = await meter.measure(params, rows, Math.max(8, request.settings.batchSize), signal);
    if (!Number.isFinite(loss)) {
      throw new UsageError(`The validation loss is ${loss}; train again with a lower --learning-rate`);
    }
    const drawn =
      training.sampleTokens > 0
        ? await sampler.write(params, { count: 2 * count, tokens: 2 * training.sampleTokens, rng: noise, signal })
        : [];
    const bits = source.charactersPerToken && loss / Math.LN2 / source.charactersPerToken;
    return {
      ...figuresOf({ loss, tokens, bits, best }),
      pictures: [],
      files:
        drawn.length > 0
          ? [{ file: "samples.txt", contents: `${drawn.join(count > 1 ? "\n" : "\n\n---\n\n")}\n` }]
          : [],
      texts: shownTexts(drawn, await readSamples(folder), training.sampleTemperature),
    };
  } finally {
    loaded?.dispose();
  }
}

/** What was measured, for programs and for people. */
function figuresOf({
  loss,
  tokens,
  bits,
  best,
}: {
  readonly loss: number;
  readonly tokens: number;
  readonly bits: number | undefined;
  readonly best: Estimated | undefined;
}): Pick<JobOutcome, "results" | "headline"> {
  const perplexity = Math.exp(loss);
  const at = best ? `, weights of step ${inEnglish(best.step)}` : "";
  return {
    results: {
      valLoss: loss,
      valPerplexity: perplexity,
      ...(bits === undefined ? {} : { valBitsPerCharacter: bits }),
      valTokens: tokens,
      ...(best ? { bestStep: best.step, bestValLossEstimate: best.valLoss } : {}),
      ...(best?.trainLoss === undefined ? {} : { trainLossEstimate: best.trainLoss }),
    },
    headline: [
      { label: "Validation loss", value: loss.toFixed(4), note: `nats a token; all ${inEnglish(tokens)} tokens${at}` },
      { label: "Perplexity", value: perplexity.toFixed(2) },
      ...(bits === undefined ? [] : [{ label: "Bits per character", value: bits.toFixed(3) }]),
    ],
  };
}

/** What the trained model wrote, and what was sampled on the way. */
function shownTexts(
  drawn: readonly string[],
  samples: readonly SampledTexts[],
  temperature: number,
): NonNullable<JobOutcome["texts"]> {
  const last = {
    title: "Drawn from the trained model",
    caption: `Temperature ${temperature}.`,
    text: joinTexts(drawn),
  };
  return [
    ...(drawn.length > 0 ? [last] : []),
    ...spread(samples, mostShownSamples).map(({ step, valLoss, trainLoss, texts }) => ({
      title: `Step ${inEnglish(step)}`,
      caption: `Validation loss ${valLoss.toFixed(3)}, training loss ${trainLoss.toFixed(3)}.`,
      text: joinTexts(texts),
    })),
  ];
}

/** At most `most` of a list, evenly spread, the first and the last among them. */
function spread<T>(list: readonly T[], most: number): readonly T[] {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, i) => list[Math.round((i * (list.length - 1)) / (most - 1))]!);
}

/** Short texts one in a line, long ones with a gap between them. */
const joinTexts = (texts: readonly string[]) => texts.join(texts.every((text) => !text.includes("\n")) ? "\n" : "\n\n");
