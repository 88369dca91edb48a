import { backend_util } from "@tensorflow/tfjs";
import { type Graph, sizeOf, type Value } from "../graph/graph.ts";
import { expand, matMul, mul, reshape, transpose } from "../graph/operators.ts";
import { conv2dInputGrad, specFromInfo, TO_NCHW, TO_NHWC } from "./convolution.ts";
import type { KernelCall, LoweringTable } from "./lowering.ts";

type PoolInfo = ReturnType<typeof backend_util.computePool2DInfo>;

function poolInfo(shape: readonly number[], attrs: KernelCall["attrs"]): PoolInfo {
  return backend_util.computePool2DInfo(
    shape as [number, number, number, number],
    attrs.filterSize,
    attrs.strides,
    attrs.dilations ?? 1,
    attrs.pad,
    attrs.dimRoundingMode,
  );
}

function poolAttributes(info: PoolInfo) {
  const spec = specFromInfo(info, 1);
  return {
    kernel_shape: { ints: [info.filterHeight, info.filterWidth] },
    strides: { ints: spec.strides },
    pads: { ints: spec.pads },
    dilations: { ints: spec.dilations },
  };
}

/** The maxima, NCHW, and the flat positions in the NCHW input where they stand. */
function maxPool(g: Graph, x: Value, info: PoolInfo): [Value, Value] {
  const shape = [info.batchSize, info.inChannels, info.outHeight, info.outWidth];
  const outputs = [
    { type: "float32" as const, shape },
    { type: "int64" as const, shape },
  ];
  return g.nodes("MaxPool", [transpose(g, x, TO_NCHW)], outputs, poolAttributes(info)) as [Value, Value];
}

/**
 * Interpolation along one axis is a product with a matrix [out, in] that depends on the sizes alone; the gradient is the
 * product with its transpose.
 */
function interpolationMatrix(
  input: number,
  output: number,
  method: "bilinear" | "nearest",
  alignCorners: boolean,
  halfPixelCenters: boolean,
): Float32Array {
  const scale = alignCorners && output > 1 ? (input - 1) / (output - 1) : input / output;
  const matrix = new Float32Array(output * input);
  for (let o = 0; o < output; o++) {
    const at = halfPixelCenters ? (o + 0.5) * scale - 0.5 : o * scale;
    if (method === "nearest") {
      const centre = halfPixelCenters ? (o + 0.5) * scale : at;
      const i = alignCorners ? Math.round(centre) : Math.floor(centre);
      matrix[o * input + Math.min(Math.max(i, 0), input - 1)] = 1;
      continue;
    }
    const clamped = Math.max(at, 0);
    const low = Math.min(Math.floor(clamped), input - 1);
    const high = Math.min(low + 1, input - 1);
    const weight = Math.min(clamped - low, 1);
    matrix[o * input + low]! += 1 - weight;
    matrix[o * input + high]! += weight;
  }
  return matrix;
}

interface Resize {
  readonly method: "bilinear" | "nearest";
  readonly alignCorners: boolean;
  readonly halfPixelCenters: boolean;
}

/** Multiplies the height and width axes of x [N,H,W,C] by the two interpolation matrices, transposed for the gradient. */
function resize(
  g: Graph,
  x: Value,
  from: readonly [number, number],
  to: readonly [number, number],
  how: Resize,
  gradient: boolean,
): Value {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const matrix = (axis: 0 | 1) =>
    g.constant(
      "float32",
      [to[axis], from[axis]],
      interpolationMatrix(from[axis], to[axis], how.method, how.alignCorners, how.halfPixelCenters),
    );
  const [oh, ow] = gradient ? from : to;
  // Matrices are constants; their transposes are folded when the graph is built.
  const factor = (axis: 0 | 1) => (gradient ? transpose(g, matrix(axis), [1, 0]) : matrix(axis));
  const tall = reshape(g, matMul(g, factor(0), reshape(g, x, [n, h, w * c])), [n * oh, w, c]);
  return reshape(g, matMul(g, factor(1), tall), [n, oh, ow, c]);
}

function resizeKernels(name: "ResizeBilinear" | "ResizeNearestNeighbor", method: Resize["method"]): LoweringTable {
  const how = (attrs: KernelCall["attrs"]): Resize => ({
    method,
    alignCorners: attrs.alignCorners ?? false,
    halfPixelCenters: attrs.halfPixelCenters ?? false,
  });
  return {
    [name]: ({ graph: g, inputs: { images }, attrs }) =>
      resize(g, images!, [images!.shape[1]!, images!.shape[2]!], attrs.size, how(attrs), false),
    [`${name}Grad`]: ({ graph: g, inputs: { images, dy }, attrs }) =>
      resize(g, dy!, [images!.shape[1]!, images!.shape[2]!], [dy!.shape[1]!, dy!.shape[2]!], how(attrs), true),
  };
}

export const pooling: LoweringTable = {
  MaxPool: ({ graph: g, inputs: { x }, attrs }) => transpose(g, maxPool(g, x!, poolInfo(x!.shape, attrs))[0], TO_NHWC),
  MaxPoolGrad: ({ graph: g, inputs: { dy, input }, attrs }) => {
    const [, indices] = maxPool(g, input!, poolInfo(input!.shape, attrs));
    const [n, h, w, c] = input!.shape as [number, number, number, number];
    const size = sizeOf(input!.shape);
    const zeros = expand(g, g.node("Identity", [g.scalar("float32", 0)], "float32", []), [size]);
    const flat = (v: Value) => reshape(g, v, [sizeOf(v.shape)]);
    const dx = g.node("ScatterElements", [zeros, flat(indices), flat(transpose(g, dy!, TO_NCHW))], "float32", [size], {
      reduction: { string: "add" },
    });
    return transpose(g, reshape(g, dx, [n, c, h, w]), TO_NHWC);
  },
  AvgPool: ({ graph: g, inputs: { x }, attrs }) => {
    const info = poolInfo(x!.shape, attrs);
    const shape = [info.batchSize, info.inChannels, info.outHeight, info.outWidth];
    const attributes = { ...poolAttributes(info), count_include_pad: { int: 0 } };
    return transpose(g, g.node("AveragePool", [transpose(g, x!, TO_NCHW)], "float32", shape, attributes), TO_NHWC);
  },
  AvgPoolGrad: ({ graph: g, inputs: { dy, input }, attrs }) => {
    const info = poolInfo(input!.shape, attrs);
    const c = info.inChannels;
    // Windows at the border average over fewer pixels: divide by the number that each window really holds.
    const share = new Float32Array(info.outHeight * info.outWidth);
    const inside = (at: number, kernel: number, dilation: number, size: number) => {
      let count = 0;
      for (let k = 0; k < kernel; k++) if (at + k * dilation >= 0 && at + k * dilation < size) count += 1;
      return count;
    };
    for (let y = 0; y < info.outHeight; y++) {
      for (let x = 0; x < info.outWidth; x++) {
        const rows = inside(
          y * info.strideHeight - info.padInfo.top,
          info.filterHeight,
          info.dilationHeight,
          info.inHeight,
        );
        const columns = inside(
          x * info.strideWidth - info.padInfo.left,
          info.filterWidth,
          info.dilationWidth,
          info.inWidth,
        );
        share[y * info.outWidth + x] = 1 / (rows * columns);
      }
    }
    const scaled = mul(g, dy!, g.constant("float32", [1, info.outHeight, info.outWidth, 1], share));
    const ones = g.filled("float32", [c, 1, info.filterHeight, info.filterWidth], 1);
    return conv2dInputGrad(g, scaled, ones, specFromInfo(info, c), input!.shape);
  },
  FusedBatchNorm: ({ graph: g, inputs: { x, mean, variance, offset, scale }, attrs }) => {
    // (x - mean) * scale / sqrt(variance + eps) + offset, as one multiplication and one addition per element.
    const f = (v: number) => g.scalar("float32", v);
    const std = g.node(
      "Sqrt",
      [g.node("Add", [variance!, f(attrs.varianceEpsilon ?? 0.001)], "float32", variance!.shape)],
      "float32",
      variance!.shape,
    );
    const factor = g.node("Div", [scale ?? f(1), std], "float32", std.shape);
    const shift = g.node(
      "Sub",
      [offset ?? f(0), g.node("Mul", [mean!, factor], "float32", mean!.shape)],
      "float32",
      mean!.shape,
    );
    return g.node("Add", [g.node("Mul", [x!, factor], "float32", x!.shape), shift], "float32", x!.shape);
  },
  ...resizeKernels("ResizeBilinear", "bilinear"),
  ...resizeKernels("ResizeNearestNeighbor", "nearest"),
};
