import { attention, type Engine, gelu, linear, Rng, treeDispose, valueAndGrad } from "@genai/core";
import { createOnnxEngine } from "@genai/onnx";
import { expectClose } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { foldIntoProducts } from "../src/graph/fold-products.ts";
import { Graph, type Node, reachableNodes, type Value } from "../src/graph/graph.ts";
import { add, matMul, mul, reduce, reshape } from "../src/graph/operators.ts";
import { trace } from "../src/trace/trace.ts";

let engine: Engine;
beforeAll(async () => {
  await tf.setBackend("cpu");
  engine = await createOnnxEngine({ device: "cpu" });
});
afterAll(() => engine.dispose());

const build = () => {
  const g = new Graph();
  const x = g.input("x", "float32", [6, 4]);
  const w = g.input("w", "float32", [4, 3]);
  return { g, x, w, b: g.input("b", "float32", [3]), r: g.input("r", "float32", [2, 3, 3]) };
};
const half = (g: Graph) => g.scalar("float32", 0.5);
const folded = (...values: Value[]) => reachableNodes(foldIntoProducts(values));
const ops = (nodes: readonly Node[]) => nodes.map(({ op }) => op);

describe("what stands around a product", () => {
  it("becomes part of it: a bias, a residual connection behind a reshape, and factors", () => {
    const { g, x, w, b, r } = build();
    const [biased] = folded(add(g, matMul(g, x, w), b));
    expect(biased).toMatchObject({ op: "Gemm", inputs: [x, w, b] });
    expect(ops(folded(add(g, r, reshape(g, matMul(g, x, w), [2, 3, 3]))))).toEqual(["Reshape", "Gemm", "Reshape"]);
    const nodes = folded(mul(g, add(g, matMul(g, mul(g, x, half(g)), w), b), half(g)));
    expect(ops(nodes)).toEqual(["Gemm"]);
    expect(nodes[0]!.attributes).toMatchObject({ alpha: { float: 0.25 }, beta: { float: 0.5 } });
  });

  it("stays next to a batched product, if it is a factor, where the runtime finds it", () => {
    const g = new Graph();
    const [q, k] = [g.input("q", "float32", [2, 3, 5, 4]), g.input("k", "float32", [2, 3, 7, 4])];
    const scores = matMul(g, mul(g, q, half(g)), k, false, true);
    expect(ops(folded(mul(g, scores, half(g))))).toEqual([
      "Reshape",
      "Mul",
      "Reshape",
      "Transpose",
      "MatMul",
      "Mul",
      "Reshape",
    ]);
  });

  it("stays where something else reads the product", () => {
    const { g, x, w, b } = build();
    const product = matMul(g, x, w);
    expect(ops(folded(add(g, product, b), product)).sort()).toEqual(["Add", "Gemm"]);
    expect(ops(folded(mul(g, product, half(g)), product)).sort()).toEqual(["Gemm", "Mul"]);
  });

  it("leaves sums that broadcast the product, and a second sum", () => {
    const { g, x, w, b } = build();
    const wide = g.input("wide", "float32", [2, 6, 3]);
    expect(ops(folded(add(g, wide, matMul(g, x, w)))).sort()).toEqual(["Add", "Gemm"]);
    expect(ops(folded(add(g, add(g, matMul(g, x, w), b), g.input("c", "float32", [3]))))).toEqual(["Gemm", "Add"]);
  });

  it("moves a factor behind a sum, so that nothing writes the multiple", () => {
    const { g, x, w } = build();
    const scaled = mul(g, x, half(g));
    expect(ops(folded(matMul(g, scaled, w), reduce(g, "ReduceSum", scaled, [1], false)))).toEqual([
      "Gemm",
      "ReduceSum",
      "Mul",
    ]);
  });

  it.each([
    ["none", "Erf"],
    ["tanh", "Tanh"],
  ] as const)(
    "computes GELU (%s) and its gradient with one %s, and keeps the operator where there is no gradient",
    (approximate, kind) => {
      const x = new Rng(1).normal([4, 5]);
      const act = (x: tf.Tensor) => gelu(x, { approximate });
      const both = trace((x: tf.Tensor) => [act(x), tf.grad((x) => act(x).sum())(x)], [x]).outputs;
      expect(ops(folded(...both)).filter((op) => op === kind || op === "Gelu")).toEqual([kind]);
      expect(ops(folded(...trace(act, [x]).outputs))).toEqual(["Gelu"]);
    },
  );
});

describe("a compiled step with products, biases, residual connections and activations", () => {
  it.each(["none", "tanh"] as const)(
    "has the loss and the gradients of the eager one (GELU: %s)",
    async (approximate) => {
      const rng = new Rng(1);
      const params = {
        fc: { weight: rng.normal([16, 8], 0, 0.3), bias: rng.normal([16]) },
        proj: { weight: rng.normal([8, 16], 0, 0.3), bias: rng.normal([8]) },
      };
      const x = rng.normal([2, 12, 8]);
      const run = (p: typeof params, x: tf.Tensor) =>
        valueAndGrad((p) => {
          const act = (x: tf.Tensor) => gelu(x, { approximate });
          const y = tf.add(x, linear(p.proj, act(linear(p.fc, x))));
          return tf.mean(tf.square(linear({ weight: p.proj.weight }, act(linear(p.fc, y))))) as tf.Scalar;
        }, p);
      const [want, got] = [run(params, x), await engine.compile(run)(params, x)];
      await expectClose(got.loss, want.loss, { atol: 1e-5, rtol: 1e-5 });
      for (const layer of ["fc", "proj"] as const) {
        await expectClose(got.grads[layer].weight, want.grads[layer].weight, { atol: 1e-5, rtol: 1e-4 });
        await expectClose(got.grads[layer].bias, want.grads[layer].bias, { atol: 1e-5, rtol: 1e-4 });
      }
      treeDispose([params, x, want, got]);
    },
  );

  it("has sums over leading axes, which are products with a row of ones", async () => {
    const rng = new Rng(5);
    for (const [shape, axes] of [
      [[7, 3], [0]],
      [
        [2, 1, 5, 4],
        [0, 1, 2],
      ],
      [[3, 2, 4], [0]],
    ] as const) {
      const x = rng.normal([...shape]);
      const sum = (x: tf.Tensor) => tf.sum(x, [...axes], true);
      expect(ops(reachableNodes(trace(sum, [x]).outputs))).toContain("Gemm");
      const [want, got] = [sum(x), await engine.compile(sum)(x)];
      expect(got.shape).toEqual(want.shape);
      await expectClose(got, want, { atol: 1e-6, rtol: 1e-5 });
      treeDispose([x, want, got]);
    }
    for (const sum of [(x: tf.Tensor) => tf.sum(x), (x: tf.Tensor) => tf.sum(x, -1), (x: tf.Tensor) => tf.max(x, 0)]) {
      expect(ops(reachableNodes(trace(sum, [tf.zeros([7, 3])]).outputs))).not.toContain("Gemm");
    }
  });

  it("has wide products of a transposed matrix over many rows, which are computed transposed", async () => {
    const rng = new Rng(6);
    const [x, y] = [rng.normal([512, 64]) as tf.Tensor2D, rng.normal([512, 192]) as tf.Tensor2D];
    const product = (x: tf.Tensor2D, y: tf.Tensor2D) => tf.matMul(x, y, true, false);
    const kinds = ops(reachableNodes(trace(product, [x, y]).outputs)).filter((op) => op !== "Reshape");
    expect(kinds).toEqual(["Gemm", "Transpose"]);
    const [want, got] = [product(x, y), await engine.compile(product)(x, y)];
    await expectClose(got, want, { atol: 1e-4, rtol: 1e-4 });
    treeDispose([x, y, want, got]);
  });

  it("has large products of a transposed matrix, for which one operand is copied", async () => {
    const rng = new Rng(3);
    for (const [m, n, op] of [
      [1040, 390, "transpose the result"],
      [390, 1040, "transpose the operand"],
    ] as const) {
      const [x, y] = [rng.normal([340, m]) as tf.Tensor2D, rng.normal([340, n]) as tf.Tensor2D];
      const product = (x: tf.Tensor2D, y: tf.Tensor2D) => tf.matMul(x, y, true, false);
      const kinds = ops(reachableNodes(trace(product, [x, y]).outputs)).filter((op) => op !== "Reshape");
      expect(kinds, op).toEqual(m > n ? ["Transpose", "Gemm", "Transpose"] : ["Transpose", "Gemm"]);
      // Beside the product of a matrix that is transposed already, which eager tfjs would take seconds for.
      const plain = engine.compile((xt: tf.Tensor2D, y: tf.Tensor2D) => tf.matMul(xt, y));
      const flat = tf.transpose(x);
      const [want, got] = [await plain(flat, y), await engine.compile(product)(x, y)];
      await expectClose(got, want, { atol: 1e-4, rtol: 1e-4 });
      treeDispose([x, y, flat, want, got]);
    }
  });

  it("has the eager gradients of attention over heads that share keys", async () => {
    const rng = new Rng(7);
    const args = { q: rng.normal([2, 4, 6, 3]), k: rng.normal([2, 2, 6, 3]), v: rng.normal([2, 2, 6, 5]) };
    const run = (p: typeof args) =>
      valueAndGrad((p) => tf.sum(tf.square(attention(p.q, p.k, p.v, { causal: true }))) as tf.Scalar, p).grads;
    const [want, got] = [run(args), await engine.compile(run)(args)];
    for (const key of ["q", "k", "v"] as const) await expectClose(got[key], want[key], { atol: 1e-5, rtol: 1e-4 });
    treeDispose([args, want, got]);
  });
});
