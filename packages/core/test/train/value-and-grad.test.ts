import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { valueAndGrad } from "../../src/train/value-and-grad.ts";
import { treeDispose } from "../../src/tree.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const values = (tensor: tf.Tensor) => Array.from(tensor.dataSync());

/** Runs `body` and checks that it leaves no tensor and no tape behind. */
function expectNoLeak(body: () => void): void {
  const before = tf.memory().numTensors;
  body();
  expect(tf.memory().numTensors).toBe(before);
  expect(tf.engine().state.gradientDepth).toBe(0);
}

describe("valueAndGrad", () => {
  it("gives the loss and the gradient of every parameter in the structure of the parameters", () => {
    const params = {
      layers: [{ weight: tf.tensor1d([1, 2, 3]) }, { weight: tf.tensor1d([4, 5, 6]) }],
      scale: tf.scalar(2),
    };
    const { loss, grads } = valueAndGrad(
      (p) => p.layers[0]!.weight.mul(p.layers[1]!.weight).sum().mul(p.scale) as tf.Scalar,
      params,
    );
    expect(values(loss)).toEqual([64]);
    expect(values(grads.layers[0]!.weight)).toEqual([8, 10, 12]);
    expect(values(grads.layers[1]!.weight)).toEqual([2, 4, 6]);
    expect(values(grads.scale)).toEqual([32]);
  });

  it("passes the other entries of the result on, alive, and owned by the enclosing tidy", () => {
    const params = { w: tf.tensor1d([1, 2]) };
    const before = tf.memory().numTensors;
    const result = tf.tidy(() =>
      valueAndGrad(
        (p) => ({ loss: p.w.square().sum(), stats: { doubled: [p.w.mul(2)] }, same: p.w, count: 3 }),
        params,
      ),
    );
    expect(values(result.stats.doubled[0]!)).toEqual([2, 4]);
    expect(values(result.same)).toEqual([1, 2]);
    expect(result.count).toBe(3);
    expect(tf.memory().numTensors).toBe(before + 4);
    treeDispose(result);
    expect(values(params.w)).toEqual([1, 2]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("leaves nothing behind when its results are disposed of by a tidy", () => {
    const params = { w: tf.tensor1d([1, 2]) };
    expectNoLeak(() => {
      tf.tidy(() => {
        valueAndGrad((p) => ({ loss: p.w.tanh().square().sum(), hidden: p.w.tanh() }), params);
      });
    });
  });

  it("leaves no tensor and no tape behind when the function throws in the middle", () => {
    const params = { w: tf.tensor1d([1, 2]) };
    const boom = (p: typeof params): tf.Tensor => {
      p.w.tanh().square().sum();
      throw new Error("boom");
    };
    expectNoLeak(() => expect(() => valueAndGrad(boom, params)).toThrow("boom"));
    const nested = (p: typeof params) => valueAndGrad((q) => boom(q), p).loss.add(p.w.sum());
    expectNoLeak(() => expect(() => valueAndGrad(nested, params)).toThrow("boom"));
    expectNoLeak(() => tf.tidy(() => void valueAndGrad((p) => p.w.square().sum(), params)));
  });

  it("leaves nothing behind when the result is refused after the forward pass", () => {
    const params = { w: tf.tensor1d([1, 2]), unused: tf.scalar(1) };
    expectNoLeak(() =>
      expect(() => valueAndGrad((p) => ({ loss: p.w.square().sum(), aux: p.w.tanh() }), params)).toThrow("'unused'"),
    );
    expectNoLeak(() => expect(() => valueAndGrad((p) => p.w.tanh(), params)).toThrow("shape [2]"));
  });

  it("names every parameter that the loss does not depend on, and gives zeros for it when allowed", () => {
    const params = { a: tf.tensor1d([1, 2]), nested: { b: tf.zeros([2, 2]) }, c: tf.scalar(1) };
    const loss = (p: typeof params) => p.a.sum();
    expect(() => valueAndGrad(loss, params)).toThrow("does not depend on 'nested.b', 'c'");
    const { grads } = valueAndGrad(loss, params, { allowUnused: true });
    expect(values(grads.a)).toEqual([1, 1]);
    expect(values(grads.nested.b)).toEqual([0, 0, 0, 0]);
    expect(grads.nested.b.shape).toEqual([2, 2]);
  });

  it("treats frozen parameters as constants with a gradient of zero", () => {
    const params = { backbone: { w: tf.tensor1d([3]) }, head: { w: tf.tensor1d([2]) } };
    const loss = (p: typeof params) => p.backbone.w.mul(p.head.w).sum();
    const { grads } = valueAndGrad(loss, params, { trainable: (path) => path.startsWith("head") });
    expect(values(grads.backbone.w)).toEqual([0]);
    expect(values(grads.head.w)).toEqual([3]);
    const frozen = valueAndGrad(loss, params, { trainable: () => false });
    expect(values(frozen.loss)).toEqual([6]);
    expect(values(frozen.grads.head.w)).toEqual([0]);
  });

  it("differentiates a gradient: the derivative of the squared gradient norm of sum(w^3) is 36 w^3", () => {
    const params = { w: tf.tensor1d([1, -2, 0.5]) };
    const penalty = (p: typeof params) =>
      valueAndGrad((q) => ({ loss: q.w.pow(tf.scalar(3)).sum(), hidden: q.w.square() }), p)
        .grads.w.square()
        .sum();
    const { loss, grads } = valueAndGrad(penalty, params);
    expect(values(loss)[0]).toBeCloseTo(9 * (1 + 16 + 0.0625), 4);
    for (const [i, want] of [36, -288, 4.5].entries()) expect(values(grads.w)[i]).toBeCloseTo(want, 3);
  });

  it("differentiates through the aux entries of an inner call", () => {
    const params = { w: tf.tensor1d([1, 2]) };
    const { grads } = valueAndGrad((p) => {
      const inner = valueAndGrad((q) => ({ loss: q.w.sum(), cube: q.w.mul(q.w).mul(q.w) }), p);
      return inner.cube.sum();
    }, params);
    expect(values(grads.w)).toEqual([3, 12]);
  });

  it("goes on after an inner call that threw and was caught", () => {
    const params = { w: tf.tensor1d([1, 2]) };
    expectNoLeak(() =>
      tf.tidy(() => {
        const { grads } = valueAndGrad((p) => {
          const square = p.w.square();
          expect(() => valueAndGrad((q) => q.w.tanh(), p)).toThrow("expected a float32 scalar");
          return square.sum();
        }, params);
        expect(values(grads.w)).toEqual([2, 4]);
      }),
    );
  });

  it("agrees with central differences", () => {
    const w = [0.3, -0.7, 1.1];
    const at = (x: number[]) => {
      const tensor = tf.tensor1d(x);
      return tensor.tanh().mul(tensor.exp()).sum() as tf.Scalar;
    };
    const { grads } = valueAndGrad((p) => p.w.tanh().mul(p.w.exp()).sum(), { w: tf.tensor1d(w) });
    for (const [i, grad] of values(grads.w).entries()) {
      const moved = (h: number) => values(at(w.map((x, j) => (j === i ? x + h : x))))[0]!;
      expect(grad).toBeCloseTo((moved(1e-2) - moved(-1e-2)) / 2e-2, 3);
    }
  });

  it("refuses what it cannot differentiate, with the path and what was expected", () => {
    const w = tf.tensor1d([1]);
    const loss = () => tf.scalar(1);
    expect(() => valueAndGrad(loss, { a: { ids: tf.tensor1d([1], "int32") } })).toThrow(
      "'a.ids' is int32; expected float32",
    );
    expect(() => valueAndGrad(loss, { n: 3 })).toThrow("holds no tensors");
    expect(() => valueAndGrad(loss, { a: w, b: [w] })).toThrow("'a' and 'b.0' are one tensor");
    expect(() => valueAndGrad(loss, { "a.b": w, a: { b: tf.ones([1]) } })).toThrow(
      "two parameters have the path 'a.b'",
    );
    expect(() => valueAndGrad(() => ({ loss: 3 }) as never, { w })).toThrow("fn returned no loss");
    expect(() => valueAndGrad(() => undefined as never, { w })).toThrow("fn returned no loss");
    expect(() => valueAndGrad(() => tf.scalar(1, "int32"), { w })).toThrow("the loss is int32");
    expect(() => valueAndGrad(() => ({ loss: tf.scalar(1), grads: w }), { w })).toThrow("named 'grads'");
  });
});
