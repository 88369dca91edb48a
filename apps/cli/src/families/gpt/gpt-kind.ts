import { existsSync } from "node:fs";
import { type Tree, treeDispose } from "@genai/core";
import { loadTokenizer, type Tokenizer } from "@genai/tokenizer";
import { loadPretrained, type PretrainedModel, pretrainedLm } from "@genai/transformer";
import { UsageError } from "../../exit-code.ts";
import { type LanguageTraining, languageModelJob } from "../../text/language-model-job.ts";
import { writeModel, writeTokenizer } from "../../text/model-files.ts";
import { type DocumentKind, loadCorpus, type TextCorpus } from "../../text/text-corpus.ts";
import { modelFolderOf, openTextModel } from "../../text/text-model.ts";
import { chooseTokenizer, endIdOf } from "../../text/text-vocabulary.ts";
import { type TokenSource, tokenSource } from "../../text/token-source.ts";
import type { JobRequest, ModelKind, TrainingJob } from "../family.ts";
import type { Network, NetworkOptions } from "./networks.ts";

interface DataOptions {
  readonly tokenizer: string;
  readonly documents: DocumentKind;
}

type Options = DataOptions & NetworkOptions & LanguageTraining;

const sharedDefaults: Omit<Options, "nKvHead" | "bias"> = {
  tokenizer: "auto",
  documents: "auto",
  nLayer: 4,
  nHead: 4,
  nEmbd: 128,
  nInner: null,
  blockSize: 64,
  dropout: 0,
  untiedHead: false,
  weightDecay: 0.1,
  beta2: 0.99,
  maxGradNorm: 1,
  accumulate: 1,
  minLearningRate: null,
  warmup: 100,
  labelSmoothing: 0,
  evalEvery: 250,
  evalBatches: 20,
  sampleTokens: 200,
  samplePrompt: "",
  sampleTemperature: 0.8,
};

/** Training a causal language model of one architecture on text. */
export function gptKind(network: Network): ModelKind {
  return {
    name: network.name,
    summary: network.summary,
    data: "text",
    defaults: {
      data: "tiny-shakespeare",
      steps: 2000,
      batchSize: 12,
      learningRate: 1e-3,
      options: { ...sharedDefaults, ...network.options },
    },
    createJob: (request) => createJob(network, request),
  };
}

/** What training begins with. */
interface Beginning {
  readonly model: PretrainedModel;
  readonly tokenizer: Tokenizer;
  readonly source: TokenSource;
  /** What the model's files say ends a text. */
  readonly endId: number | undefined;
}

async function createJob(network: Network, request: JobRequest): Promise<TrainingJob> {
  const { settings, signal, resumed } = request;
  const training = settings.options as unknown as Options;
  const corpus = await loadCorpus(settings.data, { ...request, documents: training.documents });
  const { model, tokenizer, source, endId } = await beginning(network, corpus, request);
  const { architecture, config, params, published } = model;
  const lm = pretrainedLm(model);
  return {
    ...languageModelJob<Tree>({
      request,
      config: { architecture, config },
      params,
      lm,
      tokenizer,
      source,
      endId: corpus.documents ? endId : undefined,
      training,
      prepare: ({ dir }) =>
        writeTokenizer(modelFolderOf(dir), tokenizer, { endId, begins: corpus.documents, blockSize: lm.blockSize }),
      save: (p, { dir }) =>
        writeModel(modelFolderOf(dir), { architecture, config, params: p, published } as PretrainedModel, endId),
      async load({ dir }) {
        const { params: saved } = await loadPretrained(modelFolderOf(dir), { signal });
        return { params: saved, dispose: () => treeDispose(saved) };
      },
    }),
    startsFrom: settings.from !== null || resumed !== undefined,
  };
}

async function beginning(network: Network, corpus: TextCorpus, request: JobRequest): Promise<Beginning> {
  const { settings, resumed } = request;
  // A run that was stopped before its first checkpoint begins again.
  if (resumed && existsSync(resumed.folder.checkpointsDir)) return goOn(network, corpus, request, resumed);
  return settings.from === null
    ? beginNew(network, corpus, request)
    : beginFrom(network, settings.from, corpus, request);
}

async function beginNew(
  network: Network,
  corpus: TextCorpus,
  { settings, rng, signal }: JobRequest,
): Promise<Beginning> {
  const options = settings.options as unknown as Options;
  const tokenizer = await chooseTokenizer(options.tokenizer, corpus, signal);
  const endId = corpus.documents ? endIdOf(tokenizer) : undefined;
  const source = tokenSource(corpus, tokenizer, { blockSize: options.blockSize, endId });
  // Positions behind the longest of the documents would never be trained.
  const config = network.configOf({ ...options, blockSize: source.length }, tokenizer.vocabSize);
  return { model: network.create(config, rng.fork("params")), tokenizer, source, endId };
}

async function beginFrom(
  network: Network,
  path: string,
  corpus: TextCorpus,
  { settings, signal }: JobRequest,
): Promise<Beginning> {
  const { blockSize, dropout } = settings.options as unknown as Options;
  const { pretrained, tokenizer, stopIds, lm, dispose } = await openTextModel(path, { signal });
  try {
    if (pretrained.architecture !== network.name) {
      throw new UsageError(`--from ${path} holds a ${pretrained.architecture}; add --kind ${pretrained.architecture}`);
    }
    const endId = stopIds[0] ?? endIdOf(tokenizer);
    const source = tokenSource(corpus, tokenizer, { blockSize: Math.min(blockSize, lm.blockSize), endId });
    const model = { ...pretrained, config: { ...pretrained.config, dropout } } as PretrainedModel;
    return { model, tokenizer, source, endId };
  } catch (error) {
    dispose();
    throw error;
  }
}

async function goOn(
  network: Network,
  corpus: TextCorpus,
  { settings, rng, signal }: JobRequest,
  { folder, config }: NonNullable<JobRequest["resumed"]>,
): Promise<Beginning> {
  const { blockSize } = settings.options as unknown as Options;
  const tokenizer = await loadTokenizer(modelFolderOf(folder.dir), { signal });
  const endId = endIdOf(tokenizer);
  const { config: known } = config.model as Pick<PretrainedModel, "config">;
  // The parameters that are drawn here give way to those of the checkpoint.
  const model = network.create(known, rng.fork("params"));
  try {
    const most = Math.min(blockSize, pretrainedLm(model).blockSize);
    return { model, tokenizer, source: tokenSource(corpus, tokenizer, { blockSize: most, endId }), endId };
  } catch (error) {
    treeDispose(model.params);
    throw error;
  }
}
