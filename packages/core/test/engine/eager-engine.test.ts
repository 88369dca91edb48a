import * as tf from "@tensorflow/tfjs";
import { describe, expect, test, vi } from "vitest";
import { createEagerEngine } from "../../src/engine/eager-engine.ts";
import { Rng } from "../../src/rng.ts";
import { treeDispose } from "../../src/tree.ts";

interface State {
  readonly w: tf.Tensor;
  readonly steps: tf.Tensor;
}

/** One step of gradient descent on |w x|^2 with a little noise. */
function step(state: State, x: tf.Tensor, rng: Rng) {
  const { value, grad } = tf.valueAndGrad((w: tf.Tensor) =>
    tf.mean(tf.square(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D))),
  )(state.w);
  const noisy = tf.add(grad, rng.normal(grad.shape, 0, 1e-3));
  return { state: { w: tf.sub(state.w, tf.mul(noisy, 0.1)), steps: tf.add(state.steps, 1) }, metrics: { loss: value } };
}

describe.each(["cpu", "wasm"] as const)("the eager engine on %s", (backend) => {
  const create = () => createEagerEngine(backend);

  test("leaves no tensors behind over 200 training steps", async () => {
    const engine = await create();
    const compiled = engine.compile(step);
    const rng = new Rng(1);
    const x = rng.normal([8, 4]);
    let state: State = { w: rng.normal([4, 2]), steps: tf.scalar(0) };
    let first = Number.NaN;
    let last = Number.NaN;
    let tensors = 0;
    let buffers = 0;
    for (let i = 0; i < 200; i++) {
      const next = await compiled(state, x, rng);
      treeDispose(state);
      state = next.state;
      [last] = (await next.metrics.loss.data()) as unknown as [number];
      treeDispose(next.metrics);
      if (i === 0) {
        first = last;
        tensors = tf.memory().numTensors;
        buffers = tf.memory().numDataBuffers;
      }
    }
    expect(tf.memory().numTensors).toBe(tensors);
    expect(tf.memory().numDataBuffers).toBe(buffers);
    expect(Array.from(await state.steps.data())).toEqual([200]);
    expect(last).toBeLessThan(first / 10);
    treeDispose([state, x]);
  });

  test("keeps the resident size flat over 200 training steps", async () => {
    const engine = await create();
    const shrink = engine.compile((w: tf.Tensor) => tf.sub(w, tf.grad((v) => tf.sum(tf.square(v)))(w)));
    let w = new Rng(1).normal([200, 1000]);
    let resident = 0;
    for (let i = 0; i < 220; i++) {
      const next = await shrink(w);
      w.dispose();
      w = next;
      if (i === 19) resident = process.memoryUsage().rss;
    }
    // Leaking the 0.8 MB state at each of the 200 steps would be 153 MiB.
    expect((process.memoryUsage().rss - resident) / 2 ** 20).toBeLessThan(96);
    w.dispose();
  });

  test("gives results of their own for arguments, constants and tensors that are returned twice", async () => {
    const engine = await create();
    const constant = tf.scalar(7);
    const twice = engine.compile((state: { w: tf.Tensor }) => {
      const y = tf.add(state.w, 1);
      return { w: state.w, y, again: [y], constant, config: { name: "same", layers: 2 } };
    });
    const state = { w: tf.tensor1d([1, 2]) };
    const result = await twice(state);
    treeDispose(state);
    constant.dispose();
    result.y.dispose();
    expect(Array.from(await result.w.data())).toEqual([1, 2]);
    expect(Array.from(await result.again[0]!.data())).toEqual([2, 3]);
    expect(Array.from(await result.constant.data())).toEqual([7]);
    expect(result.config).toEqual({ name: "same", layers: 2 });
    treeDispose(result);
  });

  test("keeps calls that overlap apart", async () => {
    const engine = await create();
    const square = engine.compile((x: tf.Tensor) => tf.square(x));
    const xs = Array.from({ length: 8 }, (_, i) => tf.scalar(i));
    const ys = await Promise.all(xs.map((x) => square(x)));
    expect(await Promise.all(ys.map(async (y) => (await y.data())[0]))).toEqual([0, 1, 4, 9, 16, 25, 36, 49]);
    treeDispose([xs, ys]);
  });

  test("frees everything when the function throws", async () => {
    const engine = await create();
    const before = tf.memory().numTensors;
    const fails = engine.compile((x: tf.Tensor) => {
      tf.square(x);
      throw new Error("no");
    });
    const x = tf.scalar(1);
    await expect(fails(x)).rejects.toThrow("no");
    x.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test("refuses async functions and results that are disposed of, naming them", async () => {
    const engine = await create();
    const late = engine.compile(async function late(x: tf.Tensor) {
      return tf.square(x);
    });
    const x = tf.scalar(1);
    await expect(late(x)).rejects.toThrow(/late returned a Promise; a compiled function must be synchronous/);
    const gone = engine.compile((v: tf.Tensor) => {
      const y = tf.square(v);
      y.dispose();
      return { y };
    });
    await expect(gone(x)).rejects.toThrow(/returned a tensor that is disposed of, at 'y'/);
    x.dispose();
  });

  test("is of no use after dispose", async () => {
    const engine = await create();
    const square = engine.compile(function square(x: tf.Tensor) {
      return tf.square(x);
    });
    const other = engine.compile((x: tf.Tensor) => tf.neg(x));
    const x = tf.scalar(3);
    square.dispose();
    await expect(square(x)).rejects.toThrow(
      `tfjs:${backend} engine: square was called after its dispose(); compile it again`,
    );
    engine.dispose();
    await expect(other(x)).rejects.toThrow(/was called after dispose\(\); create a new engine/);
    expect(() => engine.compile((v: tf.Tensor) => v)).toThrow(/compile was called after dispose/);
    // The caller's tensors are untouched.
    expect(Array.from(await x.data())).toEqual([3]);
    x.dispose();
  });
});

test("two eager engines share one program, each computing on its own backend", async () => {
  const cpu = await createEagerEngine("cpu");
  const wasm = await createEagerEngine("wasm");
  expect(tf.getBackend()).toBe("wasm");
  const seen: string[] = [];
  const record = (x: tf.Tensor) => {
    seen.push(tf.getBackend());
    return tf.add(x, 1);
  };
  const onCpu = cpu.compile(record);
  const onWasm = wasm.compile(record);
  const y = await onWasm(await onCpu(await onWasm(tf.scalar(0))));
  expect(seen).toEqual(["wasm", "cpu", "wasm"]);
  expect(tf.getBackend()).toBe("wasm");
  expect(Array.from(await y.data())).toEqual([3]);
});

test("switches backends only when another one is active", async () => {
  const engine = await createEagerEngine("wasm");
  const spy = vi.spyOn(tf.engine(), "setBackend");
  const same = engine.compile((x: tf.Tensor) => tf.neg(x));
  (await same(tf.scalar(1))).dispose();
  expect(spy).not.toHaveBeenCalled();
  await tf.setBackend("cpu");
  spy.mockClear();
  (await same(tf.scalar(1))).dispose();
  expect(spy.mock.calls).toEqual([["wasm"], ["cpu"]]);
  spy.mockRestore();
});

test("unknown backends are refused with the list of valid ones", async () => {
  await expect(createEagerEngine("gpu" as "cpu")).rejects.toThrow(
    "createEagerEngine: backend (gpu) is unknown; expected one of cpu, wasm, webgl, webgpu, tensorflow",
  );
});

test("nothing is printed when models are made before an engine", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  await tf.setBackend("cpu");
  new Rng(0).normal([2]).dispose();
  expect(warn).not.toHaveBeenCalled();
  warn.mockRestore();
});
