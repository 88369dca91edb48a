import { type Engine, Rng, treeDispose } from "@genai/core";
import { createOnnxEngine } from "@genai/onnx";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

// Every kernel that can be compiled, against tfjs' own cpu backend on the same numbers: values, and gradients where the
// operation has one. Cases are chosen so that tfjs itself is right on them (design: facts about tfjs 4.22).

let engine: Engine;
beforeAll(async () => {
  await tf.setBackend("cpu");
  engine = await createOnnxEngine({ device: "cpu" });
});
afterAll(() => engine.dispose());

type Tensors = tf.Tensor[];
type Case = {
  name: string;
  args: () => Tensors;
  run: (...args: Tensors) => tf.Tensor | Tensors;
  /** Differentiate by the float32 arguments? Default true. */
  gradient?: boolean;
  tolerance?: number;
};

const rng = new Rng(42);
const normal = (...shape: number[]) => rng.normal(shape);
const uniform = (low: number, high: number, ...shape: number[]) => rng.uniform(shape, low, high);
const ints = (low: number, high: number, ...shape: number[]) => rng.integers(shape, low, high);
const bools = (...shape: number[]) => rng.uniform(shape).greater(0.5);

const cases: Case[] = [];
const add = (name: string, args: () => Tensors, run: Case["run"], options: Partial<Case> = {}) =>
  cases.push({ name, args, run, ...options });

// One argument, differentiable, over a range that the function is smooth on.
const smooth: [string, (x: tf.Tensor) => tf.Tensor, number, number][] = [
  ["abs", tf.abs, 0.2, 2],
  ["acos", tf.acos, -0.8, 0.8],
  ["acosh", tf.acosh, 1.5, 3],
  ["asin", tf.asin, -0.8, 0.8],
  ["asinh", tf.asinh, -2, 2],
  ["atan", tf.atan, -2, 2],
  ["atanh", tf.atanh, -0.8, 0.8],
  ["cos", tf.cos, -2, 2],
  ["cosh", tf.cosh, -2, 2],
  ["elu", tf.elu, -2, 2],
  ["erf", tf.erf, -2, 2],
  ["exp", tf.exp, -2, 2],
  ["expm1", tf.expm1, -2, 2],
  ["leakyRelu", (x) => tf.leakyRelu(x, 0.1), -2, 2],
  ["log", tf.log, 0.2, 2],
  ["log1p", tf.log1p, -0.5, 2],
  ["logSigmoid", tf.logSigmoid, -2, 2],
  ["neg", tf.neg, -2, 2],
  ["reciprocal", tf.reciprocal, 0.3, 2],
  ["relu", tf.relu, -2, 2],
  ["relu6", tf.relu6, -2, 8],
  ["rsqrt", tf.rsqrt, 0.3, 2],
  ["selu", tf.selu, -2, 2],
  ["sigmoid", tf.sigmoid, -4, 4],
  ["sin", tf.sin, -2, 2],
  ["sinh", tf.sinh, -2, 2],
  ["softplus", tf.softplus, -4, 4],
  ["sqrt", tf.sqrt, 0.3, 2],
  ["square", tf.square, -2, 2],
  ["tan", tf.tan, -1, 1],
  ["tanh", tf.tanh, -2, 2],
  ["clipByValue", (x) => tf.clipByValue(x, -0.5, 0.7), -2, 2],
  ["pow 3", (x) => tf.pow(x, 3), 0.2, 2],
  ["pow 2", (x) => tf.pow(x, 2), 0.2, 2],
  ["pow 0.5", (x) => tf.pow(x, 0.5), 0.2, 2],
];
for (const [name, fn, low, high] of smooth)
  add(
    name,
    () => [uniform(low, high, 3, 4)],
    (x) => fn(x!),
  );
for (const [name, fn] of Object.entries({
  ceil: tf.ceil,
  floor: tf.floor,
  round: tf.round,
  sign: tf.sign,
  step: tf.step,
})) {
  add(
    name,
    () => [uniform(-3, 3, 3, 4)],
    (x) => (fn as (x: tf.Tensor) => tf.Tensor)(x!),
    { gradient: false },
  );
}
add(
  "isNaN, isInf, isFinite",
  () => [tf.tensor([1, Number.NaN, Infinity, -Infinity, 0])],
  (x) => [tf.isNaN(x!), tf.isInf(x!), tf.isFinite(x!)],
  { gradient: false },
);
add(
  "expm1 and log1p near 0",
  () => [tf.tensor([1e-7, -1e-7, 1e-4, 0, 20, -20])],
  (x) => [tf.expm1(x!), tf.log1p(tf.abs(x!))],
  { gradient: false, tolerance: 1e-6 },
);

const binaries: [string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor][] = [
  ["add", tf.add],
  ["sub", tf.sub],
  ["mul", tf.mul],
  ["div", tf.div],
  ["pow", tf.pow],
  ["atan2", tf.atan2],
];
for (const [name, fn] of binaries) {
  for (const [a, b] of [
    [
      [2, 3],
      [2, 3],
    ],
    [[2, 3], [3]],
    [
      [2, 1],
      [1, 3],
    ],
    [[], [2, 3]],
  ] as const) {
    add(
      `${name} [${a}] [${b}]`,
      () => [uniform(0.5, 2, ...a), uniform(0.5, 2, ...b)],
      (x, y) => fn(x!, y!),
    );
  }
}
for (const [name, fn] of Object.entries({
  maximum: tf.maximum,
  minimum: tf.minimum,
  squaredDifference: tf.squaredDifference,
  mod: tf.mod,
})) {
  add(
    name,
    () => [uniform(-2, 2, 2, 3), uniform(0.5, 2, 2, 3)],
    (x, y) => (fn as typeof tf.add)(x!, y!) as tf.Tensor,
    { gradient: name !== "mod" },
  );
}
add(
  "atan2 in all quadrants",
  () => [tf.tensor([1, 1, -1, -1, 0, 1, -1]), tf.tensor([1, -1, 1, -1, -1, 0, 0])],
  (y, x) => tf.atan2(y!, x!),
  { gradient: false },
);
add(
  "floorDiv, mod of integers",
  () => [ints(-9, 9, 20), ints(1, 5, 20)],
  (a, b) => [tf.floorDiv(a!, b!), tf.mod(a!, b!), tf.floorDiv(a!, tf.neg(b!)), tf.sub(a!, b!), tf.mul(a!, b!)],
  { gradient: false },
);
add(
  "comparisons",
  () => [ints(0, 3, 20), ints(0, 3, 20)],
  (a, b) => [
    tf.equal(a!, b!),
    tf.notEqual(a!, b!),
    tf.less(a!, b!),
    tf.lessEqual(a!, b!),
    tf.greater(a!, b!),
    tf.greaterEqual(a!, b!),
  ],
  { gradient: false },
);
add(
  "logic",
  () => [bools(9), bools(9)],
  (a, b) => [tf.logicalAnd(a!, b!), tf.logicalOr(a!, b!), tf.logicalXor(a!, b!), tf.logicalNot(a!)],
  { gradient: false },
);
add(
  "addN",
  () => [normal(2, 3), normal(2, 3), normal(2, 3)],
  (...xs) => tf.addN(xs),
);
add(
  "where",
  () => [normal(2, 3), normal(2, 3)],
  (a, b) => tf.where(tf.greater(a!, 0), tf.mul(a!, 2), b!),
);
add(
  "casts",
  () => [tf.tensor([0, 1.7, -2.3])],
  (x) => [tf.cast(x!, "int32"), tf.cast(x!, "bool"), tf.cast(tf.greater(x!, 0), "float32")],
  { gradient: false },
);
add(
  "prelu",
  () => [normal(2, 3), uniform(0.1, 0.3, 3)],
  (x, a) => tf.prelu(x!, a!),
  { gradient: false },
);
add(
  "zerosLike, onesLike, fill",
  () => [normal(2, 3)],
  (x) => [tf.add(x!, tf.zerosLike(x!)), tf.mul(x!, tf.onesLike(x!)), tf.add(x!, tf.fill([2, 3], 4))],
);

for (const [name, fn] of Object.entries({
  sum: tf.sum,
  mean: tf.mean,
  max: tf.max,
  min: tf.min,
  prod: tf.prod,
  logSumExp: tf.logSumExp,
})) {
  for (const axis of [undefined, 0, 1, [0, 2], -1] as const) {
    add(
      `${name} over ${axis}`,
      () => [uniform(0.5, 1.5, 2, 3, 4)],
      (x) => (fn as typeof tf.sum)(x!, axis as number, axis === 1),
      { tolerance: 1e-4, gradient: !(name === "prod" && axis === -1) },
    );
  }
}
add(
  "sum of integers and booleans",
  () => [ints(-5, 5, 3, 4), bools(3, 4)],
  (a, b) => [tf.sum(a!, 1), tf.sum(b!, 0)],
  { gradient: false },
);
add(
  "all, any",
  () => [bools(3, 4)],
  (x) => [tf.all(x!, 1), tf.any(x!, 0), tf.all(x!)],
  { gradient: false },
);
add(
  "argMax, argMin",
  () => [normal(3, 4)],
  (x) => [tf.argMax(x!, 1), tf.argMin(x!, 0)],
  { gradient: false },
);
add(
  "softmax, logSoftmax",
  () => [normal(3, 4)],
  (x) => [tf.softmax(x!), tf.logSoftmax(x!), tf.transpose(tf.softmax(tf.transpose(x!)))],
);
for (const exclusive of [false, true]) {
  for (const reverse of [false, true]) {
    add(
      `cumsum exclusive ${exclusive} reverse ${reverse}`,
      () => [normal(3, 4)],
      (x) => tf.cumsum(x!, 1, exclusive, reverse),
    );
    add(
      `cumprod exclusive ${exclusive} reverse ${reverse}`,
      () => [uniform(0.5, 1.5, 3, 4)],
      (x) => tf.cumprod(x!, 1, exclusive, reverse),
      { gradient: false },
    );
  }
}
add(
  "topk",
  () => [normal(3, 7)],
  (x) => {
    const { values, indices } = tf.topk(x!, 3);
    return [values, indices];
  },
  { gradient: false },
);
add(
  "moments",
  () => [normal(3, 4)],
  (x) => {
    const { mean, variance } = tf.moments(x!, 1);
    return [mean, variance];
  },
);

add(
  "reshape, expandDims, squeeze",
  () => [normal(2, 6)],
  (x) => tf.squeeze(tf.expandDims(tf.reshape(x!, [3, -1]), 1)),
);
add(
  "transpose",
  () => [normal(2, 3, 4)],
  (x) => tf.mul(tf.transpose(x!, [2, 0, 1]), 2),
);
add(
  "transpose of transpose",
  () => [normal(2, 3, 4)],
  (x) => tf.transpose(tf.transpose(x!, [1, 2, 0]), [1, 2, 0]),
);
add(
  "concat",
  () => [normal(2, 3), normal(2, 1)],
  (a, b) => tf.concat([a!, b!, a!], 1),
);
add(
  "stack, unstack",
  () => [normal(2, 3), normal(2, 3)],
  (a, b) => tf.unstack(tf.stack([a!, b!], 1), 2),
);
add(
  "split",
  () => [normal(2, 6)],
  (x) => [
    ...tf.split(x!, 3, 1),
    ...tf.split(x!, [2, 4], -1),
    ...tf.split(tf.reshape(x!, [-1]), [1, 2, 1, 1, 1, 2, 1, 1, 2]),
  ],
);
add(
  "slice",
  () => [normal(4, 5)],
  (x) => tf.slice(x!, [1, 2], [2, -1]),
);
add(
  "stridedSlice",
  () => [normal(4, 5)],
  (x) => [
    tf.stridedSlice(x!, [0, 1], [4, 5], [2, 2]),
    tf.stridedSlice(x!, [3, 4], [0, 0], [-1, -2]),
    tf.stridedSlice(x!, [1], [2], [1], 0, 0, 0, 0, 1),
  ],
  { gradient: false },
);
add(
  "tile",
  () => [normal(2, 3)],
  (x) => tf.tile(x!, [2, 3]),
);
add(
  "broadcastTo",
  () => [normal(2, 1)],
  (x) => tf.broadcastTo(x!, [3, 2, 4]),
);
add(
  "pad",
  () => [normal(2, 3)],
  (x) => [
    tf.pad(
      x!,
      [
        [1, 0],
        [2, 1],
      ],
      0,
    ),
    tf.pad(
      x!,
      [
        [0, 1],
        [0, 0],
      ],
      2.5,
    ),
  ],
);
add(
  "mirrorPad",
  () => [normal(3, 4)],
  (x) => [
    tf.mirrorPad(
      x!,
      [
        [1, 2],
        [2, 1],
      ],
      "reflect",
    ),
    tf.mirrorPad(
      x!,
      [
        [1, 0],
        [2, 3],
      ],
      "symmetric",
    ),
  ],
  { gradient: false },
);
add(
  "reverse",
  () => [normal(2, 3, 4)],
  (x) => [tf.reverse(x!, [0, 2]), tf.reverse(x!)],
);
add(
  "gather",
  () => [normal(5, 3), ints(0, 5, 2, 4)],
  (x, i) => tf.gather(x!, i as tf.Tensor1D, 0),
);
add(
  "gather along the last axis",
  () => [normal(2, 5), ints(0, 5, 3)],
  (x, i) => tf.gather(x!, i as tf.Tensor1D, 1),
);
add(
  "gather with batchDims",
  () => [normal(2, 5, 3), ints(0, 5, 2, 4)],
  (x, i) => tf.gather(x!, i as tf.Tensor1D, 1, 1),
  { gradient: false },
);
add(
  "gatherND, scatterND",
  () => [
    normal(3, 4),
    tf.tensor2d(
      [
        [0, 1],
        [2, 3],
        [0, 1],
      ],
      [3, 2],
      "int32",
    ),
    normal(3),
  ],
  (x, i, u) => [tf.gatherND(x!, i!), tf.scatterND(i!, u!, [3, 4])],
  { gradient: false },
);
add(
  "tensorScatterUpdate",
  () => [normal(4, 2), tf.tensor2d([[1], [3]], [2, 1], "int32"), normal(2, 2)],
  (x, i, u) => tf.tensorScatterUpdate(x!, i!, u!),
  { gradient: false },
);
add(
  "unsortedSegmentSum",
  () => [normal(5, 3), tf.tensor1d([0, 2, 0, 1, 2], "int32")],
  (x, s) => tf.unsortedSegmentSum(x!, s as tf.Tensor1D, 4),
);
add(
  "oneHot",
  () => [ints(0, 4, 2, 3)],
  (i) => [tf.oneHot(i!, 4), tf.oneHot(i!, 4, 5, -1, "float32")],
  { gradient: false },
);
add(
  "range, linspace, diag, eye",
  () => [normal(4)],
  (x) => [tf.add(x!, tf.range(0, 4)), tf.mul(x!, tf.linspace(0, 1, 4)), tf.diag(x!), tf.mul(x!, tf.eye(4))],
  { gradient: false },
);
add(
  "depthToSpace",
  () => [normal(1, 2, 2, 8)],
  (x) => tf.depthToSpace(x as tf.Tensor4D, 2),
  { gradient: false },
);
add(
  "spaceToBatchND, batchToSpaceND",
  () => [normal(1, 4, 4, 2)],
  (x) =>
    tf.batchToSpaceND(
      tf.spaceToBatchND(
        x!,
        [2, 2],
        [
          [0, 2],
          [0, 0],
        ],
      ),
      [2, 2],
      [
        [0, 2],
        [0, 0],
      ],
    ),
  { gradient: false },
);

add(
  "matMul",
  () => [normal(3, 4), normal(4, 5)],
  (a, b) => tf.matMul(a!, b!),
);
for (const [ta, tb] of [
  [true, false],
  [false, true],
  [true, true],
] as const) {
  add(
    `matMul transposed ${ta} ${tb}`,
    () => [normal(...(ta ? [4, 3] : [3, 4])), normal(...(tb ? [5, 4] : [4, 5]))],
    (a, b) => tf.matMul(a!, b!, ta, tb),
  );
  add(
    `batched matMul transposed ${ta} ${tb}`,
    () => [normal(2, 3, ...(ta ? [4, 3] : [3, 4])), normal(2, 3, ...(tb ? [5, 4] : [4, 5]))],
    (a, b) => tf.matMul(a!, b!, ta, tb),
  );
}
add(
  "matMul of explicit transposes",
  () => [normal(4, 3), normal(5, 4)],
  (a, b) => tf.matMul(tf.transpose(a!), tf.transpose(b!)),
);
add(
  "einsum",
  () => [normal(2, 3, 4), normal(2, 4, 5)],
  (a, b) => [tf.einsum("bij,bjk->bik", a!, b!), tf.einsum("bij->bj", a!), tf.einsum("bij,bjk->ik", a!, b!)],
  { gradient: false },
);
add(
  "dot, outerProduct",
  () => [normal(4), normal(4)],
  (a, b) => [tf.dot(a!, b!), tf.outerProduct(a as tf.Tensor1D, b as tf.Tensor1D)],
);
add(
  "fused matMul",
  () => [normal(3, 4), normal(4, 5), normal(5)],
  (a, b, bias) => tf.fused.matMul({ a: a as tf.Tensor2D, b: b as tf.Tensor2D, bias: bias!, activation: "relu" }),
);

for (const [channels, out] of [
  [1, 3],
  [3, 4],
  [8, 5],
] as const) {
  for (const [kernel, strides, pad] of [
    [3, 1, "same"],
    [3, 2, "same"],
    [4, 2, 1],
    [1, 1, "valid"],
    [5, 3, "valid"],
  ] as const) {
    add(
      `conv2d ${channels} -> ${out}, kernel ${kernel}, stride ${strides}, pad ${pad}`,
      () => [normal(2, 9, 8, channels), normal(kernel, kernel, channels, out)],
      (x, w) =>
        tf.conv2d(
          x as tf.Tensor4D,
          w as tf.Tensor4D,
          strides,
          pad,
          "NHWC",
          1,
          typeof pad === "number" ? "floor" : undefined,
        ),
      { tolerance: 1e-4 },
    );
  }
}
add(
  "conv2d dilated",
  () => [normal(2, 9, 9, 3), normal(3, 3, 3, 4)],
  (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same", "NHWC", 2),
  { gradient: false, tolerance: 1e-4 },
);
add(
  "conv2dTranspose",
  () => [normal(2, 4, 5, 3), normal(4, 4, 2, 3)],
  (x, w) => tf.conv2dTranspose(x as tf.Tensor4D, w as tf.Tensor4D, [2, 8, 10, 2], 2, "same"),
  { tolerance: 1e-4 },
);
add(
  "conv1d",
  () => [normal(2, 9, 3), normal(3, 3, 4)],
  (x, w) => tf.conv1d(x as tf.Tensor3D, w as tf.Tensor3D, 1, "same"),
  { tolerance: 1e-4 },
);
add(
  "depthwiseConv2d",
  () => [normal(2, 6, 6, 3), normal(3, 3, 3, 1)],
  (x, w) => tf.depthwiseConv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, "same"),
  { tolerance: 1e-4 },
);
add(
  "depthwiseConv2d with multiplier",
  () => [normal(2, 6, 6, 3), normal(3, 3, 3, 2)],
  (x, w) => tf.depthwiseConv2d(x as tf.Tensor4D, w as tf.Tensor4D, 2, "same"),
  { tolerance: 1e-4 },
);
add(
  "fused conv2d",
  () => [normal(2, 6, 6, 3), normal(3, 3, 3, 4), normal(4)],
  (x, filter, bias) =>
    tf.fused.conv2d({
      x: x as tf.Tensor4D,
      filter: filter as tf.Tensor4D,
      bias: bias!,
      strides: 1,
      pad: "same",
      activation: "relu",
    }),
  { tolerance: 1e-4 },
);
add(
  "maxPool",
  () => [normal(2, 6, 6, 3)],
  (x) => [tf.maxPool(x as tf.Tensor4D, 2, 2, "valid"), tf.maxPool(x as tf.Tensor4D, 3, 2, "same")],
);
add(
  "avgPool",
  () => [normal(2, 6, 6, 3)],
  (x) => tf.avgPool(x as tf.Tensor4D, 2, 2, "valid"),
);
add(
  "avgPool 'same'",
  () => [normal(2, 5, 5, 3)],
  (x) => tf.avgPool(x as tf.Tensor4D, 3, 2, "same"),
  { gradient: false },
);
for (const [align, half] of [
  [false, false],
  [true, false],
  [false, true],
] as const) {
  add(
    `resizeBilinear align ${align} half ${half}`,
    () => [normal(1, 4, 5, 2)],
    (x) => tf.image.resizeBilinear(x as tf.Tensor4D, [7, 9], align, half),
    { gradient: !half },
  );
  add(
    `resizeNearestNeighbor align ${align} half ${half}`,
    () => [normal(1, 4, 5, 2)],
    (x) => tf.image.resizeNearestNeighbor(x as tf.Tensor4D, [8, 10], align, half),
    { gradient: !half },
  );
}
add(
  "batchNorm",
  () => [normal(2, 3, 3, 4), normal(4), uniform(0.5, 2, 4), normal(4), normal(4)],
  (x, m, v, o, s) =>
    tf.batchNorm(x as tf.Tensor4D, m as tf.Tensor1D, v as tf.Tensor1D, o as tf.Tensor1D, s as tf.Tensor1D),
  { tolerance: 1e-4 },
);
add(
  "a product with ones and zeros",
  () => [normal(2, 3)],
  (x) => [
    tf.mul(x!, tf.ones([4, 2, 3])),
    tf.mul(x!, tf.zeros([4, 2, 3])),
    tf.add(tf.zeros([4, 2, 3]), x!),
    tf.sub(tf.zeros([2, 3]), x!),
  ],
);

/** The values of `run`, and the gradients of the sum of its squares by the float32 arguments. */
function evaluate(c: Case, args: Tensors): Tensors {
  const values = [c.run(...args)].flat();
  if (c.gradient === false) return values;
  const wanted = args.filter((arg) => arg.dtype === "float32");
  const loss = (...floats: Tensors) => {
    let i = 0;
    const outs = [c.run(...args.map((arg) => (arg.dtype === "float32" ? floats[i++]! : arg)))].flat();
    return outs
      .filter((out) => out.dtype === "float32")
      .reduce<tf.Tensor>((sum, out) => tf.add(sum, tf.sum(tf.square(out))), tf.scalar(0));
  };
  return [...values, ...tf.grads(loss)(wanted)];
}

describe("compiled kernels agree with tfjs", () => {
  for (const c of cases) {
    it(c.name, async () => {
      const args = c.args();
      const want = tf.tidy(() => evaluate(c, args));
      const got = await engine.compile((...xs: Tensors) => evaluate(c, xs))(...args);
      expect(got.map((t) => [t.dtype, t.shape])).toEqual(want.map((t) => [t.dtype, t.shape]));
      for (const [k, tensor] of got.entries()) {
        const a = await tensor.data();
        const b = await want[k]!.data();
        const scale = Math.max(1, ...Array.from(b, (x) => (Number.isFinite(x) ? Math.abs(x) : 0)));
        for (let i = 0; i < b.length; i++) {
          const same =
            Object.is(a[i], b[i]) || a[i] === b[i] || Math.abs(a[i]! - b[i]!) <= (c.tolerance ?? 2e-5) * scale;
          expect(same, `result ${k} [${tensor.shape}] element ${i}: got ${a[i]}, want ${b[i]}`).toBe(true);
        }
      }
      treeDispose([args, want, got]);
    });
  }
});
