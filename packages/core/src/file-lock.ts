import { AbortError, throwIfAborted } from "./errors.ts";

/** Milliseconds without a sign of life after which a lock counts as left behind. */
const staleAfter = 60_000;

export interface FileLockOptions {
  readonly caller: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs `work` while holding a lock file, so that two processes do not write one file at once. Waits for another
 * holder; takes over a lock whose process is gone.
 */
export async function withFileLock<T>(path: string, options: FileLockOptions, work: () => Promise<T>): Promise<T> {
  const { open, rm, utimes } = await import("node:fs/promises");
  const { hostname } = await import("node:os");
  const id = JSON.stringify({ pid: process.pid, host: hostname(), token: crypto.randomUUID() });
  for (;;) {
    throwIfAborted(options.caller, options.signal);
    try {
      const handle = await open(path, "wx");
      try {
        await handle.writeFile(id);
      } finally {
        await handle.close();
      }
      break;
    } catch (error) {
      if ((error as { code?: string }).code !== "EEXIST") throw error;
    }
    if (await takeAwayIfStale(path)) continue;
    await pause(100, options.caller, options.signal);
  }
  const alive = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, staleAfter / 6);
  alive.unref();
  try {
    return await work();
  } finally {
    clearInterval(alive);
    await rm(path, { force: true });
  }
}

/** Removes a lock left behind; reports whether it is worth trying again at once. */
async function takeAwayIfStale(path: string): Promise<boolean> {
  const { readFile, rename, rm, stat } = await import("node:fs/promises");
  const { hostname } = await import("node:os");
  let content: string;
  let age: number;
  try {
    content = await readFile(path, "utf8");
    age = Date.now() - (await stat(path)).mtimeMs;
  } catch {
    return true; // gone meanwhile
  }
  if (age < staleAfter && !holderIsGone(content, hostname())) return false;
  // Another waiter may have done the same and hold a new lock by now: move it away, look, and put back what is not stale.
  const moved = `${path}.${crypto.randomUUID()}`;
  try {
    await rename(path, moved);
    if ((await readFile(moved, "utf8")) === content) await rm(moved, { force: true });
    else await rename(moved, path);
  } catch {
    // Somebody was faster.
  }
  return true;
}

function holderIsGone(content: string, here: string): boolean {
  try {
    const { pid, host } = JSON.parse(content) as { pid: number; host: string };
    if (host !== here) return false;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as { code?: string }).code === "ESRCH"; // anything else: being written, or another user's process
  }
}

/** Waits, unless the signal fires. */
export async function pause(ms: number, caller: string, signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(caller, signal);
  await new Promise<void>((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new AbortError(caller, { cause: signal?.reason }));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
