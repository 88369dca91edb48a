import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { accumulateGradients } from "../../src/optim/accumulate.ts";
import { adamw } from "../../src/optim/adam.ts";
import { sgd } from "../../src/optim/sgd.ts";
import { treeDispose, treeLeaves } from "../../src/tree.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const values = (tensor: tf.Tensor) => Array.from(tensor.dataSync(), (x) => x + 0);
const allValues = (tree: unknown) => treeLeaves(tree).map(values);

describe("accumulateGradients", () => {
  it("makes n equal micro-batches one step of the inner optimizer, and another n the next", () => {
    const inner = adamw({ learningRate: 0.1, weightDecay: 0.1, maxGradNorm: 1 });
    const optimizer = accumulateGradients(inner, 4);
    const start = { w: tf.tensor1d([1, -2, 3]) as tf.Tensor };
    let plain = { params: start, state: inner.init(start) };
    let gathered = { params: start, state: optimizer.init(start) };
    for (const grad of [
      [0.5, 1, -1],
      [2, 0.25, 0],
    ]) {
      const grads = { w: tf.tensor1d(grad) as tf.Tensor };
      plain = inner.update(grads, plain.state, plain.params);
      for (let i = 0; i < 4; i++) gathered = optimizer.update(grads, gathered.state, gathered.params);
      expect(allValues(gathered.params)).toEqual(allValues(plain.params));
      const { microBatches, gradSum, ...state } = gathered.state;
      expect(allValues(state)).toEqual(allValues(plain.state));
      expect(allValues([microBatches, gradSum])).toEqual([[0], [0, 0, 0]]);
    }
  });

  it("keeps parameters and inner state exactly as they are until the n-th call", () => {
    const optimizer = accumulateGradients(adamw({ learningRate: 0.1 }), 3);
    const start = { w: tf.tensor1d([0.1, 1e-7, 12345.678]) as tf.Tensor };
    let next = { params: start, state: optimizer.init(start) };
    const fresh = allValues([next.state.m, next.state.v, next.state.ones1]);
    for (let i = 1; i < 3; i++) {
      next = optimizer.update({ w: tf.tensor1d([i, i, i]) as tf.Tensor }, next.state, next.params);
      expect(allValues(next.params)).toEqual(allValues(start));
      expect(allValues([next.state.m, next.state.v, next.state.ones1])).toEqual(fresh);
      expect(values(next.state.microBatches)).toEqual([i]);
    }
  });

  it("steps with the average of different micro-batches and reports the norm of the average", () => {
    const optimizer = accumulateGradients(sgd({ learningRate: 1, maxGradNorm: 100 }), 2);
    const start = { w: tf.tensor1d([0]) as tf.Tensor };
    const first = optimizer.update({ w: tf.tensor1d([1]) as tf.Tensor }, optimizer.init(start), start);
    const second = optimizer.update({ w: tf.tensor1d([4]) as tf.Tensor }, first.state, first.params);
    expect(values(second.params.w)).toEqual([-2.5]);
    expect([values(first.gradNorm!), values(second.gradNorm!)]).toEqual([[1], [2.5]]);
  });

  it("leaves no tensors behind", () => {
    const optimizer = accumulateGradients(adamw({ learningRate: 0.1 }), 2);
    const params = { w: tf.ones([3]) };
    const before = tf.memory().numTensors;
    let state = optimizer.init(params);
    for (let i = 0; i < 4; i++) {
      const next = optimizer.update(params, state, params);
      treeDispose([state, next.params]);
      state = next.state;
    }
    treeDispose(state);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("refuses a count that is no whole number above 0", () => {
    const inner = sgd({ learningRate: 0.1 });
    expect(() => accumulateGradients(inner, 0)).toThrow("every (0) must be a whole number of at least 1");
    expect(() => accumulateGradients(inner, 1.5)).toThrow("every (1.5)");
    const params = { w: tf.zeros([1]) };
    expect(() => accumulateGradients(inner, 2).update(params, inner.init(params) as never, params)).toThrow(
      "accumulateGradients(sgd).update: state has no 'microBatches'",
    );
  });
});
