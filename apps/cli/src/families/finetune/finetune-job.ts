import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { adamw, cosineWithWarmup, decayMatrices, gradientStep, type Rng, type Tree } from "@genai/core";
import { createDecoder } from "@genai/transformer";
import { UsageError } from "../../exit-code.ts";
import type { MetricsLine } from "../../run/metrics-log.ts";
import type { RunFolder } from "../../run/run-folder.ts";
import { dim } from "../../terminal.ts";
import { printable } from "../../text/sample-log.ts";
import { startIds } from "../../text/sample-texts.ts";
import { openTextModel, type TextModel } from "../../text/text-model.ts";
import { writeTexts } from "../../text/write-texts.ts";
import type { JobOutcome, JobRequest, RunContext, TrainingJob, TrainingState } from "../family.ts";
import { type Adaptation, type AdaptationOptions, adapt } from "./adaptation.ts";
import type { TuningData, TuningDataOptions, TuningDataRequest } from "./tuning-data.ts";

export interface FinetuneOptions extends AdaptationOptions, TuningDataOptions {
  readonly weightDecay: number;
  readonly maxGradNorm: number;
  readonly warmup: number;
  readonly evalEvery: number;
  readonly sampleTokens: number;
  readonly sampleTemperature: number;
}

/** How well a model did, and what it wrote, before or after. */
interface Assessment {
  readonly metrics: Readonly<Record<string, number>>;
  readonly samples: readonly { readonly prompt: string; readonly text: string }[];
}

const beforeFile = "before.json";

/** Tunes a model on data of one kind. The model and what it was before are measured and sampled alike. */
export async function finetuneJob(
  request: JobRequest,
  load: (request: TuningDataRequest) => Promise<TuningData>,
): Promise<TrainingJob> {
  const { settings, rng, signal } = request;
  const options = settings.options as unknown as FinetuneOptions;
  const from = settings.from!;
  const base = await openTextModel(from, { signal });
  let data: TuningData;
  let tuned: Adaptation;
  try {
    if (base.architecture !== "gpt2" && base.architecture !== "llama") {
      throw new UsageError(`${from} is a ${base.architecture}; expected a gpt2 or llama model`);
    }
    data = await load({ base, request, options });
    tuned = adapt(base, from, options, rng.fork("adapter"));
  } catch (error) {
    base.dispose();
    throw error;
  }
  const { weightDecay, maxGradNorm, warmup } = options;
  const { trainable } = tuned;
  const optimizer = adamw({
    learningRate: settings.learningRate,
    weightDecay,
    decayMask: decayMatrices,
    trainable,
    ...(maxGradNorm > 0 ? { maxGradNorm } : {}),
  });
  const { init, step } = gradientStep(
    optimizer,
    (params: Tree, batch: never, noise: Rng) => data.loss(tuned.lm, params, batch, noise),
    { trainable },
  );
  const assess = async (params: Tree): Promise<Assessment> => ({
    metrics: await data.measure(tuned.lm, params),
    samples: await drawSamples({ base, tuned, data, request, options }, params),
  });
  return {
    config: { architecture: base.architecture, config: base.pretrained.config, from, learns: tuned.summary },
    state: (init as (params: Tree) => TrainingState)(tuned.params),
    step: step as unknown as TrainingJob["step"],
    batches: data.batches(rng.fork("batches")),
    isFrozen: (path) => path.startsWith("params.") && !trainable(path.slice("params.".length), undefined as never),
    startsFrom: true,
    schedules: {
      "opt.learningRate": cosineWithWarmup({
        learningRate: settings.learningRate,
        warmupSteps: Math.min(warmup, Math.floor(settings.steps / 10)),
        totalSteps: settings.steps,
        minLearningRate: settings.learningRate / 10,
        warmup: "after-one",
      }),
    },
    shownMetrics: ["loss", "accuracy", "valLoss", "valAccuracy"],
    dataSummary: data.summary,
    notes: [`${tuned.trained.toLocaleString("en")} parameters learn: ${tuned.summary}.`],
    measuring: "Measuring on what was held out and writing samples.",
    charts: [
      {
        title: "Loss",
        caption: "Of each step's batch, and of what was held out, without dropout.",
        metrics: ["loss", "valLoss"],
      },
      ...(settings.kind === "preferences"
        ? [
            {
              title: "Accuracy",
              caption: "Share of pairs whose chosen answer has the higher implicit reward.",
              metrics: ["accuracy", "valAccuracy"],
            },
          ]
        : []),
    ],
    async prepare({ folder }) {
      request.note("Measuring the model as it is.");
      await folder.write(beforeFile, `${JSON.stringify(await assess(tuned.params), null, 2)}\n`);
    },
    evaluation: {
      every: options.evalEvery,
      async run(state, { step: at, folder, lines, show }) {
        const metrics = await data.measure(tuned.lm, state.params);
        const before = bestOf(lines);
        if (before === undefined || metrics.valLoss! < before.valLoss!) await tuned.save(state.params, folder.dir);
        show(dim(`step ${at}  ${describe(metrics)}`));
        return metrics;
      },
    },
    async save(state, { folder, lines }) {
      if (!bestOf(lines)) await tuned.save(state.params, folder.dir);
    },
    finish: (state, _, context) => finish({ settings, tuned, assess }, state, context),
  };
}

interface SampleContext {
  readonly base: TextModel;
  readonly tuned: Adaptation;
  readonly data: TuningData;
  readonly request: JobRequest;
  readonly options: FinetuneOptions;
}

async function drawSamples(
  { base, tuned, data, request, options }: SampleContext,
  params: Tree,
): Promise<Assessment["samples"]> {
  const { engine, rng, signal } = request;
  const { sampleTokens, sampleTemperature } = options;
  if (sampleTokens === 0) return [];
  const { lm } = tuned;
  const { tokenizer } = base;
  // A prompt leaves room for an answer.
  const room = Math.max(1, lm.blockSize - Math.min(sampleTokens, Math.ceil(lm.blockSize / 2)));
  const prompts =
    data.prompts.length > 0
      ? data.prompts.filter(({ length }) => length <= room)
      : [Int32Array.from(startIds(tokenizer))];
  if (prompts.length === 0) return [];
  const texts = prompts.map(() => "");
  const decoder = createDecoder(engine, lm);
  try {
    const pieces = writeTexts(engine, lm, params, prompts, {
      tokenizer,
      decoder,
      stopIds: data.stopIds,
      slide: true,
      maxNewTokens: sampleTokens,
      signal,
      // The same seed before and after.
      ...(data.greedy ? {} : { rng: rng.copy().fork("samples"), temperature: sampleTemperature }),
    });
    for await (const { row, text } of pieces) texts[row] += text;
  } finally {
    decoder.dispose();
  }
  return prompts.map((ids, i) => ({ prompt: data.prompts.length > 0 ? tokenizer.decode(ids) : "", text: texts[i]! }));
}

async function finish(
  {
    settings,
    tuned,
    assess,
  }: {
    readonly settings: JobRequest["settings"];
    readonly tuned: Adaptation;
    readonly assess: (params: Tree) => Promise<Assessment>;
  },
  state: TrainingState,
  { folder, lines }: RunContext,
): Promise<JobOutcome> {
  const best = bestOf(lines);
  let after = await assess(state.params);
  // The last steps have not been measured if time ran out.
  const isLast = !best || best.step === lines.at(-1)?.step || after.metrics.valLoss! < best.valLoss!;
  if (isLast) await tuned.save(state.params, folder.dir);
  else {
    const loaded = await tuned.load(state.params, folder.dir);
    after = await assess(loaded.params).finally(loaded.dispose);
  }
  const before = await readBefore(folder);
  const at = isLast ? undefined : `weights of step ${best.step}`;
  const rows = figures[settings.kind as keyof typeof figures];
  const show = (assessment: Assessment | undefined, name: string, digits: number) =>
    assessment?.metrics[name] === undefined ? "?" : assessment.metrics[name].toFixed(digits);
  const fileOf = ({ samples }: Assessment) =>
    samples.map(({ prompt, text }) => `${prompt}${prompt === "" ? "" : "\n>>> "}${text}`).join("\n\n---\n\n");
  return {
    results: {
      ...Object.fromEntries(Object.entries(before?.metrics ?? {}).map(([name, value]) => [`${name}Before`, value])),
      ...after.metrics,
      trainedParams: tuned.trained,
      ...(isLast ? {} : { bestStep: best.step }),
    },
    headline: rows.map(([name, label, digits], i) => ({
      label,
      value: `${show(before, name, digits)} -> ${show(after, name, digits)}`,
      ...(i === 0 && at !== undefined ? { note: at } : {}),
    })),
    pictures: [],
    files: after.samples.length > 0 ? [{ file: "samples.txt", contents: `${fileOf(after)}\n` }] : [],
    texts: after.samples.flatMap(({ prompt, text }, i) => {
      const earlier = before?.samples[i]?.text;
      const title = prompt === "" ? "Sample" : `Answer ${i + 1}`;
      const asked = prompt === "" ? "" : `${printable(prompt)}\n\n`;
      return [
        ...(earlier === undefined
          ? []
          : [{ title: `${title}, before`, caption: "", text: `${asked}${printable(earlier)}` }]),
        { title: `${title}, after`, caption: "", text: `${asked}${printable(text)}` },
      ];
    }),
  };
}

/** What is told of the results of each kind: metric, name and digits. */
const figures: Readonly<
  Record<"text" | "instructions" | "preferences", readonly (readonly [string, string, number])[]>
> = {
  text: [
    ["valLoss", "Validation loss, nats a token", 4],
    ["valPerplexity", "Perplexity", 2],
  ],
  instructions: [
    ["valLoss", "Loss of held-out answers, nats a token", 4],
    ["valPerplexity", "Perplexity of answers", 2],
  ],
  preferences: [
    ["valLoss", "DPO loss of held-out pairs", 4],
    ["valAccuracy", "Chosen answer preferred, share", 3],
    ["valMargin", "Reward margin", 3],
    ["valChosenLoss", "Loss of chosen answers, nats a token", 3],
  ],
};

const describe = (metrics: Readonly<Record<string, number>>): string =>
  Object.entries(metrics)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join("  ");

async function readBefore(folder: RunFolder): Promise<Assessment | undefined> {
  try {
    return JSON.parse(await readFile(join(folder.dir, beforeFile), "utf8")) as Assessment;
  } catch {
    return undefined; // a run that was stopped before it was measured
  }
}

/** The line with the least validation loss. */
function bestOf(lines: readonly MetricsLine[]): MetricsLine | undefined {
  let best: MetricsLine | undefined;
  for (const line of lines) {
    if (line.valLoss !== undefined && (!best || line.valLoss < best.valLoss!)) best = line;
  }
  return best;
}
