import type { Engine, Rng } from "@genai/core";
import type { BatchStream } from "@genai/datasets";
import type * as tf from "@tensorflow/tfjs";
import type { Option } from "commander";
import type { DataKind } from "../data/data-names.ts";
import type { MetricsLine } from "../run/metrics-log.ts";
import type { ReportPicture, ReportPlot, ReportText } from "../run/report.ts";
import type { RunConfig, RunFolder, TrainSettings } from "../run/run-folder.ts";
import type { GivenSettings } from "../run/train-settings.ts";

// What a family of models tells the commands about itself. To add one, write a file or folder beside this one that
// exports a Family, and name it in index.ts; no command knows a family or a kind by name.

export interface Family {
  /** As typed after `genai train`. */
  readonly name: string;
  /** What makes and resumes its runs; "genai train NAME" by default. */
  readonly command?: string;
  /** "variational autoencoder" */
  readonly summary: string;
  /**
   * Options of `genai train NAME` besides those that all families share, without default values: each kind has its own.
   * What a kind takes lands in `settings.options`.
   */
  readonly options: readonly Option[];
  /** What `--kind` chooses from; the first is the default. */
  readonly kinds: readonly [ModelKind, ...ModelKind[]];
  /** What `--from` takes, where that is more than a run. */
  readonly from?: string;
  /** Command lines for the help. */
  readonly examples?: readonly string[];
  /** What to do in place of what its kinds cannot do: "; it writes text with genai generate RUN". */
  readonly instead?: string;
  /** Settings with a name, which `--preset` chooses: a kind, a size and how it is trained. */
  readonly presets?: readonly Preset[];
}

export interface Preset {
  readonly name: string;
  /** "nanoGPT's character model for a CPU" */
  readonly summary: string;
  readonly settings: GivenSettings & { readonly kind: string };
}

/** One kind of model of a family: how it is trained and what one can do with it then. */
export interface ModelKind {
  /** As typed after `--kind`. */
  readonly name: string;
  readonly summary: string;
  /** What `--data` names: sets of this kind, or a path of one's own. */
  readonly data: DataKind;
  readonly defaults: {
    readonly data: string;
    readonly steps: number;
    readonly batchSize: number;
    readonly learningRate: number;
    /** Every option of the family that this kind takes, by attribute name, with its value if it is not given. */
    readonly options: Readonly<Record<string, unknown>>;
  };
  /** Loads the data and builds the model and everything that training it needs. */
  createJob(request: JobRequest): Promise<TrainingJob>;
  /** Draws from a trained model: the contents of one file. */
  sample?(request: SampleRequest): Promise<SampleFile>;
  /** Scores examples by how unlike the training data they are. */
  scoreAnomalies?(request: AnomalyRequest): Promise<AnomalyScores>;
  /** Fills in what is missing. */
  impute?(request: ImputeRequest): Promise<Imputation>;
  /** Writes the part of a trained model that makes things as an ONNX file. */
  exportOnnx?(
    request: ExportRequest,
  ): Promise<{ readonly inputs: readonly string[]; readonly outputs: readonly string[] }>;
}

export interface JobRequest {
  readonly settings: TrainSettings;
  readonly engine: Engine;
  readonly rng: Rng;
  readonly signal: AbortSignal;
  /** The run that goes on; its parameters come from its checkpoint. Undefined for a new one. */
  readonly resumed?: { readonly folder: RunFolder; readonly config: RunConfig };
  /** Tells the person what is going on, such as a download. */
  readonly note: (text: string) => void;
}

/** What a job may look at while it is trained. */
export interface RunContext {
  readonly folder: RunFolder;
  /** The metrics so far. */
  readonly lines: readonly MetricsLine[];
}

/** The state of training: `params` are the model's; the rest is the optimizer's and whatever else the step carries. */
export type TrainingState = { readonly params: unknown } & Record<string, unknown>;

// biome-ignore lint/suspicious/noExplicitAny: each family has a batch of its own, which only its own step reads
export type Batch = any;

export interface TrainingJob {
  /** The model's config, plain JSON. */
  readonly config: unknown;
  readonly state: TrainingState;
  /** One step, pure tensor code for `engine.compile`; `loss` is among the metrics. */
  readonly step: (
    state: TrainingState,
    batch: Batch,
    rng: Rng,
  ) => { state: TrainingState; metrics: Record<string, tf.Scalar> };
  readonly batches: BatchStream<Batch>;
  /** Batches whose gradients make one step: what people call a step is so many calls of `step`. Default 1. */
  readonly batchesPerStep?: number;
  /** Scalars of the state, by path, as functions of the step. */
  readonly schedules: Readonly<Record<string, (step: number) => number>>;
  /** The metrics that the progress bar shows, in order, those of the evaluation among them. */
  readonly shownMetrics: readonly string[];
  /** What a step reads, for a speed that can be compared: 768 "tokens". */
  readonly work?: { readonly unit: string; readonly perStep: number };
  /** Tensors of the state, by path, that never change: checkpoints leave them out. */
  readonly isFrozen?: (path: string) => boolean;
  /** What the person is told when training begins. */
  readonly notes?: readonly string[];
  /** Whether the parameters come from `settings.from` already. */
  readonly startsFrom?: boolean;
  /** Writes what a new run's folder needs from the beginning. */
  prepare?(context: RunContext): Promise<void>;
  /** Measures on held-out data as training goes; the result lands among the metrics. */
  readonly evaluation?: {
    /** Steps between two; 0 for once at the end. */
    readonly every: number;
    run(
      state: TrainingState,
      at: RunContext & {
        readonly step: number;
        /** The same stream each time. */
        readonly rng: Rng;
        /** Shows a text above the progress bar. */
        readonly show: (text: string) => void;
      },
    ): Promise<Readonly<Record<string, number>>>;
  };
  /** Writes the model when training ends or is interrupted, in place of model.safetensors. */
  save?(state: TrainingState, context: RunContext): Promise<void>;
  /** What the data is, for the report. */
  readonly dataSummary: string;
  readonly charts: readonly { readonly title: string; readonly caption: string; readonly metrics: readonly string[] }[];
  /** What the person is told before `finish`, which may take a while. */
  readonly measuring?: string;
  /** Measures the trained model on held-out data and draws its pictures. */
  finish(state: TrainingState, rng: Rng, context: RunContext): Promise<JobOutcome>;
}

export interface JobOutcome {
  /** Measured on the test set, by name. */
  readonly results: Readonly<Record<string, number>>;
  /** The same for people: "test ELBO -102.31 nats (mean over 10,000 images)". */
  readonly headline: readonly { readonly label: string; readonly value: string; readonly note?: string }[];
  /** Pictures for the run folder and the report. */
  readonly pictures: readonly PictureFile[];
  /** Plots of the results, for the report. */
  readonly plots?: readonly ReportPlot[];
  /** Texts for the report. */
  readonly texts?: readonly ReportText[];
  /** Other files for the run folder, such as drawn rows. */
  readonly files?: readonly { readonly file: string; readonly contents: string }[];
}

/** A picture and its name in the run folder, which ends in .png. */
export type PictureFile = ReportPicture & { readonly file: string };

export interface TrainedRun {
  readonly config: RunConfig;
  readonly params: unknown;
}

/** What every command on a trained run needs. */
export interface RunRequest {
  readonly run: TrainedRun;
  readonly engine: Engine;
  readonly rng: Rng;
  readonly signal: AbortSignal;
  /** Tells the person what is going on, such as a download. */
  readonly note: (text: string) => void;
}

export interface SampleRequest extends RunRequest {
  readonly count: number;
  /** Name of the class to draw from; all in turn if not given. Kinds without classes refuse it. */
  readonly label: string | undefined;
}

export interface SampleFile {
  /** Without the dot. */
  readonly extension: string;
  readonly contents: string | Uint8Array;
}

/** What commands that judge data need besides. */
export interface DataRunRequest extends RunRequest {
  /** A name or path as for training; the test part of the training data if not given. */
  readonly data: string | undefined;
  /** Goes on without images that cannot be read. */
  readonly skipBroken: boolean;
}

export interface AnomalyRequest extends DataRunRequest {
  /** Which score; the kind's first if not given. */
  readonly score: string | undefined;
}

export interface AnomalyScores {
  /** "-log p(x), nats" */
  readonly scoreName: string;
  /** Scores of normal examples that were not trained on: what the threshold comes from. */
  readonly calibration: Float64Array;
  readonly scores: Float64Array;
  /** What each example is called: a file, or its number. */
  readonly names: readonly string[];
  /** For each example whether it is an anomaly, where that is known: examples of the class that training left out. */
  readonly truth?: readonly boolean[];
  /** Scores of a simple method for comparison, where it can be had. */
  readonly baseline?: { readonly name: string; readonly scores: Float64Array };
  /** A picture of examples, by their index, in the order given. */
  readonly picture?: (indices: readonly number[]) => Uint8Array;
}

export interface ImputeRequest extends DataRunRequest {
  /** Share of the known values to hide and to compare with what was filled in; 0 to fill real gaps only. */
  readonly hide: number;
}

export interface Imputation {
  /** The completed data: rows, or a picture. */
  readonly file: SampleFile;
  /** Examples, and values that were filled in. */
  readonly examples: number;
  readonly filled: number;
  /** Errors at the hidden values of the model and of simpler methods; none if nothing was hidden. Smaller is better. */
  readonly errors: readonly {
    readonly measure: string;
    readonly model: number;
    readonly mean: number;
    readonly pca?: number;
  }[];
}

export interface ExportRequest {
  readonly run: TrainedRun;
  readonly file: string;
}
