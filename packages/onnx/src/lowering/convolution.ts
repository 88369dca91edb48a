import { backend_util } from "@tensorflow/tfjs";
import type { Graph, Value } from "../graph/graph.ts";
import { add, gather, matMul, pad, reduce, reshape, slice, transpose } from "../graph/operators.ts";
import { activate } from "./elementwise.ts";
import type { Lowering, LoweringTable } from "./lowering.ts";

// Shapes: N batch, H W height and width, C input channels, O output channels, K filter positions (kh * kw).
// Activations are NHWC and filters [O, C / groups, kh, kw] here; the tfjs kernels' [kh, kw, C, O] is transposed on entry.

type Size = readonly [height: number, width: number];

/** A 2-D convolution: out[n, y, x, o] = sum over a, b, c of in[n, y * stride + a * dilation - pad, ..., c] * weight[o, c, a, b]. */
export interface ConvSpec {
  readonly strides: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
  readonly groups: number;
}

const TO_NCHW = [0, 3, 1, 2];
const TO_NHWC = [0, 2, 3, 1];
const HWIO_TO_OIHW = [3, 2, 0, 1];
const OIHW_TO_HWIO = [2, 3, 1, 0];

const attributes = (spec: ConvSpec, kernel: readonly number[]) => ({
  strides: { ints: spec.strides },
  pads: { ints: spec.pads },
  dilations: { ints: spec.dilations },
  group: { int: spec.groups },
  kernel_shape: { ints: kernel },
});

function outputSize(spec: ConvSpec, size: number, kernel: number, axis: 0 | 1): number {
  const reach = (kernel - 1) * spec.dilations[axis] + 1;
  return Math.floor((size + spec.pads[axis]! + spec.pads[axis + 2]! - reach) / spec.strides[axis]) + 1;
}

/**
 * For every output position and filter position the index of the input pixel that meets there, or `size` (one past the
 * last pixel, a row of zeros) in the padding: int32 [OH * OW * K].
 */
function patchIndices(spec: ConvSpec, input: Size, output: Size, kernel: Size) {
  const [h, w] = input;
  const indices = new Int32Array(output[0] * output[1] * kernel[0] * kernel[1]);
  let i = 0;
  for (let oy = 0; oy < output[0]; oy++) {
    for (let ox = 0; ox < output[1]; ox++) {
      for (let a = 0; a < kernel[0]; a++) {
        for (let b = 0; b < kernel[1]; b++) {
          const y = oy * spec.strides[0] - spec.pads[0] + a * spec.dilations[0];
          const x = ox * spec.strides[1] - spec.pads[1] + b * spec.dilations[1];
          indices[i++] = y >= 0 && y < h && x >= 0 && x < w ? y * w + x : h * w;
        }
      }
    }
  }
  return indices;
}

/** The patches under a filter as a matrix, and the filter in the same order of elements. */
interface Patches {
  /** [N * OH * OW, P], P elements in a patch. */
  readonly columns: Value;
  /** [O, C, kh, kw] -> [P, O] */
  filterMatrix(weight: Value): Value;
  /** [P, O] -> [O, C, kh, kw] */
  fromFilterMatrix(matrix: Value): Value;
}

/** Gathers the patches: one parallel operator that copies pixels, C elements at a time. */
function patches(g: Graph, x: Value, spec: ConvSpec, output: Size, kernel: Size): Patches {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const [oh, ow] = output;
  const [kh, kw] = kernel;
  const k = kh * kw;
  const matrices = {
    filterMatrix: (weight: Value) => reshape(g, transpose(g, weight, OIHW_TO_HWIO), [k * c, weight.shape[0]!]),
    fromFilterMatrix: (matrix: Value) => transpose(g, reshape(g, matrix, [kh, kw, c, matrix.shape[1]!]), HWIO_TO_OIHW),
  };
  const isPointwise = k === 1 && spec.strides.every((s) => s === 1) && spec.pads.every((p) => p === 0);
  if (isPointwise) return { columns: reshape(g, x, [n * h * w, c]), ...matrices };
  const pixels = pad(g, reshape(g, x, [n, h * w, c]), [0, 0, 0], [0, 1, 0]);
  const indices = g.constant("int32", [oh * ow * k], patchIndices(spec, [h, w], output, kernel));
  return { columns: reshape(g, gather(g, pixels, indices, 1), [n * oh * ow, k * c]), ...matrices };
}

/**
 * The patches of a convolution with stride s and few channels. Blocks of s x s pixels become the channels of a smaller
 * image, on which the convolution has stride 1 and a smaller filter, so that longer runs of memory are copied.
 */
function blockPatches(g: Graph, x: Value, spec: ConvSpec, output: Size, kernel: Size): Patches {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const [s] = spec.strides;
  const blocks = kernel.map((size) => Math.ceil(size / s)) as [number, number];
  const tall = output.map((size, axis) => size + blocks[axis]! - 1) as [number, number];
  // Rows and columns beyond the last patch are cut off, missing ones are zeros, as in the filter's last block.
  const [top, left] = spec.pads;
  const after = [tall[0] * s - h - top, tall[1] * s - w - left] as const;
  const padded = pad(g, x, [0, top, left, 0], [0, Math.max(0, after[0]), Math.max(0, after[1]), 0]);
  const cut = slice(g, padded, [0, 0, 0, 0], [n, tall[0] * s, tall[1] * s, c]);
  const image = reshape(g, transpose(g, reshape(g, cut, [n, tall[0], s, tall[1], s, c]), [0, 1, 3, 2, 4, 5]), [
    n,
    tall[0],
    tall[1],
    s * s * c,
  ]);
  const whole = [blocks[0] * s, blocks[1] * s] as const;
  const inner = patches(
    g,
    image,
    { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1 },
    output,
    blocks,
  );
  return {
    columns: inner.columns,
    filterMatrix: (weight) => {
      const o = weight.shape[0]!;
      const full = pad(g, weight, [0, 0, 0, 0], [0, 0, whole[0] - kernel[0], whole[1] - kernel[1]]);
      const split = reshape(g, full, [o, c, blocks[0], s, blocks[1], s]);
      return reshape(g, transpose(g, split, [2, 4, 3, 5, 1, 0]), [whole[0] * whole[1] * c, o]);
    },
    fromFilterMatrix: (matrix) => {
      const o = matrix.shape[1]!;
      const split = reshape(g, matrix, [blocks[0], blocks[1], s, s, c, o]);
      const full = reshape(g, transpose(g, split, [5, 4, 0, 2, 1, 3]), [o, c, whole[0], whole[1]]);
      return slice(g, full, [0, 0, 0, 0], [o, c, kernel[0], kernel[1]]);
    },
  };
}

/** From this many channels on, pixels are long enough to be copied one by one. */
const WIDE = 8;

const hasBlocks = ({ strides, dilations }: ConvSpec) =>
  strides[0] > 1 && strides[0] === strides[1] && dilations[0] === 1 && dilations[1] === 1;

/** The patches of an ungrouped convolution, by the way that copies them fastest. */
function bestPatches(g: Graph, x: Value, spec: ConvSpec, output: Size, kernel: Size): Patches {
  const narrow = x.shape[3]! < WIDE && hasBlocks(spec);
  return narrow ? blockPatches(g, x, spec, output, kernel) : patches(g, x, spec, output, kernel);
}

/** Gathered patches and one large matrix product, or the runtime's own operator, which wins where patches are costly. */
const prefersPatches = (spec: ConvSpec, channels: number) => spec.groups === 1 && (channels >= WIDE || hasBlocks(spec));

/** Beyond this many products per input pixel (stride 1), gathering them costs more than the runtime's own operator. */
const MAX_PRODUCTS_PER_PIXEL = 4;

/** x [N,H,W,C] * weight [O,C/groups,kh,kw] -> [N,OH,OW,O] */
export function conv2d(g: Graph, x: Value, weight: Value, spec: ConvSpec): Value {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const [o, , kh, kw] = weight.shape as [number, number, number, number];
  const oh = outputSize(spec, h, kh, 0);
  const ow = outputSize(spec, w, kw, 1);
  if (prefersPatches(spec, c)) {
    const { columns, filterMatrix } = bestPatches(g, x, spec, [oh, ow], [kh, kw]);
    return reshape(g, matMul(g, columns, filterMatrix(weight)), [n, oh, ow, o]);
  }
  const y = g.node("Conv", [transpose(g, x, TO_NCHW), weight], "float32", [n, o, oh, ow], attributes(spec, [kh, kw]));
  return transpose(g, y, TO_NHWC);
}

/**
 * The products that meet at an input pixel: for every input pixel the positions (output pixel * K + filter position) of a
 * list padded to the longest, with `none` (a product that is zero) where a pixel has fewer; int32 [T, H * W].
 */
function meetingProducts(spec: ConvSpec, input: Size, output: Size, kernel: Size, none: number): Int32Array[] {
  const lists: number[][] = Array.from({ length: input[0] * input[1] }, () => []);
  const pixels = patchIndices(spec, input, output, kernel);
  for (const [product, pixel] of pixels.entries()) lists[pixel]?.push(product);
  const longest = Math.max(1, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, t) => Int32Array.from(lists, (list) => list[t] ?? none));
}

/** The gradient of conv2d by its input, which is also the transposed convolution: dy [N,OH,OW,O] -> [N,H,W,C] */
export function conv2dInputGrad(
  g: Graph,
  dy: Value,
  weight: Value,
  spec: ConvSpec,
  inputShape: readonly number[],
): Value {
  const [n, h, w, c] = inputShape as [number, number, number, number];
  const [o, , kh, kw] = weight.shape as [number, number, number, number];
  const [oh, ow] = dy.shape.slice(1, 3) as [number, number];
  const perPixel = Math.ceil(kh / spec.strides[0]) * Math.ceil(kw / spec.strides[1]);
  if (spec.groups === 1 && c >= WIDE && perPixel <= MAX_PRODUCTS_PER_PIXEL) {
    // Every pixel of dy times the whole filter, then for every input pixel the sum of the products that meet there. One
    // zero pixel is added to dy, whose products are the zeros that shorter lists are filled up with.
    const k = kh * kw;
    const pixels = oh * ow;
    const rows = reshape(g, pad(g, reshape(g, dy, [n, pixels, o]), [0, 0, 0], [0, 1, 0]), [n * (pixels + 1), o]);
    const filter = reshape(g, transpose(g, weight, [0, 2, 3, 1]), [o, k * c]);
    const products = reshape(g, matMul(g, rows, filter), [n, (pixels + 1) * k, c]);
    const lists = meetingProducts(spec, [h, w], [oh, ow], [kh, kw], pixels * k);
    const indices = new Int32Array(lists.length * h * w);
    for (const [t, list] of lists.entries()) indices.set(list, t * h * w);
    const met = gather(g, products, g.constant("int32", [indices.length], indices), 1);
    const stacked = reshape(g, met, [n, lists.length, h * w * c]);
    return reshape(g, reduce(g, "ReduceSum", stacked, [1], false), [n, h, w, c]);
  }
  // What a transposed convolution reaches without output padding; rows beyond it saw no filter.
  const reach = (size: number, kernel: number, axis: 0 | 1) =>
    (size - 1) * spec.strides[axis] + (kernel - 1) * spec.dilations[axis] + 1 - spec.pads[axis]! - spec.pads[axis + 2]!;
  const extra = [h - reach(oh, kh, 0), w - reach(ow, kw, 1)];
  const dx = g.node("ConvTranspose", [transpose(g, dy, TO_NCHW), weight], "float32", [n, c, h, w], {
    ...attributes(spec, [kh, kw]),
    output_padding: { ints: extra },
  });
  return transpose(g, dx, TO_NHWC);
}

/** The gradient of conv2d by its filter: x [N,H,W,C], dy [N,OH,OW,O] -> [O,C/groups,kh,kw] */
export function conv2dFilterGrad(g: Graph, x: Value, dy: Value, spec: ConvSpec, filterShape: readonly number[]): Value {
  const [o, i, kh, kw] = filterShape as [number, number, number, number];
  const [n, oh, ow] = dy.shape as [number, number, number, number];
  const rows = n * oh * ow;
  const k = kh * kw;
  const { groups } = spec;
  if (groups === 1) {
    const { columns, fromFilterMatrix } = bestPatches(g, x, spec, [oh, ow], [kh, kw]);
    // Transposing the wide factor rather than dy: a fifth faster in ONNX Runtime.
    return fromFilterMatrix(matMul(g, columns, reshape(g, dy, [rows, o]), true, false));
  }
  const { columns } = patches(g, x, spec, [oh, ow], [kh, kw]);
  if (i === 1 && o === groups) {
    // Depthwise: every filter position is a sum of products over all rows.
    const dw = reduce(
      g,
      "ReduceSum",
      g.node("Mul", [reshape(g, columns, [rows, k, o]), reshape(g, dy, [rows, 1, o])], "float32", [rows, k, o]),
      [0],
      false,
    );
    return reshape(g, transpose(g, dw, [1, 0]), [o, 1, kh, kw]);
  }
  // [groups, O/groups, rows] x [groups, rows, K * I]
  const a = transpose(g, reshape(g, dy, [rows, groups, o / groups]), [1, 2, 0]);
  const b = reshape(g, transpose(g, reshape(g, columns, [rows, k, groups, i]), [2, 0, 1, 3]), [groups, rows, k * i]);
  return transpose(g, reshape(g, matMul(g, a, b), [o, kh, kw, i]), [0, 3, 1, 2]);
}

const specOf = (attrs: {
  strides: [number, number];
  pads: [number, number, number, number];
  dilations: [number, number];
  groups: number;
}): ConvSpec => attrs;

interface ConvInfo {
  readonly strideHeight: number;
  readonly strideWidth: number;
  readonly dilationHeight: number;
  readonly dilationWidth: number;
  readonly padInfo: { readonly top: number; readonly left: number; readonly bottom: number; readonly right: number };
}

const specFromInfo = (info: ConvInfo, groups: number): ConvSpec => ({
  strides: [info.strideHeight, info.strideWidth],
  pads: [info.padInfo.top, info.padInfo.left, info.padInfo.bottom, info.padInfo.right],
  dilations: [info.dilationHeight, info.dilationWidth],
  groups,
});

type Attrs = Parameters<Lowering>[0]["attrs"];
type Shape4 = [number, number, number, number];

/** The convolution that a tfjs kernel's attributes describe. */
function tfjsSpec(
  kernel: string,
  attrs: Attrs,
  x: readonly number[],
  filter: readonly number[],
  depthwise = false,
): ConvSpec {
  if (attrs.dataFormat && attrs.dataFormat !== "NHWC" && attrs.dataFormat !== "channelsLast") {
    throw new Error(`${kernel}: dataFormat ${attrs.dataFormat} has no ONNX lowering; use NHWC`);
  }
  const info = backend_util.computeConv2DInfo(
    x as Shape4,
    filter as Shape4,
    attrs.strides,
    attrs.dilations ?? 1,
    attrs.pad,
    attrs.dimRoundingMode,
    depthwise,
  );
  return specFromInfo(info, depthwise ? x[3]! : 1);
}

/** A depthwise filter [kh, kw, C, M] as a grouped one [C * M, 1, kh, kw]. */
function depthwiseFilter(g: Graph, filter: Value): Value {
  const [kh, kw, c, m] = filter.shape as Shape4;
  return reshape(g, transpose(g, filter, [2, 3, 0, 1]), [c * m, 1, kh, kw]);
}

const conv2dKernel: Lowering = ({ graph: g, inputs: { x, filter }, attrs }) =>
  conv2d(g, x!, transpose(g, filter!, HWIO_TO_OIHW), tfjsSpec("Conv2D", attrs, x!.shape, filter!.shape));

const depthwiseKernel: Lowering = ({ graph: g, inputs: { x, filter }, attrs }) =>
  conv2d(g, x!, depthwiseFilter(g, filter!), tfjsSpec("DepthwiseConv2dNative", attrs, x!.shape, filter!.shape, true));

const fused =
  (kernel: Lowering): Lowering =>
  (call) => {
    const y = kernel(call) as Value;
    const { bias, preluActivationWeights } = call.inputs;
    return activate(call.graph, bias ? add(call.graph, y, bias) : y, call.attrs, preluActivationWeights);
  };

export const convolutions: LoweringTable = {
  GenaiConv2d: ({ graph: g, inputs: { x, weight }, attrs }) => conv2d(g, x!, weight!, specOf(attrs)),
  GenaiConv2dInputGrad: ({ graph: g, inputs: { dy, weight }, attrs }) =>
    conv2dInputGrad(g, dy!, weight!, specOf(attrs), attrs.inputShape),
  GenaiConv2dFilterGrad: ({ graph: g, inputs: { x, dy }, attrs }) =>
    conv2dFilterGrad(g, x!, dy!, specOf(attrs), attrs.filterShape),
  Conv2D: conv2dKernel,
  FusedConv2D: fused(conv2dKernel),
  Conv2DBackpropInput: ({ graph: g, inputs: { dy, filter }, attrs }) => {
    const spec = tfjsSpec("Conv2DBackpropInput", attrs, attrs.inputShape, filter!.shape);
    return conv2dInputGrad(g, dy!, transpose(g, filter!, HWIO_TO_OIHW), spec, attrs.inputShape);
  },
  Conv2DBackpropFilter: ({ graph: g, inputs: { x, dy }, attrs }) => {
    const spec = tfjsSpec("Conv2DBackpropFilter", attrs, x!.shape, attrs.filterShape);
    const [kh, kw, i, o] = attrs.filterShape as Shape4;
    return transpose(g, conv2dFilterGrad(g, x!, dy!, spec, [o, i, kh, kw]), OIHW_TO_HWIO);
  },
  DepthwiseConv2dNative: depthwiseKernel,
  FusedDepthwiseConv2D: fused(depthwiseKernel),
  DepthwiseConv2dNativeBackpropInput: ({ graph: g, inputs: { dy, filter }, attrs }) => {
    const spec = tfjsSpec("DepthwiseConv2dNativeBackpropInput", attrs, attrs.inputShape, filter!.shape, true);
    return conv2dInputGrad(g, dy!, depthwiseFilter(g, filter!), spec, attrs.inputShape);
  },
  DepthwiseConv2dNativeBackpropFilter: ({ graph: g, inputs: { x, dy }, attrs }) => {
    const spec = tfjsSpec("DepthwiseConv2dNativeBackpropFilter", attrs, x!.shape, attrs.filterShape, true);
    const [kh, kw, c, m] = attrs.filterShape as Shape4;
    const dw = conv2dFilterGrad(g, x!, dy!, spec, [c * m, 1, kh, kw]);
    return transpose(g, reshape(g, dw, [c, m, kh, kw]), [2, 3, 0, 1]);
  },
};

export { specFromInfo, TO_NCHW, TO_NHWC };
