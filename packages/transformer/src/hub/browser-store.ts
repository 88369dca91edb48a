import type { HubStore, StoreOptions } from "./hub-store.ts";

// The cache in browsers is the Cache API, whose entries a later page reads without the network. It keeps a file whole or
// not at all, so that a transfer that broke begins anew, and it tells no hashes: sizes are checked, and https guards the
// rest. A page that is not served securely has no such cache; then files live as long as the page holds them.

const CACHE = "genai-hub";

export async function openBrowserStore({ caller, repo, endpoint }: StoreOptions): Promise<HubStore> {
  const cache = await globalThis.caches?.open(CACHE);
  const base = `${endpoint}/${repo}`;
  const key = (commit: string, name: string) => `${base}/resolve/${commit}/${encodeURIComponent(name)}`;
  const refKey = (revision: string) => `${base}/genai-ref/${encodeURIComponent(revision)}`; // a name: never fetched
  const held = new Map<string, Blob>(); // what the cache has no room for
  const blobOf = async (commit: string, name: string): Promise<Blob | undefined> =>
    held.get(key(commit, name)) ?? (await (await cache?.match(key(commit, name)))?.blob());

  return {
    place: "this browser's cache",

    commitOf: async (revision) => (await cache?.match(refKey(revision)))?.text(),

    async remember(revision, commit) {
      await cache?.put(refKey(revision), new Response(commit)).catch(() => {});
    },

    async names(commit) {
      const prefix = key(commit, "");
      const requests = (await cache?.keys()) ?? [];
      return [...requests.map(({ url }) => url), ...held.keys()]
        .filter((url) => url.startsWith(prefix))
        .map((url) => decodeURIComponent(url.slice(prefix.length)));
    },

    async readText(commit, name) {
      const blob = await blobOf(commit, name);
      if (!blob) throw new Error(`${caller}: ${name} of ${repo} is no longer in this browser's cache`);
      return blob.text();
    },

    async add(commit, file, client, onBytes) {
      const url = key(commit, file.name);
      if (held.has(url) || (await cache?.match(url))) return onBytes(file.size);
      await client.retry(async () => {
        const bytes = streamOf(client.read(commit, file, 0), onBytes);
        const response = new Response(bytes.stream, { headers: { "content-length": String(file.size) } });
        try {
          if (cache) return await cache.put(url, response);
        } catch (error) {
          // The cache speaks of a network error whatever the reason.
          if (bytes.failure() !== undefined) throw bytes.failure();
          if ((error as Error).name !== "QuotaExceededError") throw error;
        }
        held.set(url, await new Response(streamOf(client.read(commit, file, 0), onBytes).stream).blob());
      });
      onBytes(file.size);
    },

    async open(commit, names) {
      const files: Record<string, Blob> = {};
      for (const name of names) {
        const blob = await blobOf(commit, name);
        if (!blob) throw new Error(`${caller}: ${name} of ${repo} is no longer in this browser's cache`);
        files[name] = blob;
      }
      return files;
    },
  };
}

function streamOf(chunks: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void) {
  const iterator = chunks[Symbol.asyncIterator]();
  let received = 0;
  let failure: unknown;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { done, value } = await iterator.next();
        if (done) return controller.close();
        received += value.length;
        onBytes(received);
        controller.enqueue(value as Uint8Array<ArrayBuffer>);
      } catch (error) {
        failure = error;
        throw error;
      }
    },
    async cancel() {
      await iterator.return?.();
    },
  });
  return { stream, failure: () => failure };
}
