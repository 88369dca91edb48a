import { backend_util, slice_util } from "@tensorflow/tfjs";
import { type Graph, sizeOf, type Value } from "../graph/graph.ts";
import {
  binary,
  cast,
  concat,
  expand,
  gather,
  pad,
  reshape,
  scatterAddRows,
  slice,
  transpose,
  where,
} from "../graph/operators.ts";
import { type Lowering, type LoweringTable, normaliseAxes } from "./lowering.ts";
import { tokenRows } from "./token-rows.ts";
import { gatherForm } from "./weights.ts";

const stack: Lowering = ({ graph: g, inputs, attrs }) => {
  const parts = Object.values(inputs);
  const axis = normaliseAxes(attrs.axis, parts[0]!.shape.length + 1)[0]!;
  const shape = [...parts[0]!.shape];
  shape.splice(axis, 0, 1);
  return concat(
    g,
    parts.map((part) => reshape(g, part, shape)),
    axis,
  );
};

/** Outputs of one Split: on WebGPU it binds them all at once, and devices promise eight storage buffers to a shader. */
const MAX_SPLIT = 7;

function split(g: Graph, x: Value, sizes: readonly number[], axis: number): Value[] {
  if (sizes.length === 1) return [x];
  if (sizes.length > MAX_SPLIT) {
    let start = 0;
    return sizes.map((size) => {
      const begin = x.shape.map((_, i) => (i === axis ? start : 0));
      start += size;
      return slice(g, x, begin, x.shape.with(axis, size));
    });
  }
  const outputs = sizes.map((size) => ({ type: x.type, shape: x.shape.map((dim, i) => (i === axis ? size : dim)) }));
  return g.nodes("Split", [x, g.int64s(sizes)], outputs, { axis: { int: axis } });
}

/** Repeats by inserting an axis before every repeated one, so that it is a broadcast rather than a copy per axis. */
function tile(g: Graph, x: Value, reps: readonly number[]): Value {
  const small = x.shape.flatMap((dim, i) => (reps[i] === 1 ? [dim] : [1, dim]));
  const large = x.shape.flatMap((dim, i) => (reps[i] === 1 ? [dim] : [reps[i]!, dim]));
  const shape = x.shape.map((dim, i) => dim * reps[i]!);
  return reshape(g, expand(g, reshape(g, x, small), large), shape);
}

function reverse(g: Graph, x: Value, axes: readonly number[]): Value {
  if (axes.length === 0) return x;
  const ends = axes.map(() => -Number.MAX_SAFE_INTEGER);
  const inputs = [x, g.int64s(axes.map(() => -1)), g.int64s(ends), g.int64s(axes), g.int64s(axes.map(() => -1))];
  return g.node("Slice", inputs, x.type, x.shape);
}

const stridedSlice: Lowering = ({ graph: g, inputs: { x }, attrs }) => {
  const a = attrs;
  const info = slice_util.sliceInfo(
    [...x!.shape],
    a.begin,
    a.end,
    a.strides,
    a.beginMask,
    a.endMask,
    a.ellipsisMask,
    a.newAxisMask,
    a.shrinkAxisMask,
  );
  const { begin, end, strides, finalShape } = info;
  if (sizeOf(finalShape) === 0) return g.filled(x!.type, finalShape, 0);
  const axes = x!.shape.map((_, i) => i);
  // A negative stride that runs past the first element ends "before 0", which ONNX writes as a large negative number.
  const ends = axes.map((i) => (strides[i]! < 0 && end[i]! < 0 ? -Number.MAX_SAFE_INTEGER : end[i]!));
  const shape = axes.map((i) => Math.max(0, Math.ceil((end[i]! - begin[i]!) / strides[i]!)));
  const picked = g.node(
    "Slice",
    [x!, g.int64s(begin), g.int64s(ends), g.int64s(axes), g.int64s(strides)],
    x!.type,
    shape,
  );
  return reshape(g, picked, finalShape);
};

const gatherV2: Lowering = ({ graph: g, inputs: { x, indices }, attrs }) => {
  const [axis] = normaliseAxes(attrs.axis, x!.shape.length);
  const batchDims: number = attrs.batchDims ?? 0;
  if (batchDims === 0 && axis === 0) {
    const ids = tokenRows(indices!);
    const rows = gatherForm(g, x!, ids) ?? gather(g, x!, ids, 0);
    return reshape(g, rows, [...indices!.shape, ...x!.shape.slice(1)]);
  }
  if (batchDims === 0) return gather(g, x!, indices!, axis!);
  // Batches are gathered from the flattened batch axes, each with its own offset.
  const batch = x!.shape.slice(0, batchDims);
  const rest = x!.shape.slice(batchDims);
  const lead = rest.slice(0, axis! - batchDims);
  const n = x!.shape[axis!]!;
  const inner = x!.shape.slice(axis! + 1);
  // [batch, lead, n, inner] -> [batch, n, lead, inner] so that one gather over batch * n rows serves every batch.
  const perm = [0, 2, 1, 3];
  const four = transpose(g, reshape(g, x!, [sizeOf(batch), sizeOf(lead), n, sizeOf(inner)]), perm);
  const rows = reshape(g, four, [sizeOf(batch) * n, sizeOf(lead), sizeOf(inner)]);
  const picks = indices!.shape.slice(batchDims);
  const offsets = g.constant(
    "int32",
    [sizeOf(batch), 1],
    Int32Array.from({ length: sizeOf(batch) }, (_, i) => i * n),
  );
  const flat = binary(g, "Add", reshape(g, indices!, [sizeOf(batch), sizeOf(picks)]), offsets);
  const picked = transpose(g, gather(g, rows, flat, 0), perm);
  return reshape(g, picked, [...batch, ...lead, ...picks, ...inner]);
};

const oneHot: Lowering = ({ graph: g, inputs: { indices }, attrs }) => {
  const { depth, onValue = 1, offValue = 0, dtype = "int32" } = attrs;
  const type = dtype === "float32" || dtype === "bool" ? dtype : "int32";
  const classes = g.constant(
    "int32",
    [depth],
    Int32Array.from({ length: depth }, (_, i) => i),
  );
  const hit = binary(g, "Equal", reshape(g, cast(g, indices!, "int32"), [...indices!.shape, 1]), classes, "bool");
  if (onValue === 1 && offValue === 0) return cast(g, hit, type);
  const number = type === "bool" ? "int32" : type;
  return cast(g, where(g, hit, g.filled(number, hit.shape, onValue), g.filled(number, hit.shape, offValue)), type);
};

/** Moves blocks between space and batch or depth: a reshape, a transpose and a reshape. */
const shuffle = (g: Graph, x: Value, split: readonly number[], perm: readonly number[], shape: readonly number[]) =>
  reshape(g, transpose(g, reshape(g, x, split), perm), shape);

const depthToSpace: Lowering = ({ graph: g, inputs: { x }, attrs }) => {
  if (attrs.dataFormat && attrs.dataFormat !== "NHWC")
    throw new Error(`depthToSpace: dataFormat ${attrs.dataFormat} has no ONNX lowering; use NHWC`);
  const b: number = attrs.blockSize;
  const [n, h, w, c] = x!.shape as [number, number, number, number];
  const depth = c / (b * b);
  return shuffle(g, x!, [n, h, w, b, b, depth], [0, 1, 3, 2, 4, 5], [n, h * b, w * b, depth]);
};

const batchToSpace: Lowering = ({ graph: g, inputs: { x }, attrs }) => {
  const { blockShape, crops } = attrs;
  const prod = sizeOf(blockShape);
  const reshaped = backend_util.getReshaped([...x!.shape], blockShape, prod);
  const permuted = backend_util.getPermuted(reshaped.length, blockShape.length);
  const full = backend_util.getReshapedPermuted([...x!.shape], blockShape, prod);
  // tfjs gives the coordinates of the blocked axes only.
  const begin = backend_util.getSliceBeginCoords(crops, blockShape.length);
  const size = backend_util.getSliceSize(full, crops, blockShape.length);
  const uncropped = full.slice(begin.length);
  return slice(
    g,
    shuffle(g, x!, reshaped, permuted, full),
    [...begin, ...uncropped.map(() => 0)],
    [...size, ...uncropped],
  );
};

const spaceToBatch: Lowering = ({ graph: g, inputs: { x }, attrs }) => {
  const { blockShape, paddings } = attrs;
  const prod = sizeOf(blockShape);
  const rest = x!.shape.length - 1 - blockShape.length;
  const before = [0, ...paddings.map((p: number[]) => p[0]), ...new Array(rest).fill(0)];
  const after = [0, ...paddings.map((p: number[]) => p[1]), ...new Array(rest).fill(0)];
  const padded = pad(g, x!, before, after);
  const reshaped = backend_util.getReshaped([...padded.shape], blockShape, prod, false);
  const permuted = backend_util.getPermuted(reshaped.length, blockShape.length, false);
  const full = backend_util.getReshapedPermuted([...padded.shape], blockShape, prod, false);
  return shuffle(g, padded, reshaped, permuted, full);
};

export const shapes: LoweringTable = {
  Reshape: ({ graph: g, inputs: { x }, attrs }) => {
    const known = attrs.shape.filter((n: number) => n !== -1);
    const missing = sizeOf(known) === 0 ? 0 : sizeOf(x!.shape) / sizeOf(known);
    return reshape(
      g,
      x!,
      attrs.shape.map((n: number) => (n === -1 ? missing : n)),
    );
  },
  ExpandDims: ({ graph: g, inputs: { input }, attrs }) => {
    const shape = [...input!.shape];
    shape.splice(attrs.dim < 0 ? attrs.dim + shape.length + 1 : attrs.dim, 0, 1);
    return reshape(g, input!, shape);
  },
  Transpose: ({ graph: g, inputs: { x }, attrs }) => transpose(g, x!, attrs.perm),
  BroadcastTo: ({ graph: g, inputs: { x }, attrs }) => expand(g, x!, attrs.shape),
  Tile: ({ graph: g, inputs: { x }, attrs }) => tile(g, x!, attrs.reps),
  Concat: ({ graph: g, inputs, attrs }) => {
    const parts = Object.values(inputs);
    return concat(g, parts, normaliseAxes(attrs.axis, parts[0]!.shape.length)[0]!);
  },
  Pack: stack,
  Unpack: ({ graph: g, inputs: { value }, attrs }) => {
    const [axis] = normaliseAxes(attrs.axis, value!.shape.length);
    const n = value!.shape[axis!]!;
    const shape = value!.shape.filter((_, i) => i !== axis);
    return split(g, value!, new Array(n).fill(1), axis!).map((part) => reshape(g, part, shape));
  },
  SplitV: ({ graph: g, inputs: { x }, attrs }) => {
    const [axis] = normaliseAxes(attrs.axis, x!.shape.length);
    return split(
      g,
      x!,
      backend_util.prepareSplitSize({ shape: x!.shape } as never, attrs.numOrSizeSplits, axis),
      axis!,
    );
  },
  Slice: ({ graph: g, inputs: { x }, attrs }) => {
    const [begin, size] = slice_util.parseSliceParams(
      { shape: x!.shape, rank: x!.shape.length } as never,
      attrs.begin,
      attrs.size,
    );
    return slice(g, x!, begin!, size!);
  },
  StridedSlice: stridedSlice,
  PadV2: ({ graph: g, inputs: { x }, attrs }) => {
    const before = attrs.paddings.map((p: number[]) => p[0]);
    const after = attrs.paddings.map((p: number[]) => p[1]);
    return pad(g, x!, before, after, attrs.constantValue ?? 0);
  },
  MirrorPad: ({ graph: g, inputs: { x }, attrs }) => {
    const before = attrs.paddings.map((p: number[]) => p[0]);
    const after = attrs.paddings.map((p: number[]) => p[1]);
    const shape = x!.shape.map((dim, i) => dim + before[i] + after[i]);
    if (attrs.mode === "reflect")
      return g.node("Pad", [x!, g.int64s([...before, ...after])], x!.type, shape, { mode: { string: "reflect" } });
    // 'symmetric' repeats the border itself, which ONNX cannot say: pick the mirrored indices per axis.
    return shape.reduce<Value>((y, size, axis) => {
      const n = x!.shape[axis]!;
      if (size === n) return y;
      const at = Array.from({ length: size }, (_, i) => i - before[axis]);
      const mirrored = at.map((i) => (i < 0 ? -i - 1 : i >= n ? 2 * n - 1 - i : i));
      return gather(g, y, g.constant("int32", [size], Int32Array.from(mirrored)), axis);
    }, x!);
  },
  Reverse: ({ graph: g, inputs: { x }, attrs }) => reverse(g, x!, normaliseAxes(attrs.dims, x!.shape.length)),
  GatherV2: gatherV2,
  GatherNd: ({ graph: g, inputs: { params, indices } }) => {
    const depth = indices!.shape.at(-1)!;
    const shape = [...indices!.shape.slice(0, -1), ...params!.shape.slice(depth)];
    return g.node("GatherND", [params!, cast(g, indices!, "int64")], params!.type, shape);
  },
  ScatterNd: ({ graph: g, inputs: { indices, updates }, attrs }) => {
    const zeros = expand(g, g.node("Identity", [g.scalar(updates!.type, 0)], updates!.type, []), attrs.shape);
    return g.node("ScatterND", [zeros, cast(g, indices!, "int64"), updates!], updates!.type, attrs.shape, {
      reduction: { string: "add" },
    });
  },
  TensorScatterUpdate: ({ graph: g, inputs: { tensor, indices, updates } }) =>
    g.node("ScatterND", [tensor!, cast(g, indices!, "int64"), updates!], tensor!.type, tensor!.shape),
  UnsortedSegmentSum: ({ graph: g, inputs: { x, segmentIds }, attrs }) =>
    scatterAddRows(g, segmentIds!, x!, attrs.numSegments),
  OneHot: oneHot,
  Range: ({ graph: g, attrs }) => {
    const { start, stop, step, dtype } = attrs;
    const n = Math.max(0, Math.ceil((stop - start) / step));
    const values = Float32Array.from({ length: n }, (_, i) => start + i * step);
    return g.constant(
      dtype === "int32" ? "int32" : "float32",
      [n],
      dtype === "int32" ? Int32Array.from(values) : values,
    );
  },
  LinSpace: ({ graph: g, attrs }) => {
    const { start, stop, num } = attrs;
    return g.constant(
      "float32",
      [num],
      Float32Array.from({ length: num }, (_, i) => start + (num > 1 ? (i * (stop - start)) / (num - 1) : 0)),
    );
  },
  DepthToSpace: depthToSpace,
  BatchToSpaceND: batchToSpace,
  SpaceToBatchND: spaceToBatch,
  Diag: ({ graph: g, inputs: { x } }) => {
    const n = sizeOf(x!.shape);
    const eye = Uint8Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0));
    return reshape(g, where(g, g.constant("bool", [n, n], eye), reshape(g, x!, [1, n]), g.scalar(x!.type, 0)), [
      ...x!.shape,
      ...x!.shape,
    ]);
  },
};
