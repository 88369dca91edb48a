import { throwIfAborted } from "@genai/core";
import { openCache } from "./cache.ts";
import { ChecksumError, DataUnavailableError, isDamage } from "./data-errors.ts";
import { gunzip } from "./gunzip.ts";
import { environment, isNode, sha256Hex, sha256OfParts, whyUnreadable } from "./platform.ts";

/** A file of a data set: where it is found and what it must hold. */
export interface DataFile {
  /** Place below the data directory and the cache, such as "mnist/train-labels-idx1-ubyte.gz". */
  readonly path: string;
  /** Public addresses, tried in order. */
  readonly urls: readonly string[];
  /**
   * Size of the content in bytes. The content of a `.gz` file is what it decompresses to: the same content goes around
   * in different gzip wrappers.
   */
  readonly bytes: number;
  /** SHA-256 of the content, lower-case hexadecimal. */
  readonly sha256: string;
  /** "file" if `sha256` is of a `.gz` file as it is served, where nothing else was published. Default "content". */
  readonly sha256Of?: "content" | "file";
}

/** How far a download is. */
export interface DownloadProgress {
  /** `path` of the file. */
  readonly file: string;
  readonly url: string;
  /** Bytes here so far, those of a resumed earlier download included. */
  readonly received: number;
  /** Bytes of the whole file as the server states them; undefined if it does not. */
  readonly total: number | undefined;
}

export interface ResolveOptions {
  /** Directory with data files; nothing is written to it. Default: the environment variable GENAI_DATA_DIR. Node only. */
  readonly dataDir?: string | undefined;
  /** Directory for downloads. Default: GENAI_CACHE_DIR, or the platform's cache directory. Node only. */
  readonly cacheDir?: string | undefined;
  /** Base addresses to which the file's own name is appended, tried instead of its public addresses. */
  readonly mirrors?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** How often one address is tried again after a broken transfer or a server's temporary error. Default 4. */
  readonly retries?: number | undefined;
  /** Wait before the first retry in milliseconds; doubles with each. Default 500. */
  readonly retryDelay?: number | undefined;
  /** Milliseconds without a byte after which a transfer counts as broken. Default 30,000. */
  readonly stallTimeout?: number | undefined;
  /** Function that errors name. Default "resolveFile". */
  readonly caller?: string | undefined;
}

export interface ResolvedFile {
  /** The verified content, decompressed if the file is a `.gz`. */
  readonly bytes: Uint8Array;
  readonly from: "dataDir" | "cache" | "download";
}

/**
 * Gets the verified content of a data file: from the data directory, else from the cache, else downloaded into the cache.
 *
 * A cached file that does not verify is removed and fetched anew; a download is put into the cache only once it verifies.
 *
 * @throws ChecksumError or FormatError if the file in the data directory is not the expected one, DataUnavailableError
 * if it is nowhere to be had, AbortError if `signal` fires.
 */
export async function resolveFile(file: DataFile, options: ResolveOptions = {}): Promise<ResolvedFile> {
  const caller = options.caller ?? "resolveFile";
  checkPath(caller, file.path);
  throwIfAborted(caller, options.signal);
  const verify = (raw: Uint8Array, name: string) => verifiedContent(caller, file, raw, name);

  const dataDir = isNode() ? (options.dataDir ?? environment("GENAI_DATA_DIR")) : undefined;
  if (dataDir !== undefined) {
    const found = await readIfThere(caller, dataDir, file.path);
    if (found !== undefined) return { bytes: await verify(found.bytes, found.path), from: "dataDir" };
  }

  const cache = await openCache(file, options.cacheDir);
  const cached = await cache.read();
  if (cached !== undefined) {
    try {
      return { bytes: await verify(cached, cache.name), from: "cache" };
    } catch (error) {
      if (!isDamage(error)) throw error;
      await cache.remove();
    }
  }
  throwIfAborted(caller, options.signal);

  const looked = dataDir !== undefined ? `not in ${dataDir}, ` : isNode() ? "no GENAI_DATA_DIR, " : "";
  const state = cached === undefined ? "not in the cache" : "damaged in the cache";
  try {
    const { bytes, from } = await cache.download(verify, options);
    return { bytes, from };
  } catch (error) {
    if (!(error instanceof DataUnavailableError)) throw error;
    throw new DataUnavailableError(
      `${caller}: ${file.path} cannot be had: ${looked}${state}, and the download failed (${error.message})`,
      { cause: error.cause ?? error },
    );
  }
}

async function verifiedContent(caller: string, file: DataFile, raw: Uint8Array, name: string): Promise<Uint8Array> {
  let content = raw;
  let got: string | undefined;
  if (file.path.endsWith(".gz")) {
    // The content's hash grows with it, beside the decompression.
    const hash = file.sha256Of === "file" ? undefined : await sha256OfParts();
    content = await gunzip(raw, { maxBytes: file.bytes, name, onPart: hash?.update });
    got = hash?.hex();
  }
  got ??= await sha256Hex(file.sha256Of === "file" ? raw : content);
  if (got !== file.sha256) throw new ChecksumError(caller, name, got, file.sha256);
  return content;
}

/** Refuses paths that would leave the directories they are joined to. */
function checkPath(caller: string, path: string): void {
  const parts = path.split("/");
  if (path === "" || path.includes("\\") || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw new Error(`${caller}: path (${JSON.stringify(path)}) must be a relative path with forward slashes`);
  }
}

async function readIfThere(
  caller: string,
  dir: string,
  path: string,
): Promise<{ bytes: Uint8Array; path: string } | undefined> {
  const { readFile } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const full = join(dir, path);
  try {
    return { bytes: await readFile(full), path: full };
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new Error(`${caller}: ${full} cannot be read (${whyUnreadable(error)})`, { cause: error });
  }
}
