import { AbortError, pause, throwIfAborted } from "@genai/core";
import { HubDamageError, HubError } from "./hub-error.ts";

// What is asked of the hub, through its own library, and what its refusals mean to a person.

export interface HubClientOptions {
  /** Address of the hub; HF_ENDPOINT, or https://huggingface.co by default. */
  readonly endpoint?: string;
  /** For gated and private models; HF_TOKEN by default. Sent to the endpoint alone. */
  readonly token?: string;
  readonly signal?: AbortSignal;
  /** Used in place of the global fetch: for a proxy, say. */
  readonly fetch?: typeof globalThis.fetch;
  /** How often a request is repeated when the connection breaks or the hub is busy. Default 4. */
  readonly retries?: number;
  /** Milliseconds before the first repetition; doubled each time. Default 500. */
  readonly retryDelay?: number;
  /** Milliseconds without a byte after which a connection counts as broken. Default 30,000. */
  readonly stallTimeout?: number;
}

/** A file of a repository. */
export interface HubFile {
  readonly name: string;
  readonly size: number;
  /** Of the content for large files, of git's blob for others. Names the content in caches too. */
  readonly hash: { readonly algorithm: "sha256" | "git-sha1"; readonly hex: string };
}

export interface HubClient {
  /** The commit that a revision is now. */
  commitOf(revision: string): Promise<string>;
  /** The files in the first folder of a commit. */
  list(commit: string): Promise<readonly HubFile[]>;
  /** The bytes of a file from one on, as they come. Throws a HubError when they stop coming or are too many. */
  read(commit: string, file: HubFile, from: number): AsyncIterable<Uint8Array>;
  /** Repeats what failed for a while. */
  retry<T>(attempt: () => Promise<T>): Promise<T>;
}

/** An environment variable; undefined where it is empty, and in browsers. */
export const environment = (name: string): string | undefined =>
  (typeof process === "undefined" ? undefined : process.env?.[name]) || undefined;

/** Loads the hub's library. @throws saying what to install */
async function loadHubLibrary(caller: string): Promise<typeof import("@huggingface/hub")> {
  try {
    return await import("@huggingface/hub");
  } catch (cause) {
    throw new Error(
      `${caller}: @huggingface/hub does not load (${(cause as Error).message.split("\n")[0]}); install it with: ` +
        "npm install @huggingface/hub",
      { cause },
    );
  }
}

export const endpointOf = ({ endpoint }: HubClientOptions): string =>
  (endpoint ?? environment("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");

/** Codes of failures to reach a server at all, which no repetition mends. */
const UNREACHABLE = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/;

export async function createHubClient(caller: string, repo: string, options: HubClientOptions): Promise<HubClient> {
  const { signal, retries = 4, retryDelay = 500, stallTimeout = 30_000 } = options;
  const hub = await loadHubLibrary(caller);
  const endpoint = endpointOf(options);
  const token = options.token ?? environment("HF_TOKEN");
  if (token !== undefined && !token.startsWith("hf_")) {
    throw new Error(`${caller}: token (HF_TOKEN) must start with "hf_"`); // and is not shown
  }

  const broken = (cause: unknown, begun: boolean, stalled: boolean): Error => {
    if (cause instanceof HubError) return cause;
    if (signal?.aborted) return new AbortError(caller, { cause: signal.reason });
    const inner = (cause as { cause?: { code?: string; message?: string } } | undefined)?.cause;
    const what = stalled
      ? `no byte for ${stallTimeout / 1000} s`
      : (inner?.code ?? inner?.message ?? (cause instanceof Error ? cause.message : String(cause)));
    const temporary = begun || stalled || (inner?.code !== undefined && !UNREACHABLE.test(inner.code));
    return new HubError(`${caller}: cannot reach ${endpoint} for ${repo} (${what})`, { cause, temporary });
  };

  const refused = async (response: Response): Promise<HubError> => {
    const { status } = response;
    const code = response.headers.get("x-error-code") ?? "";
    await response.body?.cancel().catch(() => {});
    const where = `${caller}: ${endpoint} answered ${status}${code && ` (${code})`} for ${repo}`;
    if (status === 401 || status === 403) {
      const gated = `accept its terms at ${endpoint}/${repo}, and set HF_TOKEN to a token that may read it`;
      const not = token === undefined ? "gated, private, or not there" : "not open to the token";
      return new HubError(`${where}: the model is ${not}; check the name, ${gated}`, { status });
    }
    if (status === 404) {
      return new HubError(`${where}: there is no such model, revision or file; check the name at ${endpoint}/${repo}`, {
        status,
      });
    }
    const temporary = status === 408 || status === 429 || status >= 500;
    return new HubError(where, { status, temporary });
  };

  /** Runs requests of the library that end when nothing has come for a while. */
  async function* requests<T>(
    run: (params: { fetch: typeof globalThis.fetch }, begun: () => boolean) => AsyncIterable<T>,
  ): AsyncGenerator<T> {
    const stall = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const touch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stall.abort(), stallTimeout);
    };
    let begun = false;
    let failure: unknown; // the library passes on but the words of some
    const fetchOnce: typeof globalThis.fetch = async (input, init) => {
      touch();
      try {
        const all = signal === undefined ? stall.signal : AbortSignal.any([signal, stall.signal]);
        const response = await (options.fetch ?? globalThis.fetch)(input, { ...init, signal: all });
        begun = response.ok;
        if (!response.ok) throw await refused(response);
        return response;
      } catch (cause) {
        failure = broken(cause, false, stall.signal.aborted);
        throw failure;
      }
    };
    try {
      throwIfAborted(caller, signal);
      for await (const item of run({ fetch: fetchOnce }, () => begun)) {
        touch();
        yield item;
        throwIfAborted(caller, signal);
      }
    } catch (cause) {
      if (failure !== undefined) throw failure;
      if (cause instanceof AbortError) throw cause;
      throw broken(cause, begun, stall.signal.aborted);
    } finally {
      clearTimeout(timer);
      stall.abort();
    }
  }

  const common = { hubUrl: endpoint, ...(token === undefined ? {} : { accessToken: token }) };
  const malformed = (what: string) => new HubError(`${caller}: ${endpoint} answered for ${repo} with ${what}`);

  async function retry<T>(attempt: () => Promise<T>): Promise<T> {
    for (let failed = 0; ; failed++) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof HubError) || !error.temporary || failed >= retries) throw error;
      }
      await pause(retryDelay * 2 ** failed, caller, signal);
    }
  }

  async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
    const all: T[] = [];
    for await (const item of items) all.push(item);
    return all;
  }

  return {
    retry,

    async commitOf(revision) {
      const [info] = await retry(() =>
        collect(
          requests(async function* (params) {
            yield await hub.modelInfo({ ...common, ...params, name: repo, revision, additionalFields: ["sha"] });
          }),
        ),
      );
      const sha: unknown = info?.sha;
      if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) throw malformed("no commit; expected 40 hex digits");
      return sha;
    },

    async list(commit) {
      const entries = await retry(() =>
        collect(requests((params) => hub.listFiles({ ...common, ...params, repo, revision: commit }))),
      );
      return entries
        .filter(({ type, path }) => type === "file" && !path.includes("/"))
        .map(({ path: name, size, oid, lfs }) => {
          const hex = lfs?.oid ?? oid ?? "";
          const algorithm = lfs ? "sha256" : "git-sha1";
          const whole = lfs?.size ?? size;
          if (!new RegExp(`^[0-9a-f]{${lfs ? 64 : 40}}$`).test(hex) || !Number.isSafeInteger(whole) || whole < 0) {
            throw malformed(`${name} of ${whole} bytes and hash ${JSON.stringify(hex)}; expected a size and a hash`);
          }
          return { name, size: whole, hash: { algorithm, hex } };
        });
    },

    read: (commit, file, from) =>
      requests(async function* (params, begun) {
        if (from === file.size) return;
        const blob = await hub.downloadFile({
          ...common,
          ...params,
          repo,
          revision: commit,
          path: file.name,
          // Said here, so that the library need not ask; and plain HTTP, which resumes, in place of the Xet protocol.
          downloadInfo: {
            size: file.size,
            etag: file.hash.hex,
            url: `${endpoint}/${repo}/resolve/${commit}/${encodeURIComponent(file.name)}`,
          },
          xet: false,
        });
        let received = from;
        const stream = (from === 0 ? blob! : blob!.slice(from)).stream() as ReadableStream<Uint8Array>;
        const reader = stream.getReader();
        try {
          for (;;) {
            const { done, value } = await reader.read();
            if (done) break;
            received += value.length;
            // A server without ranges sends all again.
            if (received > file.size)
              throw new HubDamageError(`${caller}: ${file.name} of ${repo} is longer than listed`);
            yield value;
          }
        } finally {
          await reader.cancel().catch(() => {});
        }
        if (received < file.size) {
          throw new HubError(
            `${caller}: the transfer of ${file.name} of ${repo} ended after ${received} of ${file.size} bytes`,
            { temporary: begun() },
          );
        }
      }),
  };
}
