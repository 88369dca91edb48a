import { adamw, type Engine, linear, Rng, type Tree, treeDispose, treeMap, valueAndGrad } from "@genai/core";
import { createOnnxEngine } from "@genai/onnx";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Graph, type Value } from "../src/graph/graph.ts";
import { add, matMul, mul, reduce, reshape, sub, transpose } from "../src/graph/operators.ts";
import { updatesInPlace } from "../src/graph/update-in-place.ts";

const SIDE = 64;
const shape = [SIDE, SIDE];

describe("updatesInPlace", () => {
  const build = () => {
    const g = new Graph();
    const [p, m, x] = ["p", "m", "x"].map((name) => g.input(name, "float32", shape)) as [Value, Value, Value];
    const rate = g.input("rate", "float32", []);
    return { g, p, m, x, rate };
  };
  /** Which input each output may take the place of. */
  const placesOf = (outputs: readonly Value[], inputs: readonly Value[]) => {
    const shapes = outputs.map((output) => output.shape);
    return updatesInPlace(outputs, shapes, new Set(inputs)).map((place) => place?.input);
  };

  it("finds the parameter that is stepped, and the average that is moved on", () => {
    const { g, p, m, x, rate } = build();
    const gradient = matMul(g, x, matMul(g, x, p), true);
    const nextM = add(g, mul(g, m, rate), gradient);
    const nextP = sub(g, mul(g, p, rate), mul(g, nextM, rate));
    expect(placesOf([nextP, nextM], [p, m])).toEqual(["p", "m"]);
    expect(placesOf([nextM, nextP], [p, m])).toEqual(["m", "p"]);
    // What is computed in another shape too, but none that the result does not have.
    const row = [SIDE ** 2];
    const flat = g.node("Sub", [reshape(g, p, row), reshape(g, gradient, row)], "float32", row);
    expect(updatesInPlace([flat], [shape], new Set([p]))).toEqual([p]);
    expect(updatesInPlace([flat], [row], new Set([p]))).toEqual([undefined]);
  });

  it("takes no place that something may still read", () => {
    const { g, p, x, rate } = build();
    const next = sub(g, p, mul(g, x, rate));
    expect(placesOf([next], [p])).toEqual(["p"]);
    expect(placesOf([next, matMul(g, x, p)], [p])).toEqual([undefined, undefined]);
    expect(placesOf([next, reduce(g, "ReduceSum", p, [0, 1], false)], [p])).toEqual([undefined, undefined]);
    // All that the next value depends on has run before it.
    const product = matMul(g, x, p);
    const after = sub(g, p, mul(g, product, rate));
    expect(placesOf([after, reduce(g, "ReduceSum", product, [0, 1], false)], [p])).toEqual(["p", undefined]);
    // A transpose that two products read may become a part of the second.
    const turned = transpose(g, p, [1, 0]);
    const first = sub(g, p, mul(g, matMul(g, turned, x), rate));
    expect(placesOf([first], [p])).toEqual(["p"]);
    const cubed = g.node(
      "MatMul",
      [g.node("Transpose", [p], "float32", shape, { perm: { ints: [1, 0] } }), x],
      "float32",
      shape,
    );
    const second = sub(g, p, mul(g, cubed, rate));
    const third = g.node("MatMul", [cubed.node!.inputs[0]!, p], "float32", shape);
    expect(placesOf([second, third], [p])).toEqual([undefined, undefined]);
  });

  it("takes a place once, and none for products, small tensors and sums of broadcast ones", () => {
    const { g, p, x, rate } = build();
    const [a, b] = [sub(g, p, rate), add(g, p, mul(g, p, rate))];
    expect(placesOf([a, b], [p])).toEqual([undefined, undefined]);
    expect(placesOf([b], [p])).toEqual(["p"]);
    expect(placesOf([b, b], [p])).toEqual([undefined, undefined]);
    const accumulated = g.node("Gemm", [x, x, p], "float32", shape);
    expect(placesOf([accumulated], [p])).toEqual([undefined]);
    // The largest of three: that of two, and then with the third, which has been written over.
    expect(placesOf([g.node("Max", [x, rate, p], "float32", shape)], [p])).toEqual([undefined]);
    const row = g.input("row", "float32", [1, SIDE]);
    expect(placesOf([add(g, row, x)], [row])).toEqual([undefined]);
    expect(placesOf([mul(g, row, rate)], [row])).toEqual([undefined]);
  });
});

describe("a state that is donated", () => {
  let engine: Engine;
  beforeAll(async () => {
    await tf.setBackend("cpu");
    engine = await createOnnxEngine({ device: "cpu" });
  });
  afterAll(() => engine.dispose());

  type State = { params: { weight: tf.Tensor2D; bias: tf.Tensor1D }; opt: ReturnType<typeof optimizer.init> };
  const optimizer = adamw({ learningRate: 0.1, weightDecay: 0.1, maxGradNorm: 1 });
  const train = (state: State, x: tf.Tensor2D) => {
    const { loss, grads } = valueAndGrad((params) => linear(params, x).tanh().square().mean(), state.params);
    const { params, state: opt } = optimizer.update(grads, state.opt, state.params);
    // Of the parameters before the step.
    return { state: { params, opt } as State, loss, sum: state.params.bias.sum() };
  };
  const initial = (): State => {
    const rng = new Rng(3);
    const params = { weight: rng.normal(shape) as tf.Tensor2D, bias: rng.normal([SIDE]) as tf.Tensor1D };
    return { params, opt: optimizer.init(params) };
  };
  const bitsOf = async (tree: Tree) => {
    const values: number[][] = [];
    treeMap(tree, (tensor) => {
      values.push([...tensor.dataSync()]);
      return tensor;
    });
    return values;
  };

  it("is updated where it is, to the same bits, and leaves nothing behind", async () => {
    const x = new Rng(1).normal([8, SIDE]) as tf.Tensor2D;
    const before = tf.memory().numTensors;
    const steps = [engine.compile(train), engine.compile(train, { donated: [0] })] as const;
    const states = [initial(), initial()];
    for (let i = 0; i < 4; i++) {
      const { weight } = states[1]!.params;
      const [kept, donated] = [await steps[0](states[0]!, x), await steps[1](states[1]!, x)];
      expect(await bitsOf(donated)).toEqual(await bitsOf(kept));
      // The first step begins with memory of tfjs', which is left alone.
      expect(donated.state.params.weight.dataId === weight.dataId).toBe(i > 0);
      expect(weight.isDisposed).toBe(true);
      treeDispose([states[0]!, kept.loss, kept.sum, donated.loss, donated.sum]);
      [states[0], states[1]] = [kept.state, donated.state];
    }
    treeDispose(states);
    for (const step of steps) step.dispose();
    expect(tf.memory().numTensors).toBe(before);
    x.dispose();
  });

  it("is left alone where others have its memory: arrays that it was made of, and other tensors", async () => {
    const x = new Rng(1).normal([8, SIDE]) as tf.Tensor2D;
    const step = engine.compile(train, { donated: [0] });
    const array = Float32Array.from({ length: SIDE ** 2 }, (_, i) => Math.sin(i));
    const params = { weight: tf.tensor2d(array, [SIDE, SIDE]), bias: tf.zeros([SIDE]) as tf.Tensor1D };
    let { state } = await step({ params, opt: optimizer.init(params) }, x);
    expect(array[1]).toBe(Math.fround(Math.sin(1)));
    for (let i = 0; i < 3; i++) {
      const copy = state.params.weight.clone();
      const values = [...copy.dataSync()];
      const moment = state.opt.m[0]!.clone();
      const [first] = moment.dataSync();
      ({ state } = await step(state, x));
      expect([...copy.dataSync()]).toEqual(values);
      expect(moment.dataSync()[0]).toBe(first);
      treeDispose([copy, moment]);
    }
    step.dispose();
    treeDispose([state, x]);
  });

  it("has the same values after any function as without", async () => {
    for (let seed = 0; seed < 60; seed++) {
      const program = randomProgram(new Rng(seed));
      const functions = [engine.compile(program), engine.compile(program, { donated: [0] })] as const;
      const start = () => new Rng(seed).fork("state");
      const make = (rng: Rng) => Array.from({ length: 3 }, () => rng.normal(shape) as tf.Tensor2D);
      const states = [make(start()), make(start())];
      for (let step = 0; step < 3; step++) {
        const [kept, donated] = [await functions[0](states[0]!), await functions[1](states[1]!)];
        expect(await bitsOf(donated), `program ${seed}, step ${step}`).toEqual(await bitsOf(kept));
        treeDispose([states[0]!, kept.sums, donated.sums]);
        [states[0], states[1]] = [kept.state, donated.state];
      }
      treeDispose(states);
      for (const fn of functions) fn.dispose();
    }
  });
});

/** A function of three matrices that gives three others, and sums of what it meets on the way. */
function randomProgram(rng: Rng) {
  const operators = [
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.add(a, b),
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.sub(a, b.mul(0.3)),
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.mul(a, b),
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.maximum(a, b),
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.matMul(a, b).div(SIDE),
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.matMul(a, b, true).div(SIDE),
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.add(a.transpose(), b),
    (a: tf.Tensor2D, b: tf.Tensor2D) =>
      tf.add(
        a
          .reshape([SIDE ** 2])
          .reverse()
          .reshape([SIDE, SIDE]),
        b.mul(0.5),
      ),
    (a: tf.Tensor2D, b: tf.Tensor2D) => tf.sub(a, b.sum(0)).div(SIDE),
  ];
  const integer = (below: number) => rng.draw({ kind: "integers", size: 1, low: 0, high: below })[0]!;
  const plan = Array.from(
    { length: 10 },
    (_, i) => [integer(operators.length), integer(3 + i), integer(3 + i)] as const,
  );
  const [next, summed] = [
    Array.from({ length: 3 }, () => 3 + integer(plan.length)),
    Array.from({ length: 2 }, () => integer(3 + plan.length)),
  ];
  return function program(state: tf.Tensor2D[]) {
    const values = [...state];
    for (const [operator, a, b] of plan) values.push(operators[operator]!(values[a]!, values[b]!) as tf.Tensor2D);
    // Bounded by element-wise operators alone, so that results are.
    return {
      state: next.map((i) => values[i]!.minimum(1).maximum(-1) as tf.Tensor2D),
      sums: summed.map((i) => values[i]!.sum()),
    };
  };
}
