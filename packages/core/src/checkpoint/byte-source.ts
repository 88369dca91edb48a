import { FormatError } from "../errors.ts";

// Where the bytes of a file come from: memory, a Blob, a file on disk or a server that answers Range requests. Readers
// ask for the ranges they need, so that a tensor of a large file costs no more than its own bytes.

/** Random access to a run of bytes. */
export interface ByteSource {
  /** What error messages call it: a path, an address or the name of a File. */
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /** True when `read` returns memory that nobody else holds, so that the receiver need not copy it. */
  readonly fresh?: boolean;
  /** The bytes [begin, end), exactly; rejects when they cannot be had. */
  read(begin: number, end: number): Promise<Uint8Array>;
  /** Lets go of the file. */
  close?(): Promise<void>;
}

/** Bytes in memory, a Blob or File, a path (Node), an http(s) or file URL, or a source of one's own. */
export type ByteSourceInput = Uint8Array | ArrayBuffer | Blob | string | URL | ByteSource;

/**
 * Opens any of the kinds of input as a `ByteSource`. A string is an address if it starts with http:// or https://, and
 * a path otherwise.
 *
 * @throws if the file or address cannot be read; a path needs Node.
 */
export async function openByteSource(input: ByteSourceInput, caller = "openByteSource"): Promise<ByteSource> {
  // A view of its own: Node's Buffer is a Uint8Array whose slice() does not copy.
  if (input instanceof Uint8Array)
    return memorySource(new Uint8Array(input.buffer, input.byteOffset, input.byteLength));
  if (input instanceof ArrayBuffer) return memorySource(new Uint8Array(input));
  if (typeof Blob !== "undefined" && input instanceof Blob) return blobSource(input);
  if (typeof input === "string")
    return /^https?:\/\//i.test(input) ? httpSource(input, caller) : pathSource(input, caller);
  if (input instanceof URL) {
    if (input.protocol === "http:" || input.protocol === "https:") return httpSource(input.href, caller);
    if (input.protocol === "file:") return pathSource(input, caller);
    throw new Error(`${caller}: address ${input.href} has protocol ${input.protocol}; expected http:, https: or file:`);
  }
  if (typeof (input as ByteSource)?.read === "function") return input as ByteSource;
  throw new Error(`${caller}: got ${typeof input}; expected bytes, a Blob, a path, a URL or a ByteSource`);
}

/** The content of a file, made piece by piece while it is read. */
export interface ByteChunks extends AsyncIterable<Uint8Array> {
  /** Of all pieces. */
  readonly bytes: number;
}

/** Bytes that are there already, as the content of a file. */
export const chunksOf = (bytes: Uint8Array): ByteChunks => ({
  bytes: bytes.byteLength,
  async *[Symbol.asyncIterator]() {
    yield bytes;
  },
});

/** The whole content of a file. */
export async function collectBytes(chunks: ByteChunks): Promise<Uint8Array<ArrayBuffer>> {
  const out = new Uint8Array(chunks.bytes);
  let at = 0;
  for await (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.byteLength;
  }
  return out;
}

/** One array of the bytes of several. */
export function concatBytes(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(chunks.reduce((n, chunk) => n + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.byteLength;
  }
  return out;
}

function memorySource(bytes: Uint8Array): ByteSource {
  return { name: "bytes", size: bytes.byteLength, read: async (begin, end) => bytes.subarray(begin, end) };
}

function blobSource(blob: Blob): ByteSource {
  const name = "name" in blob && typeof blob.name === "string" ? blob.name : "blob";
  return {
    name,
    size: blob.size,
    fresh: true,
    read: async (begin, end) => new Uint8Array(await blob.slice(begin, end).arrayBuffer()),
  };
}

// One read call of Node takes at most 2^31 - 1 bytes.
const MAX_READ = 2 ** 30;

async function pathSource(path: string | URL, caller: string): Promise<ByteSource> {
  if (typeof process === "undefined" || process.versions?.node === undefined) {
    throw new Error(`${caller}: paths (${path}) can be opened in Node only; pass bytes, a Blob or an http(s) URL`);
  }
  const { open } = await import("node:fs/promises");
  const name = String(path);
  const file = await open(path, "r").catch((cause: Error) => {
    throw new Error(`${caller}: cannot open ${name}: ${cause.message}`, { cause });
  });
  const { size } = await file.stat().catch(async (cause: Error) => {
    await file.close();
    throw new Error(`${caller}: cannot read ${name}: ${cause.message}`, { cause });
  });
  return {
    name,
    size,
    fresh: true,
    async read(begin, end) {
      const out = new Uint8Array(end - begin);
      let at = 0;
      while (at < out.length) {
        const { bytesRead } = await file.read(out, at, Math.min(out.length - at, MAX_READ), begin + at);
        if (bytesRead === 0) {
          throw new FormatError(
            `${caller}: ${name}: ended at byte ${begin + at} while being read; expected ${size} bytes`,
          );
        }
        at += bytesRead;
      }
      return out;
    },
    close: () => file.close(),
  };
}

// The first request brings this much along: enough for the header of most files, so that opening costs one round trip.
const FIRST_BYTES = 64 * 1024;

async function httpSource(url: string, caller: string): Promise<ByteSource> {
  const get = async (headers: Record<string, string>) => {
    const response = await fetch(url, { headers }).catch((cause: Error) => {
      throw new Error(`${caller}: cannot fetch ${url}: ${cause.message}`, { cause });
    });
    if (response.ok) return response;
    await response.body?.cancel();
    throw new Error(`${caller}: ${url} answered ${response.status} ${response.statusText}; expected 200 or 206`);
  };
  const first = await get({ range: `bytes=0-${FIRST_BYTES - 1}` });
  const head = new Uint8Array(await first.arrayBuffer());
  // A server that knows no ranges sends the whole file, which then is all in memory.
  if (first.status !== 206) return { ...memorySource(head), name: url };
  const total = first.headers.get("content-range")?.match(/\/(\d+)$/)?.[1] ?? (await lengthByHead(url));
  const size = Number(total);
  if (total === null || !Number.isSafeInteger(size)) {
    throw new Error(`${caller}: ${url} does not tell its length; expected a Content-Range or Content-Length header`);
  }
  if (head.length !== Math.min(FIRST_BYTES, size)) {
    throw new FormatError(`${caller}: ${url} sent ${head.length} bytes; expected ${Math.min(FIRST_BYTES, size)}`);
  }
  // With If-Range the server answers a file that has changed with 200 and all of the new one, which is refused below.
  const etag = first.headers.get("etag");
  const guard: Record<string, string> = etag !== null && !etag.startsWith("W/") ? { "if-range": etag } : {};
  return {
    name: url,
    size,
    async read(begin, end) {
      if (end <= head.length) return head.subarray(begin, end);
      const response = await get({ range: `bytes=${begin}-${end - 1}`, ...guard });
      if (response.status !== 206) {
        await response.body?.cancel();
        throw new Error(`${caller}: ${url} answered ${response.status} to a Range request; the file may have changed`);
      }
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length !== end - begin) {
        throw new FormatError(
          `${caller}: ${url} sent ${bytes.length} bytes for [${begin}, ${end}); expected ${end - begin}`,
        );
      }
      return bytes;
    },
  };
}

/** Content-Range is hidden from pages of other origins unless the server exposes it; Content-Length never is. */
async function lengthByHead(url: string): Promise<string | null> {
  const response = await fetch(url, { method: "HEAD" });
  return response.ok ? response.headers.get("content-length") : null;
}
