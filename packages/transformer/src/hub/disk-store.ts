import { throwIfAborted, withFileLock } from "@genai/core";
import { environment, type HubClient, type HubFile } from "./hub-client.ts";
import { HubDamageError, HubError } from "./hub-error.ts";
import type { HubStore, StoreOptions } from "./hub-store.ts";

// The cache in Node has the layout of Python's huggingface_hub, which finds there what is downloaded here, and the other
// way round: models--OWNER--NAME with blobs/HASH, snapshots/COMMIT/FILE (links to blobs) and refs/REVISION (a commit).
// While a blob is fetched, blobs/HASH.part holds what has arrived, and a file in .locks says who fetches it.

export async function openDiskStore({ caller, repo, cacheDir, signal }: StoreOptions): Promise<HubStore> {
  const { mkdir, readdir, readFile, rename, rm, writeFile } = await import("node:fs/promises");
  const { dirname, join } = await import("node:path");
  const root = cacheDir ?? (await cacheFolder());
  const name = `models--${repo.replace("/", "--")}`;
  const folder = join(root, name);
  const snapshot = (commit: string) => join(folder, "snapshots", commit);

  async function fetchBlob(blob: string, commit: string, file: HubFile, client: HubClient, onBytes: OnBytes) {
    const part = `${blob}.part`;
    for (let again = false; ; again = true) {
      let resumed = false;
      try {
        await client.retry(async () => {
          const from = await beginOf(part, file);
          resumed ||= from > 0;
          await fetchRest(part, from, client.read(commit, file, from), { caller, repo, file, signal, onBytes });
        });
        return await rename(part, blob);
      } catch (error) {
        if (!(error instanceof HubDamageError)) throw error; // what has arrived is gone on with next time
        await rm(part, { force: true });
        // Parts of two versions may have been joined, or a server without ranges has sent all again: once more, in one go.
        if (again || !resumed) throw error;
      }
    }
  }

  return {
    place: folder,

    async commitOf(revision) {
      const commit = (await optional(readFile(join(folder, "refs", revision), "utf8")))?.trim();
      return commit !== undefined && /^[0-9a-f]{40}$/.test(commit) ? commit : undefined;
    },

    async remember(revision, commit) {
      const ref = join(folder, "refs", revision);
      await mkdir(dirname(ref), { recursive: true });
      await writeFile(ref, commit);
    },

    async names(commit) {
      const names = (await optional(readdir(snapshot(commit)))) ?? [];
      const sizes = await Promise.all(names.map((file) => sizeOf(join(snapshot(commit), file))));
      return names.filter((_, i) => sizes[i] !== undefined);
    },

    readText: (commit, file) => readFile(join(snapshot(commit), file), "utf8"),

    async add(commit, file, client, onBytes) {
      const pointer = join(snapshot(commit), file.name);
      const blob = join(folder, "blobs", file.hash.hex);
      const here = async () => (await sizeOf(pointer)) === file.size;
      try {
        if (!(await here())) {
          const lock = join(root, ".locks", name, `${file.hash.hex}.genai.lock`);
          for (const path of [lock, blob, pointer]) await mkdir(dirname(path), { recursive: true });
          await withFileLock(lock, { caller, signal }, async () => {
            if (await here()) return; // another process has fetched it meanwhile
            if ((await sizeOf(blob)) !== file.size) await fetchBlob(blob, commit, file, client, onBytes);
            await link(blob, pointer);
          });
        }
        onBytes(file.size);
      } catch (error) {
        const { syscall } = error as { syscall?: string };
        if (syscall === undefined || error instanceof HubError) throw error;
        throw new Error(`${caller}: cannot keep ${file.name} in ${folder}: ${(error as Error).message}`, {
          cause: error,
        });
      }
    },

    open: async (commit) => snapshot(commit),
  };
}

/** Where Python's library keeps its cache, by the same environment variables. */
async function cacheFolder(): Promise<string> {
  const { homedir } = await import("node:os");
  const { join } = await import("node:path");
  const named = environment("HF_HUB_CACHE") ?? environment("HUGGINGFACE_HUB_CACHE");
  const caches = environment("XDG_CACHE_HOME") ?? join(homedir(), ".cache");
  return named ?? join(environment("HF_HOME") ?? join(caches, "huggingface"), "hub");
}

type OnBytes = (bytes: number) => void;

async function sizeOf(path: string): Promise<number | undefined> {
  const { stat } = await import("node:fs/promises");
  const found = await optional(stat(path)); // follows links
  return found?.isFile() ? found.size : undefined;
}

/** How many bytes of a file have arrived; a part that is too long is none. */
async function beginOf(part: string, file: HubFile): Promise<number> {
  const size = (await sizeOf(part)) ?? 0;
  return size > file.size ? 0 : size;
}

/** Writes bytes behind the `from` that a part has, and checks the whole. */
async function fetchRest(
  part: string,
  from: number,
  bytes: AsyncIterable<Uint8Array>,
  at: { caller: string; repo: string; file: HubFile; signal: AbortSignal | undefined; onBytes: OnBytes },
): Promise<void> {
  const { caller, repo, file, signal, onBytes } = at;
  const { createReadStream } = await import("node:fs");
  const { open } = await import("node:fs/promises");
  const { createHash } = await import("node:crypto");
  const digest = createHash(file.hash.algorithm === "sha256" ? "sha256" : "sha1");
  if (file.hash.algorithm === "git-sha1") digest.update(`blob ${file.size}\0`);
  if (from > 0) {
    for await (const chunk of createReadStream(part)) {
      throwIfAborted(caller, signal);
      digest.update(chunk as Uint8Array);
    }
  }
  const handle = await open(part, from > 0 ? "a" : "w");
  try {
    let received = from;
    onBytes(received);
    for await (const chunk of bytes) {
      await handle.writeFile(chunk);
      digest.update(chunk);
      received += chunk.length;
      onBytes(received);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  const got = digest.digest("hex");
  if (got === file.hash.hex) return;
  throw new HubDamageError(
    `${caller}: ${file.name} of ${repo} has the ${file.hash.algorithm} ${got}; expected ${file.hash.hex}. The transfer was ` +
      "damaged, or the server sends another file than it lists",
  );
}

/** Points a file of a snapshot to its blob: by a relative link, or a copy where the platform allows no links. */
async function link(blob: string, pointer: string): Promise<void> {
  const { copyFile, rename, rm, symlink } = await import("node:fs/promises");
  const { dirname, relative } = await import("node:path");
  const temporary = `${pointer}.${process.pid}.tmp`;
  await rm(temporary, { force: true });
  await symlink(relative(dirname(pointer), blob), temporary).catch(() => copyFile(blob, temporary));
  await rename(temporary, pointer);
}

/** The result, or undefined if the file is not there. */
async function optional<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR" || code === "ELOOP") return undefined;
    throw error;
  }
}
