import type { CacheSlot } from "./cache.ts";
import type { DataFile } from "./data-file.ts";
import { fromFirstAddress, request, transferBound, withRetries } from "./transfer.ts";

/** A file's place in the browser's Cache API. Without one (a page not served securely) nothing is kept. */
export async function browserCacheSlot(file: DataFile): Promise<CacheSlot> {
  const cache = await globalThis.caches?.open("genai-datasets");
  const key = `https://datasets.genai.invalid/${file.path}`; // a name: never fetched
  return {
    name: `${file.path} in the browser's cache`,
    async read() {
      const response = await cache?.match(key);
      return response === undefined ? undefined : new Uint8Array(await response.arrayBuffer());
    },
    async remove() {
      await cache?.delete(key);
    },
    async download(verify, options) {
      return fromFirstAddress(file, options, async (url) => {
        const raw = await withRetries(options, async () => {
          const response = await request(url, undefined, transferBound(file.bytes), options);
          const parts: Uint8Array[] = [];
          let received = 0;
          for await (const chunk of response.chunks) {
            parts.push(chunk);
            received += chunk.length;
            options.onProgress?.({ file: file.path, url, received, total: response.total });
          }
          return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
        });
        const bytes = await verify(raw, url);
        // A full or forbidden cache costs a download next time, not the data.
        await cache?.put(key, new Response(raw)).catch(() => {});
        return { bytes, from: "download" };
      });
    },
  };
}
