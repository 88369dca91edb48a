import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collectBytes, concatBytes, createEagerEngine, encodeSafetensors, Rng, treeEntries } from "@genai/core";
import { gitSha1, type HubServer, serveHub, sha256 } from "@genai/testing/hub-server";
import { loadTokenizer, trainCharacters } from "@genai/tokenizer";
import * as tf from "@tensorflow/tfjs";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  createLlama,
  type DownloadPretrainedOptions,
  downloadPretrained,
  encodePretrained,
  HubError,
  loadPretrained,
} from "../../src/index.ts";

const REPO = "org/tiny-llama";
const FOLDER = "models--org--tiny-llama";
const config = { vocabSize: 16, blockSize: 8, nEmbd: 8, nHead: 2, nLayer: 1, nInner: 8 };
const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

let published: Record<string, Uint8Array>;
let server: HubServer;
let cacheDir: string;

beforeAll(async () => {
  await createEagerEngine("cpu");
  published = { "README.md": text("read me"), "pytorch_model.bin": text("pickles") };
  const model = { architecture: "llama", ...createLlama(config, new Rng(0)) } as const;
  for await (const { file, chunks } of encodePretrained(model)) published[file] = await collectBytes(chunks);
  published["tokenizer.json"] = text((await trainCharacters(["abc"])).toJson());
  published["tokenizer_config.json"] = text({});
  published["vocab.json"] = text({});
});
beforeEach(async () => {
  server = await serveHub(REPO, { ...published });
  cacheDir = await mkdtemp(join(tmpdir(), "hub-"));
  for (const name of ["HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]) {
    vi.stubEnv(name, "");
  }
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await server.close();
  await rm(cacheDir, { recursive: true, force: true });
});

const download = (name = REPO, options: DownloadPretrainedOptions = {}) =>
  downloadPretrained(name, { endpoint: server.endpoint, cacheDir, retryDelay: 1, ...options });

describe("downloadPretrained", () => {
  it("brings what is needed, and nothing else, into the layout of Python's cache", async () => {
    const folder = await download();
    const snapshot = join(cacheDir, FOLDER, "snapshots", server.commit);
    expect(folder).toBe(snapshot);
    const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    expect((await readdir(snapshot)).sort()).toEqual(names);
    expect(await readFile(join(cacheDir, FOLDER, "refs", "main"), "utf8")).toBe(server.commit);
    for (const name of names) {
      const bytes = published[name]!;
      const hash = name.endsWith(".safetensors") ? sha256(bytes) : gitSha1(bytes);
      expect(await readlink(join(snapshot, name))).toBe(join("..", "..", "blobs", hash));
      expect(new Uint8Array(await readFile(join(snapshot, name)))).toEqual(bytes);
    }
    expect((await readdir(join(cacheDir, FOLDER, "blobs"))).length).toBe(names.length);
    // What was asked: the commit, two pages of its tree, and each file once.
    expect(server.hub.length).toBe(3 + names.length);
  });

  it("gives a folder that loads as model and as tokenizer", async () => {
    const folder = await download();
    const model = await loadPretrained(folder);
    expect(model.config).toMatchObject(config);
    expect((await loadTokenizer(folder)).encode("cab").ids.length).toBe(3);
    const direct = await loadPretrained(`hf:${REPO}`, { hub: { endpoint: server.endpoint, cacheDir } });
    for (const [i, [path, tensor]] of treeEntries(direct.params).entries()) {
      expect([path, await tensor.data()]).toEqual([path, await treeEntries(model.params)[i]![1].data()]);
    }
  });

  it("downloads again what has changed alone", async () => {
    await download();
    server.hub.length = 0;
    await download();
    expect(server.hub.map(({ path }) => path).filter((path) => path.includes("/resolve/"))).toEqual([]);
    server.commit = "b".repeat(40);
    server.files["tokenizer_config.json"] = text({ model_max_length: 8 });
    const folder = (await download()) as string;
    expect(folder).toMatch(/b{40}$/);
    expect(server.hub.map(({ path }) => path).filter((path) => path.includes("/resolve/"))).toEqual([
      `/${REPO}/resolve/${server.commit}/tokenizer_config.json`,
    ]);
    // The older snapshot is still whole.
    expect((await readdir(join(cacheDir, FOLDER, "snapshots", "a".repeat(40)))).length).toBe(4);
  });

  it("asks for the tokenizer or the model alone where only that is wanted", async () => {
    const folder = (await download(REPO, { parts: ["tokenizer"] })) as string;
    expect((await readdir(folder)).sort()).toEqual(["tokenizer.json", "tokenizer_config.json"]);
    await download(REPO, { parts: ["model"] });
    expect((await readdir(folder)).length).toBe(4);
  });

  it("takes a pinned commit from the cache without asking", async () => {
    const name = `hf:${REPO}@${server.commit}`;
    const first = await download(name);
    server.hub.length = 0;
    expect(await download(name)).toBe(first);
    expect(server.hub).toEqual([]);
    // A model without a tokenizer is not enough where one is wanted.
    await rm(join(first as string, "tokenizer.json"));
    await download(name);
    expect(server.hub.length).toBeGreaterThan(0);
    expect(await readdir(first as string)).toContain("tokenizer.json");
  });

  it("reads shards that the index names, and no others", async () => {
    const { "model.safetensors": _, ...rest } = published;
    const shard = async (name: string) => concatBytes(await encodeSafetensors([[name, tf.ones([2])]]));
    server.files = {
      ...rest,
      "model-00001-of-00002.safetensors": await shard("a"),
      "model-00002-of-00002.safetensors": await shard("b"),
      "model-00009-of-00009.safetensors": await shard("c"),
      "model.safetensors.index.json": text({
        weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" },
      }),
    };
    const folder = (await download(REPO, { parts: ["model"] })) as string;
    const names = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    expect((await readdir(folder)).sort()).toEqual([...names, "model.safetensors.index.json"]);
    expect(await download(REPO, { offline: true })).toBe(folder);
    await rm(join(folder, names[2]!));
    await expect(download(REPO, { offline: true })).rejects.toThrow("not whole");
    server.files["model.safetensors.index.json"] = text({ weight_map: { a: "../../evil" } });
    server.commit = "c".repeat(40);
    await expect(download()).rejects.toThrow('names "../../evil"; expected the plain name of a file');
    server.files["model.safetensors.index.json"] = text({ weight_map: { a: "model-00003-of-00003.safetensors" } });
    server.commit = "d".repeat(40);
    await expect(download()).rejects.toThrow("has no model-00003-of-00003.safetensors, which");
  });

  it("tells how far it is, from nothing to all", async () => {
    const seen: [string, number, number][] = [];
    await download(REPO, {
      onProgress: ({ file, loadedBytes, totalBytes }) => seen.push([file, loadedBytes, totalBytes]),
    });
    const total = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].reduce(
      (sum, name) => sum + published[name]!.length,
      0,
    );
    expect(seen[0]).toEqual(["config.json", 0, total]);
    expect(seen.at(-1)).toEqual(["tokenizer.json", total, total]);
    const loaded = seen.map(([, bytes]) => bytes);
    expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
  });

  it("sends the token to the hub, and not to the host of large files", async () => {
    await download(REPO, { token: "hf_secret" });
    expect(new Set(server.hub.map(({ token }) => token))).toEqual(new Set(["Bearer hf_secret"]));
    expect(server.cdn.map(({ token }) => token)).toEqual([undefined]);
    vi.stubEnv("HF_TOKEN", "hf_other");
    server.hub.length = 0;
    await download();
    expect(server.hub[0]!.token).toBe("Bearer hf_other");
    await expect(download(REPO, { token: "secret" })).rejects.toThrow(
      /^downloadPretrained: token \(HF_TOKEN\) must start with "hf_"$/,
    );
  });

  it("takes endpoint and cache from the environment", async () => {
    vi.stubEnv("HF_ENDPOINT", `${server.endpoint}/`);
    vi.stubEnv("HF_HOME", cacheDir);
    expect(await downloadPretrained(REPO)).toBe(join(cacheDir, "hub", FOLDER, "snapshots", server.commit));
  });

  it("goes on with a transfer that broke, at once and in a later call", async () => {
    const bytes = published["model.safetensors"]!;
    const cut = 500;
    let breaks = 2;
    server.intercept = (request, response, path) => {
      if (path !== "/model.safetensors" || breaks-- <= 0) return false;
      const [, from = "0"] = /^bytes=(\d+)-/.exec(request.headers.range ?? "") ?? [];
      const rest = bytes.subarray(Number(from));
      response.writeHead(from === "0" ? 200 : 206, { "content-length": rest.length });
      response.write(rest.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    await expect(download(REPO, { retries: 0 })).rejects.toThrow(HubError);
    const folder = (await download()) as string;
    expect(server.cdn.map(({ range }) => range)).toEqual([
      undefined,
      `bytes=${cut}-${bytes.length - 1}`,
      `bytes=${2 * cut}-${bytes.length - 1}`,
    ]);
    expect(new Uint8Array(await readFile(join(folder, "model.safetensors")))).toEqual(bytes);
    expect((await readdir(join(cacheDir, FOLDER, "blobs"))).filter((name) => name.includes("part"))).toEqual([]);
  });

  it("begins anew where an earlier part is of something else or the server knows no ranges", async () => {
    const bytes = published["model.safetensors"]!;
    const part = join(cacheDir, FOLDER, "blobs", `${sha256(bytes)}.part`);
    await mkdir(join(cacheDir, FOLDER, "blobs"), { recursive: true });
    for (const [left, rangesKnown] of [
      [new Uint8Array(300).fill(7), true],
      [bytes.subarray(0, 300), false],
      [new Uint8Array(bytes.length + 5), true],
      [bytes, true],
    ] as const) {
      await writeFile(part, left);
      server.intercept = (_, response, path) => {
        if (rangesKnown || path !== "/model.safetensors") return false;
        response.end(bytes);
        return true;
      };
      const folder = (await download()) as string;
      expect(new Uint8Array(await readFile(join(folder, "model.safetensors")))).toEqual(bytes);
      await rm(join(cacheDir, FOLDER, "blobs", sha256(bytes)));
    }
  });

  it("refuses files that are not what the hub lists", async () => {
    const bytes = published["model.safetensors"]!;
    const wrong = bytes.map((byte, i) => (i === 100 ? byte ^ 1 : byte));
    server.intercept = (_, response, path) => {
      if (path !== "/model.safetensors") return false;
      response.end(wrong);
      return true;
    };
    await expect(download()).rejects.toThrow(
      `downloadPretrained: model.safetensors of ${REPO} has the sha256 ${sha256(wrong)}; expected ${sha256(bytes)}`,
    );
    server.intercept = (_, response, path) => {
      if (path !== "/model.safetensors") return false;
      response.end(concatBytes([bytes, bytes]));
      return true;
    };
    await expect(download()).rejects.toThrow(`model.safetensors of ${REPO} is longer than listed`);
    server.intercept = (_, response, path) => {
      if (!path.endsWith("/config.json")) return false;
      response.end(published["config.json"]!.subarray(1));
      return true;
    };
    await rm(cacheDir, { recursive: true });
    await expect(download(REPO, { retries: 0 })).rejects.toThrow(
      /the transfer of config.json .* ended after \d+ of \d+/,
    );
    // Nothing of it is taken for the model.
    await expect(download(REPO, { offline: true })).rejects.toThrow("offline is set");
  });

  it("repeats what a busy hub refuses, for a while", async () => {
    let busy = 2;
    server.intercept = (_, response) => {
      if (busy-- <= 0) return false;
      response.writeHead(503);
      response.end();
      return true;
    };
    await download();
    busy = 99;
    await rm(cacheDir, { recursive: true });
    await expect(download(REPO, { retries: 2 })).rejects.toThrow(`${server.endpoint} answered 503 for ${REPO}`);
    expect(99 - busy).toBe(3);
  });

  it("takes a connection on which nothing comes for broken", async () => {
    server.intercept = (_, response, path) => {
      if (path !== "/model.safetensors") return false;
      response.writeHead(200, { "content-length": published["model.safetensors"]!.length });
      response.write("x");
      return true;
    };
    await expect(download(REPO, { retries: 1, stallTimeout: 50 })).rejects.toThrow("no byte for 0.05 s");
    expect(server.cdn.length).toBe(2);
  });

  it("does without a network where the model is in the cache, and says what to do where it is not", async () => {
    const folder = await download();
    await server.close();
    expect(await download()).toBe(folder);
    expect(await download(REPO, { offline: true })).toBe(folder);
    const error = (await download("org/other").catch((error: unknown) => error)) as HubError;
    expect(error).toBeInstanceOf(HubError);
    expect(error.status).toBeUndefined();
    expect(error.message).toMatch(
      /^downloadPretrained: cannot reach http:\/\/127\S+ for org\/other \(ECONNREFUSED\), and the model is not whole in /,
    );
    expect(error.message).toContain("connect to the network, set HF_ENDPOINT to a mirror");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(download("org/other")).rejects.toThrow("offline is set");
    expect(await download()).toBe(folder);
  });

  it("says whether a model is gated, not there or without safetensors", async () => {
    for (const [status, code, words] of [
      [
        401,
        "GatedRepo",
        /answered 401 \(GatedRepo\) .* gated, private, or not there; .* accept its terms at http.*HF_TOKEN/,
      ],
      [403, "GatedRepo", /answered 403 \(GatedRepo\) .* accept its terms/],
      [404, "RepoNotFound", /answered 404 \(RepoNotFound\) for org\/tiny-llama: there is no such model/],
    ] as const) {
      server.intercept = (_, response) => {
        response.writeHead(status, { "x-error-code": code });
        response.end("{}");
        return true;
      };
      const error = (await download().catch((error: unknown) => error)) as HubError;
      expect(error.message).toMatch(words);
      expect(error.status).toBe(status);
    }
    server.intercept = undefined;
    await expect(download(`${REPO}@v9`)).rejects.toThrow("answered 404 (RevisionNotFound)");
    const { "model.safetensors": _, ...rest } = published;
    server.files = rest;
    await expect(download()).rejects.toThrow(
      "has no model.safetensors (there is pytorch_model.bin, which is not read: look for a revision such as refs/pr/1",
    );
    server.files = { "README.md": text("") };
    await expect(download(REPO, { parts: ["tokenizer"] })).rejects.toThrow("has no tokenizer.json, or another file");
  });

  it("stops when asked, and goes on from there", async () => {
    const abort = new AbortController();
    server.intercept = (_, response, path) => {
      if (path !== "/model.safetensors") return false;
      response.writeHead(200, { "content-length": published["model.safetensors"]!.length });
      response.write(published["model.safetensors"]!.subarray(0, 64));
      return true;
    };
    const options: DownloadPretrainedOptions = {
      signal: abort.signal,
      onProgress: ({ file, loadedBytes }) => {
        if (file === "model.safetensors" && loadedBytes >= published["config.json"]!.length + 64) abort.abort();
      },
    };
    await expect(download(REPO, options)).rejects.toMatchObject({ name: "AbortError" });
    server.intercept = undefined;
    server.cdn.length = 0;
    await download();
    expect(server.cdn.map(({ range }) => range)).toEqual([`bytes=64-${published["model.safetensors"]!.length - 1}`]);
    await expect(download(REPO, { signal: abort.signal })).rejects.toMatchObject({ name: "AbortError" });
  });

  it("fetches a file once for several callers", async () => {
    const folders = await Promise.all([download(), download(), download()]);
    expect(new Set(folders).size).toBe(1);
    expect(server.cdn.length).toBe(1);
  });

  it("refuses names, hashes and commits that could leave the cache", async () => {
    for (const name of ["", "a/b/c", "../x", "org/..", "org/a--b", "hf:/x", "org/.hidden", "o rg/x"]) {
      await expect(download(name)).rejects.toThrow("names no model; expected hf:OWNER/NAME");
    }
    for (const revision of ["../main", "a/../b", "/main", "..", "a b", ""]) {
      await expect(download(REPO, { revision })).rejects.toThrow(`revision (${revision}) must be the name`);
    }
    await expect(download(`${REPO}@v1`, { revision: "v2" })).rejects.toThrow("expected one revision");
    const answer = (path: string, value: unknown) => {
      server.intercept = (_, response, asked) => {
        if (!asked.includes(path)) return false;
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify(value));
        return true;
      };
    };
    answer("/revision/", { sha: "../../x" });
    await expect(download()).rejects.toThrow("no commit; expected 40 hex digits");
    answer("/tree/", [{ type: "file", path: "config.json", size: 2, oid: "../../../x" }]);
    await expect(download()).rejects.toThrow('hash "../../../x"; expected a size and a hash');
    answer("/tree/", { not: "a list" });
    await expect(download()).rejects.toThrow(HubError);
    expect(await lstat(cacheDir)).toBeTruthy();
  });
});
