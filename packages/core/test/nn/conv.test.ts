import { conv1d, conv2d, convTranspose2d, createConv2d, createConvTranspose2d, Rng, tanh } from "@genai/core";
import { describeOnEngines, expectClose, expectGradient, expectSecondGradient } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";

const exact = { atol: 1e-4, rtol: 1e-4 };

/** Every option at once in combinations that tfjs lacks. */
const settings = [
  { stride: 2, padding: 2, dilation: 2 },
  { stride: [2, 1], padding: [1, 0, 2, 1], dilation: [1, 2] },
  { stride: 2, padding: 1, dilation: 1, groups: 2 },
  { stride: 1, padding: 2, dilation: 2, groups: 2 },
  { stride: 2, padding: 1, dilation: 1, groups: 4 },
  { stride: 2, padding: 2, dilation: 2, groups: 4 },
] as const;

/** The definition, element by element: the oracle for what no library on this machine computes. */
async function convByLoops(x: tf.Tensor, weight: tf.Tensor, options: (typeof settings)[number]): Promise<tf.Tensor> {
  const two = (v: number | readonly number[]) => (typeof v === "number" ? [v, v] : v) as [number, number];
  const padding: readonly number[] =
    typeof options.padding === "number" ? Array(4).fill(options.padding) : options.padding;
  const [sh, sw] = two(options.stride);
  const [dh, dw] = two(options.dilation);
  const groups = "groups" in options ? options.groups : 1;
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const [o, i, kh, kw] = weight.shape as [number, number, number, number];
  const outH = Math.floor((h + padding[0]! + padding[2]! - dh * (kh - 1) - 1) / sh) + 1;
  const outW = Math.floor((w + padding[1]! + padding[3]! - dw * (kw - 1) - 1) / sw) + 1;
  const xs = await x.data();
  const ws = await weight.data();
  const out = new Float32Array(n * outH * outW * o);
  let at = 0;
  for (let b = 0; b < n; b++) {
    for (let y = 0; y < outH; y++) {
      for (let z = 0; z < outW; z++) {
        for (let f = 0; f < o; f++, at++) {
          const first = Math.floor(f / (o / groups)) * i;
          for (let k = 0; k < i * kh * kw; k++) {
            const [ch, ky, kx] = [Math.floor(k / (kh * kw)), Math.floor(k / kw) % kh, k % kw];
            const row = y * sh - padding[0]! + ky * dh;
            const column = z * sw - padding[1]! + kx * dw;
            if (row < 0 || row >= h || column < 0 || column >= w) continue;
            out[at]! += xs[((b * h + row) * w + column) * c + first + ch]! * ws[f * i * kh * kw + k]!;
          }
        }
      }
    }
  }
  return tf.tensor(out, [n, outH, outW, o]);
}

describeOnEngines("conv2d", (engine) => {
  it.each(settings)("computes the definition and its adjoints with %j", async (options) => {
    const rng = new Rng(1);
    const groups = "groups" in options ? options.groups : 1;
    const x = rng.normal([2, 7, 6, 4]);
    const weight = rng.normal([8, 4 / groups, 3, 3]);
    const want = await convByLoops(x, weight, options);
    const dy = rng.normal(want.shape);
    const run = engine().compile((x: tf.Tensor, weight: tf.Tensor, dy: tf.Tensor) => {
      const loss = (x: tf.Tensor, weight: tf.Tensor) => tf.sum(tf.mul(conv2d({ weight }, x, options), dy));
      const [dx, dw] = tf.grads(loss)([x, weight]) as [tf.Tensor, tf.Tensor];
      return { y: conv2d({ weight }, x, options), dx, dw };
    });
    const got = await run(x, weight, dy);
    await expectClose(got.y, want, exact, "y");
    // The sum of y dy is linear in x and in the weight: each gradient times its argument gives that sum again.
    const sum = (a: tf.Tensor, b: tf.Tensor) => tf.tidy(() => tf.sum(tf.mul(a, b)));
    const whole = sum(want, dy);
    await expectClose(sum(await local(got.dx), x), whole, { atol: 1e-3, rtol: 1e-3 }, "<dx, x>");
    await expectClose(sum(await local(got.dw), weight), whole, { atol: 1e-3, rtol: 1e-3 }, "<dw, weight>");
    // ... and so in every direction.
    const other = rng.normal(x.shape);
    const otherWeight = rng.normal(weight.shape);
    await expectClose(sum(await local(got.dx), other), sum(await convByLoops(other, weight, options), dy), {
      atol: 1e-3,
      rtol: 1e-3,
    });
    await expectClose(sum(await local(got.dw), otherWeight), sum(await convByLoops(x, otherWeight, options), dy), {
      atol: 1e-3,
      rtol: 1e-3,
    });
  });
});

/** A copy on the backend in use. */
const local = async (t: tf.Tensor) => tf.tensor(await t.data(), t.shape);

describe("convolutions", () => {
  beforeAll(async () => {
    await tf.setBackend("cpu");
  });

  it("have gradients that agree with finite differences, the first and the second", async () => {
    const rng = new Rng(2);
    const x = rng.normal([1, 4, 4, 2]);
    const weight = rng.normal([2, 2, 3, 3], 0, 0.5);
    const up = rng.normal([2, 2, 3, 3], 0, 0.5);
    const f = (x: tf.Tensor) => tf.sum(tf.square(conv2d({ weight }, x, { stride: 2, padding: 1 })));
    await expectGradient(f, x, { tolerance: { atol: 2e-2, rtol: 1e-2 } });
    const g = (w: tf.Tensor) => {
      const dx = tf.grad((x: tf.Tensor) => tf.sum(tanh(conv2d({ weight: w }, x, { padding: 1 }))))(x);
      return tf.mean(tf.square(convTranspose2d({ weight: up }, dx, { stride: 2, padding: 1 })));
    };
    await expectGradient(g, weight, { tolerance: { atol: 2e-2, rtol: 2e-2 } });
    await expectSecondGradient(f, x, { step: 0.05, tolerance: { atol: 1, rtol: 2e-2 } });
  });

  it("compute only the gradients that are asked for", () => {
    const rng = new Rng(3);
    const [x, weight] = [rng.normal([1, 5, 5, 2]), rng.normal([3, 2, 3, 3])];
    const seen: string[] = [];
    const original = tf.getKernel("Conv2DBackpropInput", "cpu")!;
    tf.unregisterKernel("Conv2DBackpropInput", "cpu");
    tf.registerKernel({
      ...original,
      kernelFunc: (args) => {
        seen.push("Conv2DBackpropInput");
        return original.kernelFunc(args);
      },
    });
    tf.grad((weight: tf.Tensor) => tf.sum(conv2d({ weight }, x)))(weight);
    expect(seen).toEqual([]);
    tf.grad((x: tf.Tensor) => tf.sum(conv2d({ weight }, x)))(x);
    expect(seen).toEqual(["Conv2DBackpropInput"]);
    tf.unregisterKernel("Conv2DBackpropInput", "cpu");
    tf.registerKernel(original);
  });

  it("see only the past when causal", async () => {
    const rng = new Rng(4);
    const p = { weight: rng.normal([3, 2, 4]) };
    const x = rng.normal([1, 9, 2]);
    const changed = tf.concat([tf.slice(x, [0, 0, 0], [1, 6, 2]), rng.normal([1, 3, 2])], 1);
    const run = (x: tf.Tensor) => conv1d(p, x, { padding: "causal", dilation: 2 });
    expect(run(x).shape).toEqual([1, 9, 3]);
    const past = (y: tf.Tensor) => tf.slice(y, [0, 0, 0], [1, 6, 3]);
    await expectClose(past(run(changed)), past(run(x)), { atol: 0, rtol: 0 });
  });

  it("undo each other's change of size", () => {
    const rng = new Rng(5);
    const down = createConv2d(3, 8, rng, { kernel: 4 });
    const up = createConvTranspose2d(8, 3, rng, { kernel: 4, bias: false });
    const x = rng.normal([2, 8, 6, 3]);
    const y = conv2d(down, x, { stride: 2, padding: 1 });
    expect(y.shape).toEqual([2, 4, 3, 8]);
    expect(convTranspose2d(up, y, { stride: 2, padding: 1 }).shape).toEqual(x.shape);
  });

  it("say what does not fit", () => {
    const x = tf.zeros([1, 5, 5, 3]);
    expect(() => conv2d({ weight: tf.zeros([8, 4, 3, 3]) }, x)).toThrow(
      "conv2d: x has 3 channels; weight [8,4,3,3] with groups 1 expects 4",
    );
    expect(() => conv2d({ weight: tf.zeros([8, 3, 7, 7]) }, x)).toThrow("too small for a 7x7 kernel");
    expect(() => conv2d({ weight: tf.zeros([8, 3, 3, 3]) }, x, { stride: 0 })).toThrow("conv2d: stride (0)");
    expect(() => conv2d({ weight: tf.zeros([8, 3, 3, 3]), bias: tf.zeros([3]) }, x)).toThrow(
      "conv2d: bias has shape [3]",
    );
    expect(() => conv2d({ weight: tf.zeros([8, 3, 3, 3]) }, tf.zeros([5, 5, 3]))).toThrow(
      "expected images [N, H, W, C]",
    );
    expect(() => convTranspose2d({ weight: tf.zeros([4, 8, 3, 3]) }, x)).toThrow("x has 3 channels");
    expect(() => convTranspose2d({ weight: tf.zeros([3, 8, 3, 3]) }, x, { outputPadding: 1 })).toThrow(
      "outputPadding (1,1)",
    );
    expect(() => conv1d({ weight: tf.zeros([4, 2, 3]) }, tf.zeros([1, 9, 3]))).toThrow("conv1d: x has 3 channels");
  });
});
