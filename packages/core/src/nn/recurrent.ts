import * as tf from "@tensorflow/tfjs";
import { sigmoid, tanh } from "./activations.ts";
import { linear } from "./linear.ts";

// Shapes: B batch, T time, I inputs, H hidden. Gates are stacked in the first axis of the weights, in PyTorch's order:
// LSTM input, forget, cell, output; GRU reset, update, new.

/** One recurrent layer under PyTorch's names: weight_ih [gates H, I], weight_hh [gates H, H], biases [gates H]. */
export interface RecurrentParams {
  readonly weight_ih: tf.Tensor;
  readonly weight_hh: tf.Tensor;
  readonly bias_ih?: tf.Tensor;
  readonly bias_hh?: tf.Tensor;
}

const affine = (weight: tf.Tensor, bias: tf.Tensor | undefined, x: tf.Tensor): tf.Tensor =>
  linear(bias ? { weight, bias } : { weight }, x);

function checkGates(caller: string, p: RecurrentParams, gates: number): void {
  const hidden = p.weight_hh.shape[1];
  if (p.weight_hh.shape[0] !== gates * hidden! || p.weight_ih.shape[0] !== gates * hidden!) {
    throw new Error(
      `${caller}: weight_ih [${p.weight_ih.shape}] and weight_hh [${p.weight_hh.shape}]; expected [${gates} H, I] and [${gates} H, H]`,
    );
  }
}

function lstmGates(fromInput: tf.Tensor, fromState: tf.Tensor, c: tf.Tensor): { h: tf.Tensor; c: tf.Tensor } {
  const [i, f, g, o] = tf.split(tf.add(fromInput, fromState), 4, -1) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
  const next = tf.add(tf.mul(sigmoid(f), c), tf.mul(sigmoid(i), tanh(g)));
  return { h: tf.mul(sigmoid(o), tanh(next)), c: next };
}

function gruGates(fromInput: tf.Tensor, fromState: tf.Tensor, h: tf.Tensor): tf.Tensor {
  const [xr, xz, xn] = tf.split(fromInput, 3, -1) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const [hr, hz, hn] = tf.split(fromState, 3, -1) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const z = sigmoid(tf.add(xz, hz));
  const n = tanh(tf.add(xn, tf.mul(sigmoid(tf.add(xr, hr)), hn)));
  return tf.add(n, tf.mul(z, tf.sub(h, n)));
}

/** One step of an LSTM. x [B, I], h and c [B, H]; returns the new h and c. */
export function lstmCell(
  p: RecurrentParams,
  x: tf.Tensor,
  state: { readonly h: tf.Tensor; readonly c: tf.Tensor },
): { h: tf.Tensor; c: tf.Tensor } {
  checkGates("lstmCell", p, 4);
  return tf.tidy(() => lstmGates(affine(p.weight_ih, p.bias_ih, x), affine(p.weight_hh, p.bias_hh, state.h), state.c));
}

/** One step of a GRU, with the reset gate applied after the recurrent product. x [B, I], h [B, H]; returns the new h. */
export function gruCell(p: RecurrentParams, x: tf.Tensor, h: tf.Tensor): tf.Tensor {
  checkGates("gruCell", p, 3);
  return tf.tidy(() => gruGates(affine(p.weight_ih, p.bias_ih, x), affine(p.weight_hh, p.bias_hh, h), h));
}

/** [B, T, X] as T tensors [B, X]. */
function timeSteps(x: tf.Tensor): tf.Tensor[] {
  const [b, t, width] = x.shape as [number, number, number];
  return Array.from({ length: t }, (_, i) => tf.reshape(tf.slice(x, [0, i, 0], [b, 1, width]), [b, width]));
}

/**
 * An LSTM layer over a sequence (Hochreiter and Schmidhuber 1997).
 *
 * @param x [B, T, I]
 * @param state h and c [B, H]; zeros if left out
 * @returns y [B, T, H], and the last h and c
 */
export function lstm(
  p: RecurrentParams,
  x: tf.Tensor,
  state?: { readonly h: tf.Tensor; readonly c: tf.Tensor },
): { y: tf.Tensor; h: tf.Tensor; c: tf.Tensor } {
  checkGates("lstm", p, 4);
  if (x.rank !== 3) throw new Error(`lstm: x has shape [${x.shape}]; expected [B, T, I]`);
  return tf.tidy(() => {
    const shape = [x.shape[0]!, p.weight_hh.shape[1]!];
    let now = { h: state?.h ?? tf.zeros(shape), c: state?.c ?? tf.zeros(shape) };
    // The inputs' share of all steps is one product.
    const ys = timeSteps(affine(p.weight_ih, p.bias_ih, x)).map((fromInput) => {
      now = lstmGates(fromInput, affine(p.weight_hh, p.bias_hh, now.h), now.c);
      return now.h;
    });
    return { y: tf.stack(ys, 1), h: now.h, c: now.c };
  });
}

/**
 * A GRU layer over a sequence (Cho et al. 2014), as PyTorch computes it: n = tanh(W x + b + r (U h + b')).
 *
 * @param x [B, T, I]
 * @param h [B, H]; zeros if left out
 * @returns y [B, T, H], and the last h
 */
export function gru(p: RecurrentParams, x: tf.Tensor, h?: tf.Tensor): { y: tf.Tensor; h: tf.Tensor } {
  checkGates("gru", p, 3);
  if (x.rank !== 3) throw new Error(`gru: x has shape [${x.shape}]; expected [B, T, I]`);
  return tf.tidy(() => {
    let now = h ?? tf.zeros([x.shape[0]!, p.weight_hh.shape[1]!]);
    const ys = timeSteps(affine(p.weight_ih, p.bias_ih, x)).map((fromInput) => {
      now = gruGates(fromInput, affine(p.weight_hh, p.bias_hh, now), now);
      return now;
    });
    return { y: tf.stack(ys, 1), h: now };
  });
}

/** Keras' LSTM weights (kernel [I, 4 H], recurrent_kernel [H, 4 H], bias [4 H]; the same gate order) as PyTorch's. */
export function lstmFromKeras(k: {
  kernel: tf.Tensor;
  recurrent_kernel: tf.Tensor;
  bias?: tf.Tensor;
}): RecurrentParams {
  return tf.tidy(() => ({
    weight_ih: tf.transpose(k.kernel),
    weight_hh: tf.transpose(k.recurrent_kernel),
    ...(k.bias ? { bias_ih: tf.clone(k.bias) } : {}),
  }));
}

/** Keras' GRU weights with reset_after (gates update, reset, new; bias [2, 3 H]) as PyTorch's. */
export function gruFromKeras(k: { kernel: tf.Tensor; recurrent_kernel: tf.Tensor; bias?: tf.Tensor }): RecurrentParams {
  if (k.bias && k.bias.rank !== 2) {
    throw new Error(`gruFromKeras: bias has shape [${k.bias.shape}]; expected [2, 3 H], as made with reset_after`);
  }
  return tf.tidy(() => {
    const reorder = (x: tf.Tensor, axis: number) => {
      const [z, r, n] = tf.split(x, 3, axis) as [tf.Tensor, tf.Tensor, tf.Tensor];
      return tf.concat([r, z, n], axis);
    };
    const rows = k.bias ? tf.unstack(reorder(k.bias, 1)) : undefined;
    return {
      weight_ih: tf.transpose(reorder(k.kernel, 1)),
      weight_hh: tf.transpose(reorder(k.recurrent_kernel, 1)),
      ...(rows ? { bias_ih: rows[0]!, bias_hh: rows[1]! } : {}),
    };
  });
}

/**
 * The original GRU in Keras' layout (reset_after false): the reset gate multiplies h before the recurrent product.
 *
 * @param k kernel [I, 3 H], recurrent_kernel [H, 3 H], bias [3 H]; gates update, reset, new
 * @param x [B, T, I]
 * @param h [B, H]; zeros if left out
 * @returns y [B, T, H], and the last h
 */
export function gruResetBefore(
  k: { readonly kernel: tf.Tensor; readonly recurrent_kernel: tf.Tensor; readonly bias?: tf.Tensor },
  x: tf.Tensor,
  h?: tf.Tensor,
): { y: tf.Tensor; h: tf.Tensor } {
  if (x.rank !== 3) throw new Error(`gruResetBefore: x has shape [${x.shape}]; expected [B, T, I]`);
  return tf.tidy(() => {
    const hidden = k.recurrent_kernel.shape[0]!;
    const [gates, candidate] = tf.split(k.recurrent_kernel, [2 * hidden, hidden], 1) as [tf.Tensor2D, tf.Tensor2D];
    let now = h ?? tf.zeros([x.shape[0]!, hidden]);
    const ys = timeSteps(affine(tf.transpose(k.kernel), k.bias, x)).map((fromInput) => {
      const [xz, xr, xn] = tf.split(fromInput, 3, -1) as [tf.Tensor, tf.Tensor, tf.Tensor];
      const [hz, hr] = tf.split(tf.matMul(now as tf.Tensor2D, gates), 2, -1) as [tf.Tensor, tf.Tensor];
      const z = sigmoid(tf.add(xz, hz));
      const reset = tf.mul(sigmoid(tf.add(xr, hr)), now) as tf.Tensor2D;
      const n = tanh(tf.add(xn, tf.matMul(reset, candidate)));
      now = tf.add(n, tf.mul(z, tf.sub(now, n)));
      return now;
    });
    return { y: tf.stack(ys, 1), h: now };
  });
}
