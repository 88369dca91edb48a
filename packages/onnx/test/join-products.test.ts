import { convertWeights, type Engine, plainWeights, Rng, type Tree, treeDispose } from "@genai/core";
import { createOnnxEngine } from "@genai/onnx";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Graph, reachableNodes, type Value } from "../src/graph/graph.ts";
import { joinProducts } from "../src/graph/join-products.ts";
import { trace } from "../src/trace/trace.ts";

const exact = { atol: 0, rtol: 0 };
const K = 64;

/** A product of x [1, 64] with n columns in 4 bits, whose codes are all `code`. */
function product(
  g: Graph,
  x: Value,
  n: number,
  code: number,
  { bias, bits = 4, zeroPoints = null }: { bias?: Value; bits?: number; zeroPoints?: Value | null } = {},
) {
  const codes = Uint8Array.from({ length: (n * K * bits) / 8 }, (_, i) => (i === 0 ? 1 : code));
  const inputs = [
    x,
    g.constant("uint8", [n, 2, (32 * bits) / 8], codes),
    g.filled("float32", [n, 2], code),
    ...(bias || zeroPoints ? [zeroPoints] : []),
    ...(bias ? [null, bias] : []),
  ];
  const attributes = { K: { int: K }, N: { int: n }, bits: { int: bits }, block_size: { int: 32 } };
  return g.node("MatMulNBits", inputs, "float32", [1, n], attributes, "com.microsoft");
}

const opsOf = (values: readonly Value[]) => reachableNodes(joinProducts(values)).map(({ op }) => op);

describe("products of one input with rounded weights", () => {
  it("become one, with the matrices, scales and biases below each other", () => {
    const g = new Graph();
    const x = g.input("x", "float32", [1, K]);
    const bias = (n: number, fill: number) => g.filled("float32", [n], fill);
    const values = [3, 5].map((n) => product(g, x, n, n, { bias: bias(n, 10 * n) }));
    const joined = joinProducts(values);
    const [node, split] = reachableNodes(joined);
    expect([node!.op, split!.op]).toEqual(["MatMulNBits", "Split"]);
    expect(joined.map(({ shape }) => shape)).toEqual([
      [1, 3],
      [1, 5],
    ]);
    expect(node!.attributes).toMatchObject({ K: { int: K }, N: { int: 8 }, block_size: { int: 32 } });
    const [, codes, scales, zeros, groups, added] = node!.inputs;
    expect(codes).toMatchObject({ type: "uint8", shape: [8, 2, 16] });
    expect(Array.from(codes!.data!)).toEqual([1, ...Array(95).fill(3), 1, ...Array(159).fill(5)]);
    expect(Array.from(scales!.data!)).toEqual([...Array(6).fill(3), ...Array(10).fill(5)]);
    expect([zeros, groups]).toEqual([null, null]);
    expect(Array.from(added!.data!)).toEqual([30, 30, 30, 50, 50, 50, 50, 50]);
  });

  it("become one with zero points, where all have them", () => {
    const g = new Graph();
    const x = g.input("x", "float32", [1, K]);
    const zeroPoints = (n: number) =>
      g.constant(
        "uint8",
        [n, 1],
        Uint8Array.from({ length: n }, (_, i) => 16 * n + i),
      );
    const values = [2, 3].map((n) => product(g, x, n, n, { zeroPoints: zeroPoints(n) }));
    const [node] = reachableNodes(joinProducts(values));
    expect(Array.from(node!.inputs[3]!.data!)).toEqual([32, 33, 48, 49, 50]);
    expect(opsOf([values[0]!, product(g, x, 3, 1)])).toEqual(["MatMulNBits", "MatMulNBits"]);
  });

  it("stay apart where they differ in more than their width, or biases are computed", () => {
    const g = new Graph();
    const [x, y] = [g.input("x", "float32", [1, K]), g.input("y", "float32", [1, K])];
    const bias = g.input("b", "float32", [3]);
    const known = g.filled("float32", [3], 1);
    const apart = ["MatMulNBits", "MatMulNBits"];
    expect(opsOf([product(g, x, 3, 1), product(g, y, 3, 2)])).toEqual(apart);
    expect(opsOf([product(g, x, 3, 1), product(g, x, 3, 2, { bits: 8 })])).toEqual(apart);
    expect(opsOf([product(g, x, 3, 1), product(g, x, 3, 2, { bias: known })])).toEqual(apart);
    expect(opsOf([product(g, x, 3, 1, { bias }), product(g, x, 3, 2, { bias })])).toEqual(apart);
    expect(opsOf([product(g, x, 3, 1), product(g, x, 3, 2)])).toEqual(["MatMulNBits", "Split"]);
  });
});

describe("products of one input with float32 panels", () => {
  const opsWith = async (rows: number, outputs: number[]) => {
    const rng = new Rng(0);
    const params = outputs.map((n) => rng.normal([n, 256]));
    const converted = await convertWeights(params, { format: "panels", layoutOf: () => "out-in" });
    const apply = (p: Tree, x: tf.Tensor2D) =>
      tf.tidy(() => (plainWeights(p) as tf.Tensor2D[]).map((matrix) => tf.matMul(x, matrix, false, true)));
    const recorded = trace(apply, [converted, rng.normal([rows, 256])]);
    treeDispose([params, converted]);
    return opsOf(recorded.outputs);
  };

  beforeAll(() => tf.setBackend("cpu"));

  it("become one where they are small and the input is a row", async () => {
    expect(await opsWith(1, [64, 32, 32])).toEqual(["MatMul", "Split", "Reshape", "Reshape", "Reshape"]);
  });

  it("stay apart where they are large, as each graph would have a copy, or the input has more rows", async () => {
    const products = (ops: string[]) => ops.filter((op) => op === "MatMul" || op === "Split");
    expect(products(await opsWith(1, [1056, 1056]))).toEqual(["MatMul", "MatMul"]);
    expect(products(await opsWith(2, [64, 32]))).toEqual(["MatMul", "MatMul"]);
  });
});

describe("joined products on onnx:cpu", () => {
  let engine: Engine;
  beforeAll(async () => {
    await tf.setBackend("cpu");
    engine = await createOnnxEngine({ device: "cpu" });
  });
  afterAll(() => engine.dispose());

  for (const format of ["int4", "int8", "panels"] as const) {
    it(`give what each gives alone: ${format}`, async () => {
      const rng = new Rng(1);
      const widths = { q: 96, k: 32, v: 7, other: 40 };
      const params = Object.fromEntries(
        Object.entries(widths).map(([name, n]) => [name, { weight: rng.normal([n, 128]), bias: rng.normal([n]) }]),
      );
      const converted = await convertWeights(params, {
        format,
        layoutOf: (path) => (/weight/.test(path) ? "out-in" : undefined),
      });
      const linear = (p: { weight: tf.Tensor2D; bias: tf.Tensor1D }, x: tf.Tensor2D) =>
        tf.matMul(x, p.weight, false, true).add(p.bias);
      const apply = (names: readonly string[]) => (p: Tree, x: tf.Tensor2D) =>
        tf.tidy(() => {
          const plain = plainWeights<Record<string, { weight: tf.Tensor2D; bias: tf.Tensor1D }>>(p);
          const product = (name: string) => linear(plain[name]!, name === "other" ? tf.neg(x) : x);
          return Object.fromEntries(names.map((name) => [name, product(name)]));
        });
      const names = Object.keys(widths);
      const all = engine.compile(apply(names));
      for (const rows of [1, 5]) {
        const x = rng.normal([rows, 128]) as tf.Tensor2D;
        const together = await all(converted, x);
        for (const name of names) {
          const one = engine.compile(apply([name]));
          await expectClose(together[name]!, (await one(converted, x))[name]!, exact, `${name}, ${rows} rows`);
          one.dispose();
        }
      }
      treeDispose([params, converted]);
      all.dispose();
    });
  }
});
