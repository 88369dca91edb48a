import * as tf from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import {
  countParams,
  isRecord,
  isTensor,
  treeEntries,
  treeFreeze,
  treeLeaves,
  treeMap,
  treeMapLeaves,
} from "../src/index.ts";

describe("trees", () => {
  it("know tensors, variables among them, from everything else", () => {
    const x = tf.tensor1d([1]);
    const variable = tf.variable(x);
    expect(isTensor(x) && isTensor(variable)).toBe(true);
    for (const other of [{}, { data: 1 }, Object.create(null), [x], new Map(), null, undefined, 3, "data", () => x]) {
      expect(isTensor(other)).toBe(false);
    }
    tf.dispose([x, variable]);
  });

  it("descend into plain records and arrays only", () => {
    class Holder {
      x = 1;
    }
    expect([{}, Object.create(null), JSON.parse("{}")].map(isRecord)).toEqual([true, true, true]);
    expect([[], new Holder(), new Map(), null, 1, "x"].map(isRecord)).toEqual(Array(6).fill(false));
  });

  it("give their tensors in order and with their paths, and keep plain values when mapped", () => {
    const tree = { b: [tf.zeros([2]), { c: tf.zeros([3, 2]) }], a: tf.scalar(1), name: "x", none: null };
    expect(treeEntries(tree).map(([path, { size }]) => [path, size])).toEqual([
      ["b.0", 2],
      ["b.1.c", 6],
      ["a", 1],
    ]);
    expect(treeLeaves(tree)).toEqual(treeEntries(tree).map(([, tensor]) => tensor));
    expect(countParams(tree)).toBe(9);
    expect(treeMap(tree, ({ size }, path) => `${path}:${size}`)).toEqual({
      b: ["b.0:2", { c: "b.1.c:6" }],
      a: "a:1",
      name: "x",
      none: null,
    });
    class Holder {}
    const holder = new Holder();
    const kinds = treeMapLeaves({ ...tree, holder }, (leaf, path) => [path, isTensor(leaf) ? leaf.size : leaf]);
    expect(kinds).toEqual({
      b: [["b.0", 2], { c: ["b.1.c", 6] }],
      a: ["a", 1],
      name: ["name", "x"],
      none: ["none", null],
      holder: ["holder", holder],
    });
    tf.dispose(treeLeaves(tree));
  });

  it("freeze their records and arrays, not their tensors or what else they hold", () => {
    const holder = new (class {
      x = 1;
    })();
    const tree = treeFreeze({ a: [tf.scalar(1), { b: tf.scalar(2) }], holder });
    expect([tree, tree.a, tree.a[1]].every((node) => Object.isFrozen(node))).toBe(true);
    expect([tree.a[0], holder].some((node) => Object.isFrozen(node))).toBe(false);
    tf.dispose(treeLeaves(tree));
    expect(treeLeaves(tree).every((tensor) => tensor.isDisposed)).toBe(true);
  });
});
