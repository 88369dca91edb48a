// Files that are there whole or not at all: a temporary file beside the target, written, synced, renamed. Node only.

import { type ByteChunks, chunksOf } from "./byte-source.ts";

let counter = 0;
/** Temporaries that this module is writing now; what else bears this process's mark was left by an earlier one. */
const active = new Set<string>();

const DAY = 24 * 60 * 60 * 1000;

/** What names a machine and a process in the name of a temporary. */
async function marks() {
  const [{ hostname }, { threadId }] = await Promise.all([import("node:os"), import("node:worker_threads")]);
  return { host: hostname().replace(/[^\w-]/g, "-"), thread: threadId };
}

/**
 * Writes a file so that readers, and whoever comes after a crash, see the old content or the new one and nothing else (Node).
 *
 * @param caller begins the messages of errors
 * @throws if it cannot be written; the old file is as it was and the temporary is gone.
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array | ByteChunks,
  caller = "writeFileAtomic",
): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const chunks = bytes instanceof Uint8Array ? chunksOf(bytes) : bytes;
  const [{ open, rename, rm }, { basename, dirname, join }] = await Promise.all([
    import("node:fs/promises"),
    import("node:path"),
  ]);
  const { host, thread } = await marks();
  const folder = dirname(path);
  counter += 1;
  const temporary = join(folder, `.${basename(path)}.${host}.${process.pid}-${thread}.${counter}.tmp`);
  active.add(temporary);
  try {
    const file = await open(temporary, "wx");
    try {
      for await (const chunk of chunks) await writeAll(file, chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    await rm(temporary, { force: true });
    throw describe(caller, path, chunks, error as NodeJS.ErrnoException);
  } finally {
    active.delete(temporary);
  }
}

/** Removes the temporaries in a folder, of targets that `isOurs` accepts, whose process is gone. */
export async function removeStaleTemporaries(folder: string, isOurs: (target: string) => boolean): Promise<string[]> {
  const [{ readdir, rm, stat }, { join }] = await Promise.all([import("node:fs/promises"), import("node:path")]);
  const { host, thread } = await marks();
  const removed: string[] = [];
  for (const name of await readdir(folder)) {
    const match = name.match(/^\.(.+)\.([\w-]+)\.(\d+)-(\d+)\.\d+\.tmp$/);
    if (!match || !isOurs(match[1]!)) continue;
    const path = join(folder, name);
    if (active.has(path)) continue;
    const pid = Number(match[3]);
    const here = match[2] === host;
    const own = pid === process.pid && Number(match[4]) === thread;
    // A process on another machine, or a number that now belongs to a stranger, is told by age only.
    const isDead = here && (own || !isAlive(pid));
    const isOld = await stat(path).then(
      ({ mtimeMs }) => Date.now() - mtimeMs > DAY,
      () => false,
    );
    if (!isDead && !isOld) continue;
    await rm(path, { force: true });
    removed.push(name);
  }
  return removed;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

// One write call of Node takes at most 2^31 - 1 bytes.
const MAX_WRITE = 2 ** 30;

async function writeAll(
  file: { write(bytes: Uint8Array, at: number, length: number): Promise<{ bytesWritten: number }> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    at += (await file.write(bytes, at, Math.min(bytes.byteLength - at, MAX_WRITE))).bytesWritten;
  }
}

/** Makes a rename survive a power cut. Windows cannot open folders, and needs no such step. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const { open } = await import("node:fs/promises");
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function describe(caller: string, path: string, { bytes }: ByteChunks, error: NodeJS.ErrnoException): Error {
  const full = error.code === "ENOSPC" || error.code === "EDQUOT";
  const what = full
    ? `no space left for ${path} (${bytes} bytes); free some and try again. Files written before are intact`
    : `cannot write ${path} (${bytes} bytes): ${error.message}`;
  return new Error(`${caller}: ${what}`, { cause: error });
}
