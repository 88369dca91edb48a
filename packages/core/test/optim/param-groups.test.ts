import * as tf from "@tensorflow/tfjs";
import { beforeAll, expect, it } from "vitest";
import { adamw } from "../../src/optim/adam.ts";
import { groupParams, groupSize, joinVectors, splitVector } from "../../src/optim/param-groups.ts";
import { treeEntries } from "../../src/tree.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const LIMIT = 2 ** 18;
const sizesOf = (sizes: readonly number[]) => {
  const params = sizes.map((size, i) => [`p${i}`, tf.zeros([size])] as const);
  const groups = groupParams(params);
  expect(groups.flat()).toEqual(params);
  return groups.map((group) => group.map(([, { size }]) => size));
};

it("puts neighbours together up to the limit, and large parameters alone", () => {
  expect(sizesOf([])).toEqual([]);
  expect(sizesOf([LIMIT, 1])).toEqual([[LIMIT], [1]]);
  expect(sizesOf([LIMIT - 1, 1, 1])).toEqual([[LIMIT - 1, 1], [1]]);
  expect(sizesOf([3, 2 * LIMIT, 4, 5])).toEqual([[3], [2 * LIMIT], [4, 5]]);
});

it("joins tensors and parts them again in their shapes", () => {
  const tensors = [tf.tensor2d([[1, 2, 3]]), tf.scalar(4), tf.tensor3d([[[5], [6]]])];
  const group = tensors.map((tensor, i) => [`p${i}`, tensor] as const);
  const vector = joinVectors(tensors);
  expect([...vector.dataSync()]).toEqual([1, 2, 3, 4, 5, 6]);
  expect(groupSize(group)).toBe(6);
  const parts = splitVector(vector, group);
  expect(parts.map(({ shape }) => shape)).toEqual(tensors.map(({ shape }) => shape));
  expect(parts.map((part) => [...part.dataSync()])).toEqual(tensors.map((tensor) => [...tensor.dataSync()]));
});

it("gives an optimizer's state one vector for each group", () => {
  const params = { small: tf.zeros([2, 3]), bias: tf.zeros([3]), large: tf.zeros([LIMIT / 2, 2]), last: tf.zeros([5]) };
  const optimizer = adamw({ learningRate: 0.1 });
  const state = optimizer.init(params);
  const { params: next, state: stepped } = optimizer.update(params, state, params);
  for (const { m, v } of [state, stepped]) {
    expect([m, v].map((slot) => slot.map(({ shape }) => shape))).toEqual([
      [[9], [LIMIT], [5]],
      [[9], [LIMIT], [5]],
    ]);
  }
  expect(treeEntries(next).map(([path, { shape }]) => [path, shape])).toEqual(
    treeEntries(params).map(([path, { shape }]) => [path, shape]),
  );
});
