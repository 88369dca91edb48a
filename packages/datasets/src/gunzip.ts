import { FormatError } from "@genai/core";
import { isNode } from "./platform.ts";

export interface GunzipOptions {
  /** Bound on the decompressed size in bytes; more is an error, so that a small file cannot fill the memory. */
  readonly maxBytes: number;
  /** What the bytes are called in errors. */
  readonly name: string;
}

/**
 * Decompresses a gzip file.
 *
 * @throws FormatError if the bytes are no gzip file, truncated, damaged, followed by other bytes, or decompress to more
 * than `maxBytes`.
 */
export async function gunzip(bytes: Uint8Array, { maxBytes, name }: GunzipOptions): Promise<Uint8Array> {
  if (bytes.length < 18 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) {
    throw new FormatError(
      `gunzip: ${name} (${bytes.length} bytes) begins with ${hex(bytes.subarray(0, 2))}; expected a gzip file of at least 18 bytes that begins with 1f 8b`,
    );
  }
  // The last four bytes give the size modulo 2^32. It may lie, so it is a hint only; deflate shrinks at most 1032-fold.
  const stated = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(bytes.length - 4, true);
  const hint = Math.min(stated, maxBytes, bytes.length * 1032);
  return isNode() ? inflateInNode(bytes, hint, maxBytes, name) : inflateByStream(bytes, hint, maxBytes, name);
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

/** In one job on a worker thread, several times faster than Node's DecompressionStream with its 16 KiB chunks. */
async function inflateInNode(bytes: Uint8Array, hint: number, maxBytes: number, name: string): Promise<Uint8Array> {
  const zlib = await import("node:zlib");
  // A little more than the size, so that the output fits one chunk and is not copied.
  const options = { maxOutputLength: Math.max(maxBytes, 1), chunkSize: Math.max(hint + 64, 1024), info: true };
  return new Promise((resolve, reject) => {
    zlib.gunzip(bytes, options, (error, result) => {
      if (error !== null) {
        reject(
          "code" in error && error.code === "ERR_BUFFER_TOO_LARGE" ? tooLarge(name, maxBytes) : damaged(name, error),
        );
        return;
      }
      const { buffer, engine } = result as unknown as { buffer: Uint8Array; engine: { bytesWritten: number } };
      if (engine.bytesWritten !== bytes.length) {
        reject(damaged(name, `${bytes.length - engine.bytesWritten} bytes after its end`));
      } else resolve(new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength));
    });
  });
}

/** Through the web platform's DecompressionStream. */
export async function inflateByStream(
  bytes: Uint8Array,
  hint: number,
  maxBytes: number,
  name: string,
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
    }
  } catch (cause) {
    await reader.cancel().catch(() => {});
    throw cause instanceof FormatError ? cause : damaged(name, cause);
  }
  return out.subarray(0, size);
}
