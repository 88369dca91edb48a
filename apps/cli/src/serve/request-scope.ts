import { ApiError, clientClosed } from "./api-error.ts";

/** The time from a request's arrival to the end of its answer. The signal fires when it has to end early, and says why. */
export class RequestScope {
  readonly #controller = new AbortController();
  readonly #client: AbortSignal;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #onEnd: (scope: RequestScope, error?: ApiError) => void;
  #ended = false;
  /** Tokens read and written, and those of the prompts that had been read before. */
  tokens = { prompt: 0, completion: 0, cached: 0 };

  constructor(client: AbortSignal, timeoutSeconds: number, onEnd: (scope: RequestScope, error?: ApiError) => void) {
    this.#client = client;
    this.#onEnd = onEnd;
    this.#timer = setTimeout(() => {
      this.abort(
        new ApiError(504, `The request took longer than ${timeoutSeconds} seconds, this server's limit.`, {
          code: "timeout",
        }),
      );
    }, timeoutSeconds * 1000);
    if (client.aborted) this.#onClientGone();
    else client.addEventListener("abort", this.#onClientGone, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(why: ApiError): void {
    this.#controller.abort(why);
  }

  /** Ends the scope; an error also ends what still runs for the request. */
  end(error?: ApiError): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#client.removeEventListener("abort", this.#onClientGone);
    if (error) this.abort(error);
    this.#onEnd(this, error);
  }

  readonly #onClientGone = () => this.abort(new ApiError(clientClosed, "The client closed the request."));
}
