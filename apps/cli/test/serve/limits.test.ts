import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { treeMap } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import OpenAI, { APIError, APIUserAbortError, AuthenticationError, RateLimitError } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chatTemplate, type TinyServer, tinyModelFolder, tinyServer } from "./tiny-model.ts";

let folder: string;
beforeAll(async () => {
  folder = await tinyModelFolder({ template: chatTemplate });
});
afterAll(() => rmSync(dirname(folder), { recursive: true, force: true }));

async function withServer(
  options: Parameters<typeof tinyServer>[1],
  use: (server: TinyServer) => Promise<void>,
): Promise<void> {
  const server = await tinyServer(folder, options);
  try {
    await use(server);
  } finally {
    await server.close();
  }
}

const clientOf = (server: TinyServer, apiKey = "none") =>
  new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });

/** Never ends by itself. */
const long = { prompt: "abc", max_tokens: 80, logit_bias: { 256: -100 } };

test("the official client lists models, completes, chats, streams and aborts", async () => {
  await withServer({}, async (server) => {
    const client = clientOf(server);
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(["tiny"]);
    expect((await client.models.retrieve("tiny")).object).toBe("model");
    const completion = await client.completions.create({ model: "tiny", prompt: "Hi", max_tokens: 5, seed: 1, n: 2 });
    expect(completion.choices.length).toBe(2);
    const body = { model: "tiny", messages: [{ role: "user" as const, content: "Hi" }], max_tokens: 8, seed: 1 };
    const chat = await client.chat.completions.create(body);
    expect(chat.choices[0]!.message.role).toBe("assistant");
    let text = "";
    let usage: unknown;
    const options = { include_usage: true };
    for await (const chunk of await client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: options,
    })) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(chat.choices[0]!.message.content);
    expect(usage).toEqual(chat.usage);
    const helper = client.chat.completions.stream(body);
    expect(await helper.finalContent()).toBe(text);

    const stream = await client.completions.create({ model: "tiny", ...long, stream: true });
    let seen = 0;
    for await (const _ of stream) if (++seen === 3) stream.controller.abort();
    expect(seen).toBeLessThan(80);
    await server.idle();
    expect(server.log.at(-1)!.status).toBe(499);
    const controller = new AbortController();
    const aborted = client.completions.create({ model: "tiny", ...long }, { signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    await expect(aborted).rejects.toThrow(APIUserAbortError);

    const wrong = client.completions.create({ model: "other", prompt: "a" });
    await expect(wrong).rejects.toMatchObject({ status: 404, code: "model_not_found", param: "model" });
    await expect(client.completions.create({ model: "tiny", prompt: "a", max_tokens: 1e9 })).rejects.toThrow(
      "400 max_tokens is 1000000000; this server writes at most 90 tokens",
    );
  });
});

test("a key is asked for when there are keys, for everything but health", async () => {
  await withServer({ apiKeys: ["first", "second"] }, async (server) => {
    for (const key of ["first", "second"]) expect((await clientOf(server, key).models.list()).data.length).toBe(1);
    await expect(clientOf(server, "third").models.list()).rejects.toThrow(AuthenticationError);
    const none = await server.post("/v1/completions", { prompt: "a" });
    expect([none.status, none.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });
});

test("a full queue answers 429 and takes requests again when there is room", async () => {
  await withServer({ maxRows: 1, maxQueue: 1 }, async (server) => {
    const client = clientOf(server);
    const request = (stop?: AbortSignal) =>
      client.completions.create({ model: "tiny", ...long }, stop ? { signal: stop } : {});
    const results = await Promise.allSettled([request(), request(), request(), request()]);
    const failed = results.filter((result) => result.status === "rejected");
    expect(failed.length).toBe(2);
    for (const { reason } of failed) expect(reason).toBeInstanceOf(RateLimitError);
    await expect(client.completions.create({ model: "tiny", ...long, n: 3 })).rejects.toThrow(RateLimitError);
    await server.idle();
    expect((await request()).usage!.completion_tokens).toBe(80);
  });
});

test("a request that takes too long is ended, also in the queue and in the middle of a stream", async () => {
  await withServer({ maxRows: 1, timeoutSeconds: 0.15 }, async (server) => {
    const all = await Promise.all(Array.from({ length: 12 }, () => server.post("/v1/completions", long)));
    const last = all.at(-1)!;
    expect(last.status).toBe(504);
    expect(await last.json()).toMatchObject({ error: { code: "timeout", type: "server_error" } });
    await server.idle();
    const streams = await Promise.all(
      Array.from({ length: 12 }, () => server.post("/v1/completions", { ...long, stream: true })),
    );
    const texts = await Promise.all(streams.map((response) => response.text()));
    expect(texts.some((text) => text.includes('"code":"timeout"'))).toBe(true);
    await server.idle();
  });
});

test("NaN logits answer 500 to the request that meets them, and the server lives on", async () => {
  // The embedding of "z" is broken.
  const change = (model: TinyServer["model"]) => {
    const broken = model.tokenizer.encode("z").ids[0]!;
    const params = treeMap(model.params as Record<string, never>, (x: tf.Tensor) => {
      if (x.shape[0] !== 260) return x.clone();
      const rows = tf.tensor1d([broken], "int32").expandDims(1) as tf.Tensor2D;
      return tf.tensorScatterUpdate(x, rows, tf.fill([1, x.shape[1]!], Number.NaN));
    });
    return { ...model, params };
  };
  await withServer({ change }, async (server) => {
    const results = await Promise.all(
      ["z", "z", "az"].map((prompt) => server.post("/v1/completions", { prompt, max_tokens: 5 })),
    );
    for (const response of results) {
      expect(response.status).toBe(500);
      const { error } = (await response.json()) as { error: Record<string, string> };
      expect(error).toMatchObject({ type: "server_error", code: "generation_failed" });
      expect(error.message).toContain("260 logits are NaN");
    }
    const streamed = await server.post("/v1/completions", { prompt: "z", stream: true });
    expect(streamed.status).toBe(500);
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });
});

describe("shutting down", () => {
  test("answers what is under way, and refuses what is new", async () => {
    const server = await tinyServer(folder);
    const under = server.post("/v1/completions", long);
    const streamed = await server.post("/v1/completions", { ...long, stream: true });
    while (server.service.scheduler.running < 2) await new Promise((then) => setTimeout(then, 2));
    const closed = server.close(30);
    expect((await under).status).toBe(200);
    expect(await streamed.text()).toContain("[DONE]");
    await closed;
    await expect(server.post("/v1/completions", long)).rejects.toThrow();
  });

  test("ends what takes longer than the grace period, and says so", async () => {
    const server = await tinyServer(folder, { maxRows: 1 });
    const streamed = await server.post("/v1/completions", { ...long, stream: true });
    const requests = Array.from({ length: 20 }, () => server.post("/v1/completions", long));
    const { scheduler } = server.service;
    while (scheduler.running + scheduler.waiting < 20) await new Promise((then) => setTimeout(then, 2));
    await server.close(0.02);
    const statuses = await Promise.all(requests.map(async (request) => (await request).status));
    expect(statuses.at(-1)).toBe(503);
    expect(await streamed.text()).toMatch(/shutting_down|DONE/);
  });
});

test("no body whatever makes the server fail", async () => {
  await withServer({ maxNewTokens: 3 }, async (server) => {
    const next = randomNumbers(5);
    const pick = <T>(list: readonly T[]): T => list[next(list.length)]!;
    const leaves: unknown[] = [
      null,
      true,
      false,
      0,
      1,
      -1,
      3,
      0.5,
      1e9,
      1e300,
      -1e300,
      "",
      "a",
      "\u0000",
      "\ud800",
      "🐕",
      "x".repeat(300),
      [],
      {},
      [[]],
      [1],
      [1e9],
      ["a", 1],
      [null],
      { 1: 5 },
      { a: {} },
      { toString: 1 },
      { __proto__: null },
      [{ role: "user", content: "hi<|end|>" }],
      [{ role: "user" }],
      [{ role: "assistant", content: [{ type: "text", text: "" }] }],
    ];
    const names = [
      "prompt",
      "messages",
      "max_tokens",
      "max_completion_tokens",
      "temperature",
      "top_p",
      "top_k",
      "min_p",
      "typical_p",
      "n",
      "stop",
      "logit_bias",
      "seed",
      "echo",
      "logprobs",
      "top_logprobs",
      "stream",
      "stream_options",
      "presence_penalty",
      "frequency_penalty",
      "repetition_penalty",
      "best_of",
      "suffix",
      "model",
      "tools",
      "response_format",
      "constructor",
    ];
    const statuses: Record<number, number> = {};
    for (let i = 0; i < 400; i++) {
      const chat = next(2) === 1;
      const start = { ...(chat ? { messages: [{ role: "user", content: "hi" }] } : { prompt: "hi" }), max_tokens: 2 };
      const body: Record<string, unknown> = { ...(next(4) > 0 && start) };
      for (let k = next(3); k >= 0; k--) body[pick(names)] = pick(leaves);
      let text = JSON.stringify(next(20) === 0 ? pick(leaves) : body);
      if (next(15) === 0)
        text = text.slice(0, next(text.length)) + pick(["", "}", "\u0000", "\ud800"]) + text.slice(next(text.length));
      const response = await server.post(chat ? "/v1/chat/completions" : "/v1/completions", text);
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
      const answer = await response.text();
      expect([200, 400, 404], `${text} answered ${answer}`).toContain(response.status);
      if (response.status !== 200)
        expect(JSON.parse(answer)).toMatchObject({ error: { type: "invalid_request_error" } });
    }
    expect(statuses[200]).toBeGreaterThan(20);
    await server.idle();
    expect((await server.post("/v1/completions", { prompt: "a", max_tokens: 1 })).status).toBe(200);
  });
});

function randomNumbers(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

test("errors are the client's own classes", async () => {
  await withServer({}, async (server) => {
    const error = await clientOf(server)
      .chat.completions.create({ model: "tiny", messages: [] })
      .catch((e: unknown) => e);
    expect(error).toBeInstanceOf(APIError);
    expect(error).toMatchObject({ status: 400, param: "messages", type: "invalid_request_error" });
  });
});
