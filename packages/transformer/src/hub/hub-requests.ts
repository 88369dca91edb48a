import { AbortError, pause, throwIfAborted } from "@genai/core";
import { HubError } from "./hub-error.ts";

// Requests of the hub's library: ended when nothing comes, repeated where that may help, their failures in words.

export interface RequestOptions {
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

/** What is asked of whom, for errors. */
export interface RequestPlace {
  readonly caller: string;
  readonly endpoint: string;
  readonly repo: string;
  readonly hasToken: boolean;
}

/** What the library does with a fetch; `begun` says whether an answer has come. */
export type LibraryRequests<T> = (params: { fetch: typeof globalThis.fetch }, begun: () => boolean) => AsyncIterable<T>;

export interface HubRequests {
  /** What the library gives, until nothing has come for a while. Throws a HubError, or an AbortError. */
  run<T>(requests: LibraryRequests<T>): AsyncGenerator<T>;
  /** Repeats what failed for a while. */
  retry<T>(attempt: () => Promise<T>): Promise<T>;
}

export function hubRequests(place: RequestPlace, options: RequestOptions): HubRequests {
  const { signal, retries = 4, retryDelay = 500, stallTimeout = 30_000 } = options;

  const breakage = (cause: unknown, begun: boolean, stalled: boolean): Error => {
    if (cause instanceof HubError) return cause;
    if (signal?.aborted) return new AbortError(place.caller, { cause: signal.reason });
    return broken(place, cause, { begun, ...(stalled ? { stalledSeconds: stallTimeout / 1000 } : {}) });
  };

  async function* run<T>(requests: LibraryRequests<T>): AsyncGenerator<T> {
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
        if (!response.ok) throw await refusal(place, response);
        return response;
      } catch (cause) {
        failure = breakage(cause, false, stall.signal.aborted);
        throw failure;
      }
    };
    try {
      throwIfAborted(place.caller, signal);
      for await (const item of requests({ fetch: fetchOnce }, () => begun)) {
        touch();
        yield item;
        throwIfAborted(place.caller, signal);
      }
    } catch (cause) {
      if (failure !== undefined) throw failure;
      if (cause instanceof AbortError) throw cause;
      throw breakage(cause, begun, stall.signal.aborted);
    } finally {
      clearTimeout(timer);
      stall.abort();
    }
  }

  async function retry<T>(attempt: () => Promise<T>): Promise<T> {
    for (let failed = 0; ; failed++) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof HubError) || !error.temporary || failed >= retries) throw error;
      }
      await pause(retryDelay * 2 ** failed, place.caller, signal);
    }
  }

  return { run, retry };
}

/** Codes of failures to reach a server at all, which no repetition mends. */
const UNREACHABLE = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/;

/** A connection that could not be made, or broke. */
function broken(
  { caller, endpoint, repo }: RequestPlace,
  cause: unknown,
  { begun, stalledSeconds }: { readonly begun: boolean; readonly stalledSeconds?: number },
): HubError {
  const inner = (cause as { cause?: { code?: string; message?: string } } | undefined)?.cause;
  const stalled = stalledSeconds !== undefined;
  const what = stalled
    ? `no byte for ${stalledSeconds} s`
    : (inner?.code ?? inner?.message ?? (cause instanceof Error ? cause.message : String(cause)));
  const temporary = begun || stalled || (inner?.code !== undefined && !UNREACHABLE.test(inner.code));
  return new HubError(`${caller}: cannot reach ${endpoint} for ${repo} (${what})`, { cause, temporary });
}

/** An answer that is none. */
async function refusal({ caller, endpoint, repo, hasToken }: RequestPlace, response: Response): Promise<HubError> {
  const { status } = response;
  const code = response.headers.get("x-error-code") ?? "";
  await response.body?.cancel().catch(() => {});
  const where = `${caller}: ${endpoint} answered ${status}${code && ` (${code})`} for ${repo}`;
  if (status === 401 || status === 403) {
    const gated = `accept its terms at ${endpoint}/${repo}, and set HF_TOKEN to a token that may read it`;
    const not = hasToken ? "not open to the token" : "gated, private, or not there";
    return new HubError(`${where}: the model is ${not}; check the name, ${gated}`, { status });
  }
  if (status === 404) {
    return new HubError(`${where}: there is no such model, revision or file; check the name at ${endpoint}/${repo}`, {
      status,
    });
  }
  const temporary = status === 408 || status === 429 || status >= 500;
  return new HubError(where, { status, temporary });
}
