import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { ApiError, toApiError } from "./api-error.ts";
import { completeChat } from "./chat-completions.ts";
import { complete } from "./completions.ts";
import { RequestScope } from "./request-scope.ts";
import type { TextService } from "./text-service.ts";

export interface ServeAppOptions {
  /** Keys of which each request must bring one; none lets everybody in. */
  readonly apiKeys?: readonly string[];
  /** Origins whose pages may call, or "*"; by default browsers let none. */
  readonly origins?: readonly string[];
  /** Most bytes of a request. */
  readonly maxBodyBytes?: number;
  /** Most seconds for a request, its time in the queue included. */
  readonly timeoutSeconds?: number;
  /** Jinja, in place of the tokenizer's own. */
  readonly chatTemplate?: string;
  readonly onAnswered?: (answered: Answered) => void;
}

/** What the log says of a request. */
export interface Answered {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly milliseconds: number;
  readonly promptTokens: number;
  /** Of the prompt, those that had been read before. */
  readonly cachedTokens: number;
  readonly newTokens: number;
  readonly error?: string;
}

/** The HTTP interface over a model, as a function from requests to answers. */
export interface ServeApp {
  fetch(request: Request, env?: unknown): Response | Promise<Response>;
  /** Requests that are being answered. */
  readonly active: number;
  /** Refuses new requests from now on. */
  close(): void;
  /** Ends the requests that are being answered with an error. */
  abortActive(): void;
}

const shuttingDown = () => new ApiError(503, "The server is shutting down.", { code: "shutting_down" });

/** Builds the routes of OpenAI's API over a model. */
export function createServeApp(service: TextService, options: ServeAppOptions = {}): ServeApp {
  const {
    apiKeys = [],
    origins = [],
    maxBodyBytes = 2 ** 22,
    timeoutSeconds = 600,
    chatTemplate,
    onAnswered,
  } = options;
  const { model, scheduler } = service;
  const created = Math.floor(Date.now() / 1000);
  const active = new Set<RequestScope>();
  let isClosing = false;
  const app = new Hono<{ Variables: { client: AbortSignal } }>();

  app.onError((error, c) => answer(c, toApiError(error)));
  app.use(async (c, next) => {
    c.header("x-request-id", randomUUID());
    await next();
  });
  if (origins.length > 0) {
    app.use(cors({ origin: origins.includes("*") ? "*" : [...origins], exposeHeaders: ["x-request-id"] }));
  }
  app.get("/health", (c) => {
    const status = isClosing ? "shutting down" : "ok";
    return c.json(
      { status, model: model.name, running: scheduler.running, waiting: scheduler.waiting },
      isClosing ? 503 : 200,
    );
  });
  app.use("/v1/*", async (c, next) => {
    checkKey(c, apiKeys);
    await next();
  });

  const modelCard = { id: model.name, object: "model", created, owned_by: "genai" };
  app.get("/v1/models", (c) => c.json({ object: "list", data: [modelCard] }));
  app.get("/v1/models/:id{.+}", (c) => {
    checkModel(c.req.param("id"), model.name);
    return c.json(modelCard);
  });

  const limited = bodyLimit({
    maxSize: maxBodyBytes,
    onError: () => {
      throw new ApiError(413, `The body is larger than ${maxBodyBytes} bytes, this server's limit.`, {
        code: "body_too_large",
      });
    },
  });
  const post = (path: string, write: (body: unknown, scope: RequestScope) => Promise<Response>) => {
    // Taken before the limit, which may put a request of its own in the place of this one.
    app.post(
      path,
      (c, next) => {
        c.set("client", c.req.raw.signal);
        return next();
      },
      limited,
      async (c) => {
        if (isClosing) throw shuttingDown();
        const started = performance.now();
        const report = (status: number, { tokens }: RequestScope, error?: ApiError) =>
          onAnswered?.({
            method: "POST",
            path,
            status,
            milliseconds: performance.now() - started,
            promptTokens: tokens.prompt,
            cachedTokens: tokens.cached,
            newTokens: tokens.completion,
            ...(error && { error: error.message }),
          });
        const scope = new RequestScope(c.get("client"), timeoutSeconds, (ended, error) => {
          active.delete(ended);
          report(error?.status ?? 200, ended, error);
        });
        active.add(scope);
        try {
          const body = await jsonBody(c);
          checkModel(modelOf(body), model.name);
          return await write(body, scope);
        } catch (error) {
          const failed = toApiError(error);
          scope.end(failed);
          throw failed;
        }
      },
    );
  };
  post("/v1/completions", (body, scope) => complete(service, body, scope));
  post("/v1/chat/completions", (body, scope) => completeChat(service, body, scope, chatTemplate));

  const routes: Record<string, string> = {
    "/health": "GET",
    "/v1/models": "GET",
    "/v1/completions": "POST",
    "/v1/chat/completions": "POST",
  };
  app.notFound((c) => {
    const allowed = routes[c.req.path] ?? (c.req.path.startsWith("/v1/models/") ? "GET" : undefined);
    if (allowed === undefined) {
      const known = Object.entries(routes).map(([path, method]) => `${method} ${path}`);
      return answer(
        c,
        new ApiError(404, `There is no ${c.req.path} here; there is ${known.join(", ")}.`, { code: "unknown_url" }),
      );
    }
    c.header("allow", allowed);
    return answer(
      c,
      new ApiError(405, `${c.req.path} answers ${allowed}, not ${c.req.method}.`, { code: "method_not_allowed" }),
    );
  });

  return {
    fetch: (request, env) => app.fetch(request, env as object),
    get active() {
      return active.size;
    },
    close() {
      isClosing = true;
    },
    abortActive() {
      for (const scope of active) scope.abort(shuttingDown());
    },
  };
}

function answer(c: Context, error: ApiError): Response {
  if (error.status === 401) c.header("www-authenticate", "Bearer");
  if (error.status === 429 || error.status === 503) c.header("retry-after", "1");
  return c.json(error.body, error.status as 400);
}

function checkKey(c: Context, keys: readonly string[]): void {
  if (keys.length === 0) return;
  const given = /^Bearer (.+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
  if (given === undefined) {
    throw new ApiError(401, "This server asks for a key: send the header authorization: Bearer KEY.", {
      code: "missing_api_key",
    });
  }
  const digest = (text: string) => createHash("sha256").update(text).digest();
  // Compared in full, so that the time it takes tells nothing.
  const matches = keys.map((key) => timingSafeEqual(digest(key), digest(given)));
  if (!matches.includes(true))
    throw new ApiError(401, "The key is not one of this server's.", { code: "invalid_api_key" });
}

function checkModel(asked: unknown, name: string): void {
  if (asked === undefined || asked === null || asked === name) return;
  throw new ApiError(404, `There is no model ${JSON.stringify(asked)} here; there is ${JSON.stringify(name)}.`, {
    param: "model",
    code: "model_not_found",
  });
}

function modelOf(body: unknown): unknown {
  const model = typeof body === "object" && body !== null && "model" in body ? body.model : undefined;
  // What is no string is refused with the other fields.
  return typeof model === "string" ? model : undefined;
}

async function jsonBody(c: Context): Promise<unknown> {
  const type = c.req.header("content-type") ?? "";
  if (!/^application\/(.+\+)?json\s*(;|$)/i.test(type)) {
    throw new ApiError(415, `The body is ${type === "" ? "of no type" : type}; send content-type: application/json.`, {
      code: "unsupported_media_type",
    });
  }
  const text = await c.req.text();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(400, `The body is no JSON: ${error instanceof Error ? error.message : String(error)}.`, {
      code: "invalid_json",
    });
  }
}
