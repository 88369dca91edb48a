import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { AbortError, FormatError, Rng } from "@genai/core";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  ChecksumError,
  type DataFile,
  DataUnavailableError,
  type DownloadProgress,
  type ResolveOptions,
  resolveFile,
} from "../src/index.ts";
import { closedPort, type FileServer, send, serve } from "./file-server.ts";

const body = Uint8Array.from(new Rng(5).draw({ kind: "integers", size: 300_000, low: 0, high: 256 }));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

let dir: string;
let cacheDir: string;
const servers: FileServer[] = [];

beforeEach(async () => {
  vi.stubEnv("GENAI_DATA_DIR", "");
  dir = await mkdtemp(join(tmpdir(), "genai-datasets-"));
  cacheDir = join(dir, "cache");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(servers.splice(0).map((server) => server.close()));
  await rm(dir, { recursive: true, force: true });
});

async function server(handler: Parameters<typeof serve>[0]): Promise<FileServer> {
  const made = await serve(handler);
  servers.push(made);
  return made;
}

const fileAt = (...bases: string[]): DataFile => ({
  path: "set/data.bin",
  urls: bases.map((base) => `${base}data.bin`),
  bytes: body.length,
  sha256: sha256(body),
});

const get = (file: DataFile, options: ResolveOptions = {}) =>
  resolveFile(file, { cacheDir, retryDelay: 5, ...options });

/** The files in the cache's folder of the set. */
const cached = () => readdir(join(cacheDir, "set")).then((names) => names.sort());

/** The error that a promise is rejected with. */
const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => Promise.reject(new Error("expected a rejection")),
    (error) => error as Error,
  );

describe("a download", () => {
  it("delivers the verified bytes, reports progress, and is served from the cache afterwards", async () => {
    const home = await server((req, res) => send(req, res, body));
    const seen: DownloadProgress[] = [];
    const first = await get(fileAt(home.base), { onProgress: (progress) => seen.push(progress) });
    expect(first.from).toBe("download");
    expect(Buffer.compare(first.bytes, body)).toBe(0);
    expect(seen[0]).toMatchObject({ file: "set/data.bin", received: 0, total: body.length });
    expect(seen.at(-1)).toMatchObject({ received: body.length, total: body.length });
    for (const [i, { received }] of seen.entries()) expect(received).toBeGreaterThanOrEqual(seen[i - 1]?.received ?? 0);
    expect(await cached()).toEqual(["data.bin"]);

    const second = await get(fileAt(home.base));
    expect(second.from).toBe("cache");
    expect(Buffer.compare(second.bytes, body)).toBe(0);
    expect(home.requests).toHaveLength(1);
  });

  it("goes to the next address after 404", async () => {
    const gone = await server((_req, res) => {
      res.statusCode = 404;
      res.end("no");
    });
    const home = await server((req, res) => send(req, res, body));
    const { from } = await get(fileAt(gone.base, home.base));
    expect(from).toBe("download");
    expect(gone.requests).toHaveLength(1);
  });

  it("tries the same address again after 503", async () => {
    const home = await server((req, res, n) => {
      if (n <= 2) {
        res.statusCode = 503;
        res.end();
      } else send(req, res, body);
    });
    await get(fileAt(home.base));
    expect(home.requests).toHaveLength(3);
  });

  it("asks mirrors, when given, instead of the public addresses", async () => {
    const home = await server((req, res) => send(req, res, body));
    const mirror = await server((req, res) => send(req, res, body));
    await get(fileAt(home.base), { mirrors: [`${mirror.base}some/where`] });
    expect(home.requests).toHaveLength(0);
    expect(mirror.requests.map(({ path }) => path)).toEqual(["/some/where/data.bin"]);
  });

  it("goes on where a cut connection stopped, with Range and If-Range", async () => {
    const home = await server((req, res, n) => send(req, res, body, n === 1 ? { cutAfter: 100_000 } : {}));
    const { bytes } = await get(fileAt(home.base));
    expect(Buffer.compare(bytes, body)).toBe(0);
    expect(home.requests.map(({ range }) => range)).toEqual([undefined, "bytes=100000-"]);
    expect(home.requests[1]?.ifRange).toBe('"v1"');
    expect(await cached()).toEqual(["data.bin"]);
  });

  it("starts over when the file has changed between the break and the resumption", async () => {
    const old = body.map((byte) => byte ^ 255);
    const home = await server((req, res, n) =>
      n === 1 ? send(req, res, old, { etag: '"old"', cutAfter: 50_000 }) : send(req, res, body, { etag: '"new"' }),
    );
    const { bytes } = await get(fileAt(home.base));
    expect(Buffer.compare(bytes, body)).toBe(0);
    expect(home.requests).toHaveLength(2);
  });

  it("starts over when the server ignores Range", async () => {
    const home = await server((_req, res, n) => {
      res.setHeader("etag", '"v1"');
      res.setHeader("content-length", body.length);
      if (n > 1) res.end(body);
      else res.write(body.subarray(0, 100_000), () => setTimeout(() => res.destroy(), 20));
    });
    const { bytes } = await get(fileAt(home.base));
    expect(Buffer.compare(bytes, body)).toBe(0);
    expect(home.requests[1]?.range).toBe("bytes=100000-");
  });

  it("starts over when a server that vouches for the version joins two versions all the same", async () => {
    const old = body.map((byte) => byte ^ 255);
    const home = await server((req, res, n) =>
      n === 1 ? send(req, res, old, { cutAfter: 50_000 }) : send(req, res, body),
    );
    const { bytes } = await get(fileAt(home.base));
    expect(Buffer.compare(bytes, body)).toBe(0);
    expect(home.requests.map(({ range }) => range)).toEqual([undefined, "bytes=50000-", undefined]);
  });

  it("starts over after status 416", async () => {
    const home = await server((req, res, n) => {
      if (n === 1) send(req, res, body, { cutAfter: 1000 });
      else if (req.headers.range !== undefined) {
        res.statusCode = 416;
        res.end();
      } else send(req, res, body);
    });
    await get(fileAt(home.base));
    expect(home.requests.map(({ range }) => range)).toEqual([undefined, "bytes=1000-", undefined]);
  });

  it("refuses a wrong checksum, naming both, and puts nothing into the cache", async () => {
    const wrong = body.map((byte) => byte ^ 1);
    const home = await server((req, res) => send(req, res, wrong));
    const error = await failure(get(fileAt(home.base)));
    expect(error).toBeInstanceOf(DataUnavailableError);
    expect(error.cause).toBeInstanceOf(ChecksumError);
    expect(error.message).toContain(`${home.base}data.bin`);
    expect(error.message).toContain(`is ${sha256(wrong)}; expected ${sha256(body)}`);
    expect(await cached()).toEqual([]);
  });

  it("refuses a body shorter than the file though the Content-Length agrees with it", async () => {
    const home = await server((req, res) => send(req, res, body.subarray(0, 200_000)));
    const good = await server((req, res) => send(req, res, body));
    expect(await failure(get(fileAt(home.base)))).toBeInstanceOf(DataUnavailableError);
    expect(await cached()).toEqual([]);
    expect((await get(fileAt(home.base, good.base))).from).toBe("download");
  });

  it("gives up on a Content-Length that promises more than ever comes, and keeps the part out of the cache", async () => {
    const home = await server((_req, res) => {
      res.setHeader("content-length", body.length);
      res.write(body.subarray(0, 1000), () => setTimeout(() => res.destroy(), 5));
    });
    const error = await failure(get(fileAt(home.base), { retries: 2 }));
    expect(error).toBeInstanceOf(DataUnavailableError);
    expect(home.requests).toHaveLength(3);
    expect(await cached()).not.toContain("data.bin");
  });

  it("stops reading a body larger than the file can be", async () => {
    const home = await server((_req, res) => {
      const more = () => {
        while (!res.destroyed && res.write(body)) {}
      };
      res.on("drain", more); // endless, without a Content-Length
      more();
    });
    const error = await failure(get(fileAt(home.base)));
    expect(error.message).toMatch(/more than the \d+ bytes expected/);
    const stated = await server((_req, res) => {
      res.setHeader("content-length", 10 ** 12);
      res.write("x");
    });
    expect((await failure(get(fileAt(stated.base)))).message).toContain("offers 1000000000000 bytes");
  });

  it("counts a transfer that stalls as broken and goes on", async () => {
    const home = await server((req, res, n) => {
      if (n > 1) return send(req, res, body);
      res.setHeader("etag", '"v1"');
      res.setHeader("content-length", body.length);
      res.write(body.subarray(0, 10_000)); // and then nothing
    });
    await get(fileAt(home.base), { stallTimeout: 150 });
    expect(home.requests.map(({ range }) => range)).toEqual([undefined, "bytes=10000-"]);
  });

  it("stops when aborted in the middle, and the next call goes on from there", async () => {
    const controller = new AbortController();
    const home = await server((req, res, n) => {
      if (n > 1) return send(req, res, body);
      res.setHeader("etag", '"v1"');
      res.setHeader("content-length", body.length);
      res.write(body.subarray(0, 120_000));
    });
    const onProgress = ({ received }: DownloadProgress) => {
      if (received === 120_000) controller.abort();
    };
    const error = await failure(get(fileAt(home.base), { signal: controller.signal, onProgress, caller: "loadSet" }));
    expect(error).toBeInstanceOf(AbortError);
    expect(error.message).toBe("loadSet: aborted");
    expect(await cached()).toEqual(["data.bin.part", "data.bin.part.json"]);

    await get(fileAt(home.base));
    expect(home.requests.map(({ range }) => range)).toEqual([undefined, "bytes=120000-"]);
    expect(await cached()).toEqual(["data.bin"]);
  });

  it("does nothing when aborted before it begins, and stops waiting between retries", async () => {
    const home = await server((_req, res) => {
      res.statusCode = 503;
      res.end();
    });
    expect(await failure(get(fileAt(home.base), { signal: AbortSignal.abort() }))).toBeInstanceOf(AbortError);
    expect(home.requests).toHaveLength(0);
    const error = await failure(get(fileAt(home.base), { signal: AbortSignal.timeout(100), retryDelay: 60_000 }));
    expect(error).toBeInstanceOf(AbortError);
  });

  it("says in one sentence that data cannot be had offline", async () => {
    const error = await failure(get(fileAt(await closedPort()), { caller: "loadSet" }));
    expect(error).toBeInstanceOf(DataUnavailableError);
    expect(error.message).toMatch(
      /^loadSet: set\/data\.bin cannot be had: no GENAI_DATA_DIR, not in the cache, and the download failed \(.*ECONNREFUSED\)$/,
    );
  });

  it("happens once when two callers want the file at the same time", async () => {
    const home = await server((req, res) => setTimeout(() => send(req, res, body), 50));
    const results = await Promise.all([get(fileAt(home.base)), get(fileAt(home.base)), get(fileAt(home.base))]);
    for (const { bytes } of results) expect(Buffer.compare(bytes, body)).toBe(0);
    expect(results.map(({ from }) => from).sort()).toEqual(["cache", "cache", "download"]);
    expect(home.requests).toHaveLength(1);
    expect(await cached()).toEqual(["data.bin"]);
  });

  it("takes over the lock and the part of a process that is gone", async () => {
    const home = await server((req, res) => send(req, res, body));
    const path = join(cacheDir, "set", "data.bin");
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.lock`, JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), token: "gone" }));
    await writeFile(`${path}.part`, body.subarray(0, 70_000));
    await writeFile(`${path}.part.json`, JSON.stringify({ url: `${home.base}data.bin`, validator: '"v1"' }));
    await get(fileAt(home.base));
    expect(home.requests[0]?.range).toBe("bytes=70000-");
    expect(await cached()).toEqual(["data.bin"]);
  });

  it("does not go on from a part of another address or of an unknown version", async () => {
    const home = await server((req, res) => send(req, res, body));
    const path = join(cacheDir, "set", "data.bin");
    await mkdir(dirname(path), { recursive: true });
    for (const note of [JSON.stringify({ url: "http://other/", validator: '"v1"' }), "{ not JSON", undefined]) {
      await rm(path, { force: true });
      await writeFile(
        `${path}.part`,
        body.subarray(0, 70_000).map((byte) => byte ^ 1),
      );
      if (note !== undefined) await writeFile(`${path}.part.json`, note);
      await get(fileAt(home.base));
      expect(home.requests.at(-1)?.range).toBeUndefined();
    }
  });

  it("accepts any gzip wrapper of the same content", async () => {
    const file = { ...fileAt(), path: "set/data.bin.gz" };
    for (const level of [1, 9]) {
      const home = await server((req, res) => send(req, res, gzipSync(body, { level })));
      const { bytes, from } = await get({ ...file, urls: [`${home.base}data.bin.gz`] });
      expect(from).toBe("download");
      expect(Buffer.compare(bytes, body)).toBe(0);
      await rm(cacheDir, { recursive: true });
    }
  });
});

describe("the lookup", () => {
  it("takes the data directory first and writes nothing anywhere", async () => {
    const dataDir = join(dir, "data");
    await mkdir(join(dataDir, "set"), { recursive: true });
    await writeFile(join(dataDir, "set", "data.bin"), body);
    vi.stubEnv("GENAI_DATA_DIR", dataDir);
    expect((await get(fileAt())).from).toBe("dataDir");
    expect(await readdir(dir)).toEqual(["data"]);
  });

  it("verifies the data directory's file too", async () => {
    await mkdir(join(dir, "set"), { recursive: true });
    await writeFile(join(dir, "set", "data.bin"), body.subarray(1));
    const error = await failure(get(fileAt(), { dataDir: dir, caller: "loadSet" }));
    expect(error).toBeInstanceOf(ChecksumError);
    expect(error.message).toBe(
      `loadSet: SHA-256 of ${join(dir, "set", "data.bin")} is ${sha256(body.subarray(1))}; expected ${sha256(body)}`,
    );
    const packed = new Uint8Array(gzipSync(body));
    const zipped = { ...fileAt(), path: "set/data.bin.gz" };
    const wrong = [
      packed.subarray(0, 5000),
      packed.subarray(0, -1),
      Buffer.concat([packed, new Uint8Array(1)]),
      body,
      new Uint8Array(0),
    ];
    for (const bytes of wrong) {
      await writeFile(join(dir, zipped.path), bytes);
      const refused = await failure(get(zipped, { dataDir: dir }));
      expect(refused).toBeInstanceOf(FormatError);
      expect(refused.message).toContain(join(dir, zipped.path));
    }
    await writeFile(join(dir, zipped.path), gzipSync(body.subarray(1)));
    expect(await failure(get(zipped, { dataDir: dir }))).toBeInstanceOf(ChecksumError);
  });

  it("says so when a folder stands where the file should", async () => {
    await mkdir(join(dir, "set", "data.bin"), { recursive: true });
    const error = await failure(get(fileAt(), { dataDir: dir, caller: "loadSet" }));
    expect(error.message).toBe(`loadSet: ${join(dir, "set", "data.bin")} cannot be read (it is a folder)`);
  });

  it("uses GENAI_CACHE_DIR when no cache directory is given", async () => {
    vi.stubEnv("GENAI_CACHE_DIR", join(dir, "elsewhere"));
    const home = await server((req, res) => send(req, res, body));
    await resolveFile(fileAt(home.base));
    expect(Buffer.compare(await readFile(join(dir, "elsewhere", "set", "data.bin")), body)).toBe(0);
  });

  it("replaces a damaged file in the cache", async () => {
    const home = await server((req, res) => send(req, res, body));
    const path = join(cacheDir, "set", "data.bin");
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, body.subarray(0, 10));
    expect((await get(fileAt(home.base))).from).toBe("download");
    expect((await get(fileAt(home.base))).from).toBe("cache");
  });

  it("says so when the cache is damaged and the network is down, and when the cache cannot be written", async () => {
    const offline = await closedPort();
    const path = join(cacheDir, "set", "data.bin");
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, "damaged");
    expect((await failure(get(fileAt(offline)))).message).toContain("damaged in the cache");
    await writeFile(join(dir, "a-file"), "");
    const error = await failure(get(fileAt(offline), { cacheDir: join(dir, "a-file") }));
    expect(error).toBeInstanceOf(DataUnavailableError);
    expect(error.message).toContain("the cache cannot be written");
  });

  it("refuses paths that leave the directory", async () => {
    for (const path of ["../secret", "/etc/passwd", "a//b", "", "a\\b"]) {
      await expect(resolveFile({ ...fileAt(), path })).rejects.toThrow("must be a relative path");
    }
  });
});
