import { describe, expect, it } from "vitest";
import { Graph, reachableNodes } from "../src/graph/graph.ts";
import {
  add,
  binary,
  div,
  expand,
  matMul,
  mul,
  neg,
  reduce,
  reshape,
  sub,
  transpose,
  where,
} from "../src/graph/operators.ts";

const build = () => {
  const g = new Graph();
  return { g, x: g.input("x", "float32", [2, 3]), y: g.input("y", "float32", [3]) };
};
const ops = (...values: Parameters<typeof reachableNodes>[0]) => reachableNodes(values).map((node) => node.op);

describe("a graph under construction", () => {
  it("shares operators that are asked for twice", () => {
    const { g, x, y } = build();
    expect(add(g, x, y)).toBe(add(g, x, y));
    expect(ops(mul(g, add(g, x, y), add(g, x, y)))).toEqual(["Add", "Mul"]);
  });

  it("drops neutral elements and folds uniform constants", () => {
    const { g, x } = build();
    const ones = g.filled("float32", [2, 3], 1);
    const zeros = g.filled("float32", [2, 3], 0);
    expect(mul(g, x, ones)).toBe(x);
    expect(add(g, zeros, x)).toBe(x);
    expect(sub(g, x, zeros)).toBe(x);
    expect(div(g, x, ones)).toBe(x);
    expect(neg(g, neg(g, x))).toBe(x);
    expect(mul(g, x, zeros).fill).toBe(0);
    expect(add(g, ones, ones).fill).toBe(2);
    expect(ops(mul(g, mul(g, x, g.scalar("float32", 3)), g.scalar("float32", 2)))).toEqual(["Mul"]);
  });

  it("collapses reshapes and transposes, and knows a transpose that moves nothing", () => {
    const { g, x } = build();
    expect(transpose(g, transpose(g, x, [1, 0]), [1, 0])).toBe(x);
    expect(reshape(g, reshape(g, x, [6]), [2, 3])).toBe(x);
    const thin = g.input("thin", "float32", [2, 1, 3]);
    expect(transpose(g, thin, [1, 0, 2]).node?.op).toBe("Reshape");
  });

  it("turns a product with a 0/1 mask into one selection", () => {
    const { g, x } = build();
    const mask = where(
      g,
      binary(g, "Greater", x, g.scalar("float32", 0), "bool"),
      g.filled("float32", [2, 3], 1),
      g.filled("float32", [2, 3], 0),
    );
    expect(ops(mul(g, x, mask))).toEqual(["Greater", "Where"]);
  });

  it("does not write out broadcasts that the next operator makes anyway", () => {
    const { g, x, y } = build();
    expect(ops(add(g, x, expand(g, y, [2, 3])))).toEqual(["Add"]);
  });

  it("makes a transpose that feeds a product a flag of the product", () => {
    const { g, x } = build();
    const product = matMul(g, transpose(g, x, [1, 0]), x);
    expect(ops(product)).toEqual(["Gemm"]);
    expect(product.node?.attributes.transA).toEqual({ int: 1 });
  });

  it("sums squares in one pass and reduces nothing over axes of size one", () => {
    const { g, x } = build();
    expect(ops(reduce(g, "ReduceSum", mul(g, x, x), [0, 1], false))).toEqual(["ReduceSumSquare"]);
    const column = reshape(g, transpose(g, x, [1, 0]), [6, 1]);
    expect(ops(reduce(g, "ReduceSum", mul(g, column, column), [0], true))).toEqual(["ReduceSumSquare", "Reshape"]);
    expect(ops(reduce(g, "ReduceMax", transpose(g, x, [1, 0]), [0], false))).toContain("Transpose");
    const thin = g.input("thin", "float32", [2, 1]);
    expect(ops(reduce(g, "ReduceSum", thin, [1], false))).toEqual(["Reshape"]);
  });

  it("orders the nodes of a very deep graph", () => {
    const { g, x, y } = build();
    let deep = x;
    for (let i = 0; i < 50_000; i++) deep = g.node("Tanh", [add(g, deep, y)], "float32", [2, 3]);
    expect(reachableNodes([deep]).length).toBe(100_000);
  });
});
