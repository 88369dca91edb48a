import type { DataFile, ResolveOptions } from "./data-file.ts";
import { isNode } from "./platform.ts";

/** Checks raw bytes and returns the verified content; throws ChecksumError or FormatError. */
export type Verify = (raw: Uint8Array, name: string) => Promise<Uint8Array>;

/** The place of one file in the cache. */
export interface CacheSlot {
  /** What errors call it. */
  readonly name: string;
  read(): Promise<Uint8Array | undefined>;
  remove(): Promise<void>;
  /**
   * Downloads the file and puts it here once `verify` passes.
   *
   * @throws DataUnavailableError if no address serves it, AbortError.
   */
  download(verify: Verify, options: ResolveOptions): Promise<{ bytes: Uint8Array; from: "cache" | "download" }>;
}

/** The file's place in the cache: a directory in Node, the Cache API in browsers. */
export async function openCache(file: DataFile, cacheDir: string | undefined): Promise<CacheSlot> {
  if (isNode()) {
    const { diskCacheSlot } = await import("./disk-cache.ts");
    return diskCacheSlot(file, cacheDir);
  }
  const { browserCacheSlot } = await import("./browser-cache.ts");
  return browserCacheSlot(file);
}
