import * as tf from "@tensorflow/tfjs";
import type { Rng } from "../rng.ts";
import { type Initialiser, kaimingUniform, zerosInit } from "./init.ts";
import { addLowRank, type LowRankTerm } from "./low-rank.ts";

export interface LinearParams {
  /** [out, in] */
  readonly weight: tf.Tensor;
  /** [out] */
  readonly bias?: tf.Tensor;
  /** Added to the weight: an adapter. */
  readonly lowRank?: LowRankTerm;
  /** Is shown what the layer reads, [N, in], wherever it is computed. */
  readonly observe?: (x: tf.Tensor2D) => void;
}

/**
 * Affine map of the last axis: y = x W^T + b.
 *
 * @param p `weight` [out, in], `bias` [out] (optional), `lowRank` and `observe` (optional)
 * @param x [..., in]
 * @returns [..., out]
 */
export function linear(p: LinearParams, x: tf.Tensor): tf.Tensor {
  const [outDim, inDim] = p.weight.shape;
  if (p.weight.rank !== 2) throw new Error(`linear: weight has shape [${p.weight.shape}]; expected [out, in]`);
  if (x.rank < 1 || x.shape[x.rank - 1] !== inDim) {
    throw new Error(`linear: x has shape [${x.shape}]; weight [${p.weight.shape}] expects a last axis of ${inDim}`);
  }
  if (p.bias && (p.bias.rank !== 1 || p.bias.shape[0] !== outDim)) {
    throw new Error(`linear: bias has shape [${p.bias.shape}]; weight [${p.weight.shape}] expects [${outDim}]`);
  }
  return tf.tidy(() => {
    // In two dimensions: the gradient of tfjs' matMul does not take operands of different rank.
    const flat = tf.reshape(x, [-1, inDim!]) as tf.Tensor2D;
    p.observe?.(flat);
    const product = tf.matMul(flat, p.weight as tf.Tensor2D, false, true);
    const y = p.lowRank ? addLowRank(p.lowRank, flat, product) : product;
    return tf.reshape(p.bias ? tf.add(y, p.bias) : y, [...x.shape.slice(0, -1), outDim!]);
  });
}

/**
 * Parameters of a linear layer.
 *
 * @param options.bias whether to have one (default true)
 * @param options.init of the weight (default Kaiming uniform with gain 1/sqrt(3), as PyTorch: U(-1/sqrt(in), 1/sqrt(in)))
 * @param options.biasInit of the bias (default zeros)
 */
export function createLinear(
  inDim: number,
  outDim: number,
  rng: Rng,
  options: { readonly bias?: boolean; readonly init?: Initialiser; readonly biasInit?: Initialiser } = {},
): { weight: tf.Tensor; bias?: tf.Tensor } {
  const init = options.init ?? kaimingUniform({ gain: Math.sqrt(1 / 3) });
  const weight = init([outDim, inDim], rng);
  return options.bias === false ? { weight } : { weight, bias: (options.biasInit ?? zerosInit())([outDim], rng) };
}
