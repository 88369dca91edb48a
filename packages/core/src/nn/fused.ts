import * as tf from "@tensorflow/tfjs";
import { hasKernel } from "./custom-op.ts";

// A fused op is a kernel name of our own. A backend that has a kernel of that name runs it as one operation (the ONNX
// engine lowers it to one runtime operator); every other backend composes it out of ordinary tfjs ops. Fused ops have no
// entry in tfjs' table of gradients: the functions that use them wrap them in `customOp`.

/** Names, inputs and attributes of the fused ops; the contract between the layers and the backends. */
export interface FusedOps {
  /** inputs { x } */
  GenaiGelu: { approximate: "none" | "tanh" };
  /** inputs { x, dy } */
  GenaiGeluGrad: { approximate: "none" | "tanh" };
  /** inputs { x [N, C], weight [C], bias [C] } */
  GenaiLayerNorm: { eps: number };
  /** inputs { x [N, C], weight [C], dy [N, C] }; results [dx, dweight, dbias] */
  GenaiLayerNormGrad: { eps: number };
  /** inputs { x [N, C], weight [C] } */
  GenaiRmsNorm: { eps: number };
  /** inputs { x [N, C], weight [C], dy [N, C] }; results [dx, dweight] */
  GenaiRmsNormGrad: { eps: number };
  /** inputs { logits [N, V], targets int32 [N] }; result losses [N] */
  GenaiSoftmaxCrossEntropy: Record<never, never>;
  /** inputs { logits [N, V], targets int32 [N], dy [N] }; result [N, V] */
  GenaiSoftmaxCrossEntropyGrad: Record<never, never>;
  /** inputs { ids int32 [N], dy [N, D] }; result [rows, D] */
  GenaiGatherRowsGrad: { rows: number };
  /** inputs { x, trigger }; result x, which no rewriting of the graph may read before `trigger` */
  GenaiReadAfter: Record<never, never>;
  /**
   * inputs { q [B, H, T, D], k, v [B, G, T, D], pastK, pastV [B, G, L, D], lengths int32 [B] in [0, L - T] } with T or B 1 and
   * D a multiple of 8; window 0 for none; results [mixed [B, H, T, D], k, v [B, G, L, D]]
   */
  GenaiCachedAttention: { scale: number; window: number };
  /** inputs { x [B, H, T, D], cos, sin [L, D/2], positions int32 [B, T] in [0, L) }; result as x */
  GenaiCachedRope: Record<never, never>;
  /** inputs { tensor, indices int32 [N, R], updates [N, ...] }; result as tensor, which nothing else reads */
  GenaiScatterInto: Record<never, never>;
  /** inputs { panels [P, K, 32] }; result a matrix; see weights/panels.ts */
  GenaiFromPanels: { outputs: number; layout: "out-in" | "in-out" };
  /**
   * inputs { units int32 [N, K / S, S bits / 32], scales [N, K / S] }, also { zeroPoints int32 [N, K / S] }; result a matrix; see
   * weights/blocks.ts
   */
  GenaiFromBlocks: { bits: 4 | 8; layout: "out-in" | "in-out" };
  /** inputs { x }; result x, which engines may compile into the function; see weights/convert-weights.ts */
  GenaiConstant: Record<never, never>;
  /** inputs { x NHWC, weight [O, I/groups, kh, kw] }; result NHWC */
  GenaiConv2d: Conv2dAttrs;
  /** inputs { dy NHWC, weight }; result of inputShape */
  GenaiConv2dInputGrad: Conv2dAttrs & { inputShape: number[] };
  /** inputs { x NHWC, dy NHWC }; result of filterShape */
  GenaiConv2dFilterGrad: Conv2dAttrs & { filterShape: number[] };
}

export interface Conv2dAttrs {
  strides: [number, number];
  /** top, left, bottom, right */
  pads: [number, number, number, number];
  dilations: [number, number];
  groups: number;
}

/** Runs the kernel `name` if the backend in use has one, else `composed`. */
export function fusedOp<K extends keyof FusedOps, R extends tf.Tensor | tf.Tensor[] = tf.Tensor>(
  name: K,
  inputs: Record<string, tf.Tensor>,
  attrs: FusedOps[K],
  composed: () => R,
): R {
  if (!hasKernel(name)) return composed();
  return tf.engine().runKernel(name, inputs, attrs as unknown as tf.NamedAttrMap) as R;
}
