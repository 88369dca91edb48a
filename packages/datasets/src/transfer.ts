import { AbortError, pause, throwIfAborted } from "@genai/core";
import { DataUnavailableError, isDamage } from "./data-errors.ts";
import type { DataFile, ResolveOptions } from "./data-file.ts";

/** A failed attempt to read from a server. */
export class TransferError extends Error {
  override name = "TransferError";
  /** Whether the same address may do better in a while. */
  readonly temporary: boolean;

  constructor(message: string, temporary: boolean, options?: ErrorOptions) {
    super(message, options);
    this.temporary = temporary;
  }
}

/** Where an earlier attempt stopped. */
export interface ResumePoint {
  readonly offset: number;
  /** Strong ETag or Last-Modified of the earlier response: the server sends the rest only if it still has that version. */
  readonly validator: string;
}

export interface Transfer {
  /** Bytes of the earlier attempt that stay valid: `resume.offset`, or 0 if the server sends the whole file. */
  readonly offset: number;
  readonly total: number | undefined;
  readonly validator: string | undefined;
  /** The bytes from `offset` on. Throws a TransferError when they stop coming. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Codes of failures to reach a server at all: the next address is more promising than the same one again. */
const unreachable =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_INVALID_URL)$/;

/**
 * Asks for a file, or for the rest of it.
 *
 * @throws TransferError, AbortError.
 */
export async function request(
  url: string,
  resume: ResumePoint | undefined,
  maxBytes: number,
  options: ResolveOptions,
): Promise<Transfer> {
  const caller = options.caller ?? "resolveFile";
  const stall = new StallTimer(options.stallTimeout ?? 30_000);
  const signal = options.signal === undefined ? stall.signal : AbortSignal.any([options.signal, stall.signal]);
  // Ranges count bytes as encoded for the transfer, so ask for no encoding. Browsers keep this header to themselves.
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (resume !== undefined) {
    headers.range = `bytes=${resume.offset}-`;
    headers["if-range"] = resume.validator;
  }
  const broken = (cause: unknown): Error => {
    stall.stop();
    if (options.signal?.aborted) return new AbortError(caller, { cause: options.signal.reason });
    if (stall.signal.aborted) return new TransferError(`no byte for ${stall.limit / 1000} s`, true, { cause });
    const inner = (cause as { cause?: { code?: string; message?: string } }).cause;
    const what = inner?.code ?? inner?.message ?? (cause instanceof Error ? cause.message : String(cause));
    return new TransferError(what, !unreachable.test(inner?.code ?? ""), { cause });
  };

  let response: Response;
  try {
    response = await fetch(url, { headers, signal });
  } catch (cause) {
    throw broken(cause);
  }
  const refuse = async (message: string, temporary: boolean): Promise<never> => {
    stall.stop();
    await response.body?.cancel().catch(() => {});
    throw new TransferError(message, temporary);
  };
  const { status } = response;
  if (status !== 200 && status !== 206) {
    await refuse(`HTTP status ${status}`, status === 408 || status === 416 || status === 429 || status >= 500);
  }
  const length = wholeNumber(response.headers.get("content-length"));
  let offset = 0;
  let total = length;
  if (status === 206) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
    offset = Number(range?.[1]);
    if (resume === undefined || offset !== resume.offset) {
      await refuse(`content-range ${response.headers.get("content-range")} after asking for ${headers.range}`, false);
    }
    total = wholeNumber(range?.[3]);
  } else if (response.headers.has("content-encoding")) total = undefined; // the length of something else
  if (total !== undefined && total > maxBytes) {
    await refuse(`the server offers ${total} bytes; expected at most ${maxBytes}`, false);
  }
  const etag = response.headers.get("etag");
  const validator = etag?.startsWith('"') ? etag : (response.headers.get("last-modified") ?? undefined);

  async function* chunks(): AsyncGenerator<Uint8Array> {
    let received = offset;
    const reader = response.body?.getReader();
    try {
      for (;;) {
        let part: { done: boolean; value?: Uint8Array | undefined } | undefined;
        try {
          part = await reader?.read();
        } catch (cause) {
          throw broken(cause);
        }
        if (part === undefined || part.done || part.value === undefined) break;
        throwIfAborted(caller, options.signal);
        stall.touch();
        received += part.value.length;
        if (received > maxBytes) throw new TransferError(`more than the ${maxBytes} bytes expected`, false);
        yield part.value;
      }
    } finally {
      stall.stop();
      await reader?.cancel().catch(() => {});
    }
    if (total !== undefined && received !== total) {
      throw new TransferError(`the transfer ended after ${received} of ${total} bytes`, true);
    }
  }
  return { offset, total, validator, chunks: chunks() };
}

/** Calls `attempt` until it succeeds, fails for good, or has failed `retries` times more, waiting ever longer between. */
export async function withRetries<T>(options: ResolveOptions, attempt: () => Promise<T>): Promise<T> {
  const { retries = 4, retryDelay = 500, caller = "resolveFile", signal } = options;
  for (let failed = 0; ; failed++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransferError) || !error.temporary || failed >= retries) throw error;
    }
    await pause(retryDelay * 2 ** failed, caller, signal);
  }
}

/**
 * What `attempt` makes of the first address that serves the file whole: of the mirrors asked for, or else the public ones.
 *
 * @throws DataUnavailableError that says what is wrong with each address.
 */
export async function fromFirstAddress<T>(
  file: DataFile,
  options: ResolveOptions,
  attempt: (url: string) => Promise<T>,
): Promise<T> {
  const failures: string[] = [];
  let last: unknown;
  for (const url of addresses(file.path, file.urls, options.mirrors)) {
    try {
      return await attempt(url);
    } catch (error) {
      if (!(error instanceof TransferError) && !isDamage(error)) throw error;
      failures.push(error instanceof TransferError ? `${url}: ${error.message}` : error.message);
      last = error;
    }
  }
  throw new DataUnavailableError(failures.join("; ") || "no address is known", { cause: last });
}

function addresses(path: string, urls: readonly string[], mirrors: readonly string[] | undefined): string[] {
  if (mirrors === undefined) return [...urls];
  const name = path.slice(path.lastIndexOf("/") + 1);
  return mirrors.map((base) => (base.endsWith("/") ? base + name : `${base}/${name}`));
}

/** The most bytes a file may take as served: its content, and what a gzip wrapper may add to it. */
export const transferBound = (bytes: number): number => bytes + Math.ceil(bytes / 100) + 1024;

function wholeNumber(text: string | null | undefined): number | undefined {
  return text !== null && text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** A signal that fires when nothing has happened for a while. */
class StallTimer {
  readonly limit: number;
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limit: number) {
    this.limit = limit;
    this.touch();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  touch(): void {
    this.stop();
    this.#timer = setTimeout(() => this.#controller.abort(), this.limit);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
