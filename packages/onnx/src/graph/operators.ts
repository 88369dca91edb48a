import {
  type ConstantData,
  DATA_TYPE,
  type ElementType,
  type Graph,
  isConstant,
  sameShape,
  sizeOf,
  type Value,
} from "./graph.ts";

// ONNX operators as functions that simplify while they build: arithmetic with uniform constants is folded, neutral
// elements vanish, reshapes and transposes of themselves collapse. What tfjs' gradients write out in full (products with
// ones, sums over axes of size one, double transposes) costs nothing at run time.

export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw new Error(`shapes [${a}] and [${b}] do not broadcast`);
    return x === 1 ? y : x;
  });
}

export function cast(g: Graph, x: Value, type: ElementType): Value {
  if (x.type === type) return x;
  if (x.fill !== undefined) return g.filled(type, x.shape, convert(x.fill, type));
  return g.node("Cast", [x], type, x.shape, { to: { int: DATA_TYPE[type] } });
}

const convert = (n: number, type: ElementType) =>
  type === "float32" ? Math.fround(n) : type === "bool" ? Number(n !== 0) : type === "int32" ? n | 0 : Math.trunc(n);

export function reshape(g: Graph, x: Value, shape: readonly number[]): Value {
  if (sameShape(x.shape, shape)) return x;
  if (x.fill !== undefined) return g.filled(x.type, shape, x.fill);
  if (x.data !== undefined) return g.constant(x.type, shape, x.data);
  if (x.node?.op === "Reshape") return reshape(g, x.node.inputs[0]!, shape);
  return g.node("Reshape", [x, g.int64s(shape)], x.type, shape, sizeOf(shape) === 0 ? { allowzero: { int: 1 } } : {});
}

export function transpose(g: Graph, x: Value, perm: readonly number[]): Value {
  if (perm.every((axis, i) => axis === i)) return x;
  const shape = perm.map((axis) => x.shape[axis]!);
  if (x.fill !== undefined) return g.filled(x.type, shape, x.fill);
  // Moving only axes of size one moves no data.
  const long = perm.filter((axis) => x.shape[axis] !== 1);
  if (long.every((axis, i) => i === 0 || long[i - 1]! < axis)) return reshape(g, x, shape);
  if (x.node?.op === "Transpose") {
    const inner = (x.node.attributes.perm as { ints: readonly number[] }).ints;
    return transpose(
      g,
      x.node.inputs[0]!,
      perm.map((axis) => inner[axis]!),
    );
  }
  if (x.data !== undefined && sizeOf(shape) <= 65536)
    return g.constant(x.type, shape, transposeData(x.data, x.shape, perm));
  return g.node("Transpose", [x], x.type, shape, { perm: { ints: perm } });
}

function transposeData(data: ConstantData, shape: readonly number[], perm: readonly number[]): ConstantData {
  const strides = shape.map((_, i) => sizeOf(shape.slice(i + 1)));
  const outShape = perm.map((axis) => shape[axis]!);
  const out = Array.isArray(data) ? new Array<number>(data.length) : data.slice();
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < data.length; i++) {
    (out as number[])[i] = data[perm.reduce((at, axis, k) => at + index[k]! * strides[axis]!, 0)]!;
    for (let k = shape.length - 1; k >= 0 && ++index[k]! === outShape[k]; k--) index[k] = 0;
  }
  return out;
}

/** Broadcasts `x` to `shape`. */
export function expand(g: Graph, x: Value, shape: readonly number[]): Value {
  if (sameShape(x.shape, shape)) return x;
  if (x.fill !== undefined) return g.filled(x.type, shape, x.fill);
  if (x.node?.op === "Expand") return expand(g, x.node.inputs[0]!, shape);
  return g.node("Expand", [x, g.int64s(shape)], x.type, shape);
}

export function unary(g: Graph, op: string, x: Value, type: ElementType = x.type): Value {
  if (x.node?.op === "Reshape") return reshape(g, unary(g, op, x.node.inputs[0]!, type), x.shape);
  return g.node(op, [x], type, x.shape);
}

type Arithmetic = "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Pow";
type Comparison = "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor";

const FOLD: Record<Arithmetic, (a: number, b: number) => number> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  Max: Math.max,
  Min: Math.min,
  Pow: (a, b) => a ** b,
};

/** An operand as small as broadcasting allows: uniform constants shrink to scalars, undone expansions to their source. */
function slim(g: Graph, x: Value, other: Value, shape: readonly number[]): Value {
  if (sameShape(other.shape, shape)) {
    if (x.fill !== undefined) return g.scalar(x.type, x.fill);
    // The runtime is fast with scalars, not with a last axis of size one.
    if (sizeOf(x.shape) === 1) return reshape(g, x, []);
  }
  if (x.node?.op === "Expand") {
    const source = x.node.inputs[0]!;
    if (sameShape(broadcastShape(source.shape, other.shape), shape)) return source;
  }
  return x;
}

/** An element-wise operator on two values that broadcast. Expansions move behind it, where they are smaller work. */
export function binary(g: Graph, op: Arithmetic | Comparison, a: Value, b: Value, type: ElementType = a.type): Value {
  const shape = broadcastShape(a.shape, b.shape);
  if (a.fill !== undefined && b.fill !== undefined && op in FOLD && type !== "bool") {
    const folded = FOLD[op as Arithmetic](a.fill, b.fill);
    if (type !== "int32" || op !== "Div") return g.filled(type, shape, convert(folded, type));
  }
  const x = slim(g, a, b, shape);
  const y = slim(g, b, x, shape);
  // Reshapes move behind the operator, to meet others: those of layers that compute on rows undo each other. A factor stays
  // where it is: the runtime looks for it next to products.
  const reshaped = [x, y].find((v) => v.node?.op === "Reshape");
  if (reshaped && sameShape(x.shape, shape) && sameShape(y.shape, shape) && shape.length > 0) {
    const source = reshaped.node!.inputs[0]!.shape;
    return reshape(g, g.node(op, [reshape(g, x, source), reshape(g, y, source)], type, source), shape);
  }
  if (sizeOf(x.shape) < sizeOf(shape) && sizeOf(y.shape) < sizeOf(shape)) {
    const small = broadcastShape(x.shape, y.shape);
    if (!sameShape(small, shape)) return expand(g, g.node(op, [x, y], type, small), shape);
  }
  return g.node(op, [x, y], type, shape);
}

export function add(g: Graph, a: Value, b: Value): Value {
  if (b.fill === 0) return expand(g, a, broadcastShape(a.shape, b.shape));
  if (a.fill === 0) return expand(g, b, broadcastShape(a.shape, b.shape));
  return binary(g, "Add", a, b);
}

export function sub(g: Graph, a: Value, b: Value): Value {
  if (b.fill === 0) return expand(g, a, broadcastShape(a.shape, b.shape));
  if (a.fill === 0) return expand(g, neg(g, b), broadcastShape(a.shape, b.shape));
  if (b.node?.op === "Neg") return add(g, a, b.node.inputs[0]!);
  return binary(g, "Sub", a, b);
}

/** A 0/1 mask written as a selection, the form in which `step` is recorded. */
const isMask = (x: Value) => x.node?.op === "Where" && x.node.inputs[1]?.fill === 1 && x.node.inputs[2]?.fill === 0;

export function mul(g: Graph, a: Value, b: Value): Value {
  const shape = broadcastShape(a.shape, b.shape);
  for (const [x, y] of [
    [a, b],
    [b, a],
  ] as const) {
    if (y.fill === 1) return expand(g, x, shape);
    if (y.fill === 0) return g.filled(a.type, shape, 0);
    if (y.fill === -1) return expand(g, neg(g, x), shape);
    // x * (0 or 1) selects x or 0: one pass in place of two.
    if (isMask(y) && sameShape(y.shape, shape)) return where(g, y.node!.inputs[0]!, x, g.scalar(x.type, 0));
    // (x * c) * d = x * (c d)
    if (y.fill !== undefined && x.node?.op === "Mul" && x.type === "float32") {
      const inner = x.node.inputs.find((v) => v?.fill !== undefined);
      const rest = x.node.inputs.find((v) => v !== inner);
      if (inner && rest) return expand(g, mul(g, rest, g.scalar("float32", Math.fround(inner.fill! * y.fill))), shape);
    }
  }
  return binary(g, "Mul", a, b);
}

export function div(g: Graph, a: Value, b: Value): Value {
  if (b.fill === 1) return expand(g, a, broadcastShape(a.shape, b.shape));
  // Division by a power of two is exact as a product, and products are faster.
  if (b.fill !== undefined && a.type === "float32" && Number.isInteger(Math.log2(Math.abs(b.fill)))) {
    return mul(g, a, g.filled("float32", b.shape, 1 / b.fill));
  }
  return binary(g, "Div", a, b);
}

export function neg(g: Graph, x: Value): Value {
  if (x.fill !== undefined) return g.filled(x.type, x.shape, -x.fill);
  if (x.node?.op === "Neg") return x.node.inputs[0]!;
  return unary(g, "Neg", x);
}

export function where(g: Graph, condition: Value, a: Value, b: Value): Value {
  const shape = broadcastShape(broadcastShape(condition.shape, a.shape), b.shape);
  const full = (x: Value, others: Value[]) =>
    x.fill !== undefined && others.some((o) => sameShape(o.shape, shape)) ? g.scalar(x.type, x.fill) : x;
  const x = full(a, [condition, b]);
  const y = full(b, [condition, x]);
  return g.node("Where", [condition, x, y], a.type, shape);
}

type Reduction = "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceSumSquare";

/** Reduces over `axes` (not negative), keeping them as ones if asked. */
export function reduce(g: Graph, op: Reduction, x: Value, axes: readonly number[], keepDims: boolean): Value {
  const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
  const shape = keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i));
  const count = sizeOf(axes.map((axis) => x.shape[axis]!));
  if (x.fill !== undefined && x.type !== "bool") {
    if (op === "ReduceSum") return g.filled(x.type, shape, x.fill * count);
    if (op === "ReduceMean" || ((op === "ReduceMax" || op === "ReduceMin") && count > 0))
      return g.filled(x.type, shape, x.fill);
  }
  if (axes.every((axis) => x.shape[axis] === 1)) {
    return op === "ReduceSumSquare" ? reshape(g, mul(g, x, x), shape) : reshape(g, x, shape);
  }
  // The sum of everything does not depend on where the elements stand.
  if (sizeOf(shape) === 1 && (x.node?.op === "Reshape" || x.node?.op === "Transpose")) {
    const source = x.node.inputs[0]!;
    const all = source.shape.map((_, axis) => axis);
    return reshape(g, reduce(g, op, source, all, false), shape);
  }
  // The sum of squares is one pass.
  if (op === "ReduceSum" && x.node?.op === "Mul" && x.node.inputs[0] === x.node.inputs[1]) {
    return reduce(g, "ReduceSumSquare", x.node.inputs[0]!, axes, keepDims);
  }
  // Axes of size one keep the runtime from its fast paths (a sum over [N, 1] takes 30 times as long as over [N]).
  const long = x.shape.flatMap((dim, i) => (dim === 1 ? [] : [i]));
  const input = reshape(
    g,
    x,
    long.map((i) => x.shape[i]!),
  );
  const longAxes = long.flatMap((axis, i) => (axes.includes(axis) ? [i] : []));
  const rest = long.filter((axis) => !axes.includes(axis)).map((axis) => x.shape[axis]!);
  const isOfRows = longAxes.every((axis, i) => axis === i) && rest.length > 0 && sizeOf(x.shape) > 0;
  if (op === "ReduceSum" && x.type === "float32" && isOfRows) return reshape(g, sumOfRows(g, input, count), shape);
  const reduced = g.node(op, [input, g.int64s(longAxes)], x.type, rest, { keepdims: { int: 0 } });
  return reshape(g, reduced, shape);
}

/** The sum over the leading axes, as a product with a row of ones: the runtime's sum takes twice as long and more. */
function sumOfRows(g: Graph, x: Value, rows: number): Value {
  const matrix = reshape(g, x, [rows, sizeOf(x.shape) / rows]);
  return matMul(g, g.filled("float32", [1, rows], 1), matrix);
}

/** Matrix product of the last two axes with optional transposes; leading axes broadcast. */
export function matMul(g: Graph, a: Value, b: Value, transposeA = false, transposeB = false): Value {
  const m = a.shape.at(transposeA ? -1 : -2)!;
  const k = a.shape.at(transposeA ? -2 : -1)!;
  const n = b.shape.at(transposeB ? -2 : -1)!;
  if (a.shape.length === 2 && b.shape.length === 2) {
    // A transpose that only feeds a product is a flag of the product.
    const [x, flipX] = isSwap(a) ? [a.node!.inputs[0]!, !transposeA] : [a, transposeA];
    const [y, flipY] = isSwap(b) ? [b.node!.inputs[0]!, !transposeB] : [b, transposeB];
    const flips = flipX && !flipY;
    const isLarge = flips && k * m * n >= LARGE_PRODUCT;
    // (x^T y)^T = y^T x. Of large products' operands the one that costs less to copy is copied. Others are fast with a result
    // that is higher than wide, which is copied where it is small beside the operands.
    const swaps = isLarge ? m >= 1024 && m > n : flips && m >= 64 && n >= 3 * m && k >= 512;
    if (swaps) return transposedCopy(g, matMul(g, y, x, true, false));
    const copied = isLarge && n >= 384;
    return g.node("Gemm", [copied ? transposedCopy(g, x) : x, y], "float32", [m, n], {
      transA: { int: Number(flipX && !copied) },
      transB: { int: Number(flipY) },
    });
  }
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const shape = [...batch, m, n];
  if (sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2))) {
    // With one batch axis, transposes of the last two stay apart from those that split heads, which are copies that other
    // products read too, and the runtime takes them as flags of the product.
    const x = flipped(g, reshape(g, a, [sizeOf(batch), ...a.shape.slice(-2)]), transposeA);
    const y = flipped(g, reshape(g, b, [sizeOf(batch), ...b.shape.slice(-2)]), transposeB);
    return reshape(g, g.node("MatMul", [x, y], "float32", [sizeOf(batch), m, n]), shape);
  }
  return g.node("MatMul", [flipped(g, a, transposeA), flipped(g, b, transposeB)], "float32", shape);
}

/** Multiplications from which on the runtime's repeated reading of a transposed first operand costs more than a copy. */
const LARGE_PRODUCT = 2 ** 27;

/**
 * The transpose of a matrix, written to memory. The reshapes keep the runtime from making it a flag of the product: with
 * that, every 128 columns of the result transpose the whole operand again.
 */
function transposedCopy(g: Graph, x: Value): Value {
  const [rows, columns] = x.shape as [number, number];
  return reshape(g, transpose(g, reshape(g, x, [1, rows, columns]), [0, 2, 1]), [columns, rows]);
}

/** The last two axes swapped, if asked. */
function flipped(g: Graph, x: Value, swap: boolean): Value {
  if (!swap) return x;
  const r = x.shape.length;
  return transpose(g, x, [...Array.from({ length: r - 2 }, (_, i) => i), r - 1, r - 2]);
}

const isSwap = (x: Value) => x.node?.op === "Transpose" && x.shape.length === 2;

/** x * scale + bias for each row of x [N, C], with scale and bias [N, 1]: normalisation by given statistics is one pass. */
export function affineRows(g: Graph, x: Value, scale: Value, bias: Value): Value {
  const [rows, channels] = x.shape as [number, number];
  const ofRows = (value: Value) => reshape(g, value, [rows]);
  const [mean, variance] = [g.filled("float32", [rows], 0), g.filled("float32", [rows], 1)];
  const inputs = [reshape(g, x, [1, rows, channels]), ofRows(scale), ofRows(bias), mean, variance];
  const y = g.node("BatchNormalization", inputs, "float32", [1, rows, channels], { epsilon: { float: 0 } });
  return reshape(g, y, x.shape);
}

export function slice(g: Graph, x: Value, begin: readonly number[], size: readonly number[]): Value {
  if (sameShape(x.shape, size)) return x;
  if (x.fill !== undefined) return g.filled(x.type, size, x.fill);
  const axes = x.shape.map((_, i) => i).filter((i) => size[i] !== x.shape[i]);
  const starts = axes.map((i) => begin[i]!);
  const ends = axes.map((i) => begin[i]! + size[i]!);
  return g.node("Slice", [x, g.int64s(starts), g.int64s(ends), g.int64s(axes)], x.type, size);
}

export function concat(g: Graph, parts: readonly Value[], axis: number): Value {
  const full = parts.filter((part) => part.shape[axis] !== 0);
  const some = full[0] ?? parts[0]!;
  if (full.length <= 1) return some;
  const shape = some.shape.map((dim, i) => (i === axis ? full.reduce((n, part) => n + part.shape[axis]!, 0) : dim));
  return g.node("Concat", full, some.type, shape, { axis: { int: axis } });
}

export function pad(g: Graph, x: Value, before: readonly number[], after: readonly number[], fill = 0): Value {
  if (before.every((n) => n === 0) && after.every((n) => n === 0)) return x;
  const shape = x.shape.map((dim, i) => dim + before[i]! + after[i]!);
  if (x.fill === fill) return g.filled(x.type, shape, fill);
  const inputs = [x, g.int64s([...before, ...after])];
  if (fill !== 0) inputs.push(g.scalar(x.type, fill));
  return g.node("Pad", inputs, x.type, shape);
}

/** Picks slices of `axis` by int32 or int64 indices of any shape. */
export function gather(g: Graph, x: Value, indices: Value, axis: number): Value {
  const shape = [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)];
  return g.node("Gather", [x, indices], x.type, shape, { axis: { int: axis } });
}

/** Adds the rows of `updates` [N, ...rest] to zeros [rows, ...rest] at the given int32 row numbers [N]. */
export function scatterAddRows(g: Graph, ids: Value, updates: Value, rows: number): Value {
  const shape = [rows, ...updates.shape.slice(1)];
  const indices = cast(g, reshape(g, ids, [sizeOf(ids.shape), 1]), "int64");
  const zeros = expand(g, g.node("Identity", [g.scalar(updates.type, 0)], updates.type, []), shape);
  return g.node("ScatterND", [zeros, indices, updates], updates.type, shape, { reduction: { string: "add" } });
}

/** A constant int32 range [0, n). */
export function iota(g: Graph, n: number): Value {
  return g.constant(
    "int32",
    [n],
    Int32Array.from({ length: n }, (_, i) => i),
  );
}

export { isConstant };
