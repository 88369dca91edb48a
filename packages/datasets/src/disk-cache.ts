import { AbortError, withFileLock } from "@genai/core";
import type { CacheSlot, Verify } from "./cache.ts";
import { DataUnavailableError, isDamage } from "./data-errors.ts";
import type { DataFile, ResolveOptions } from "./data-file.ts";
import { environment } from "./platform.ts";
import { fromFirstAddress, request, TransferError, transferBound, withRetries } from "./transfer.ts";

// Beside a cached file stand, while it is fetched: `.lock`, held by the process that fetches it, `.part`, what has
// arrived, and `.part.json`, the address and version that the part is of. The part becomes the file by a rename.

/** The directory that downloads are kept in: GENAI_CACHE_DIR, or the platform's place for caches. */
export async function cacheDirectory(): Promise<string> {
  const { default: envPaths } = await import("env-paths");
  return environment("GENAI_CACHE_DIR") ?? envPaths("genai", { suffix: "" }).cache;
}

/** A file's place in a cache directory. */
export async function diskCacheSlot(file: DataFile, cacheDir: string | undefined): Promise<CacheSlot> {
  const { mkdir, open, readFile, rename, rm } = await import("node:fs/promises");
  const { dirname, join } = await import("node:path");
  const path = join(cacheDir ?? (await cacheDirectory()), file.path);
  const part = `${path}.part`;

  const read = () => optional(readFile(path));
  const dropPart = async () => {
    await rm(part, { force: true });
    await rm(`${part}.json`, { force: true });
  };

  async function fetchFrom(url: string, verify: Verify, options: ResolveOptions): Promise<Uint8Array> {
    for (;;) {
      const resumed = await downloadPart(part, url, file, options);
      try {
        const content = await verify(await readFile(part), url);
        await rename(part, path);
        await rm(`${part}.json`, { force: true });
        await syncDirectory(dirname(path));
        return content;
      } catch (error) {
        await dropPart();
        // Pieces of two versions may have been joined: once more, in one go.
        if (!isDamage(error) || !resumed) throw error;
      }
    }
  }

  async function syncDirectory(dir: string): Promise<void> {
    // Makes the rename itself last. Not every platform can open a directory.
    const handle = await optional(open(dir, "r"));
    await handle?.sync().catch(() => {});
    await handle?.close();
  }

  return {
    name: path,
    read,
    remove: () => rm(path, { force: true }),
    async download(verify, options) {
      try {
        await mkdir(dirname(path), { recursive: true });
        return await withFileLock(
          `${path}.lock`,
          { caller: options.caller ?? "resolveFile", signal: options.signal },
          async () => {
            const arrived = await read(); // another process may have fetched it while we waited
            if (arrived !== undefined) {
              const content = await verify(arrived, path).catch(() => undefined);
              if (content !== undefined) return { bytes: content, from: "cache" as const };
            }
            const bytes = await fromFirstAddress(file, options, (url) => fetchFrom(url, verify, options));
            return { bytes, from: "download" as const };
          },
        );
      } catch (error) {
        const { code, syscall } = error as { code?: string; syscall?: string };
        if (error instanceof AbortError || syscall === undefined) throw error;
        if (code === "ENOSPC") await dropPart().catch(() => {});
        throw new DataUnavailableError(`the cache cannot be written: ${(error as Error).message}`, { cause: error });
      }
    },
  };
}

/**
 * Downloads a file to `part`, going on from what an earlier attempt left there, and flushes it to the disk.
 *
 * @returns whether the part is made of more than one transfer.
 */
async function downloadPart(part: string, url: string, file: DataFile, options: ResolveOptions): Promise<boolean> {
  const { open, readFile, rm, stat, writeFile } = await import("node:fs/promises");
  let resumed = false;
  await withRetries(options, async () => {
    const offset = (await optional(stat(part)))?.size ?? 0;
    const saved = await optional(readFile(`${part}.json`, "utf8"));
    const validator = saved === undefined ? undefined : savedValidator(saved, url);
    const resume = offset > 0 && validator !== undefined ? { offset, validator } : undefined;
    const response = await request(url, resume, transferBound(file.bytes), options).catch(async (error) => {
      // The server does not know the range: what is here is not a beginning of what it has.
      if (resume !== undefined && error instanceof TransferError && error.temporary) {
        if (error.message.endsWith("416")) await rm(part, { force: true });
      }
      throw error;
    });
    resumed = response.offset > 0;
    const handle = await open(part, resumed ? "a" : "w");
    try {
      if (!resumed) {
        if (response.validator === undefined) await rm(`${part}.json`, { force: true });
        else await writeFile(`${part}.json`, JSON.stringify({ url, validator: response.validator }));
      }
      let received = response.offset;
      const report = () => options.onProgress?.({ file: file.path, url, received, total: response.total });
      report();
      for await (const chunk of response.chunks) {
        await handle.writeFile(chunk);
        received += chunk.length;
        report();
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
  return resumed;
}

/** The version that a part is of, if it came from this address. */
function savedValidator(json: string, url: string): string | undefined {
  try {
    const saved = JSON.parse(json) as { url?: unknown; validator?: unknown };
    return saved.url === url && typeof saved.validator === "string" ? saved.validator : undefined;
  } catch {
    return undefined;
  }
}

/** The result, or undefined if the file is not there. */
async function optional<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR" || code === "EPERM") return undefined;
    throw error;
  }
}
