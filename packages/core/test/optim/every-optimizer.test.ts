import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { accumulateGradients } from "../../src/optim/accumulate.ts";
import { adadelta } from "../../src/optim/adadelta.ts";
import { adagrad } from "../../src/optim/adagrad.ts";
import { adam, adamw } from "../../src/optim/adam.ts";
import { adamax } from "../../src/optim/adamax.ts";
import { lion } from "../../src/optim/lion.ts";
import { nadam } from "../../src/optim/nadam.ts";
import type { Optimizer, OptimizerOptions, OptimizerState } from "../../src/optim/optimizer.ts";
import { radam } from "../../src/optim/radam.ts";
import { rmsprop } from "../../src/optim/rmsprop.ts";
import { sgd } from "../../src/optim/sgd.ts";
import { Rng } from "../../src/rng.ts";
import { valueAndGrad } from "../../src/train/value-and-grad.ts";
import { assertSameStructure, treeDispose, treeEntries, treeLeaves, treeMap, treeUnflatten } from "../../src/tree.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

type Make = (options: OptimizerOptions) => Optimizer;
type Weights = { w: tf.Tensor; layers: { b: tf.Tensor }[] };

// The learning rate with which 300 steps solve the least-squares problem below.
const OPTIMIZERS: [name: string, make: Make, learningRate: number][] = [
  ["sgd", sgd, 0.1],
  ["sgd with momentum", (o) => sgd({ ...o, momentum: 0.9 }), 0.02],
  ["sgd with dampening", (o) => sgd({ ...o, momentum: 0.9, dampening: 0.5 }), 0.05],
  ["sgd with Nesterov momentum", (o) => sgd({ ...o, momentum: 0.9, nesterov: true }), 0.02],
  ["adam", adam, 0.05],
  ["adam with amsgrad", (o) => adam({ ...o, amsgrad: true }), 0.05],
  ["adamw", (o) => adamw({ weightDecay: 0, ...o }), 0.05],
  ["adamax", adamax, 0.05],
  ["nadam", nadam, 0.05],
  ["radam", radam, 0.1],
  ["rmsprop", rmsprop, 0.02],
  ["rmsprop, centered, with momentum", (o) => rmsprop({ ...o, centered: true, momentum: 0.5 }), 0.02],
  ["adagrad", adagrad, 0.5],
  ["adadelta", adadelta, 50],
  ["lion", lion, 0.03],
  ["accumulateGradients(adam)", (o) => accumulateGradients(adam(o), 2), 0.1],
];

const values = (tensor: tf.Tensor) => Array.from(tensor.dataSync());
const allValues = (tree: unknown) => treeLeaves(tree).map(values);

function someWeights(seed = 1): Weights {
  const rng = new Rng(seed);
  return { w: rng.normal([2, 3]), layers: [{ b: rng.normal([3]) }] };
}

describe.each(OPTIMIZERS)("%s", (_name, make, learningRate) => {
  it("solves a least-squares problem", () => {
    const rng = new Rng(3);
    const x = rng.normal([20, 3]);
    const target = x.matMul(tf.tensor2d([[1], [-2], [0.5]])).add(0.3);
    const loss = (p: { w: tf.Tensor; b: tf.Tensor }) => x.matMul(p.w).add(p.b).sub(target).square().mean();
    const optimizer = make({ learningRate });
    let params = { w: tf.zeros([3, 1]) as tf.Tensor, b: tf.zeros([1]) as tf.Tensor };
    let state = optimizer.init(params);
    for (let step = 0; step < 300; step++) {
      // Falls to 0 in a straight line: sign-based steps would otherwise circle around the solution.
      tf.dispose(state.learningRate);
      state = { ...state, learningRate: tf.scalar(learningRate * (1 - step / 300)) };
      const old = { params, state };
      const { grads } = valueAndGrad(loss, params);
      ({ params, state } = optimizer.update(grads, state, params));
      treeDispose([old, grads]);
    }
    expect(values(loss(params) as tf.Tensor)[0]).toBeLessThan(1e-3);
  });

  it("shares no tensor between arguments and results, and leaves none behind", () => {
    const params = someWeights();
    const grads = someWeights(2);
    const before = tf.memory().numTensors;
    const optimizer = make({ learningRate, weightDecay: 0.1, maxGradNorm: 1 });
    const state = optimizer.init(params);
    const next = optimizer.update(grads, state, params);
    expect(next.gradNorm).toBeInstanceOf(tf.Tensor);
    const argumentIds = new Set(treeLeaves([params, grads, state]).map((t) => t.id));
    expect(treeLeaves(next).filter((t) => argumentIds.has(t.id))).toEqual([]);
    treeDispose(state);
    expect(allValues(next).flat().every(Number.isFinite)).toBe(true);
    treeDispose(next);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("has a state that keeps its structure and continues after a round trip through its leaves", () => {
    const optimizer = make({ learningRate, weightDecay: 0.01 });
    const params = someWeights();
    const first = optimizer.update(someWeights(2), optimizer.init(params), params);
    assertSameStructure("test", optimizer.init(params), first.state);
    const copies = treeEntries(first.state).map(([, t]) => tf.tensor(t.dataSync().slice(), t.shape, t.dtype));
    const restored = treeUnflatten(optimizer.init(params), copies);
    const straight = optimizer.update(someWeights(3), first.state, first.params);
    const resumed = optimizer.update(someWeights(3), restored, first.params);
    expect(allValues(resumed)).toEqual(allValues(straight));
  });

  it("leaves parameters alone when the state's learning rate is 0, and reads it anew at each step", () => {
    const optimizer = make({ learningRate });
    const params = someWeights();
    const state = { ...optimizer.init(params), learningRate: tf.scalar(0) };
    const still = optimizer.update(someWeights(2), state, params);
    expect(allValues(still.params)).toEqual(allValues(params));
    const awake = { ...still.state, learningRate: tf.scalar(learningRate) };
    expect(allValues(optimizer.update(someWeights(2), awake, params).params)).not.toEqual(allValues(params));
  });

  it("leaves frozen parameters alone and keeps no averages for them", () => {
    const trainable = (path: string) => path !== "w";
    const optimizer = make({ learningRate, weightDecay: 0.1, maxGradNorm: 1, trainable });
    const params = someWeights();
    let state = optimizer.init(params);
    let next = { params, state } as { params: Weights; state: OptimizerState };
    for (let step = 0; step < 2; step++) {
      next = optimizer.update(someWeights(2), state, next.params);
      state = next.state;
    }
    expect(values(next.params.w)).toEqual(values(params.w));
    expect(values(next.params.layers[0]!.b)).not.toEqual(values(params.layers[0]!.b));
    const slots = treeEntries(state).filter(([path, { rank }]) => rank > 0 && !path.startsWith("gradSum"));
    expect(slots.map(([, { size }]) => size)).toEqual(slots.map(() => 3));
  });

  it("steps parameters side by side as it steps each alone", () => {
    const optimizer = make({ learningRate, weightDecay: 0.1, decayMask: (path) => path !== "layers.0.b" });
    const steps = (params: Partial<Weights>, gradients: Partial<Weights>[]) => {
      let next = { params, state: optimizer.init(params) };
      for (const grads of gradients) next = optimizer.update(grads, next.state, next.params);
      return allValues(next.params);
    };
    const { w, layers } = someWeights();
    const gradients = [2, 3].map(someWeights);
    const alone = [
      ...steps(
        { w },
        gradients.map((grads) => ({ w: grads.w })),
      ),
      ...steps(
        { layers },
        gradients.map((grads) => ({ layers: grads.layers })),
      ),
    ];
    expect(steps({ w, layers }, gradients)).toEqual(alone);
  });

  it("decays the masked parameters and no other", () => {
    const zeros = treeMap(someWeights(), (t) => tf.zerosLike(t));
    const decayMask = (path: string) => path === "w";
    const optimizer = make({ learningRate, weightDecay: 0.5, decayMask });
    const params = someWeights();
    let next = optimizer.update(zeros, optimizer.init(params), params);
    next = optimizer.update(zeros, next.state, next.params);
    expect(values(next.params.layers[0]!.b)).toEqual(values(params.layers[0]!.b));
    for (const [i, w] of values(next.params.w).entries()) {
      expect(Math.abs(w - values(params.w)[i]!)).toBeGreaterThan(0);
    }
  });

  it("names its arguments when they do not fit", () => {
    const optimizer = make({ learningRate });
    const params = someWeights();
    const state = optimizer.init(params);
    const { w, layers } = someWeights();
    expect(() => optimizer.init({ ids: tf.tensor1d([1], "int32") })).toThrow("'ids' is int32; expected float32");
    expect(() => optimizer.init({ "a.b": w, a: { b: w } })).toThrow("two parameters have the path 'a.b'");
    expect(() => optimizer.update({ w } as Weights, state, params)).toThrow("layers.0.b");
    expect(() => optimizer.update({ w: tf.zeros([3]), layers }, state, params)).toThrow(
      "gradient 'w' has shape [3]; expected the parameter's, [2,3]",
    );
    expect(() => make({ learningRate: -1 })).toThrow("learningRate (-1) must be");
    expect(() => make({ learningRate: Number.NaN })).toThrow("learningRate (NaN) must be");
    expect(() => make({ learningRate, weightDecay: -0.1 })).toThrow("weightDecay (-0.1) must be");
    expect(() => make({ learningRate, maxGradNorm: 0 })).toThrow("maxGradNorm (0) must be");
  });
});
