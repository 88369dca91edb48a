import { type CompileOptions, createEngine, type Engine, Rng, type Tree, treeDispose } from "@genai/core";
import { describeOnEngines } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type BatchRequest,
  type BatchScheduler,
  type BatchSchedulerOptions,
  type BatchToken,
  type CausalLm,
  createBatchScheduler,
  createGpt2,
  createLlama,
  type GenerateOptions,
  generate,
  gpt2Lm,
  type LlamaConfig,
  llamaLm,
  QueueFullError,
  type SamplingOptions,
} from "../../src/index.ts";
import { bigramLm, historyLm } from "../toy-lms.ts";

type Table = { table: tf.Tensor2D };

const vocabSize = 7;
const blockSize = 24;
const table = () => {
  const values = new Rng(3).draw({ kind: "normal", size: vocabSize ** 2, mean: 0, std: 1 });
  return { table: tf.tensor2d(values, [vocabSize, vocabSize]) };
};

async function collect(tokens: AsyncIterable<BatchToken>): Promise<BatchToken[]> {
  const all: BatchToken[] = [];
  for await (const token of tokens) all.push(token);
  return all;
}

const idsOf = async (tokens: AsyncIterable<BatchToken>) => (await collect(tokens)).map(({ id }) => id);

/** Requests of all kinds; those with a seed are drawn. */
const kinds: (SamplingOptions & {
  readonly prompt: number[];
  readonly maxNewTokens: number;
  readonly seed?: number;
  readonly stopIds?: number[];
  readonly allowedIds?: number[];
  readonly logProbs?: boolean;
})[] = [
  { prompt: [1, 2], maxNewTokens: 9 },
  { prompt: [3], maxNewTokens: 4, seed: 1, temperature: 1.3 },
  { prompt: [4, 5, 6, 0, 1], maxNewTokens: 12, seed: 2, topK: 3 },
  { prompt: [2, 2, 2], maxNewTokens: 7, seed: 3, topP: 0.7, temperature: 0.9 },
  { prompt: [6, 1], maxNewTokens: 10, seed: 4, topK: 5, topP: 0.8, minP: 0.05 },
  { prompt: [0], maxNewTokens: 11, seed: 5, typicalP: 0.8 },
  { prompt: [5, 5], maxNewTokens: 8, repetitionPenalty: 1.5 },
  { prompt: [1, 3, 5], maxNewTokens: 9, seed: 6, frequencyPenalty: 0.7, presencePenalty: 0.4 },
  { prompt: [2, 4, 6], maxNewTokens: 10, noRepeatNgramSize: 2 },
  { prompt: [3, 3, 1, 0], maxNewTokens: 6, seed: 7, allowedIds: [0, 2, 4] },
  { prompt: [6], maxNewTokens: 9, seed: 8, stopIds: [2] },
  { prompt: [1], maxNewTokens: 20, seed: 9, temperature: 0 },
  { prompt: [4], maxNewTokens: 5, seed: 10, topP: 1, topK: 100, minP: 1e-9, logProbs: true },
];

const requestOf = ({ seed, ...rest }: (typeof kinds)[number]): BatchRequest => ({
  ...rest,
  ...(seed !== undefined && { rng: new Rng(seed) }),
});

async function alone<P extends Tree>(engine: Engine, lm: CausalLm<P>, params: P, kind: (typeof kinds)[number]) {
  const { prompt, seed, ...rest } = kind;
  const options: GenerateOptions<P> = { ...rest, ...(seed !== undefined && { rng: [new Rng(seed)] }) };
  const tokens = [];
  for await (const { row: _, ...token } of generate(engine, lm, params, [prompt], options)) tokens.push(token);
  return tokens;
}

/** Equal but for the last digits of log-probabilities. */
function expectSame(got: readonly BatchToken[], want: readonly BatchToken[]): void {
  const rounded = (tokens: readonly BatchToken[]) =>
    tokens.map(({ logProb, ...token }) => ({
      ...token,
      ...(logProb !== undefined && { logProb: logProb.toFixed(3) }),
    }));
  expect(rounded(got)).toEqual(rounded(want));
}

describeOnEngines("a batch scheduler", (engine) => {
  it("gives each of many requests at once what it gets alone, whoever else is there", async () => {
    const lm = historyLm(vocabSize, blockSize);
    const params = table();
    const want = [];
    for (const kind of kinds) want.push(await alone(engine(), lm, params, kind));
    const scheduler = createBatchScheduler(engine(), lm, params, { maxRows: 4 });
    const together = await Promise.all(kinds.map((kind) => collect(scheduler.submit(requestOf(kind)))));
    for (const [i, tokens] of together.entries()) expectSame(tokens, want[i]!);
    const backwards = await Promise.all([...kinds].reverse().map((kind) => collect(scheduler.submit(requestOf(kind)))));
    for (const [i, tokens] of backwards.reverse().entries()) expectSame(tokens, want[i]!);
    await scheduler.dispose();
  });

  it("leaves no tensor behind: finished, left early, aborted, failed", async () => {
    const lm = historyLm(vocabSize, blockSize);
    const params = table();
    const before = tf.memory().numTensors;
    const scheduler = createBatchScheduler(engine(), lm, params, { maxRows: 3 });
    const controller = new AbortController();
    const leave = async () => {
      for await (const _ of scheduler.submit(requestOf(kinds[4]!))) break;
    };
    const failing = () => collect(scheduler.submit({ prompt: [1], allowedIds: () => [] }));
    const aborting = async () => {
      for await (const { index } of scheduler.submit({ ...requestOf(kinds[2]!), signal: controller.signal })) {
        if (index === 2) controller.abort();
      }
    };
    await Promise.all([
      ...kinds.map((kind) => collect(scheduler.submit(requestOf(kind)))),
      leave(),
      expect(failing()).rejects.toThrow("allowedIds are empty"),
      expect(aborting()).rejects.toMatchObject({ name: "AbortError" }),
    ]);
    await scheduler.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine("onnx:cpu");
});
afterAll(() => engine.dispose());

const lm = historyLm(vocabSize, blockSize);

async function withScheduler(
  use: (scheduler: BatchScheduler) => Promise<void>,
  options: { readonly maxRows?: number; readonly maxQueue?: number; readonly maxTokens?: number } = {},
  model: CausalLm<Table> = lm,
  params: Table = table(),
): Promise<void> {
  const scheduler = createBatchScheduler(engine, model, params, options);
  try {
    await use(scheduler);
  } finally {
    await scheduler.dispose();
  }
}

describe("batched requests", () => {
  it.each([
    ["GPT-2", () => ({ lm: gpt2Lm(small) as CausalLm, params: createGpt2(small, new Rng(0)).params as Tree })],
    [
      "Llama",
      () => ({
        lm: llamaLm({ ...small, nKvHead: 1, nInner: 12 }) as CausalLm,
        params: createLlama({ ...small, nKvHead: 1, nInner: 12 }, new Rng(0)).params as Tree,
      }),
    ],
  ])("of %s get what they get alone", async (_, make) => {
    const { lm, params } = make();
    const want = [];
    for (const kind of kinds) want.push(await alone(engine, lm, params, kind));
    const scheduler = createBatchScheduler(engine, lm, params, { maxRows: 5 });
    const got = await Promise.all(kinds.map((kind) => collect(scheduler.submit(requestOf(kind)))));
    for (const [i, tokens] of got.entries()) expectSame(tokens, want[i]!);
    await scheduler.dispose();
  });

  it("join while others run, and wait when there is no row", async () => {
    await withScheduler(
      async (scheduler) => {
        const first = scheduler.submit({ prompt: [1], maxNewTokens: 20 });
        await first.next();
        const others = [2, 3, 4].map((id) => scheduler.submit({ prompt: [id], maxNewTokens: 3 }));
        expect(scheduler.running).toBe(1);
        expect(scheduler.waiting).toBe(3);
        await Promise.all(others.map(collect));
        expect(scheduler.running).toBe(1);
        expect((await collect(first)).length).toBe(19);
        expect(scheduler.running + scheduler.waiting).toBe(0);
      },
      { maxRows: 2 },
    );
  });

  it("that are aborted give their row to the next at once, waiting or running", async () => {
    await withScheduler(
      async (scheduler) => {
        const controllers = [new AbortController(), new AbortController()];
        const running = scheduler.submit({ prompt: [1], signal: controllers[0]!.signal });
        await running.next();
        const waiting = scheduler.submit({ prompt: [2], signal: controllers[1]!.signal });
        const last = collect(scheduler.submit({ prompt: [3], maxNewTokens: 4 }));
        controllers[1]!.abort("gone");
        expect(scheduler.waiting).toBe(1);
        await expect(waiting.next()).rejects.toMatchObject({ name: "AbortError", cause: "gone" });
        controllers[0]!.abort();
        await expect(running.next()).rejects.toMatchObject({ name: "AbortError" });
        expect((await last).length).toBe(4);
        expect(() => scheduler.submit({ prompt: [3], signal: controllers[0]!.signal })).toThrow("aborted");
      },
      { maxRows: 1 },
    );
  });

  it("that nobody reads hold up nobody, and can be read later", async () => {
    await withScheduler(
      async (scheduler) => {
        const slow = scheduler.submit(requestOf(kinds[2]!));
        const want = await alone(engine, lm, table(), kinds[2]!);
        const others = await Promise.all([0, 1, 3].map((i) => collect(scheduler.submit(requestOf(kinds[i]!)))));
        expect(others.map((tokens) => tokens.length)).toEqual([9, 4, 7]);
        expectSame(await collect(slow), want);
      },
      { maxRows: 1 },
    );
  });

  it("are refused when the queue is full, and taken again when it is not", async () => {
    await withScheduler(
      async (scheduler) => {
        const taken = [1, 2, 3].map((id) => scheduler.submit({ prompt: [id], maxNewTokens: 3 }));
        expect(() => scheduler.submit({ prompt: [4] })).toThrow(QueueFullError);
        await Promise.all(taken.map(collect));
        expect((await collect(scheduler.submit({ prompt: [4], maxNewTokens: 2 }))).length).toBe(2);
      },
      { maxRows: 1, maxQueue: 2 },
    );
  });

  it("end with stopWhen, and fail alone when their own functions do", async () => {
    await withScheduler(async (scheduler) => {
      const boom = () => {
        throw new Error("boom");
      };
      const [all, stopped] = await Promise.all([
        collect(scheduler.submit({ prompt: [1, 2], maxNewTokens: 9 })),
        collect(scheduler.submit({ prompt: [1, 2], stopWhen: (generated) => generated.length === 3 })),
        expect(collect(scheduler.submit({ prompt: [1], stopWhen: boom }))).rejects.toThrow("boom"),
        expect(collect(scheduler.submit({ prompt: [1], allowedIds: boom }))).rejects.toThrow("boom"),
      ]);
      expect(all.length).toBe(9);
      expect(stopped.map(({ id }) => id)).toEqual(all.slice(0, 3).map(({ id }) => id));
      expect(stopped.at(-1)!.finish).toBe("stop");
    });
  });

  it("have biases of their own, and log-probabilities of the likeliest", async () => {
    await withScheduler(async (scheduler) => {
      const [plain, biased, listed] = await Promise.all([
        idsOf(scheduler.submit({ prompt: [1, 2], maxNewTokens: 9 })),
        idsOf(scheduler.submit({ prompt: [1, 2], maxNewTokens: 3, logitBias: new Map([[5, 1e3]]) })),
        collect(scheduler.submit({ prompt: [1, 2], maxNewTokens: 9, logProbs: true, likeliest: 3 })),
      ]);
      expect(biased).toEqual([5, 5, 5]);
      expect(listed.map(({ id }) => id)).toEqual(plain);
      for (const { id, logProb, likeliest } of listed) {
        expect(likeliest!.length).toBe(3);
        expect(likeliest![0]).toEqual({ id, logProb });
        expect(likeliest![1]!.logProb).toBeLessThanOrEqual(logProb!);
      }
    });
  });

  it("with NaN logits fail alone, and say so", async () => {
    const values = table().table.arraySync();
    values[6]!.fill(Number.NaN);
    const broken = { table: tf.tensor2d(values) };
    await withScheduler(
      async (scheduler) => {
        const [fine] = await Promise.all([
          idsOf(scheduler.submit({ prompt: [1], maxNewTokens: 6, allowedIds: [0, 1, 2] })),
          expect(collect(scheduler.submit({ prompt: [6], maxNewTokens: 6 }))).rejects.toThrow(
            "submit: 7 of 7 logits are NaN at new token 0; expected numbers",
          ),
        ]);
        expect(fine!.length).toBe(6);
      },
      {},
      bigramLm(vocabSize, blockSize),
      broken,
    );
  });

  it("all fail when the engine does, and those that come later are served", async () => {
    let broken = false;
    const flaky: Engine = {
      ...engine,
      name: "flaky",
      compile<A extends readonly unknown[], R>(fn: (...args: A) => R, options?: CompileOptions) {
        const compiled = engine.compile(fn, options);
        const run = async (...args: A) => {
          if (broken) {
            for (const position of options?.donated ?? []) treeDispose(args[position]);
            throw new Error("the engine is broken");
          }
          return compiled(...args);
        };
        return Object.assign(run, { dispose: () => compiled.dispose() });
      },
    };
    const params = table();
    const before = tf.memory().numTensors;
    const scheduler = createBatchScheduler(flaky, lm, params);
    const requests = [1, 2].map((id) => scheduler.submit({ prompt: [id] }));
    for (const tokens of requests) await tokens.next();
    broken = true;
    for (const tokens of requests) await expect(collect(tokens)).rejects.toThrow("the engine is broken");
    await expect(collect(scheduler.submit({ prompt: [3] }))).rejects.toThrow("the engine is broken");
    broken = false;
    expect((await collect(scheduler.submit({ prompt: [1], maxNewTokens: 5 }))).length).toBe(5);
    await scheduler.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("end with an error when the scheduler is disposed of", async () => {
    const before = tf.memory().numTensors;
    const params = table();
    const scheduler = createBatchScheduler(engine, lm, params, { maxRows: 1 });
    const requests = [1, 2].map((id) => scheduler.submit({ prompt: [id] }));
    await requests[0]!.next();
    await scheduler.dispose();
    for (const tokens of requests) await expect(tokens.next()).rejects.toThrow("was disposed of before the text");
    expect(() => scheduler.submit({ prompt: [1] })).toThrow("the scheduler is disposed of");
    params.table.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("compile few graphs, whatever they ask for", async () => {
    let traced = 0;
    const counted = {
      ...lm,
      step: (...args: Parameters<typeof lm.step>) => {
        traced += 1;
        return lm.step(...args);
      },
    };
    await withScheduler(
      async (scheduler) => {
        const next = new Rng(0);
        for (let round = 0; round < 6; round++) {
          const lengths = next.draw({ kind: "integers", size: 5, low: 1, high: 9 });
          const requests = Array.from(lengths, (n) => ({ prompt: Array(n).fill(1), maxNewTokens: 4 + (n % 3) }));
          await Promise.all(requests.map((request) => collect(scheduler.submit(request))));
        }
      },
      { maxRows: 4 },
      counted,
    );
    expect(traced).toBeLessThanOrEqual(12);
  });
});

const small = { vocabSize, blockSize, nEmbd: 8, nHead: 2, nLayer: 2 };

describe("prefix caching", () => {
  const long = { ...small, blockSize: 80 };
  const gpt = () => ({ lm: gpt2Lm(long) as CausalLm, params: createGpt2(long, new Rng(0)).params as Tree });
  const sliding = { ...long, nInner: 16, nKvHead: 1, slidingWindow: 12 };
  const dynamic = { ...sliding, ropeScaling: { type: "dynamic", factor: 2, originalBlockSize: 40 } } as const;
  const llama = (config: LlamaConfig) => ({
    lm: llamaLm(config) as CausalLm,
    params: createLlama(config, new Rng(0)).params as Tree,
  });
  const idsFrom = (seed: number, size: number) =>
    Array.from(new Rng(seed).draw({ kind: "integers", size, low: 0, high: vocabSize }));
  const beginning = idsFrom(1, 40);
  const listed = { maxNewTokens: 6, logProbs: true, likeliest: 3 };

  it.each([
    ["GPT-2", gpt],
    ["a Llama with a sliding window", () => llama(sliding)],
    ["a Llama whose rotation goes by the length of the cache", () => llama(dynamic)],
  ])("changes nothing that %s writes, one after the other and at once", async (_, make) => {
    const { lm, params } = make();
    const prompts = [0, 1, 2, 3].map((n) => [...beginning.slice(0, 40 - n), ...idsFrom(n + 2, 3 + 7 * n)]);
    const collectAll = async (options: BatchSchedulerOptions) => {
      const scheduler = createBatchScheduler(engine, lm, params, options);
      const inTurn = [];
      for (const prompt of prompts) inTurn.push(await collect(scheduler.submit({ prompt, ...listed })));
      const atOnce = await Promise.all(
        [...prompts, ...prompts].map((prompt) => collect(scheduler.submit({ prompt, ...listed }))),
      );
      await scheduler.dispose();
      return [...inTurn, ...atOnce];
    };
    const want = await collectAll({ maxRows: 4, prefixCache: { maxBytes: 0 } });
    const got = await collectAll({ maxRows: 4 });
    expect(want.every(([first]) => first!.cachedTokens === undefined)).toBe(true);
    // The last token is always read; whole blocks of 16 are not.
    expect(got.slice(0, 4).map(([first]) => first!.cachedTokens)).toEqual([undefined, 32, 32, 32]);
    for (const [first] of got.slice(4)) expect(first!.cachedTokens).toBeGreaterThanOrEqual(32);
    for (const [i, tokens] of got.entries()) {
      expect(tokens.map(({ id }) => id)).toEqual(want[i]!.map(({ id }) => id));
      for (const [j, { logProb, likeliest }] of tokens.entries()) {
        expect(logProb).toBeCloseTo(want[i]![j]!.logProb!, 4);
        for (const [n, entry] of likeliest!.entries()) {
          expect(entry.logProb).toBeCloseTo(want[i]![j]!.likeliest![n]!.logProb, 4);
        }
      }
    }
  });

  it("reads of a conversation what is new, until the context is full", async () => {
    const { lm, params } = gpt();
    let read = 0;
    const counted: CausalLm = { ...lm, step: (...args) => lm.step(...args) };
    const counting: Engine = {
      ...engine,
      name: "counting",
      compile<A extends readonly unknown[], R>(fn: (...args: A) => R, options?: CompileOptions) {
        const compiled = engine.compile(fn, options);
        const run = (...args: A) => {
          const ids = (args[1] as { ids?: tf.Tensor2D } | undefined)?.ids;
          if (ids && ids.shape[1] > 1) read += ids.shape[1];
          return compiled(...args);
        };
        return Object.assign(run, { dispose: () => compiled.dispose() });
      },
    };
    const before = tf.memory().numTensors;
    const scheduler = createBatchScheduler(counting, counted, params, {
      maxRows: 1,
      prefixCache: { maxBytes: Number.POSITIVE_INFINITY, maxSequences: 1 },
    });
    let talk = idsFrom(7, 20);
    const reads: number[] = [];
    while (talk.length + 14 <= long.blockSize) {
      read = 0;
      talk = [...talk, ...(await idsOf(scheduler.submit({ prompt: talk, maxNewTokens: 8 }))), ...idsFrom(8, 5)];
      reads.push(read);
    }
    // Of 20, 33, 46 and 59 tokens those behind the blocks that were read, padded.
    expect(reads).toEqual([32, 32, 16, 16]);
    await scheduler.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("keeps what was used last, within its memory", async () => {
    const { lm, params } = gpt();
    const before = tf.memory().numTensors;
    const bytes = (tokens: number) => 2 * 2 * 8 * 4 * tokens;
    const scheduler = createBatchScheduler(engine, lm, params, { prefixCache: { maxBytes: 2 * bytes(32) } });
    const cachedOf = async (seed: number) => {
      const [first] = await collect(scheduler.submit({ prompt: idsFrom(seed, 30), maxNewTokens: 2 }));
      return first!.cachedTokens ?? 0;
    };
    const cached = [];
    for (const seed of [1, 2, 1, 3, 2, 3, 1]) cached.push(await cachedOf(seed));
    expect(cached).toEqual([0, 0, 16, 0, 0, 16, 0]);
    await scheduler.dispose();
    expect(tf.memory().numTensors).toBe(before);
    const tooLarge = createBatchScheduler(engine, lm, params, { prefixCache: { maxBytes: bytes(31) } });
    for (let i = 0; i < 2; i++) {
      const [first] = await collect(tooLarge.submit({ prompt: beginning.slice(0, 30), maxNewTokens: 2 }));
      expect(first!.cachedTokens).toBeUndefined();
    }
    await tooLarge.dispose();
    expect(() => createBatchScheduler(engine, lm, params, { prefixCache: { maxBytes: -1 } })).toThrow(
      "prefixCache.maxBytes (-1) must be",
    );
  });

  it("reads long prompts beside others in parts, and short ones together", async () => {
    const { lm, params } = gpt();
    const shapes: string[] = [];
    const counted: CausalLm = {
      ...lm,
      step: (...args) => {
        shapes.push(`${args[1].shape}`);
        return lm.step(...args);
      },
    };
    await withScheduler(
      async (scheduler) => {
        const running = scheduler.submit({ prompt: [1, 2], maxNewTokens: 40 });
        await running.next();
        const short = Array.from({ length: 5 }, (_, n) => idsFrom(20 + n, 3 + n));
        await Promise.all(
          [idsFrom(30, 70), ...short].map((prompt) => collect(scheduler.submit({ prompt, maxNewTokens: 3 }))),
        );
      },
      { maxRows: 8 },
      counted as never,
      params as never,
    );
    expect(shapes).toContain("4,16");
    expect(shapes).toContain("1,64");
    expect(shapes.every((shape) => /^(1|2|4|8),(1|16|64)$/.test(shape))).toBe(true);
  });
});

describe("submit refuses", () => {
  it("what makes no sense, saying what was expected", async () => {
    await withScheduler(
      async (scheduler) => {
        const refused = (request: Partial<BatchRequest>) => () => scheduler.submit({ prompt: [1], ...request });
        expect(refused({ prompt: [] })).toThrow("submit: the prompt is empty");
        expect(refused({ prompt: [7] })).toThrow("submit: prompt: id 7 at 0; expected an integer from 0 to 6");
        expect(refused({ prompt: Array(25).fill(0) })).toThrow("the prompt has 25 tokens, 5 more than the 20 of a row");
        expect(refused({ maxNewTokens: 1e9 })).toThrow("maxNewTokens (1000000000) is 999999980 more than fit");
        expect(refused({ maxNewTokens: 0.5 })).toThrow("maxNewTokens (0.5) must be a positive integer");
        expect(refused({ temperature: -1 })).toThrow("submit: temperature (-1)");
        expect(refused({ topK: 3 })).toThrow("topK is set without an rng");
        expect(refused({ stopIds: [9] })).toThrow("submit: stopIds: id 9 at 0");
        expect(refused({ allowedIds: [] })).toThrow("allowedIds are empty");
        expect(refused({ logitBias: new Map([[9, 1]]) })).toThrow("submit: logitBias: id 9 at 0");
        expect(refused({ logitBias: new Map([[1, Number.NaN]]) })).toThrow("logitBias of id 1 is NaN");
        expect(refused({ likeliest: 8 })).toThrow("likeliest (8) must be an integer from 0 to 7");
        expect(scheduler.running + scheduler.waiting).toBe(0);
      },
      { maxTokens: 20 },
    );
    const make = (options: object) => () => createBatchScheduler(engine, lm, table(), options);
    expect(make({ maxRows: 0 })).toThrow("createBatchScheduler: maxRows (0)");
    expect(make({ maxTokens: 25 })).toThrow("maxTokens (25) is more than the context of 24");
  });
});
