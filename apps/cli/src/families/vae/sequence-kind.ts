import { adam, gradientStep, type LossScalars, linearWarmup, type Rng } from "@genai/core";
import { batches } from "@genai/datasets";
import {
  createSequenceVae,
  decodeStrings,
  encodeStrings,
  interpolateSequenceVae,
  reconstructSequenceVae,
  type SequenceVae,
  sampleSequenceVae,
  sequenceVaeLoss,
} from "@genai/vae";
import type * as tf from "@tensorflow/tfjs";
import { inEnglish } from "../../data/data-names.ts";
import { loadWords } from "../../data/word-data.ts";
import { UsageError } from "../../exit-code.ts";
import type { JobOutcome, JobRequest, ModelKind, SampleFile, SampleRequest, TrainingJob } from "../family.ts";
import { learningRateSchedule } from "./learning-rate.ts";
import { meanMetrics } from "./mean-metrics.ts";

interface SequenceOptions {
  readonly latentDim: number;
  readonly hiddenSize: number;
  readonly embeddingDim: number;
  readonly beta: number;
  readonly betaWarmup: number;
  readonly wordDropout: number;
}

type Config = { vae: SequenceVae["config"]; alphabet: readonly string[] };
type Params = SequenceVae["params"];

export const sequenceKind: ModelKind = {
  name: "sequence",
  summary: "recurrent VAE for short strings, such as names",
  data: "words",
  defaults: {
    data: "names",
    steps: 3000,
    batchSize: 128,
    learningRate: 3e-3,
    options: {
      latentDim: 16,
      hiddenSize: 128,
      embeddingDim: 32,
      beta: 1,
      betaWarmup: 1500,
      wordDropout: 0.3,
    } satisfies SequenceOptions,
  },
  createJob,
  sample,
};

async function createJob(request: JobRequest): Promise<TrainingJob> {
  const { settings, rng } = request;
  const { latentDim, hiddenSize, embeddingDim, beta, betaWarmup, wordDropout } =
    settings.options as unknown as SequenceOptions;
  const { train, test, alphabet, summary } = await loadWords(settings.data, request);
  const length = 1 + [...train, ...test].reduce((most, word) => Math.max(most, [...word].length), 1);
  const vae = createSequenceVae(
    { vocabSize: alphabet.length + 1, length, nEmbd: embeddingDim, hiddenSize, latentDim },
    rng.fork("params"),
  );
  const config: Config = { vae: vae.config, alphabet };
  const tokens = encodeStrings(train, { alphabet, length });
  const ids = Int32Array.from(await tokens.data());
  tokens.dispose();

  const { init, step } = gradientStep(
    adam({ learningRate: settings.learningRate }),
    (params: Params, batch: { tokens: tf.Tensor2D }, noise: Rng, scalars: LossScalars<"beta">) =>
      sequenceVaeLoss({ config: vae.config, params }, batch.tokens, noise, { ...scalars, wordDropout }),
  );

  return {
    config,
    state: init(vae.params, { beta }),
    step: step as unknown as TrainingJob["step"],
    batches: batches(
      { tokens: ids, shape: [train.length, length] },
      { batchSize: Math.min(settings.batchSize, train.length), rng: rng.fork("batches") },
    ),
    schedules: {
      "opt.learningRate": learningRateSchedule(settings),
      beta: linearWarmup({ to: beta, steps: betaWarmup }),
    },
    shownMetrics: ["loss", "recon", "kl"],
    dataSummary: summary,
    charts: [
      { title: "Loss", caption: "Nats per string; loss = recon + beta * kl.", metrics: ["loss", "recon"] },
      { title: "KL divergence", caption: "Nats per string that the code carries.", metrics: ["kl"] },
    ],
    finish: (trained, noise) => assess(config, trained.params as Params, test, noise, request),
  };
}

async function assess(
  { vae: config, alphabet }: Config,
  params: Params,
  test: readonly string[],
  rng: Rng,
  { engine, signal }: JobRequest,
): Promise<JobOutcome> {
  const { length } = config;
  const tokens = encodeStrings(test, { alphabet, length });
  const { loss, recon, kl } = (await meanMetrics(
    engine,
    params,
    (p: Params, batch: tf.Tensor2D, noise: Rng) => sequenceVaeLoss({ config, params: p }, batch, noise),
    tokens,
    { rng: rng.fork("elbo"), signal },
  )) as Record<"loss" | "recon" | "kl", number>;
  tokens.dispose();

  const strings = async (fn: (p: Params, noise: Rng) => tf.Tensor): Promise<string[]> => {
    const compiled = engine.compile(fn);
    const ids = await compiled(params, rng);
    const flat = ids.reshape([-1, length]) as tf.Tensor2D;
    const decoded = await decodeStrings(flat, alphabet);
    for (const t of [ids, flat]) t.dispose();
    compiled.dispose();
    return decoded;
  };
  const samples = await strings((p, noise) => sampleSequenceVae({ config, params: p }, { count: 40, rng: noise }));
  const firsts = test.slice(0, 12);
  const [from, to] = [test.slice(0, 4), test.slice(4, 8)];
  const encode = (words: readonly string[]) => encodeStrings(words, { alphabet, length });
  const rebuilt = await strings((p) => reconstructSequenceVae({ config, params: p }, encode(firsts)));
  const walks =
    to.length === from.length
      ? await strings((p) => interpolateSequenceVae({ config, params: p }, encode(from), encode(to), { steps: 6 }))
      : [];
  const rows = from.map((_, i) => walks.slice(6 * i, 6 * i + 6).join(" > "));
  const lines = [
    "Drawn from the prior:",
    ...samples,
    "",
    "Test strings and their reconstructions:",
    ...firsts.map((word, i) => `${word} > ${rebuilt[i]}`),
    "",
    "From one test string to another:",
    ...(walks.length > 0 ? rows : ["too few test strings"]),
  ];
  const per = `mean over ${inEnglish(test.length)} test strings`;
  return {
    results: { testElbo: -loss, testNegativeElbo: loss, testRecon: recon, testKl: kl },
    headline: [
      { label: "Test ELBO", value: `${(-loss).toFixed(2)} nats`, note: per },
      { label: "Reconstruction", value: `${recon.toFixed(2)} nats`, note: "-log p(string | z)" },
      { label: "KL divergence", value: `${kl.toFixed(2)} nats`, note: "of q(z | string) from the prior" },
      { label: "Drawn", value: samples.slice(0, 3).join(", "), note: samples.slice(3, 12).join(", ") },
    ],
    pictures: [],
    files: [{ file: "strings.txt", contents: `${lines.join("\n")}\n` }],
  };
}

async function sample({ run, engine, count, label, rng }: SampleRequest): Promise<SampleFile> {
  if (label !== undefined) throw new UsageError(`--class ${label} means nothing to this model, which knows no classes`);
  const { vae: config, alphabet } = run.config.model as Config;
  const draw = engine.compile((params: Params, noise: Rng) =>
    sampleSequenceVae({ config, params }, { count, rng: noise }),
  );
  const ids = await draw(run.params as Params, rng);
  const strings = await decodeStrings(ids, alphabet);
  ids.dispose();
  draw.dispose();
  return { extension: "txt", contents: `${strings.join("\n")}\n` };
}
