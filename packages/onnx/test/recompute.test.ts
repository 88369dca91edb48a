import { createEngine, Rng, recompute } from "@genai/core";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { reachableNodes } from "../src/graph/graph.ts";
import { trace } from "../src/trace/trace.ts";

beforeAll(async () => {
  (await createEngine("onnx:cpu")).dispose();
  await tf.setBackend("cpu");
});

const ops = (fn: (...args: never[]) => unknown, args: readonly unknown[]) =>
  reachableNodes(trace(fn, args).outputs).map((node) => node.op);
const count = (list: readonly string[], op: string) => list.filter((name) => name === op).length;

describe("recompute in a graph", () => {
  it("computes again in the backward pass, though graphs share what is equal", () => {
    const inner = ({ x }: { x: tf.Tensor }) => tf.sin(tf.sin(x.mul(2)));
    const grad = (fn: typeof inner) => tf.grad((x) => tf.sum(fn({ x: x.add(1) })));
    const x = tf.tensor1d([1, 2]);
    const run = (fn: typeof inner) => (x: tf.Tensor) => ({ y: fn({ x: x.add(1) }), dx: grad(fn)(x) });
    expect(count(ops(run(inner), [x]), "Sin")).toBe(2);
    expect(
      count(
        ops(
          run((inputs) => recompute(inner, inputs)),
          [x],
        ),
        "Sin",
      ),
    ).toBe(3);
  });

  it("feeds what is drawn once, and makes masks of it twice", () => {
    const inner = ({ x, rng }: { x: tf.Tensor; rng: Rng }) => x.mul(rng.uniform([2]).greater(0.5).toFloat());
    const run = (x: tf.Tensor, rng: Rng) => tf.grad((x) => tf.sum(recompute(inner, { x: x.add(1), rng })))(x);
    const { traced } = trace(run, [tf.tensor1d([1, 2]), new Rng(0)]);
    expect(traced.draws.length).toBe(1);
    expect(traced.rngSteps.length).toBe(1);
  });

  it("refuses copies of a stream that draw something else", () => {
    const run = (rng: Rng) => {
      const copy = rng.copy();
      return tf.add(rng.uniform([2]), copy.normal([2]));
    };
    expect(() => trace(run, [new Rng(0)])).toThrow("where a copy of the stream drew");
    const same = (rng: Rng) => {
      const copy = rng.copy();
      return [copy.fork("a").uniform([2]), rng.fork("a").uniform([2]), rng.normal([3]), copy.normal([3])];
    };
    const { traced } = trace(same, [new Rng(0)]);
    expect(traced.draws.length).toBe(2);
    expect(traced.rngSteps.length).toBe(3);
  });
});
