import {
  adamw,
  createEngine,
  type Engine,
  linear,
  plainWeights,
  Rng,
  replaceState,
  scatterInto,
  treeDispose,
  treeFreeze,
  valueAndGrad,
} from "@genai/core";
import { createOnnxEngine } from "@genai/onnx";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

let engine: Engine;
beforeAll(async () => {
  await tf.setBackend("cpu");
  engine = await createOnnxEngine();
});
afterAll(() => engine.dispose());

const values = async (tensor: tf.Tensor) => Array.from(await tensor.data());

describe("the compiled engine", () => {
  it("is what createEngine gives for the cpu in Node", async () => {
    const best = await createEngine({ device: "cpu" });
    expect(best.name).toBe("onnx:cpu");
    best.dispose();
  });

  it("computes trees of tensors and passes plain values through", async () => {
    const fn = engine.compile(
      (a: tf.Tensor, model: { config: { factor: number; name: string }; params: tf.Tensor[] }) => ({
        config: model.config,
        scaled: [tf.mul(a, model.config.factor), tf.add(model.params[0]!, model.params[1]!)],
      }),
    );
    const out = await fn(tf.tensor([1, 2]), {
      config: { factor: 3, name: "x" },
      params: [tf.tensor([1]), tf.tensor([5])],
    });
    expect(out.config).toEqual({ factor: 3, name: "x" });
    expect(await Promise.all(out.scaled.map(values))).toEqual([[3, 6], [6]]);
  });

  it("compiles once for each set of shapes and plain values", async () => {
    let traces = 0;
    const fn = engine.compile((x: tf.Tensor, k: number) => {
      traces += 1;
      return tf.mul(x, k);
    });
    for (const [x, k] of [
      [[1, 2], 2],
      [[3, 4], 2],
      [[1, 2, 3], 2],
      [[1, 2], 3],
      [[5, 6], 2],
    ] as const) {
      expect(await values(await fn(tf.tensor([...x]), k))).toEqual(x.map((v) => v * k));
    }
    expect(traces).toBe(3);
  });

  it("sees what became of a tree since it was given the last time", async () => {
    const sum = engine.compile(({ a, b }: Record<"a" | "b", tf.Tensor>) => tf.add(a, b));
    const tree = { a: tf.tensor([1, 2]), b: tf.tensor([10]) };
    expect(await values(await sum(tree))).toEqual([11, 12]);
    expect(await values(await sum(tree))).toEqual([11, 12]);
    tree.b = tf.tensor([20]);
    expect(await values(await sum(tree))).toEqual([21, 22]);
    tree.a = tf.tensor([1, 2, 3]);
    expect(await values(await sum(tree))).toEqual([21, 22, 23]);
    tree.a = tf.tensor([1, 2, 3], undefined, "int32");
    expect(await values(await sum(tree))).toEqual([21, 22, 23]);
    tree.a.dispose();
    await expect(sum(tree)).rejects.toThrow("disposed of");
  });

  it("knows frozen trees again, and looks at those that are frozen in part", async () => {
    let traces = 0;
    const sum = engine.compile(({ w, n }: { w: tf.Tensor[]; n: { b: tf.Tensor } }, x: tf.Tensor) => {
      traces += 1;
      const b = plainWeights<{ b: tf.Tensor }>(n, { constant: true }).b;
      return tf.add(tf.add(w[0]!, b), x);
    });
    const tree = (w: number, b: number) => ({ w: [tf.tensor([w])], n: { b: tf.tensor([b, b]) } });
    const x = tf.tensor([0.5]);
    const [first, second] = [treeFreeze(tree(1, 10)), treeFreeze(tree(2, 20))];
    for (let call = 0; call < 3; call++) {
      expect(await values(await sum(first, x))).toEqual([11.5, 11.5]);
      expect(await values(await sum(second, tf.tensor([call])))).toEqual([22 + call, 22 + call]);
    }
    // One graph for each: the biases are constants.
    expect(traces).toBe(2);

    const half = tree(3, 30);
    Object.freeze(half);
    Object.freeze(half.n);
    expect(await values(await sum(half, x))).toEqual([33.5, 33.5]);
    half.w[0] = tf.tensor([4]);
    expect(await values(await sum(half, x))).toEqual([34.5, 34.5]);

    first.w[0]!.dispose();
    await expect(sum(first, x)).rejects.toThrow("disposed of (argument 0.w.0)");
    expect(await values(await sum(second, x))).toEqual([22.5, 22.5]);
  });

  it("refuses a frozen tree that was disposed of, though all its tensors have become constants", async () => {
    const add = engine.compile((p: { b: tf.Tensor }, x: tf.Tensor) =>
      tf.add(plainWeights<{ b: tf.Tensor }>(p, { constant: true }).b, x),
    );
    const [tree, x] = [treeFreeze({ b: tf.tensor([1]) }), tf.tensor([2])];
    for (let call = 0; call < 2; call++) expect(await values(await add(tree, x))).toEqual([3]);
    treeDispose(tree);
    await expect(add(tree, x)).rejects.toThrow("disposed of (argument 0.b)");
  });

  it("writes where a donated tensor is, unless others have it too", async () => {
    const write = engine.compile(
      (given: { x: tf.Tensor4D }, at: tf.Tensor2D, by: tf.Tensor2D, other: tf.Tensor) => ({
        x: scatterInto(given.x, at, by),
        sum: tf.sum(other),
      }),
      { donated: [0] },
    );
    const at = tf.tensor2d([[0, 0, 1]], [1, 3], "int32");
    const by = tf.tensor2d([[5, 6]]);
    const make = engine.compile((x: tf.Tensor4D) => tf.mul(x, 1.5) as tf.Tensor4D);
    const before = tf.memory().numTensors;
    let x = await make(tf.ones<tf.Rank.R4>([1, 1, 2, 2]) as tf.Tensor4D);
    const { dataId } = x;
    const results: { x: tf.Tensor4D; sum: tf.Tensor }[] = [];
    for (let call = 0; call < 3; call++) {
      const given = x;
      results.push(await write({ x: given }, at, by, tf.scalar(call)));
      expect(given.isDisposed).toBe(true);
      x = results.at(-1)!.x;
    }
    // The same data, with other elements.
    expect(x.dataId).toBe(dataId);
    expect(await values(x)).toEqual([1.5, 1.5, 5, 6]);

    // What is given as another argument too is read as it was.
    const fresh = await make(tf.ones<tf.Rank.R4>([1, 1, 2, 2]) as tf.Tensor4D);
    const both = await write({ x: fresh }, at, by, fresh);
    expect([await values(both.x), await values(both.sum)]).toEqual([[1.5, 1.5, 5, 6], [6]]);
    const held = await make(tf.ones<tf.Rank.R4>([1, 1, 2, 2]) as tf.Tensor4D);
    const clone = held.clone();
    const apart = await write({ x: held }, at, by, by);
    expect([await values(apart.x), await values(clone)]).toEqual([
      [1.5, 1.5, 5, 6],
      [1.5, 1.5, 1.5, 1.5],
    ]);

    // Gone also where the call fails.
    const wrong = await make(tf.ones<tf.Rank.R4>([1, 1, 2, 2]) as tf.Tensor4D);
    await expect(write({ x: wrong }, at, tf.ones([1, 3]), by)).rejects.toThrow();
    expect(wrong.isDisposed).toBe(true);
    treeDispose([results, both, apart, clone]);
    // What is left are arguments: five to the functions that multiply and fail, three numbers.
    expect(tf.memory().numTensors - before).toBe(8);
    write.dispose();
    make.dispose();
  });

  it("keeps the graphs of the latest 64 kinds of calls, in whatever order they come", async () => {
    let traces = 0;
    const fn = engine.compile((x: tf.Tensor) => {
      traces += 1;
      return tf.add(x, x.size);
    });
    const calls = async (sizes: number[]) => {
      for (const size of sizes) {
        const out = await fn(tf.fill([size], 1));
        expect(await values(out)).toEqual(Array.from({ length: size }, () => 1 + size));
      }
      return traces;
    };
    const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
    expect(await calls(upTo(64))).toBe(64);
    expect(await calls([1, 64, 1, 63, 2, 1])).toBe(64);
    // 3 has not been called for longest.
    expect(await calls([65, 1, 2, 64, 65, 4])).toBe(65);
    expect(await calls([3])).toBe(66);
    fn.dispose();
  });

  it("draws the same random numbers as eager code, call after call", async () => {
    const noise = (rng: Rng) => {
      const fork = rng.fork("layer");
      return [
        rng.normal([3]),
        fork.uniform([2]),
        rng.gumbel([2]),
        rng.integers([4], 0, 9),
        rng.permutation(5),
        fork.normal([1]),
      ];
    };
    const eagerRng = new Rng(3);
    const compiledRng = new Rng(3);
    const compiled = engine.compile(noise);
    for (let call = 0; call < 3; call++) {
      const want = await Promise.all(noise(eagerRng).map(values));
      expect(await Promise.all((await compiled(compiledRng)).map(values))).toEqual(want);
      expect(compiledRng.state()).toEqual(eagerRng.state());
    }
  });

  it("hands arguments back without computing, and results that are equal as tensors of their own", async () => {
    const fn = engine.compile((x: tf.Tensor) => {
      const y = tf.add(x, 1);
      return { x, y, again: y, reshaped: tf.reshape(x, [2, 1]) };
    });
    const x = tf.tensor([1, 2]);
    const out = await fn(x);
    x.dispose();
    expect(await values(out.x)).toEqual([1, 2]);
    out.y.dispose();
    expect(await values(out.again)).toEqual([2, 3]);
    expect(out.reshaped.shape).toEqual([2, 1]);
  });

  it("gives results their shapes where the graph computes them in others", async () => {
    const fn = engine.compile((x: tf.Tensor) => {
      const y = tf.add(tf.reshape(x, [6]), 1);
      return {
        flat: y,
        matrix: tf.reshape(y, [2, 3]),
        column: tf.reshape(tf.square(x), [6, 1]),
        same: tf.reshape(x, [6]),
      };
    });
    const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
    const out = await fn(x);
    expect(Object.values(out).map(({ shape }) => shape)).toEqual([[6], [2, 3], [6, 1], [6]]);
    expect(await Promise.all(Object.values(out).map(values))).toEqual([
      [2, 3, 4, 5, 6, 7],
      [2, 3, 4, 5, 6, 7],
      [1, 4, 9, 16, 25, 36],
      [1, 2, 3, 4, 5, 6],
    ]);
    const sum = await engine.compile((a: tf.Tensor, b: tf.Tensor) => tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D))(
      out.matrix,
      tf.reshape(out.column, [3, 2]),
    );
    expect(await values(sum)).toEqual([2 + 27 + 100, 8 + 48 + 144, 5 + 54 + 175, 20 + 96 + 252]);
  });

  it("lets its results be used by eager ops and passed back", async () => {
    const double = engine.compile((x: tf.Tensor) => tf.mul(x, 2));
    const once = await double(tf.tensor([1, 2, 3]));
    const twice = await double(once);
    expect(await values(tf.add(once, twice))).toEqual([6, 12, 18]);
    expect(await values(await double(once))).toEqual([4, 8, 12]);
    expect(await values(await double(tf.reshape(twice, [3, 1])))).toEqual([8, 16, 24]);
  });

  it("keeps numbers that were read when the tensor they came from is gone", async () => {
    const addOne = engine.compile((x: tf.Tensor) => tf.add(x, 1));
    const first = await addOne(tf.tensor([1, 2]));
    const read = await first.data();
    first.dispose();
    const second = await addOne(tf.tensor([10, 20]));
    expect(Array.from(read)).toEqual([2, 3]);
    second.dispose();
  });

  it("holds the arguments of a call in flight", async () => {
    const fn = engine.compile((x: tf.Tensor) => tf.mul(x, 2));
    const [a, b] = [await fn(tf.tensor([1])), await fn(tf.tensor([2]))];
    const calls = [fn(a), fn(b), fn(a)];
    treeDispose([a, b]);
    expect(await Promise.all((await Promise.all(calls)).map(values))).toEqual([[4], [8], [4]]);
  });

  it("takes tensors that share their memory with one of another type, as casts of booleans do", async () => {
    const bits = tf.tensor([1, 0, 1], [3], "bool");
    const [floats, ints] = [tf.cast(bits, "float32"), tf.cast(bits, "int32")];
    const fn = engine.compile((a: tf.Tensor, b: tf.Tensor) => ({
      fed: tf.mul(a, 2.5),
      fedInts: tf.mul(b, tf.scalar(3, "int32")),
      captured: tf.mul(floats, a),
      negated: tf.cast(tf.logicalNot(bits), "float32"),
    }));
    const { fed, fedInts, captured, negated } = await fn(floats, ints);
    expect(await values(fed)).toEqual([2.5, 0, 2.5]);
    expect(await values(fedInts)).toEqual([3, 0, 3]);
    expect(await values(captured)).toEqual([1, 0, 1]);
    expect(await values(negated)).toEqual([0, 1, 0]);
  });

  it("takes tensors that the function captures as constants and leaves them usable", async () => {
    const captured = tf.tensor([10, 20]);
    const fn = engine.compile((x: tf.Tensor) => tf.add(x, captured));
    expect(await values(await fn(tf.tensor([1, 2])))).toEqual([11, 22]);
    expect(await values(tf.add(captured, 1))).toEqual([11, 21]);
    expect(await values(await fn(tf.tensor([2, 3])))).toEqual([12, 23]);
  });

  it("captures a reshaped tensor in its own shape, beside the one that it shares memory with", async () => {
    const flat = tf.tensor([1, 2, 3, 4, 5, 6]);
    const matrix = flat.reshape([2, 3]);
    const fn = engine.compile((x: tf.Tensor2D) => ({
      product: tf.matMul(x, matrix as tf.Tensor2D),
      rows: tf.sum(matrix, 1),
      flat: tf.add(flat, tf.reshape(matrix, [6])),
    }));
    const out = await fn(tf.tensor2d([[1, 10]]));
    expect(out.product.shape).toEqual([1, 3]);
    expect(await values(out.product)).toEqual([41, 52, 63]);
    expect(await values(out.rows)).toEqual([6, 15]);
    expect(await values(out.flat)).toEqual([2, 4, 6, 8, 10, 12]);
  });

  it("handles empty, scalar, int32 and bool tensors", async () => {
    const fn = engine.compile((n: tf.Tensor, b: tf.Tensor, s: tf.Tensor) => ({
      sum: tf.add(n, tf.scalar(1, "int32")),
      not: tf.logicalNot(b),
      scalar: tf.square(s),
      empty: tf.slice(n, [0], [0]),
    }));
    const out = await fn(tf.tensor([1, 2], [2], "int32"), tf.tensor([1, 0], [2], "bool"), tf.scalar(3));
    expect([out.sum.dtype, out.not.dtype]).toEqual(["int32", "bool"]);
    expect(await values(out.sum)).toEqual([2, 3]);
    expect(await values(out.not)).toEqual([0, 1]);
    expect(await values(out.scalar)).toEqual([9]);
    expect(out.empty.shape).toEqual([0]);
  });

  it("restores the tfjs backend, also after an error", async () => {
    const before = tf.getBackend();
    await expect(
      engine.compile(() => {
        throw new Error("mine");
      })(),
    ).rejects.toThrow("mine");
    expect(tf.getBackend()).toBe(before);
  });
});

describe("the compiled engine refuses", () => {
  it("to read a value while it traces, and says what to do", async () => {
    const fn = engine.compile((x: tf.Tensor) => tf.mul(x, x.dataSync()[0]!));
    await expect(fn(tf.tensor([1]))).rejects.toThrow(/cannot be read .* return the tensor and read it outside/);
    const rng = engine.compile((r: Rng) => tf.tensor(r.draw({ kind: "uniform", size: 2, low: 0, high: 1 })));
    await expect(rng(new Rng(1))).rejects.toThrow("Rng.draw: gives plain numbers");
    await expect(engine.compile((r: Rng) => tf.scalar(r.state().counter))(new Rng(1))).rejects.toThrow("Rng.state");
  });

  it("kernels without a lowering, by name", async () => {
    const fn = engine.compile((x: tf.Tensor) =>
      tf.image.nonMaxSuppression(tf.reshape(x, [1, 4]) as tf.Tensor2D, tf.tensor1d([1]), 1),
    );
    await expect(fn(tf.tensor([1, 2, 3, 4]))).rejects.toThrow("'NonMaxSuppressionV3' has no ONNX lowering");
    const bins = engine.compile((x: tf.Tensor) => tf.bincount(tf.cast(x, "int32") as tf.Tensor1D, tf.tensor1d([]), 3));
    await expect(bins(tf.tensor([1, 2]))).rejects.toThrow("the tfjs kernel 'Bincount' has no ONNX lowering");
  });

  it("Promises, disposed tensors, class instances and strings in tensors", async () => {
    await expect(engine.compile(async (x: tf.Tensor) => x)(tf.tensor([1]))).rejects.toThrow("returned a Promise");
    const gone = tf.tensor([1]);
    gone.dispose();
    await expect(engine.compile((x: tf.Tensor) => x)(gone)).rejects.toThrow("disposed of (argument 0)");
    await expect(engine.compile((x: unknown) => x)(new Map())).rejects.toThrow("argument 0 is an object of class Map");
    await expect(engine.compile((x: tf.Tensor) => x)(tf.tensor(["a"]))).rejects.toThrow("dtype string");
    await expect(
      engine.compile((x: tf.Tensor) =>
        tf.tidy(() => {
          const y = tf.add(x, 1);
          y.dispose();
          return y;
        }),
      )(tf.tensor([1])),
    ).rejects.toThrow("disposed");
  });

  it("inputs that ONNX Runtime stops at, with its reason, and works on", async () => {
    const pick = engine.compile((x: tf.Tensor, i: tf.Tensor) => tf.gather(x, i as tf.Tensor1D));
    const x = tf.tensor([1, 2, 3]);
    await expect(pick(x, tf.tensor1d([7], "int32"))).rejects.toThrow(/onnx:cpu engine: running .* failed: .*out of/s);
    expect(await values(await pick(x, tf.tensor1d([2], "int32")))).toEqual([3]);
  });

  it("to work after dispose", async () => {
    const other = await createOnnxEngine();
    const fn = other.compile((x: tf.Tensor) => tf.add(x, 1));
    const kept = await fn(tf.tensor([1]));
    fn.dispose();
    await expect(fn(tf.tensor([1]))).rejects.toThrow("after its dispose()");
    other.dispose();
    expect(() => other.compile(() => tf.scalar(1))).toThrow("after dispose()");
    expect(await values(kept)).toEqual([2]);
  });

  it("devices that cannot be had, in one sentence", async () => {
    await expect(createOnnxEngine({ device: "coreml" })).rejects.toThrow(/^onnx:coreml cannot be had: .*macOS only$/);
    await expect(createOnnxEngine({ device: "wasm" })).rejects.toThrow("in Node the native runtime is used");
    await expect(createOnnxEngine({ device: "abacus" as "cpu" })).rejects.toThrow("device (abacus) is unknown");
  });
});

describe("memory", () => {
  const optimizer = adamw({ learningRate: 1e-3, maxGradNorm: 1 });
  type Params = { weight: tf.Tensor; bias: tf.Tensor };
  const start = (rng: Rng) => {
    const params: Params = { weight: rng.normal([64, 256]), bias: tf.zeros([64]) };
    return { params, opt: optimizer.init(params) };
  };
  const step = (state: ReturnType<typeof start>, x: tf.Tensor, rng: Rng) => {
    const { loss, grads } = valueAndGrad(
      (p) => tf.mean(tf.square(linear(p, tf.add(x, rng.normal(x.shape))))) as tf.Scalar,
      state.params,
    );
    const { params, state: opt } = optimizer.update(grads, state.opt, state.params);
    return { state: { params, opt }, loss };
  };

  it("stays flat over 2,000 compiled steps: tensors and resident size", async () => {
    const rng = new Rng(1);
    const compiled = engine.compile(step);
    let state = start(rng);
    const x = rng.normal([32, 256]);
    let tensors = 0;
    let resident = 0;
    for (let i = 0; i < 2000; i++) {
      const next = await compiled(state, x, rng);
      next.loss.dispose();
      state = replaceState(state, next.state);
      if (i === 199) {
        tensors = tf.memory().numTensors;
        resident = process.memoryUsage().rss;
      }
    }
    expect(tf.memory().numTensors).toBe(tensors);
    // The state alone is 200 kB: leaking it at every step would be 350 MiB.
    expect((process.memoryUsage().rss - resident) / 2 ** 20).toBeLessThan(64);
    treeDispose([state, x]);
    compiled.dispose();
  });

  it("gives results that were kept from a tidy within the function, and leaves nothing of them behind", async () => {
    const before = tf.memory().numTensors;
    const fn = engine.compile((x: tf.Tensor) => {
      let inner: tf.Tensor | undefined;
      tf.tidy(() => {
        inner = tf.keep(tf.add(x, 1));
      });
      return { inner, outer: tf.mul(x, 2) };
    });
    const x = tf.tensor([1, 2]);
    for (let call = 0; call < 2; call++) {
      const { inner, outer } = await fn(x);
      expect([...(await inner!.data()), ...(await outer.data())]).toEqual([2, 3, 2, 4]);
      treeDispose([inner, outer]);
    }
    fn.dispose();
    x.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("leaves no tensor behind when the function throws", async () => {
    const before = tf.memory().numTensors;
    const fn = engine.compile((x: tf.Tensor) => {
      tf.add(x, 1);
      throw new Error("half way");
    });
    const x = tf.tensor([1]);
    await expect(fn(x)).rejects.toThrow("half way");
    x.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
