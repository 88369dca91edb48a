import { collectBytes, createEagerEngine, Rng } from "@genai/core";
import { describe, expect, it } from "vitest";
import { createLlama, downloadPretrained, encodePretrained, loadPretrained } from "../../src/index.ts";

const repo = `org/tiny-${crypto.randomUUID().slice(0, 8)}`;
const commit = "a".repeat(40);
const config = { vocabSize: 16, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1, nInner: 8 };

async function published(): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const files: Record<string, Uint8Array<ArrayBuffer>> = {};
  for await (const { file, chunks } of encodePretrained({
    architecture: "llama",
    ...createLlama(config, new Rng(0)),
  })) {
    files[file] = await collectBytes(chunks);
  }
  return files;
}

describe("downloadPretrained in a browser", () => {
  it("keeps the files in the browser's cache, has them from there without a network, and leaves no half of one", async () => {
    await createEagerEngine("cpu");
    const files = await published();
    let asked: string[] = [];
    let cut = true;
    const fetch: typeof globalThis.fetch = async (input) => {
      const { pathname } = new URL(String(input));
      asked.push(pathname);
      if (pathname.includes("/revision/")) return Response.json({ id: repo, sha: commit });
      if (pathname.includes("/tree/")) {
        return Response.json(
          Object.entries(files).map(([path, { length: size }]) => ({ type: "file", path, size, oid: "0".repeat(40) })),
        );
      }
      const bytes = files[pathname.split("/").at(-1)!]!;
      return new Response(cut && bytes.length > 2000 ? bytes.subarray(0, 1000) : bytes);
    };
    const options = { endpoint: "https://hub.invalid", retryDelay: 1, retries: 1, fetch };
    await expect(downloadPretrained(repo, options)).rejects.toThrow("model.safetensors of");
    await expect(downloadPretrained(repo, { ...options, offline: true })).rejects.toThrow("offline is set");
    cut = false;
    let last = 0;
    const got = await downloadPretrained(repo, { ...options, onProgress: ({ loadedBytes }) => (last = loadedBytes) });
    expect(Object.keys(got).sort()).toEqual(["config.json", "model.safetensors"]);
    expect(last).toBe(files["config.json"]!.length + files["model.safetensors"]!.length);
    expect((await loadPretrained(got)).config).toMatchObject(config);

    asked = [];
    await downloadPretrained(`${repo}@${commit}`, { ...options, parts: ["model"] });
    expect(asked).toEqual([]);
    const offline = { ...options, fetch: () => Promise.reject(new TypeError("Failed to fetch")) };
    const again = await loadPretrained(`hf:${repo}`, { hub: offline });
    expect(again.config).toMatchObject(config);
    await expect(loadPretrained("hf:org/other", { hub: offline })).rejects.toThrow(
      "cannot reach https://hub.invalid for org/other (Failed to fetch), and the model is not whole in this browser's cache",
    );
  });
});
