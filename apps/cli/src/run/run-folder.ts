import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "@genai/core";
import { UsageError } from "../exit-code.ts";

/** What a person asked for; with the seed it determines a run. Plain JSON, stored in config.json. */
export interface TrainSettings {
  /** Which of the family's models. */
  readonly kind: string;
  /** The preset that the settings began with, if one was given. */
  readonly preset?: string;
  /** Name of a data set, or a path. */
  readonly data: string;
  readonly steps: number;
  /** Stops after this many seconds of training even if steps are left; null for no limit. */
  readonly seconds: number | null;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly seed: number;
  /** Run folder whose parameters training begins with; null to begin with drawn ones. */
  readonly from: string | null;
  /** What the family's own options say, as far as the kind takes them. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** The contents of config.json. */
export interface RunConfig {
  readonly format: "genai-run-1";
  readonly name: string;
  readonly family: string;
  readonly settings: TrainSettings;
  readonly model: unknown;
  readonly params: number;
  readonly engine: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly createdAt: string;
}

/** The files of a run. Everything that is written below a run's directory is named here. */
export class RunFolder {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  get configFile(): string {
    return join(this.dir, "config.json");
  }

  get metricsFile(): string {
    return join(this.dir, "metrics.jsonl");
  }

  get modelFile(): string {
    return join(this.dir, "model.safetensors");
  }

  get resultFile(): string {
    return join(this.dir, "result.json");
  }

  get reportFile(): string {
    return join(this.dir, "report.html");
  }

  get checkpointsDir(): string {
    return join(this.dir, "checkpoints");
  }

  /** Writes a file of the folder so that a reader sees the old contents or the new, never a part. */
  async write(file: string, contents: string | Uint8Array): Promise<string> {
    const path = join(this.dir, file);
    await writeFileAtomic(path, contents, "genai");
    return path;
  }

  /** Writes config.json and makes the folder if it is not there. */
  async writeConfig(config: RunConfig): Promise<void> {
    await mkdir(this.dir, { recursive: true });
    await this.write("config.json", `${JSON.stringify(config, null, 2)}\n`);
  }

  async readConfig(): Promise<RunConfig> {
    const text = await readFile(this.configFile, "utf8").catch(() => {
      throw new UsageError(`${this.dir} is no run folder: it has no config.json`);
    });
    const config = JSON.parse(text) as RunConfig;
    if (config.format !== "genai-run-1") {
      throw new UsageError(`${this.configFile} has format ${JSON.stringify(config.format)}; expected "genai-run-1"`);
    }
    return config;
  }
}

/** Where a new run goes: `out`, or runs/NAME-TIMESTAMP. Throws if there is a run already; makes nothing yet. */
export function newRunFolder(name: string, out: string | undefined): RunFolder {
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  const folder = new RunFolder(out ?? join("runs", `${name}-${stamp}`));
  if (existsSync(folder.configFile)) {
    throw new UsageError(
      `${folder.dir} already holds a run; continue it with --resume ${folder.dir} or choose another --out`,
    );
  }
  return folder;
}
