import * as tf from "@tensorflow/tfjs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { adadelta } from "../../src/optim/adadelta.ts";
import { adagrad } from "../../src/optim/adagrad.ts";
import { adam, adamw } from "../../src/optim/adam.ts";
import { lion } from "../../src/optim/lion.ts";
import { nadam } from "../../src/optim/nadam.ts";
import { decayMatrices, type Optimizer } from "../../src/optim/optimizer.ts";
import { radam } from "../../src/optim/radam.ts";
import { rmsprop } from "../../src/optim/rmsprop.ts";
import { sgd } from "../../src/optim/sgd.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
});

const values = (tensor: tf.Tensor) => Array.from(tensor.dataSync());
const number = (max: number) => fc.double({ min: -max, max, noNaN: true });
const vectors = fc.array(fc.tuple(number(10), number(10)), { minLength: 1, maxLength: 8 });

/** Parameters after each of several steps under given gradients. */
function trajectory(optimizer: Optimizer, start: number[], grads: number[][]): number[][] {
  return tf.tidy(() => {
    let w = tf.tensor1d(start) as tf.Tensor;
    let state = optimizer.init({ w });
    return grads.map((grad) => {
      const next = optimizer.update({ w: tf.tensor1d(grad) as tf.Tensor }, state, { w });
      w = next.params.w;
      state = next.state;
      return values(w);
    }) as unknown as tf.TensorContainer;
  }) as unknown as number[][];
}

describe("adamw", () => {
  it("only decays when the gradient is zero: every step multiplies by 1 - learningRate * weightDecay", () => {
    fc.assert(
      fc.property(vectors, (pairs) => {
        const start = pairs.map(([x]) => x);
        const zeros = start.map(() => 0);
        const got = trajectory(adamw({ learningRate: 0.1, weightDecay: 0.2 }), start, [zeros, zeros, zeros]);
        for (const [k, row] of got.entries()) {
          for (const [i, x] of row.entries()) expect(x).toBeCloseTo(start[i]! * 0.98 ** (k + 1), 4);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("moves every element by the learning rate at the first step, whatever the gradient's size", () => {
    const [row] = trajectory(adamw({ learningRate: 0.01, weightDecay: 0 }), [0, 0, 0], [[1e-3, -5, 1e6]]);
    for (const [i, want] of [-0.01, 0.01, -0.01].entries()) expect(row![i]).toBeCloseTo(want, 6);
  });

  it("has an exact bias correction after many steps with beta2 near 1", () => {
    // Under a constant gradient both corrected averages are the gradient itself: each step is the learning rate.
    const optimizer = adamw({ learningRate: 1, weightDecay: 0, betas: [0.9, 0.9999] });
    const rows = trajectory(
      optimizer,
      [0],
      Array.from({ length: 500 }, () => [3]),
    );
    expect(rows.at(-1)![0]).toBeCloseTo(-500, 2);
  });

  it("decays everything by default at 0.01 and spares vectors with decayMatrices", () => {
    const params = { w: tf.ones([2, 2]), b: tf.ones([2]) };
    const zeros = { w: tf.zeros([2, 2]), b: tf.zeros([2]) };
    const plain = adamw({ learningRate: 1 });
    const all = plain.update(zeros, plain.init(params), params).params;
    expect(values(all.b)[0]).toBeCloseTo(0.99, 6);
    const masked = adamw({ learningRate: 1, decayMask: decayMatrices });
    const some = masked.update(zeros, masked.init(params), params).params;
    expect(values(some.w)[0]).toBeCloseTo(0.99, 6);
    expect(values(some.b)).toEqual([1, 1]);
  });

  it("clips by the norm of all gradients and reports that norm", () => {
    const optimizer = sgd({ learningRate: 1, maxGradNorm: 1 });
    const params = { a: tf.zeros([1]), b: tf.zeros([1]) };
    const grads = { a: tf.tensor1d([3]), b: tf.tensor1d([4]) };
    const next = optimizer.update(grads, optimizer.init(params), params);
    expect(values(next.gradNorm!)[0]).toBeCloseTo(5, 6);
    expect(values(next.params.a)[0]).toBeCloseTo(-0.6, 5);
    expect(values(next.params.b)[0]).toBeCloseTo(-0.8, 5);
    const free = sgd({ learningRate: 1 });
    expect("gradNorm" in free.update(grads, free.init(params), params)).toBe(false);
  });
});

describe("adam", () => {
  it("with amsgrad never divides by less than the largest second average so far", () => {
    // After one huge gradient, amsgrad's steps stay small while Adam's grow back.
    const grads = [[100], ...Array.from({ length: 40 }, () => [0.1])];
    const options = { learningRate: 0.1, betas: [0, 0.5] as const };
    const plain = trajectory(adam(options), [0], grads);
    const ams = trajectory(adam({ ...options, amsgrad: true }), [0], grads);
    const last = (rows: number[][]) => Math.abs(rows.at(-1)![0]! - rows.at(-2)![0]!);
    expect(last(plain)).toBeGreaterThan(0.05);
    expect(last(ams)).toBeLessThan(0.001);
  });
});

describe("lion", () => {
  it("moves every element by exactly the learning rate", () => {
    fc.assert(
      fc.property(vectors, (pairs) => {
        const start = pairs.map(([x]) => Math.fround(x));
        const grad = pairs.map(([, g]) => (Math.abs(g) < 1e-3 ? 1 : g));
        const [row] = trajectory(lion({ learningRate: 0.125 }), start, [grad]);
        for (const [i, x] of row!.entries()) expect(x).toBeCloseTo(start[i]! - 0.125 * Math.sign(grad[i]!), 5);
      }),
      { numRuns: 30 },
    );
  });

  it("stands still where gradient and momentum are zero", () => {
    expect(trajectory(lion({ learningRate: 0.1 }), [2], [[0], [0]])).toEqual([[2], [2]]);
  });
});

describe("nadam", () => {
  const [lr, beta1, beta2, eps, psi] = [0.01, 0.9, 0.99, 1e-8, 0.004];
  /** T. Dozat's formula in double precision; `twice` repeats PyTorch 1's second factor mu_t. */
  function reference(grads: number[], twice: boolean): number[] {
    let [x, m, v, product] = [0, 0, 0, 1];
    return grads.map((g, i) => {
      const mu = beta1! * (1 - 0.5 * 0.96 ** ((i + 1) * psi!));
      const muNext = beta1! * (1 - 0.5 * 0.96 ** ((i + 2) * psi!));
      product! *= mu;
      m = beta1! * m! + (1 - beta1!) * g;
      v = beta2! * v! + (1 - beta2!) * g * g;
      const root = Math.sqrt(v / (1 - beta2! ** (i + 1))) + eps!;
      const next = product! * muNext * (twice ? mu : 1);
      x! -= (lr! * (((1 - mu) / (1 - product!)) * g + (muNext / (1 - next)) * m)) / root;
      return x!;
    });
  }
  it.each([false, true])("follows the published formula; PyTorch 1's correction: %s", (pytorch1Correction) => {
    const grads = Array.from({ length: 30 }, (_, i) => Math.sin(3 * i) + 0.5);
    const optimizer = nadam({ learningRate: lr!, betas: [beta1!, beta2!], eps: eps!, pytorch1Correction });
    const got = trajectory(
      optimizer,
      [0],
      grads.map((g) => [g]),
    ).map((row) => row[0]!);
    for (const [i, want] of reference(grads, pytorch1Correction).entries()) expect(got[i]).toBeCloseTo(want, 5);
  });
});

describe("radam", () => {
  it("follows the published formula across the step where the rate starts to be rectified", () => {
    const [lr, beta1, beta2] = [0.05, 0.9, 0.999];
    const grads = Array.from({ length: 40 }, (_, i) => Math.cos(2 * i) + 0.3);
    let [x, m, v] = [0, 0, 0];
    const rhoInf = 2 / (1 - beta2) - 1;
    let rectified = 0;
    const want = grads.map((g, i) => {
      const t = i + 1;
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      const mHat = m / (1 - beta1 ** t);
      const rho = rhoInf - (2 * t * beta2 ** t) / (1 - beta2 ** t);
      const r = Math.sqrt(((rho - 4) * (rho - 2) * rhoInf) / ((rhoInf - 4) * (rhoInf - 2) * rho));
      if (rho > 5) rectified++;
      x -= rho > 5 ? (lr * mHat * r) / Math.sqrt(v / (1 - beta2 ** t)) : lr * mHat;
      return x;
    });
    expect(rectified).toBe(35);
    const got = trajectory(
      radam({ learningRate: lr, betas: [beta1, beta2] }),
      [0],
      grads.map((g) => [g]),
    );
    for (const [i, row] of got.entries()) expect(row[0]).toBeCloseTo(want[i]!, 5);
  });

  it("stays plain momentum where beta2 is too small to rectify", () => {
    // rhoInf = 4 at beta2 = 0.6, which is also where the formula divides by zero.
    const [row] = trajectory(radam({ learningRate: 0.1, betas: [0, 0.6] }), [0], [[2]]);
    expect(row![0]).toBeCloseTo(-0.2, 6);
  });
});

describe("rmsprop", () => {
  it("stays finite when centered under a constant gradient, where the variance is nothing but rounding", () => {
    const grads = Array.from({ length: 300 }, () => [1000.1]);
    const rows = trajectory(rmsprop({ learningRate: 1e-9, centered: true, alpha: 0.5, eps: 1e-3 }), [0], grads);
    expect(rows.flat().every(Number.isFinite)).toBe(true);
  });
});

describe("options", () => {
  it("are refused with their name, value and range", () => {
    const learningRate = 0.1;
    expect(() => adam({ learningRate, betas: [1, 0.9] })).toThrow("adam: betas[0] (1) must be in [0, 1)");
    expect(() => adamw({ learningRate, betas: [0.9, -0.1] })).toThrow("adamw: betas[1] (-0.1) must be in [0, 1)");
    expect(() => adam({ learningRate, eps: -1 })).toThrow("adam: eps (-1) must be");
    expect(() => adam({ learningRate, betas: [0.9] as never })).toThrow("adam: betas (0.9) must be a pair");
    expect(() => sgd({ learningRate, momentum: 1 })).toThrow("sgd: momentum (1) must be in [0, 1)");
    expect(() => sgd({ learningRate, nesterov: true })).toThrow("sgd: nesterov with momentum (0)");
    expect(() => sgd({ learningRate, nesterov: true, momentum: 0.9, dampening: 0.1 })).toThrow("dampening (0.1)");
    expect(() => lion({ learningRate, betas: [0.9, 2] })).toThrow("lion: betas[1] (2)");
    expect(() => rmsprop({ learningRate, alpha: 2 })).toThrow("rmsprop: alpha (2)");
    expect(() => rmsprop({ learningRate, alpha: 0, centered: true })).toThrow(
      "alpha (0) must be above 0 when centered",
    );
    expect(() => adagrad({ learningRate, initialAccumulator: -1 })).toThrow("adagrad: initialAccumulator (-1)");
    expect(() => adadelta({ learningRate, rho: 1 })).toThrow("adadelta: rho (1)");
    expect(() => adadelta({ learningRate, eps: 0 })).toThrow("adadelta: eps (0) must be a finite number above 0");
    expect(() => nadam({ learningRate, momentumDecay: -1 })).toThrow("nadam: momentumDecay (-1)");
  });

  it("of a state from elsewhere are refused with what is missing", () => {
    const params = { w: tf.zeros([1]) };
    const plain = sgd({ learningRate: 0.1 });
    expect(() => adam({ learningRate: 0.1 }).update(params, plain.init(params) as never, params)).toThrow(
      "adam.update: state has no 'm'",
    );
    const other = adam({ learningRate: 0.1 });
    expect(() => other.update(params, other.init({ w: tf.zeros([3, 2]) }), params)).toThrow(
      "adam.update: state.m has tensors of shapes [6]; expected [1], as init makes them for these params",
    );
    const byPath = { ...other.init(params), m: { w: tf.zeros([1, 1]) } };
    expect(() => other.update(params, byPath as never, params)).toThrow("state.m has tensors of shapes [1,1]");
  });
});
