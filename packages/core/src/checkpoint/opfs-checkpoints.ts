import { type CheckpointStore, type CheckpointStoreOptions, checkpointStore } from "./checkpoint-store.ts";

/**
 * Checkpoints in the browser's origin private file system.
 *
 * A file there changes at once, when its writable stream closes, so a closed tab leaves only whole checkpoints.
 *
 * @param directory a folder's name in the root of the origin's file system, or the handle of any folder.
 * @throws if the browser has no such file system.
 */
export function opfsCheckpoints(
  directory: string | FileSystemDirectoryHandle,
  options: CheckpointStoreOptions = {},
): CheckpointStore {
  const folder = async (): Promise<FileSystemDirectoryHandle> => {
    if (typeof directory !== "string") return directory;
    if (typeof navigator === "undefined" || navigator.storage?.getDirectory === undefined) {
      throw new Error("opfsCheckpoints: no origin private file system here; expected a browser, on https or localhost");
    }
    return (await navigator.storage.getDirectory()).getDirectoryHandle(directory, { create: true });
  };
  const remove = async (file: string) => {
    await (await folder()).removeEntry(file).catch((error: Error) => {
      if (error.name !== "NotFoundError") throw error;
    });
  };
  return checkpointStore(
    "opfsCheckpoints",
    {
      name: typeof directory === "string" ? directory : directory.name,
      async list() {
        const names: string[] = [];
        for await (const [name, handle] of entriesOf(await folder())) {
          // Asking for a handle makes an empty file; it stays one if the tab closes before the first write is done.
          if (handle.kind === "file" && (await (handle as FileSystemFileHandle).getFile()).size > 0) names.push(name);
        }
        return names;
      },
      open: async (file) => (await (await folder()).getFileHandle(file)).getFile(),
      async write(file, chunks) {
        const handle = await (await folder()).getFileHandle(file, { create: true });
        try {
          const stream = await handle.createWritable();
          try {
            for await (const chunk of chunks) await stream.write(chunk as Uint8Array<ArrayBuffer>);
          } catch (error) {
            await stream.abort();
            throw error;
          }
          await stream.close();
        } catch (cause) {
          if ((await handle.getFile()).size === 0) await remove(file);
          const { message } = cause as Error;
          throw new Error(`opfsCheckpoints.save: cannot write ${file}: ${message}. Older checkpoints are intact`, {
            cause,
          });
        }
      },
      remove,
    },
    options,
  );
}

/** TypeScript's DOM library gives directory handles no iterator, though every browser with them has one. */
function entriesOf(folder: FileSystemDirectoryHandle): AsyncIterable<[string, FileSystemHandle]> {
  return folder as unknown as AsyncIterable<[string, FileSystemHandle]>;
}
