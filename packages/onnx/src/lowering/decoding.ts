import { binary, reduce, reshape, transpose } from "../graph/operators.ts";
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
  const flat = (x: typeof q) => reshape(g, transpose(g, x!, [0, 2, 1, 3]), [b, t, x!.shape[1]! * d]);
  const total = binary(g, "Add", reduce(g, "ReduceMax", lengths!, [0], false), g.scalar("int32", t));
  const last = binary(g, "Add", lengths!, g.scalar("int32", t - 1));
  const [mixed, newK, newV] = g.nodes(
    "GroupQueryAttention",
    [flat(q), flat(k), flat(v), pastK!, pastV!, last, total],
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

export const decoding: LoweringTable = { GenaiCachedAttention: cachedAttention };
