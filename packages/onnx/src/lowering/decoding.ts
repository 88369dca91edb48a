import type { Value } from "../graph/graph.ts";
import { binary, cast, reduce, reshape, transpose } from "../graph/operators.ts";
import type { Lowering, LoweringTable } from "./lowering.ts";

// What decoders of language models need: ONNX Runtime's own operators.
//
// Shapes: B batch, H query heads, G key/value heads, T new tokens, L slots, D head dimension.

/** GroupQueryAttention, which writes the new tokens in place where the cache is donated, and copies nothing. */
const cachedAttention: Lowering = ({ graph: g, inputs, attrs }) => {
  const { q, k, v, pastK, pastV, lengths } = inputs;
  const [b, h, t, d] = q!.shape as [number, number, number, number];
  const heads = k!.shape[1]!;
  // [B, H, T, D] to [B, T, H D], the layout in which the model's linear layers gave them.
  const flat = (x: Value) => reshape(g, transpose(g, x, [0, 2, 1, 3]), [b, t, x.shape[1]! * d]);
  const total = binary(g, "Add", reduce(g, "ReduceMax", lengths!, [0], false), g.scalar("int32", t));
  const last = binary(g, "Add", lengths!, g.scalar("int32", t - 1));
  const packed = splitSource([q!, k!, v!]);
  const [mixed, newK, newV] = g.nodes(
    "GroupQueryAttention",
    [...(packed ? [flat(packed), null, null] : [flat(q!), flat(k!), flat(v!)]), pastK!, pastV!, last, total],
    [
      { type: "float32", shape: [b, t, h * d] },
      { type: "float32", shape: pastK!.shape },
      { type: "float32", shape: pastV!.shape },
    ],
    {
      num_heads: { int: h },
      kv_num_heads: { int: heads },
      scale: { float: attrs.scale },
      ...(attrs.window > 0 ? { local_window_size: { int: attrs.window } } : {}),
    },
    "com.microsoft",
  );
  g.inPlace.set(newK!, pastK!);
  g.inPlace.set(newV!, pastV!);
  return [transpose(g, reshape(g, mixed!, [b, t, h, d]), [0, 2, 1, 3]), newK!, newV!];
};

/** RotaryEmbedding, in the layout of the linear layers, which attention takes too. */
const cachedRope: Lowering = ({ graph: g, inputs: { x, cos, sin, positions } }) => {
  const [b, h, t, d] = x!.shape as [number, number, number, number];
  const flat = reshape(g, transpose(g, x!, [0, 2, 1, 3]), [b, t, h * d]);
  const inputs = [flat, cast(g, positions!, "int64"), cos!, sin!];
  const rotated = g.node("RotaryEmbedding", inputs, "float32", flat.shape, {}, "com.microsoft");
  return transpose(g, reshape(g, rotated, [b, t, h, d]), [0, 2, 1, 3]);
};

/** The heads of queries, keys and values where these were split from them: the operator takes them in one. */
function splitSource(parts: readonly Value[]): Value | undefined {
  const { node } = parts[0]!;
  if (node?.op !== "Split" || node.outputs.length !== parts.length) return undefined;
  const ofHeads = (node.attributes.axis as { int: number }).int === 1;
  return ofHeads && node.outputs.every((output, i) => output === parts[i]) ? node.inputs[0]! : undefined;
}

/** ScatterND copies nothing but the updates where its result is given the tensor's memory. */
const scatterInto: Lowering = ({ graph: g, inputs: { tensor, indices, updates } }) => {
  const whole = g.node("ScatterND", [tensor!, cast(g, indices!, "int64"), updates!], tensor!.type, tensor!.shape);
  g.inPlace.set(whole, tensor!);
  return whole;
};

export const decoding: LoweringTable = {
  GenaiCachedAttention: cachedAttention,
  GenaiCachedRope: cachedRope,
  GenaiScatterInto: scatterInto,
};
