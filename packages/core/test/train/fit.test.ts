import * as tf from "@tensorflow/tfjs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { memoryCheckpoints } from "../../src/checkpoint/checkpoint-store.ts";
import { createEngine } from "../../src/engine/create-engine.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { DivergenceError, FormatError } from "../../src/errors.ts";
import { Rng } from "../../src/rng.ts";
import { type FitProgress, fit } from "../../src/train/fit.ts";
import { type Tree, treeDispose, treeEntries } from "../../src/tree.ts";
import { type ToyBatch, type ToyState, ToyStream, toyOptions, toyState, toyStep } from "./toy-training.ts";

let before: number;
beforeEach(() => {
  before = tf.memory().numTensors;
});
afterEach(() => {
  expect(tf.memory().numTensors, "tensors leaked").toBe(before);
});

/** The bits of all tensors, by path; disposes of the tree. */
function takeBits(tree: Tree): Record<string, number[]> {
  const out = treeEntries(tree).map(([path, tensor]): [string, number[]] => {
    const data = tensor.dataSync();
    return [path, [...new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength))]];
  });
  treeDispose(tree);
  return Object.fromEntries(out);
}

/** What fit rejects with; fails if it resolves. */
async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => {
      throw new Error("fit resolved; expected it to reject");
    },
    (error) => error,
  );
}

describe.each(["tfjs:cpu", "onnx:cpu"])("on %s:", (engineName) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine(engineName);
  });
  afterAll(() => engine.dispose());

  describe("training", () => {
    test("lowers the loss, reports progress and leaves the caller with the state alone", async () => {
      const seen: FitProgress[] = [];
      const result = await fit({ ...toyOptions(60), engine, schedules: {}, onStep: (at) => void seen.push(at) });
      expect([result.step, result.stopped]).toEqual([60, "done"]);
      expect(seen.map((at) => at.step)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
      const last = seen.at(-1)!;
      expect(last.metrics).toEqual(result.metrics);
      expect(last.secondsLeft).toBe(0);
      expect(last.stepsPerSecond).toBeGreaterThan(0);
      expect(seen[9]!.secondsLeft).toBeCloseTo(50 / seen[9]!.stepsPerSecond, 6);
      const losses = result.history.map(({ metrics }) => metrics.loss!);
      expect(losses.length).toBe(60);
      expect(losses.slice(-5).reduce((a, b) => a + b)).toBeLessThan(losses.slice(0, 5).reduce((a, b) => a + b));
      expect(result.state.config).toEqual({ width: 8, name: "toy" });
      expect((await result.state.seen.data())[0]).toBe(60);
      expect(tf.memory().numTensors - before).toBe(treeEntries(result.state).length);
      treeDispose(result.state);
    });

    test("sets scheduled scalars before each step, from the number of steps done", async () => {
      const asked: number[] = [];
      const rates: number[] = [];
      const result = await fit({
        ...toyOptions(4),
        engine,
        schedules: { "opt.learningRate": (step) => asked.push(step) * 0.5, seen: () => 7 },
        onStep: ({ state }) => void rates.push((state as ToyState).opt.learningRate.dataSync()[0]!),
      });
      expect(asked).toEqual([0, 1, 2, 3]);
      expect(rates).toEqual([0.5, 1, 1.5, 2]);
      expect([result.state.seen.dtype, result.state.seen.dataSync()[0]]).toEqual(["int32", 8]);
      treeDispose(result.state);
    });

    test("a schedule whose path is no scalar lists the scalars there are", async () => {
      const schedules = { "opt.learningrate": () => 1 };
      const error = await failure(fit({ ...toyOptions(4), engine, schedules }));
      expect(error.message).toMatch(
        /^fit: schedules has 'opt.learningrate'; expected the path of a scalar in the state: /,
      );
      expect(error.message).toMatch(/opt\.learningRate/);
      const notScalar = await failure(fit({ ...toyOptions(4), engine, schedules: { "params.out": () => 1 } }));
      expect(notScalar.message).toMatch(/schedules has 'params.out'/);
      const notFinite = await failure(
        fit({ ...toyOptions(4), engine, schedules: { "opt.learningRate": (s) => 1 / (s - 2) } }),
      );
      expect(notFinite.message).toMatch(/schedule 'opt.learningRate' gave -?Infinity at step 2/);
    });

    test("evaluates at the interval and at the end, always with the same noise", async () => {
      const noises: number[] = [];
      const reported: number[] = [];
      const result = await fit({
        ...toyOptions(7),
        engine,
        evaluateEvery: 3,
        evaluate: (_, { step, rng }) => {
          noises.push(rng.draw({ kind: "normal", size: 1, mean: 0, std: 1 })[0]!);
          return { step10: step * 10 };
        },
        onEvaluate: ({ metrics }) => void reported.push(metrics.step10!),
      });
      expect(reported).toEqual([30, 60, 70]);
      expect(result.evaluations.map(({ step }) => step)).toEqual([3, 6, 7]);
      expect(new Set(noises).size).toBe(1);
      treeDispose(result.state);
    });

    test("evaluation and reading less often change no bit of the result", async () => {
      const plain = await fit({ ...toyOptions(6), engine });
      const steps: number[] = [];
      const other = await fit({
        ...toyOptions(6),
        engine,
        evaluateEvery: 2,
        evaluate: (_, { rng }) => ({ x: rng.draw({ kind: "integers", size: 3, low: 0, high: 9 })[0]! }),
        readMetricsEvery: 4,
        onStep: ({ step }) => void steps.push(step),
      });
      expect(steps).toEqual([2, 4, 6]);
      expect(takeBits(other.state)).toEqual(takeBits(plain.state));
    });

    test("ends with the data", async () => {
      const result = await fit({ ...toyOptions(50), engine, data: new ToyStream(2, 5) });
      expect([result.step, result.stopped]).toEqual([5, "data"]);
      treeDispose(result.state);
    });

    test("advances the caller's rng by the same amount however long it trains", async () => {
      const after: unknown[] = [];
      for (const steps of [0, 3]) {
        const rng = new Rng(3);
        treeDispose((await fit({ ...toyOptions(steps), engine, rng })).state);
        after.push(rng.state());
      }
      expect(after[0]).toEqual(after[1]);
    });

    test("stopWhen ends it as if all steps were done: evaluated, saved, and resumed like any other", async () => {
      const checkpoints = memoryCheckpoints();
      const asked: number[] = [];
      const evaluate = () => ({ held: 1 });
      const result = await fit({
        ...toyOptions(50),
        engine,
        checkpoints,
        evaluate,
        evaluateEvery: 4,
        stopWhen: ({ step, metrics }) => {
          asked.push(step);
          return Number.isFinite(metrics.loss) && step >= 6;
        },
      });
      expect([result.step, result.stopped, asked]).toEqual([6, "early", [1, 2, 3, 4, 5, 6]]);
      expect(result.evaluations.map(({ step }) => step)).toEqual([4, 6]);
      expect((await checkpoints.list()).map(({ step }) => step)).toEqual([6]);
      treeDispose(result.state);
      const whole = await fit({ ...toyOptions(9), engine });
      const rest = await fit({ ...toyOptions(9), engine, checkpoints, stopWhen: ({ step }) => step === 9 });
      expect([rest.step, rest.stopped]).toEqual([9, "done"]);
      expect(takeBits(rest.state)).toEqual(takeBits(whole.state));
    });

    test("a signal stops it between steps and the checkpoint of that moment is kept", async () => {
      const controller = new AbortController();
      const checkpoints = memoryCheckpoints();
      const result = await fit({
        ...toyOptions(50),
        engine,
        checkpoints,
        signal: controller.signal,
        onStep: ({ step }) => {
          if (step === 5) controller.abort();
        },
      });
      expect([result.step, result.stopped]).toEqual([5, "aborted"]);
      expect((await checkpoints.list()).map(({ step }) => step)).toEqual([5]);
      const stopped = await fit({ ...toyOptions(50), engine, checkpoints, signal: controller.signal });
      expect([stopped.step, stopped.stopped]).toEqual([5, "aborted"]);
      expect(takeBits(stopped.state)).toEqual(takeBits(result.state));
    });
  });

  describe("resuming", () => {
    test("40 steps in one go and 20 + 20 give the same bits", async () => {
      const whole = await fit({ ...toyOptions(40), engine });
      const checkpoints = memoryCheckpoints();
      const half = await fit({ ...toyOptions(20), engine, checkpoints, meta: { note: "half" } });
      treeDispose(half.state);
      let resumed: unknown;
      // Everything that a new process would make anew, from other seeds, so that only the checkpoint can be right.
      const rest = await fit({
        ...toyOptions(40, toyState(99)),
        engine,
        checkpoints,
        data: new ToyStream(98),
        rng: new Rng(97),
        onResume: (info) => {
          resumed = info;
        },
      });
      expect(resumed).toMatchObject({ step: 20, skipped: [], meta: { note: "half" } });
      expect(rest.step).toBe(40);
      expect(rest.history.length).toBe(20);
      expect(rest.metrics).toEqual(whole.metrics);
      expect(takeBits(rest.state)).toEqual(takeBits(whole.state));
    });

    test("a run that is done does no more, and says what it had measured", async () => {
      const checkpoints = memoryCheckpoints();
      const first = await fit({ ...toyOptions(3), engine, checkpoints });
      const again = await fit({ ...toyOptions(3), engine, checkpoints, evaluate: () => ({ x: 1 }) });
      expect([again.step, again.stopped, again.history.length]).toEqual([3, "done", 0]);
      expect(again.metrics).toEqual(first.metrics);
      expect(again.evaluations).toEqual([{ step: 3, metrics: { x: 1 } }]);
      expect(takeBits(again.state)).toEqual(takeBits(first.state));
    });

    test("writes a checkpoint every n steps and at the end", async () => {
      const checkpoints = memoryCheckpoints({ keep: Number.POSITIVE_INFINITY });
      const told: number[] = [];
      const options = { ...toyOptions(10), engine, checkpoints, checkpointEvery: 4 };
      treeDispose((await fit({ ...options, onCheckpoint: ({ step }) => void told.push(step) })).state);
      expect((await checkpoints.list()).map(({ step }) => step)).toEqual([4, 8, 10]);
      expect(told).toEqual([4, 8, 10]);
    });

    test("a checkpoint of another model is refused with the first difference", async () => {
      const checkpoints = memoryCheckpoints();
      treeDispose((await fit({ ...toyOptions(2), engine, checkpoints })).state);
      const wider = await failure(fit({ ...toyOptions(4, toyState(1, 9)), engine, checkpoints }));
      expect(wider).toBeInstanceOf(FormatError);
      expect(wider.message).toMatch(/checkpoint-00000002.safetensors of memory has 8 at 'config.width'; expected 9/);
      const other = { ...toyState(), extra: tf.scalar(1) };
      const error = await failure(fit({ ...toyOptions(4, other), engine, checkpoints }));
      expect(error.message).toMatch(/has nothing at 'extra'; expected a float32 tensor of shape \[\]/);
    });

    test("resume: false refuses a store that holds another run", async () => {
      const checkpoints = memoryCheckpoints();
      const options = { engine, checkpoints, resume: false };
      treeDispose((await fit({ ...toyOptions(2), ...options })).state);
      const error = await failure(fit({ ...toyOptions(4), ...options }));
      expect(error.message).toMatch(/resume is false and memory holds a checkpoint of step 2; expected an empty store/);
    });
  });

  describe("failure", () => {
    type Step = typeof toyStep;
    /** The toy's step, with the loss or the weights spoiled from some step on. */
    const spoiled =
      (what: "loss" | "state", from: number, value: number): Step =>
      (state, batch, rng) => {
        const result = toyStep(state, batch, rng);
        const bad = tf.where(result.state.seen.greaterEqual(from), tf.scalar(value), tf.scalar(0));
        if (what === "loss") result.metrics.loss = (result.metrics.loss as tf.Tensor).add(bad);
        else result.state.params.out = result.state.params.out.add(bad);
        return result;
      };

    test.each([Number.NaN, Number.POSITIVE_INFINITY])(
      "a loss of %s stops with step and term; the last good checkpoint stays",
      async (value) => {
        const checkpoints = memoryCheckpoints();
        const error = await failure(
          fit({ ...toyOptions(20), engine, checkpoints, checkpointEvery: 4, step: spoiled("loss", 7, value) }),
        );
        expect(error).toBeInstanceOf(DivergenceError);
        expect(error).toMatchObject({ step: 7, terms: { loss: value } });
        expect(error.message).toBe(
          `fit: step 7 gave loss (${value}); expected finite values. The last good state is the checkpoint of step 4 in memory`,
        );
        expect((await checkpoints.list()).map(({ step }) => step)).toEqual([4]);
      },
    );

    test("a state that is not finite is never saved, even while the loss still is", async () => {
      const checkpoints = memoryCheckpoints();
      const error = await failure(
        fit({ ...toyOptions(8), engine, checkpoints, checkpointEvery: 4, step: spoiled("state", 8, Number.NaN) }),
      );
      expect(error).toBeInstanceOf(DivergenceError);
      expect(error).toMatchObject({ step: 8, terms: { "state.params.out": Number.NaN } });
      expect((await checkpoints.list()).map(({ step }) => step)).toEqual([4]);
    });

    test.each(["onStep", "onEvaluate", "onCheckpoint", "evaluate", "step", "next", "save"])(
      "an exception in %s comes out as it is and nothing is leaked",
      async (where) => {
        const boom = () => {
          throw new Error(`boom in ${where}`);
        };
        const checkpoints = memoryCheckpoints();
        const data = new ToyStream(2);
        if (where === "save") checkpoints.save = boom;
        if (where === "next") data.next = boom;
        const error = await failure(
          fit({
            ...toyOptions(4),
            data,
            engine,
            evaluate: () => ({ x: 1 }),
            evaluateEvery: 2,
            checkpoints,
            checkpointEvery: 2,
            ...(where === "save" || where === "next" ? {} : { [where]: boom }),
          }),
        );
        expect(error.message).toBe(`boom in ${where}`);
      },
    );

    test("a step that returns something else is told what was expected", async () => {
      const noState = (() => ({ loss: tf.scalar(1) })) as unknown as Step;
      expect((await failure(fit({ ...toyOptions(4), engine, step: noState }))).message).toMatch(
        /step returned a record of loss; expected \{ state, metrics \}/,
      );
      const lost: Step = (state, batch, rng) => {
        const { state: next, metrics } = toyStep(state, batch, rng);
        return { state: { params: next.params } as ToyState, metrics };
      };
      expect((await failure(fit({ ...toyOptions(4), engine, step: lost }))).message).toMatch(
        /the state that step returns: trees differ: nothing; expected a tensor at 'opt/,
      );
      const vector: Step = (state, batch, rng) => {
        const result = toyStep(state, batch, rng);
        return { ...result, metrics: { loss: tf.ones([3]) } };
      };
      expect((await failure(fit({ ...toyOptions(4), engine, step: vector }))).message).toMatch(
        /metric 'loss' is a tensor of shape \[3\]; expected a scalar/,
      );
    });

    test("options out of range are refused", async () => {
      const cases: [object, RegExp][] = [
        [{ steps: -1 }, /steps \(-1\) must be a whole number/],
        [{ steps: 1.5 }, /steps \(1.5\)/],
        [{ readMetricsEvery: 0 }, /readMetricsEvery \(0\) must be a positive whole number/],
        [{ evaluateEvery: 2 }, /evaluateEvery \(2\) is given without evaluate/],
        [{ checkpointEvery: 2 }, /checkpointEvery \(2\) is given without checkpoints/],
      ];
      for (const [bad, message] of cases) {
        expect((await failure(fit<ToyState, ToyBatch>({ ...toyOptions(4), engine, ...bad }))).message).toMatch(message);
      }
    });
  });
});
