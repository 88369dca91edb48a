import { HubDamageError, HubError } from "./hub-error.ts";
import { hubRequests, type RequestOptions } from "./hub-requests.ts";

// What is asked of the hub, through its own library.

export interface HubClientOptions extends RequestOptions {
  /** Address of the hub; HF_ENDPOINT, or https://huggingface.co by default. */
  readonly endpoint?: string;
  /** For gated and private models; HF_TOKEN by default. Sent to the endpoint alone. */
  readonly token?: string;
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

export async function createHubClient(caller: string, repo: string, options: HubClientOptions): Promise<HubClient> {
  const hub = await loadHubLibrary(caller);
  const endpoint = endpointOf(options);
  const token = options.token ?? environment("HF_TOKEN");
  if (token !== undefined && !token.startsWith("hf_")) {
    throw new Error(`${caller}: token (HF_TOKEN) must start with "hf_"`); // and is not shown
  }

  const { run, retry } = hubRequests({ caller, endpoint, repo, hasToken: token !== undefined }, options);
  const common = { hubUrl: endpoint, ...(token === undefined ? {} : { accessToken: token }) };
  const malformed = (what: string) => new HubError(`${caller}: ${endpoint} answered for ${repo} with ${what}`);

  return {
    retry,

    async commitOf(revision) {
      const [info] = await retry(() =>
        collect(
          run(async function* (params) {
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
        collect(run((params) => hub.listFiles({ ...common, ...params, repo, revision: commit }))),
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
      run(async function* (params, begun) {
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

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
