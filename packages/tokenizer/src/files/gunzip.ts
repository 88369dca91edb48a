import { TokenizerFormatError } from "../errors.ts";

/** A small file can hold gigabytes of zeros; no vocabulary is larger than this. */
const LARGEST = 256 * 2 ** 20;

/** Decompresses a gzip file. Throws TokenizerFormatError where it is damaged or would be larger than 256 MiB. */
export async function gunzip(content: Uint8Array, source: string): Promise<Uint8Array> {
  const stream = new Blob([content as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream("gzip"));
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      size += value.length;
      if (size > LARGEST) break;
    }
  } catch (error) {
    throw new TokenizerFormatError(`${source} is not a whole gzip file: ${(error as Error).message}`);
  }
  if (size > LARGEST) {
    await reader.cancel();
    throw new TokenizerFormatError(`${source} holds more than ${LARGEST} bytes; expected a vocabulary`);
  }
  const out = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}
