import { FormatError } from "@genai/core";
import { isNode } from "./platform.ts";

export interface GunzipOptions {
  /** Bound on the decompressed size in bytes; more is an error, so that a small file cannot fill the memory. */
  readonly maxBytes: number;
  /** What the bytes are called in errors. */
  readonly name: string;
  /** Called with the content part by part, in order: in Node while the rest is still being decompressed. */
  readonly onPart?: ((part: Uint8Array) => void) | undefined;
}

/**
 * Decompresses a gzip file.
 *
 * @throws FormatError if the bytes are no gzip file, truncated, damaged, followed by other bytes, or decompress to more
 * than `maxBytes`.
 */
export async function gunzip(bytes: Uint8Array, options: GunzipOptions): Promise<Uint8Array> {
  const { maxBytes, name } = options;
  if (bytes.length < 18 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) {
    throw new FormatError(
      `gunzip: ${name} (${bytes.length} bytes) begins with ${hex(bytes.subarray(0, 2))}; expected a gzip file of at least 18 bytes that begins with 1f 8b`,
    );
  }
  // The last four bytes give the size modulo 2^32. It may lie, so it is a hint only; deflate shrinks at most 1032-fold.
  const stated = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(bytes.length - 4, true);
  const hint = Math.min(stated, maxBytes, bytes.length * 1032);
  return isNode() ? inflateInNode(bytes, hint, options) : inflateByStream(bytes, hint, options);
}

const hex = (bytes: Uint8Array) =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ") || "nothing";

const tooLarge = (name: string, maxBytes: number) =>
  new FormatError(`gunzip: ${name} decompresses to more than the ${maxBytes} bytes expected`);

const damaged = (name: string, cause: unknown) =>
  new FormatError(
    `gunzip: ${name} is damaged (${cause instanceof Error ? cause.message : cause}); expected a whole gzip file`,
    { cause },
  );

/** Input per job on the worker thread: small enough that `onPart` keeps up, large enough that few jobs are needed. */
const sliceBytes = 2 ** 19;

/** On a worker thread, several times faster than Node's DecompressionStream with its 16 KiB chunks. */
async function inflateInNode(bytes: Uint8Array, hint: number, options: GunzipOptions): Promise<Uint8Array> {
  const { maxBytes, name, onPart } = options;
  const { createGunzip } = await import("node:zlib");
  // A little more than the size, so that all parts lie in one buffer and are not copied.
  const stream = createGunzip({ chunkSize: Math.max(hint + 64, 1024) });
  const parts: Uint8Array[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    stream.on("data", (part: Uint8Array) => {
      size += part.length;
      if (size > maxBytes) {
        stream.destroy(tooLarge(name, maxBytes));
        return;
      }
      parts.push(part);
      // Once this callback is over the worker has its next slice, and `onPart` runs beside it.
      if (onPart !== undefined) queueMicrotask(() => onPart(part));
    });
    stream.on("error", (error) => reject(error instanceof FormatError ? error : damaged(name, error)));
    stream.on("end", () => {
      const rest = bytes.length - stream.bytesWritten;
      if (rest > 0) reject(damaged(name, `${rest} bytes after its end`));
      else resolve(joined(parts, size));
    });
    for (let at = 0; at < bytes.length; at += sliceBytes) stream.write(bytes.subarray(at, at + sliceBytes));
    stream.end();
  });
}

/** Parts as one array: a view where they lie side by side in one buffer, else a copy. */
function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const first = parts[0];
  if (first === undefined) return new Uint8Array(0);
  let end = first.byteOffset;
  const adjacent = parts.every((part) => {
    const follows = part.buffer === first.buffer && part.byteOffset === end;
    end += part.length;
    return follows;
  });
  if (adjacent) return new Uint8Array(first.buffer, first.byteOffset, size);
  const out = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Through the web platform's DecompressionStream. */
export async function inflateByStream(
  bytes: Uint8Array,
  hint: number,
  { maxBytes, name, onPart }: GunzipOptions,
): Promise<Uint8Array> {
  const stream = new DecompressionStream("gzip");
  const writer = stream.writable.getWriter();
  // Failures surface on the readable side.
  writer.write(bytes as Uint8Array<ArrayBuffer>).catch(() => {});
  writer.close().catch(() => {});
  const reader = stream.readable.getReader();
  let out = new Uint8Array(hint);
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (size + value.length > maxBytes) throw tooLarge(name, maxBytes);
      if (size + value.length > out.length) {
        const grown = new Uint8Array(Math.min(maxBytes, Math.max(2 * out.length, size + value.length)));
        grown.set(out.subarray(0, size));
        out = grown;
      }
      out.set(value, size);
      size += value.length;
      onPart?.(value);
    }
  } catch (cause) {
    await reader.cancel().catch(() => {});
    throw cause instanceof FormatError ? cause : damaged(name, cause);
  }
  return out.subarray(0, size);
}
