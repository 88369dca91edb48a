import { removeStaleTemporaries, writeFileAtomic } from "./atomic-file.ts";
import { type CheckpointStore, type CheckpointStoreOptions, checkpointStore, parseName } from "./checkpoint-store.ts";

/**
 * Checkpoints as files in a folder (Node), which is made if it is not there.
 *
 * Each file is written beside its place, synced and renamed, so that a crash or a full disk at any moment leaves only
 * whole checkpoints. Temporaries of processes that died are removed. Several processes may read; one should write.
 */
export function fileCheckpoints(directory: string, options: CheckpointStoreOptions = {}): CheckpointStore {
  const prefix = options.prefix ?? "checkpoint";
  const isOurs = (file: string) => parseName(prefix, file) !== undefined;
  const join = async (file: string) => (await import("node:path")).join(directory, file);
  return checkpointStore(
    "fileCheckpoints",
    {
      name: directory,
      async list() {
        const { readdir } = await import("node:fs/promises");
        try {
          return await readdir(directory);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
          throw error;
        }
      },
      open: join,
      async write(file, chunks) {
        const { mkdir } = await import("node:fs/promises");
        await mkdir(directory, { recursive: true });
        // Leftovers may be what fills the disk, so they go first; that they cannot be removed is no reason not to save.
        await removeStaleTemporaries(directory, isOurs).catch(() => []);
        await writeFileAtomic(await join(file), chunks, "fileCheckpoints.save");
      },
      async remove(file) {
        const { rm } = await import("node:fs/promises");
        await rm(await join(file), { force: true });
      },
    },
    options,
  );
}
