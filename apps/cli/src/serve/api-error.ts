import { QueueFullError } from "@genai/transformer";
import { HTTPException } from "hono/http-exception";
import { UsageError } from "../exit-code.ts";

/** An answer that says what went wrong, in the shape that OpenAI's clients read. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly status: number;
  readonly param: string | null;
  readonly code: string | null;

  constructor(
    status: number,
    message: string,
    details: { readonly param?: string | null; readonly code?: string } & ErrorOptions = {},
  ) {
    super(message, details);
    this.status = status;
    this.param = details.param ?? null;
    this.code = details.code ?? null;
  }

  get body() {
    const { message, param, code } = this;
    return { error: { message, type: typeOf(this.status), param, code } };
  }
}

/** The status of requests whose client has gone: nobody sees it but the log. */
export const clientClosed = 499;

/** What a request is answered for an error that ended it. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof QueueFullError) {
    return new ApiError(429, "As many requests wait as may; try again in a moment.", { code: "queue_full" });
  }
  if (error instanceof Error && error.name === "AbortError") {
    // Whoever ends a request early gives the answer as the reason.
    return error.cause instanceof ApiError
      ? error.cause
      : new ApiError(clientClosed, "The client closed the request.", { code: "client_closed", cause: error });
  }
  if (error instanceof UsageError) return new ApiError(400, error.message, { cause: error });
  if (error instanceof HTTPException) return new ApiError(error.status, error.message || "Bad request.");
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError(500, message, { code: "generation_failed", cause: error });
}

function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}
