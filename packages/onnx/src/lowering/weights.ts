import { type Graph, sizeOf, type Value } from "../graph/graph.ts";
import { add, binary, cast, gather, iota, mul, reshape, sub, transpose } from "../graph/operators.ts";
import type { Lowering, LoweringTable } from "./lowering.ts";
import { tokenRows } from "./token-rows.ts";

// Matrices that are held in another form (core's weights/). The graph gets the nodes that make the plain matrix; products
// with it and gathers of its rows read the form itself, so that those nodes are left over and never written.
//
// Shapes: N outputs, K inputs of a linear layer, P panels, S block size, T rows.

const WIDTH = 32;

type Form =
  | { readonly kind: "panels"; readonly panels: Value; readonly outputs: number; readonly layout: string }
  | {
      readonly kind: "blocks";
      readonly units: Value;
      readonly scales: Value;
      readonly zeroPoints: Value | undefined;
      readonly bits: number;
      readonly outputs: number;
      readonly layout: string;
    };

/** The form behind a matrix of the graph. */
const forms = new WeakMap<Value, Form>();

const fromPanels: Lowering = ({ graph: g, inputs: { panels }, attrs: { outputs, layout } }) => {
  const [count, inputs] = panels!.shape as [number, number];
  const rows = reshape(g, transpose(g, panels!, [0, 2, 1]), [count * WIDTH, inputs]);
  const whole = firstOf(g, rows, 0, outputs);
  const matrix = layout === "out-in" ? whole : transpose(g, whole, [1, 0]);
  forms.set(matrix, { kind: "panels", panels: panels!, outputs, layout });
  return matrix;
};

const fromBlocks: Lowering = ({ graph: g, inputs: { units, scales, zeroPoints }, attrs: { bits, layout } }) => {
  const rows = decoded(g, units!, scales!, zeroPoints, bits);
  const matrix = layout === "out-in" ? rows : transpose(g, rows, [1, 0]);
  forms.set(matrix, {
    kind: "blocks",
    units: units!,
    scales: scales!,
    zeroPoints,
    bits,
    outputs: rows.shape[0]!,
    layout,
  });
  return matrix;
};

/** The rows [R, K] that units [R, K / S, S bits / 32], scales and zero points [R, K / S] stand for. */
function decoded(g: Graph, units: Value, scales: Value, zeroPoints: Value | undefined, bits: number): Value {
  const [rows, blocks] = scales.shape as [number, number];
  const size = 2 ** bits;
  const perUnit = 32 / bits;
  const and = (x: Value, mask: number) => g.node("BitwiseAnd", [x, g.scalar("int32", mask)], "int32", x.shape);
  const codes = Array.from({ length: perUnit }, (_, i) => {
    // A division of what has only zeros below is a shift that keeps the sign, which the second mask takes off.
    const field = and(units, (size - 1) << (bits * i));
    const code = and(binary(g, "Div", field, g.scalar("int32", 1 << (bits * i))), size - 1);
    return reshape(g, code, [...units.shape, 1]);
  });
  const stacked = g.node("Concat", codes, "int32", [...units.shape, perUnit], { axis: { int: 3 } });
  const width = units.shape[2]! * perUnit;
  const zeros = zeroPoints
    ? reshape(g, cast(g, zeroPoints, "float32"), [rows, blocks, 1])
    : g.scalar("float32", size / 2);
  const centred = sub(g, cast(g, reshape(g, stacked, [rows, blocks, width]), "float32"), zeros);
  return reshape(g, mul(g, centred, reshape(g, scales, [rows, blocks, 1])), [rows, blocks * width]);
}

/** x [T, K] times a matrix that is held in another form, if that is what `b` is and the product goes that way. */
export function multiplyForm(
  g: Graph,
  x: Value,
  b: Value,
  transposeX: boolean,
  transposeB: boolean,
): Value | undefined {
  const form = forms.get(b);
  if (!form || transposeX || x.shape.length !== 2 || (form.layout === "out-in") !== transposeB) return undefined;
  const [t, k] = x.shape as [number, number];
  const n = form.outputs;
  if (form.kind === "panels") {
    const count = form.panels.shape[0]!;
    const isSmall = t === 1 && sizeOf(form.panels.shape) <= MAX_CONSTANT_PANELS;
    const panels = (isSmall ? g.known(form.panels) : undefined) ?? form.panels;
    const product = g.node("MatMul", [x, panels], "float32", [count, t, WIDTH]);
    return firstOf(g, reshape(g, transpose(g, product, [1, 0, 2]), [t, count * WIDTH]), 1, n);
  }
  const known = constants(g, form);
  if (!known) return undefined;
  const blocks = form.scales.shape[1]!;
  const codes = reshape(g, known.codes, [n, blocks, sizeOf(known.codes.shape) / (n * blocks)]);
  const attributes = { K: k, N: n, bits: form.bits, block_size: k / blocks, accuracy_level: 4 };
  // A wide result, as logits are, would be copied by a reshape behind it.
  const rows = n > MAX_RESHAPED ? x : tokenRows(x);
  const inputs = [rows, codes, known.scales, ...(known.zeroPoints ? [known.zeroPoints] : [])];
  const shape = [...rows.shape.slice(0, -1), n];
  const product = g.node("MatMulNBits", inputs, "float32", shape, integers(attributes), "com.microsoft");
  return reshape(g, product, [t, n]);
}

/** Codes uint8 [N, K bits / 8], scales and zero points as constants: operators prepare them when the graph is loaded, or are slow. */
function constants(g: Graph, form: Form & { kind: "blocks" }): Parts | undefined {
  const units = g.known(form.units);
  const scales = g.known(form.scales);
  const zeroPoints = packedZeroPoints(g, form);
  if (!(units?.data instanceof Int32Array) || !scales || zeroPoints === undefined) return undefined;
  let codes = codesOf.get(units);
  if (!codes) {
    const { buffer, byteOffset, byteLength } = units.data;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    codes = g.constant("uint8", [form.outputs, byteLength / form.outputs], bytes);
    codesOf.set(units, codes);
  }
  return { codes, scales, zeroPoints };
}

/** What operators read of rounded weights. Without zero points these are in the middle of the codes. */
interface Parts {
  readonly codes: Value;
  readonly scales: Value;
  readonly zeroPoints: Value | null;
}

const codesOf = new WeakMap<Value, Value>();

/** Zero points as a constant uint8 [N, K / S bits / 8], each row in whole bytes; null for none, undefined for what is computed. */
function packedZeroPoints(g: Graph, { zeroPoints, bits }: Form & { kind: "blocks" }): Value | null | undefined {
  if (!zeroPoints) return null;
  const known = g.known(zeroPoints);
  if (!known) return undefined;
  let packed = zeroPointsOf.get(known);
  if (!packed) {
    const [rows, blocks] = known.shape as [number, number];
    const perByte = 8 / bits;
    const bytes = Math.ceil(blocks / perByte);
    const data = new Uint8Array(rows * bytes);
    for (let row = 0, i = 0; row < rows; row++) {
      for (let k = 0; k < blocks; k++, i++) {
        data[row * bytes + Math.floor(k / perByte)]! |=
          (known.data ? known.data[i]! : known.fill!) << (bits * (k % perByte));
      }
    }
    packed = g.constant("uint8", [rows, bytes], data);
    zeroPointsOf.set(known, packed);
  }
  return packed;
}

const zeroPointsOf = new WeakMap<Value, Value>();

const MAX_RESHAPED = 2 ** 14;

const integers = (values: Record<string, number>) =>
  Object.fromEntries(Object.entries(values).map(([name, int]) => [name, { int }]));

/** A product with rounded weights plus a vector: the operator adds it itself. */
export function addToProduct(g: Graph, a: Value, b: Value): Value | undefined {
  for (const [product, bias] of [
    [a, b],
    [b, a],
  ] as const) {
    const { node, shape } = tokenRows(product);
    if (node?.op !== "MatMulNBits" || node.inputs.length > 4 || bias.shape.length !== 1) continue;
    if (bias.shape[0] !== shape.at(-1) || bias.shape[0] !== product.shape.at(-1)) continue;
    const [x, codes, scales, zeroPoints = null] = node.inputs;
    const inputs = [x!, codes!, scales!, zeroPoints, null, bias];
    const sum = g.node("MatMulNBits", inputs, "float32", shape, { ...node.attributes }, "com.microsoft");
    return reshape(g, sum, product.shape);
  }
  return undefined;
}

/** Rows of a matrix that is held in another form, if that is what `matrix` is. */
export function gatherForm(g: Graph, matrix: Value, indices: Value): Value | undefined {
  const form = forms.get(matrix);
  if (form?.layout !== "out-in") return undefined;
  const k = matrix.shape[1]!;
  const shape = [...indices.shape, k];
  const count = sizeOf(indices.shape);
  const ids = reshape(g, indices, [count]);
  if (form.kind === "blocks") {
    // Fed where they can be: as a constant the matrix would be in each graph once more, beside what products prepare of it.
    const bytes = g.bytesOf(form.units);
    const zeroPoints = packedZeroPoints(g, form);
    const known =
      bytes && zeroPoints !== undefined ? { codes: bytes, scales: form.scales, zeroPoints } : constants(g, form);
    if (known) {
      const attributes = { bits: form.bits, block_size: k / form.scales.shape[1]!, gather_axis: 0, quantize_axis: 1 };
      const codes = reshape(g, known.codes, [form.outputs, (k * form.bits) / 8]);
      const inputs = [codes, indices, known.scales, ...(known.zeroPoints ? [known.zeroPoints] : [])];
      return g.node("GatherBlockQuantized", inputs, "float32", shape, integers(attributes), "com.microsoft");
    }
    const [units, scales] = [form.units, form.scales].map((part) => gather(g, part, ids, 0)) as [Value, Value];
    const zeros = form.zeroPoints && gather(g, form.zeroPoints, ids, 0);
    return reshape(g, decoded(g, units, scales, zeros, form.bits), shape);
  }
  const width = g.scalar("int32", WIDTH);
  const panel = binary(g, "Div", ids, width);
  const lane = sub(g, ids, mul(g, panel, width));
  const first = reshape(g, add(g, mul(g, panel, g.scalar("int32", k * WIDTH)), lane), [count, 1]);
  const steps = reshape(g, mul(g, iota(g, k), width), [1, k]);
  return reshape(g, gather(g, reshape(g, form.panels, [sizeOf(form.panels.shape)]), add(g, first, steps), 0), shape);
}

/** The first n along an axis. */
function firstOf(g: Graph, x: Value, axis: number, n: number): Value {
  if (x.shape[axis] === n) return x;
  const shape = x.shape.map((dim, i) => (i === axis ? n : dim));
  return g.node("Slice", [x, g.int64s([0]), g.int64s([n]), g.int64s([axis])], x.type, shape);
}

/** Elements up to which tensors become constants: each graph has a copy. */
const MAX_CONSTANT = 2 ** 16;

/** The same for matrices in the products of a single row, which can then be joined with others. */
const MAX_CONSTANT_PANELS = 2 ** 18;

/** onnxruntime-node takes 2 us for each input at each call, and a norm 1 us. */
const constant: Lowering = ({ graph: g, inputs: { x } }) =>
  (sizeOf(x!.shape) <= MAX_CONSTANT ? g.known(x!) : undefined) ?? x!;

export const weights: LoweringTable = {
  GenaiFromPanels: fromPanels,
  GenaiFromBlocks: fromBlocks,
  GenaiConstant: constant,
};
