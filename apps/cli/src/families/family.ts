import type { Engine, Rng } from "@genai/core";
import type { BatchStream } from "@genai/datasets";
import type * as tf from "@tensorflow/tfjs";
import type { Option } from "commander";
import type { ReportPicture } from "../run/report.ts";
import type { RunConfig, TrainSettings } from "../run/run-folder.ts";

// What a family of models tells the commands about itself. To add one, write a file beside this one that exports a
// Family, and name it in index.ts; no command knows a family by name.

export interface Family {
  /** As typed after `genai train`. */
  readonly name: string;
  readonly summary: string;
  /** Data sets that it can be trained on; the first is the default. */
  readonly dataSets: readonly string[];
  /** Options of `genai train NAME` besides those that all families share. Their values land in `settings.options`. */
  readonly options: readonly Option[];
  readonly defaults: {
    readonly steps: number;
    readonly batchSize: number;
    readonly learningRate: number;
  };
  /** Loads the data and builds the model and everything that training it needs. */
  createJob(request: JobRequest): Promise<TrainingJob>;
  /** Draws from a trained model: the contents of one file. */
  sample(request: SampleRequest): Promise<SampleFile>;
  /** Writes the part of a trained model that makes things as an ONNX file. */
  exportOnnx(
    request: ExportRequest,
  ): Promise<{ readonly inputs: readonly string[]; readonly outputs: readonly string[] }>;
  /** What `genai reproduce` can train to a published number. */
  readonly recipes: readonly Recipe[];
}

export interface JobRequest {
  readonly settings: TrainSettings;
  readonly engine: Engine;
  readonly rng: Rng;
  readonly signal: AbortSignal;
  /** Tells the person what is going on, such as a download. */
  readonly note: (text: string) => void;
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
  /** Scalars of the state, by path, as functions of the step. */
  readonly schedules: Readonly<Record<string, (step: number) => number>>;
  /** The metrics that the progress bar shows, in order. */
  readonly shownMetrics: readonly string[];
  /** What the data is, for the report. */
  readonly dataSummary: string;
  readonly charts: readonly { readonly title: string; readonly caption: string; readonly metrics: readonly string[] }[];
  /** Measures the trained model on held-out data and draws its pictures. */
  finish(state: TrainingState, rng: Rng): Promise<JobOutcome>;
  dispose(): void;
}

export interface JobOutcome {
  /** Measured on the test set, by name. */
  readonly results: Readonly<Record<string, number>>;
  /** The same for people: "test ELBO -102.31 nats (mean over 10,000 images)". */
  readonly headline: readonly { readonly label: string; readonly value: string; readonly note?: string }[];
  /** Pictures for the run folder and the report; `file` ends in .png. */
  readonly pictures: readonly (ReportPicture & { readonly file: string })[];
}

export interface TrainedRun {
  readonly config: RunConfig;
  readonly params: unknown;
}

export interface SampleRequest {
  readonly run: TrainedRun;
  readonly engine: Engine;
  readonly count: number;
  readonly rng: Rng;
}

export interface SampleFile {
  /** Without the dot. */
  readonly extension: string;
  readonly contents: string | Uint8Array;
}

export interface ExportRequest {
  readonly run: TrainedRun;
  readonly file: string;
}

export interface Recipe {
  /** As typed after `genai reproduce`. */
  readonly name: string;
  readonly summary: string;
  readonly settings: Omit<TrainSettings, "seed">;
  /** The number that must be reached: a name of `JobOutcome.results` and its largest allowed value. */
  readonly target: { readonly result: string; readonly label: string; readonly atMost: number; readonly unit: string };
  readonly published: readonly { readonly what: string; readonly value: string; readonly source: string }[];
}
