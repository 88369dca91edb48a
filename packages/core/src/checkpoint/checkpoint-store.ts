import { FormatError } from "../errors.ts";
import { type ByteChunks, type ByteSourceInput, collectBytes } from "./byte-source.ts";
import { type Checkpoint, decodeCheckpoint, streamCheckpoint } from "./checkpoint.ts";

/** One checkpoint in a store. */
export interface CheckpointInfo {
  readonly step: number;
  /** Its name in the store. */
  readonly file: string;
  /** Marked checkpoints are never removed by the store. */
  readonly marked: boolean;
}

export interface SkippedCheckpoint extends CheckpointInfo {
  readonly error: Error;
}

export interface LatestCheckpoint extends CheckpointInfo {
  readonly checkpoint: Checkpoint;
  /** Newer ones that could not be read, the newest first. */
  readonly skipped: readonly SkippedCheckpoint[];
}

/** Keeps the checkpoints of one training run, by step. */
export interface CheckpointStore {
  /** What error messages call it. */
  readonly name: string;
  /**
   * Writes a checkpoint, replacing one of the same step, then removes old ones. When it rejects, those that were there
   * are still there. The state's tensors are read one after another, and needed until it resolves.
   */
  save(checkpoint: Checkpoint, options?: { readonly marked?: boolean }): Promise<CheckpointInfo>;
  /** What there is, by rising step. */
  list(): Promise<CheckpointInfo[]>;
  /** The checkpoint of that step; the caller owns the tensors of its state. */
  load(step: number): Promise<Checkpoint>;
  /**
   * The newest checkpoint that can be read; undefined if there is none at all.
   *
   * @throws FormatError if there are some and none of them can be read.
   */
  latest(): Promise<LatestCheckpoint | undefined>;
}

export interface CheckpointStoreOptions {
  /** How many of the newest to keep beside the marked ones; Infinity keeps all. Default 3. */
  readonly keep?: number;
  /** How the names of the files begin: letters, digits, _ - and dots. Default "checkpoint". */
  readonly prefix?: string;
}

/** Where a store's files live. */
export interface CheckpointFolder {
  readonly name: string;
  /** Names of the complete files. */
  list(): Promise<string[]>;
  open(file: string): Promise<ByteSourceInput>;
  /** Puts a file there whole, or rejects and leaves things as they were. */
  write(file: string, chunks: ByteChunks): Promise<void>;
  /** Removes a file; one that is gone already is no error. */
  remove(file: string): Promise<void>;
}

/** A store over any kind of folder: names, order, removal of old ones and search for the newest good one. */
export function checkpointStore(
  caller: string,
  folder: CheckpointFolder,
  { keep = 3, prefix = "checkpoint" }: CheckpointStoreOptions = {},
): CheckpointStore {
  if (!(keep >= 1)) throw new Error(`${caller}: keep (${keep}) must be at least 1`);
  checkPrefix(caller, prefix);

  const all = async (): Promise<CheckpointInfo[]> => {
    const infos = (await folder.list()).map((file) => parseName(prefix, file)).filter((info) => info !== undefined);
    return infos.sort((a, b) => a.step - b.step || Number(a.marked) - Number(b.marked));
  };
  const list = async () => {
    // A crash between two files of one step, one of them marked, leaves both; the marked one stands for the step.
    const infos = await all();
    return infos.filter((info, i) => infos[i + 1]?.step !== info.step);
  };

  return {
    name: folder.name,
    list,
    async save(checkpoint, { marked = false } = {}) {
      const { step } = checkpoint;
      const before = await all();
      const keepMark = marked || before.some((info) => info.step === step && info.marked);
      const file = fileName(prefix, step, keepMark);
      await folder.write(file, streamCheckpoint(checkpoint));
      const twin = before.filter((info) => info.step === step && info.file !== file);
      // Counted up to this step only: newer files belong to a run that went further, or are damaged and were skipped.
      const older = before.filter((info) => !info.marked && info.step < step);
      const surplus = older.slice(0, Math.max(0, older.length + (keepMark ? 0 : 1) - keep));
      for (const info of [...twin, ...surplus]) await folder.remove(info.file);
      return { step, file, marked: keepMark };
    },
    async load(step) {
      const infos = await list();
      const info = infos.find((candidate) => candidate.step === step);
      if (info !== undefined) return decodeCheckpoint(await folder.open(info.file));
      const steps = infos.map((candidate) => candidate.step).join(", ");
      throw new Error(`load: ${folder.name} has no checkpoint of step ${step}; it has ${steps || "none"}`);
    },
    async latest() {
      const skipped: SkippedCheckpoint[] = [];
      for (const info of (await all()).reverse()) {
        try {
          return { ...info, checkpoint: await decodeCheckpoint(await folder.open(info.file)), skipped };
        } catch (error) {
          // Anything else - no permission, a broken disk - is no reason to fall back on an older state silently.
          if (!(error instanceof FormatError)) throw error;
          skipped.push({ ...info, error });
        }
      }
      if (skipped.length === 0) return undefined;
      // Starting anew without a word would throw the run away.
      const reasons = skipped.map(({ file, error }) => `${file} (${error.message})`).join("; ");
      throw new FormatError(`latest: ${folder.name} has no checkpoint that can be read: ${reasons}`);
    },
  };
}

export function checkPrefix(caller: string, prefix: string): void {
  if (!/^\w[\w.-]*$/.test(prefix)) {
    throw new Error(`${caller}: prefix (${JSON.stringify(prefix)}) must be of letters, digits, _ - and dots`);
  }
}

function fileName(prefix: string, step: number, marked: boolean): string {
  return `${prefix}-${String(step).padStart(8, "0")}${marked ? ".keep" : ""}.safetensors`;
}

/** What the name of a file says, if it is a checkpoint's. */
export function parseName(prefix: string, file: string): CheckpointInfo | undefined {
  if (!file.startsWith(`${prefix}-`)) return undefined;
  const match = file.slice(prefix.length + 1).match(/^(\d{8,16})(\.keep)?\.safetensors$/);
  return match ? { step: Number(match[1]), file, marked: match[2] !== undefined } : undefined;
}

/** Checkpoints in memory, as the bytes that a file would hold: for tests, and for pages that need no storage. */
export function memoryCheckpoints(options: CheckpointStoreOptions = {}): CheckpointStore {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  return checkpointStore(
    "memoryCheckpoints",
    {
      name: "memory",
      list: async () => [...files.keys()],
      open: async (file) => files.get(file)!,
      write: async (file, chunks) => {
        files.set(file, await collectBytes(chunks));
      },
      remove: async (file) => {
        files.delete(file);
      },
    },
    options,
  );
}
