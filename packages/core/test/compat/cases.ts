import * as tf from "@tensorflow/tfjs";
import type { GradientCase } from "./finite-differences.ts";

const t4 = (x: tf.Tensor | undefined) => x as tf.Tensor4D;
const image = (c = 2, n = 2, size = 4) => ({ shape: [n, size, size, c] });

/** Second derivatives: the gradient of the squared norm of fn's gradient, as a gradient penalty takes it. */
const gradientOf = (fn: (x: tf.Tensor) => tf.Tensor) => (x: tf.Tensor | undefined) =>
  tf.grad((v: tf.Tensor) => tf.sum(tf.square(fn(v))))(x as tf.Tensor);

/** Ops whose gradients stock tfjs 4.22 gets wrong or lacks, on one backend at least, and some that it gets right. */
export const gradientCases: readonly GradientCase[] = [
  // Elementwise with broadcasting
  { name: "maximum", fn: (a, b) => tf.maximum(a!, tf.mul(b!, 1.1)), args: [{ shape: [3, 4] }, { shape: [4] }] },
  { name: "minimum", fn: (a, b) => tf.minimum(a!, b!), args: [{ shape: [3, 1] }, { shape: [2, 1, 4] }] },
  {
    name: "squaredDifference",
    fn: (a, b) => tf.squaredDifference(a!, b!),
    args: [{ shape: [3, 4] }, { shape: [1, 4] }],
  },
  { name: "prelu", fn: (a, b) => tf.prelu(a!, b!), args: [{ shape: [3, 4] }, { shape: [4] }] },
  // Products
  {
    name: "matMul of [B,T,C] x [C,D]",
    fn: (a, b) => tf.matMul(a!, b!),
    args: [{ shape: [2, 3, 4] }, { shape: [4, 2] }],
  },
  {
    name: "matMul of [2,1,..] x [1,3,..]",
    fn: (a, b) => tf.matMul(a!, b!, false, true),
    args: [{ shape: [2, 1, 3, 4] }, { shape: [1, 3, 2, 4] }],
  },
  {
    name: "matMul transposed a",
    fn: (a, b) => tf.matMul(a!, b!, true, false),
    args: [{ shape: [2, 4, 3] }, { shape: [4, 2] }],
  },
  {
    name: "matMul transposed both",
    fn: (a, b) => tf.matMul(a!, b!, true, true),
    args: [{ shape: [4, 3] }, { shape: [2, 2, 4] }],
  },
  {
    name: "einsum bij,bjk->bik",
    fn: (a, b) => tf.einsum("bij,bjk->bik", a!, b!),
    args: [{ shape: [2, 3, 4] }, { shape: [2, 4, 2] }],
  },
  {
    name: "einsum with an index of one operand summed away",
    fn: (a, b) => tf.einsum("ij,jk->k", a!, b!),
    args: [{ shape: [3, 4] }, { shape: [4, 2] }],
  },
  {
    name: "einsum with permuted output",
    fn: (a, b) => tf.einsum("bqhd,bkhd->bhqk", a!, b!),
    args: [{ shape: [1, 3, 2, 2] }, { shape: [1, 4, 2, 2] }],
  },
  { name: "einsum of one operand", fn: (a) => tf.einsum("ijk->ki", a!), args: [{ shape: [2, 3, 4] }] },
  // Scans
  { name: "cumsum along the first axis", fn: (a) => tf.cumsum(a!, 0), args: [{ shape: [3, 4] }] },
  {
    name: "cumsum along the middle axis, exclusive, reverse",
    fn: (a) => tf.cumsum(a!, 1, true, true),
    args: [{ shape: [2, 3, 4] }],
  },
  { name: "cumsum along axis -1, reverse", fn: (a) => tf.cumsum(a!, -1, false, true), args: [{ shape: [2, 5] }] },
  { name: "cumprod", fn: (a) => tf.cumprod(a!, 1), args: [{ shape: [2, 4] }] },
  {
    name: "cumprod exclusive reverse along the first axis",
    fn: (a) => tf.cumprod(a!, 0, true, true),
    args: [{ shape: [4, 2] }],
  },
  // Indexing
  {
    name: "gatherND",
    fn: (a) =>
      tf.gatherND(
        a!,
        tf.tensor2d(
          [
            [0, 1],
            [2, 0],
            [0, 1],
          ],
          [3, 2],
          "int32",
        ),
      ),
    args: [{ shape: [3, 2, 2] }],
  },
  {
    name: "gather with repeated ids",
    fn: (a) => tf.gather(a!, tf.tensor1d([1, 1, 0, 2], "int32")),
    args: [{ shape: [3, 2] }],
  },
  { name: "stridedSlice", fn: (a) => tf.stridedSlice(a!, [0, 1], [4, 4], [2, 1]), args: [{ shape: [4, 5] }] },
  {
    name: "stridedSlice backwards",
    fn: (a) => tf.stridedSlice(a!, [3, 3], [0, 0], [-1, -2]),
    args: [{ shape: [4, 4] }],
  },
  { name: "topk", fn: (a) => tf.topk(a!, 2).values, args: [{ shape: [3, 5] }] },
  {
    name: "scatterND",
    fn: (a) => tf.scatterND(tf.tensor2d([[1], [3], [1]], [3, 1], "int32"), a!, [5, 2]),
    args: [{ shape: [3, 2] }],
  },
  {
    name: "tensorScatterUpdate",
    fn: (a, b) => tf.tensorScatterUpdate(a!, tf.tensor2d([[1], [3]], [2, 1], "int32"), b!),
    args: [{ shape: [4, 2] }, { shape: [2, 2] }],
  },
  { name: "tile of rank 5", fn: (a) => tf.tile(a!, [1, 2, 1, 2, 1]), args: [{ shape: [1, 2, 2, 1, 2] }] },
  { name: "tile of rank 2", fn: (a) => tf.tile(a!, [2, 3]), args: [{ shape: [2, 2] }] },
  {
    name: "unsortedSegmentSum",
    fn: (a) => tf.unsortedSegmentSum(a!, tf.tensor1d([0, 2, 0], "int32"), 3),
    args: [{ shape: [3, 2] }],
  },
  { name: "bandPart", fn: (a) => tf.linalg.bandPart(a!, 0, 1), args: [{ shape: [2, 3, 3] }] },
  // Images
  { name: "depthToSpace", fn: (a) => tf.depthToSpace(t4(a), 2), args: [image(8, 1, 2)] },
  {
    name: "mirrorPad reflect",
    fn: (a) =>
      tf.mirrorPad(
        a!,
        [
          [0, 0],
          [1, 2],
          [2, 1],
          [0, 0],
        ],
        "reflect",
      ),
    args: [image()],
  },
  {
    name: "mirrorPad symmetric",
    fn: (a) =>
      tf.mirrorPad(
        a!,
        [
          [1, 2],
          [2, 1],
        ],
        "symmetric",
      ),
    args: [{ shape: [3, 3] }],
  },
  { name: "avgPool same", fn: (a) => tf.avgPool(t4(a), 3, 1, "same"), args: [image()] },
  { name: "avgPool same, strided", fn: (a) => tf.avgPool(t4(a), 2, 2, "same"), args: [image(1, 1, 5)] },
  { name: "avgPool valid", fn: (a) => tf.avgPool(t4(a), 2, 2, "valid"), args: [image()] },
  { name: "maxPool valid", fn: (a) => tf.maxPool(t4(a), 2, 2, "valid"), args: [image()] },
  { name: "maxPool same, overlapping", fn: (a) => tf.maxPool(t4(a), 3, 2, "same"), args: [image(1, 2, 5)] },
  { name: "resizeBilinear", fn: (a) => tf.image.resizeBilinear(t4(a), [6, 7]), args: [image(1)] },
  { name: "resizeBilinear aligned", fn: (a) => tf.image.resizeBilinear(t4(a), [6, 7], true), args: [image(1)] },
  {
    name: "resizeBilinear half-pixel",
    fn: (a) => tf.image.resizeBilinear(t4(a), [8, 8], false, true),
    args: [image(1)],
  },
  {
    name: "resizeBilinear half-pixel, smaller",
    fn: (a) => tf.image.resizeBilinear(t4(a), [3, 2], false, true),
    args: [image(2)],
  },
  { name: "resizeNearestNeighbor x2", fn: (a) => tf.image.resizeNearestNeighbor(t4(a), [8, 8]), args: [image()] },
  {
    name: "resizeNearestNeighbor by odd sizes",
    fn: (a) => tf.image.resizeNearestNeighbor(t4(a), [7, 3]),
    args: [image()],
  },
  {
    name: "resizeNearestNeighbor aligned",
    fn: (a) => tf.image.resizeNearestNeighbor(t4(a), [7, 8], true),
    args: [image(1)],
  },
  {
    name: "resizeNearestNeighbor half-pixel",
    fn: (a) => tf.image.resizeNearestNeighbor(t4(a), [3, 7], false, true),
    args: [image(1)],
  },
  {
    name: "maxPool3d",
    fn: (a) => tf.maxPool3d(a as tf.Tensor5D, 2, 2, "valid"),
    args: [{ shape: [1, 2, 4, 4, 2] }],
  },
  {
    name: "avgPool3d",
    fn: (a) => tf.avgPool3d(a as tf.Tensor5D, 2, 2, "valid"),
    args: [{ shape: [1, 2, 4, 4, 2] }],
  },
  // Convolutions
  { name: "conv2d same", fn: (x, w) => tf.conv2d(t4(x), t4(w), 1, "same"), args: [image(), { shape: [3, 3, 2, 3] }] },
  {
    name: "conv2d strided",
    fn: (x, w) => tf.conv2d(t4(x), t4(w), 2, "same"),
    args: [image(2, 2, 5), { shape: [3, 3, 2, 3] }],
  },
  { name: "conv2d 1x1", fn: (x, w) => tf.conv2d(t4(x), t4(w), 1, "valid"), args: [image(3), { shape: [1, 1, 3, 2] }] },
  {
    name: "conv2d with explicit padding",
    fn: (x, w) =>
      tf.conv2d(t4(x), t4(w), 2, [
        [0, 0],
        [1, 0],
        [0, 1],
        [0, 0],
      ]),
    args: [image(), { shape: [2, 3, 2, 2] }],
  },
  {
    name: "conv2d dilated",
    fn: (x, w) => tf.conv2d(t4(x), t4(w), 1, "same", "NHWC", 2),
    args: [image(2, 1, 5), { shape: [3, 3, 2, 2] }],
  },
  {
    name: "conv2dTranspose",
    fn: (x, w) => tf.conv2dTranspose(t4(x), t4(w), [2, 8, 8, 3], 2, "same"),
    args: [image(), { shape: [4, 4, 3, 2] }],
  },
  {
    name: "depthwiseConv2d",
    fn: (x, w) => tf.depthwiseConv2d(t4(x), t4(w), 1, "same"),
    args: [image(), { shape: [3, 3, 2, 1] }],
  },
  {
    name: "depthwiseConv2d strided with multiplier",
    fn: (x, w) => tf.depthwiseConv2d(t4(x), t4(w), 2, "same"),
    args: [image(2, 2, 5), { shape: [3, 2, 2, 2] }],
  },
  {
    name: "conv3d",
    fn: (x, w) => tf.conv3d(x as tf.Tensor5D, w as tf.Tensor5D, 1, "same"),
    args: [{ shape: [1, 2, 3, 3, 2] }, { shape: [2, 2, 2, 2, 2] }],
  },
  {
    name: "conv3d strided",
    fn: (x, w) => tf.conv3d(x as tf.Tensor5D, w as tf.Tensor5D, 2, "valid"),
    args: [{ shape: [2, 4, 4, 4, 1] }, { shape: [2, 2, 2, 1, 2] }],
  },
  {
    name: "conv3dTranspose",
    fn: (x, w) => tf.conv3dTranspose(x as tf.Tensor5D, w as tf.Tensor5D, [1, 4, 4, 4, 2], 2, "same"),
    args: [{ shape: [1, 2, 2, 2, 2] }, { shape: [2, 2, 2, 2, 2] }],
  },
  // Second order, as gradient penalties need it
  ...Object.entries({
    tanh: tf.tanh,
    sigmoid: tf.sigmoid,
    exp: tf.exp,
    softplus: tf.softplus,
    relu: tf.relu,
    sqrt: (x: tf.Tensor) => tf.sqrt(tf.add(x, 2)),
  }).map(
    ([op, fn]): GradientCase => ({
      name: `second order of ${op}`,
      fn: gradientOf(fn as (x: tf.Tensor) => tf.Tensor),
      args: [{ shape: [3, 4] }],
    }),
  ),
  { name: "second order of softmax", fn: gradientOf((x) => tf.softmax(x)), args: [{ shape: [3, 4] }] },
  {
    name: "second order of leakyRelu",
    fn: gradientOf((x) => tf.leakyRelu(tf.square(x).sub(0.3), 0.2)),
    args: [{ shape: [3, 3] }],
  },
  { name: "second order of elu", fn: gradientOf((x) => tf.elu(tf.mul(x, 2))), args: [{ shape: [3, 4] }] },
  {
    name: "second order of maximum",
    fn: gradientOf((x) => tf.maximum(tf.square(x), tf.mul(x, -0.6))),
    args: [{ shape: [3, 4] }],
  },
  {
    name: "second order of clipByValue",
    fn: gradientOf((x) => tf.clipByValue(tf.square(x), 0.13, 0.7)),
    args: [{ shape: [3, 3] }],
  },
  { name: "second order of abs", fn: gradientOf((x) => tf.mul(tf.abs(x), tf.square(x))), args: [{ shape: [3, 4] }] },
  {
    name: "second order of avgPool",
    fn: gradientOf((x) => tf.square(tf.avgPool(t4(x), 3, 2, "same"))),
    args: [image(1, 1)],
  },
  {
    name: "second order of maxPool",
    fn: gradientOf((x) => tf.square(tf.maxPool(t4(x), 2, 2, "valid"))),
    args: [image(1, 1)],
  },
  {
    name: "second order of conv2d",
    fn: gradientOf((x) =>
      tf.tanh(tf.conv2d(t4(x), tf.tensor([1, 2, -1, 0.5, 1, -2, 0.3, 1], [2, 2, 1, 2]) as tf.Tensor4D, 1, "same")),
    ),
    args: [image(1, 1, 3)],
  },
  {
    name: "second order of resizeBilinear",
    fn: gradientOf((x) => tf.square(tf.image.resizeBilinear(t4(x), [5, 6], false, true))),
    args: [image(1, 1, 3)],
  },
  {
    name: "second order of resizeNearestNeighbor",
    fn: gradientOf((x) => tf.square(tf.image.resizeNearestNeighbor(t4(x), [6, 6]))),
    args: [image(1, 1, 3)],
  },
];
