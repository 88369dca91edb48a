import * as tf from "@tensorflow/tfjs";
import type { Rng } from "../rng.ts";
import { convOutputSize } from "./conv-composed.ts";
import { conv2dInputGradOp, conv2dOp } from "./conv-ops.ts";
import type { Conv2dAttrs } from "./fused.ts";
import { type Initialiser, kaimingUniform, zerosInit } from "./init.ts";

export interface ConvParams {
  /** [out, in/groups, kh, kw]; transposed [in, out/groups, kh, kw]; one-dimensional [out, in/groups, k] */
  readonly weight: tf.Tensor;
  /** [out] */
  readonly bias?: tf.Tensor;
}

/** One number for both directions, or one for height and one for width. */
export type Pair = number | readonly [number, number];

export interface Conv2dOptions {
  /** Default 1. */
  readonly stride?: Pair;
  /** Zeros on both sides of the image (default 0): a number, [height, width], or [top, left, bottom, right]. */
  readonly padding?: Pair | readonly [number, number, number, number];
  /** Distance between kernel taps (default 1). */
  readonly dilation?: Pair;
  /** Channel groups that do not mix (default 1); as many as channels makes the convolution depthwise. */
  readonly groups?: number;
}

export interface ConvTranspose2dOptions extends Conv2dOptions {
  /** Rows and columns added at the bottom and right of the output, to choose among sizes that a stride makes equal. */
  readonly outputPadding?: Pair;
}

export interface Conv1dOptions {
  readonly stride?: number;
  /** A number for both ends, [left, right], or "causal": all on the left, so that y[t] sees only x[<= t]. */
  readonly padding?: number | readonly [number, number] | "causal";
  readonly dilation?: number;
  readonly groups?: number;
}

function pair(caller: string, name: string, value: Pair, least: number): [number, number] {
  const out: [number, number] = typeof value === "number" ? [value, value] : [value[0], value[1]];
  for (const n of out) {
    if (!Number.isInteger(n) || n < least) {
      throw new Error(`${caller}: ${name} (${value}) must be a whole number of at least ${least}, or a pair of them`);
    }
  }
  return out;
}

function convAttrs(caller: string, options: Conv2dOptions): Conv2dAttrs {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
  let pads: Conv2dAttrs["pads"];
  if (Array.isArray(padding) && padding.length === 4) {
    const [top, left, bottom, right] = padding;
    pads = [...pair(caller, "padding", [top, left], 0), ...pair(caller, "padding", [bottom, right], 0)];
  } else {
    const [h, w] = pair(caller, "padding", padding as Pair, 0);
    pads = [h, w, h, w];
  }
  pair(caller, "groups", groups, 1);
  return {
    strides: pair(caller, "stride", stride, 1),
    pads,
    dilations: pair(caller, "dilation", dilation, 1),
    groups,
  };
}

function checkImages(caller: string, p: ConvParams, x: tf.Tensor): void {
  if (x.rank !== 4) throw new Error(`${caller}: x has shape [${x.shape}]; expected images [N, H, W, C]`);
  if (p.weight.rank !== 4) {
    throw new Error(
      `${caller}: weight has shape [${p.weight.shape}]; expected four axes, kernel height and width last`,
    );
  }
}

function checkBias(caller: string, p: ConvParams, channels: number): void {
  if (p.bias && (p.bias.rank !== 1 || p.bias.shape[0] !== channels)) {
    throw new Error(`${caller}: bias has shape [${p.bias.shape}]; expected [${channels}]`);
  }
}

const addBias = (y: tf.Tensor, p: ConvParams): tf.Tensor => (p.bias ? tf.add(y, p.bias) : y);

/**
 * Two-dimensional cross-correlation with PyTorch's weight layout and symmetric padding.
 *
 * Output height floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1, width likewise.
 *
 * @param p `weight` [out, in/groups, kh, kw], `bias` [out] (optional)
 * @param x [N, H, W, in]
 * @returns [N, H', W', out]
 */
export function conv2d(p: ConvParams, x: tf.Tensor, options: Conv2dOptions = {}): tf.Tensor {
  checkImages("conv2d", p, x);
  const attrs = convAttrs("conv2d", options);
  const { groups } = attrs;
  const [o, i, kh, kw] = p.weight.shape as [number, number, number, number];
  if (x.shape[3] !== i * groups) {
    throw new Error(
      `conv2d: x has ${x.shape[3]} channels; weight [${p.weight.shape}] with groups ${groups} expects ${i * groups}`,
    );
  }
  if (o % groups !== 0) throw new Error(`conv2d: weight has ${o} output channels; groups (${groups}) must divide them`);
  checkBias("conv2d", p, o);
  const out = convOutputSize(x.shape, [kh, kw], attrs);
  if (out[0] < 1 || out[1] < 1) {
    throw new Error(
      `conv2d: x has shape [${x.shape}], too small for a ${kh}x${kw} kernel with padding [${attrs.pads}] and dilation [${attrs.dilations}]`,
    );
  }
  return tf.tidy(() => addBias(conv2dOp(x, p.weight, attrs), p));
}

/**
 * Transposed convolution: the gradient of `conv2d` with respect to its images, with PyTorch's layout and output size.
 *
 * Output height (H - 1) stride - 2 padding + dilation (kh - 1) + outputPadding + 1, width likewise.
 *
 * @param p `weight` [in, out/groups, kh, kw], `bias` [out] (optional)
 * @param x [N, H, W, in]
 * @returns [N, H', W', out]
 */
export function convTranspose2d(p: ConvParams, x: tf.Tensor, options: ConvTranspose2dOptions = {}): tf.Tensor {
  const caller = "convTranspose2d";
  checkImages(caller, p, x);
  const attrs = convAttrs(caller, options);
  const { strides, pads, dilations, groups } = attrs;
  const extra = pair(caller, "outputPadding", options.outputPadding ?? 0, 0);
  const [i, o, kh, kw] = p.weight.shape as [number, number, number, number];
  if (x.shape[3] !== i) {
    throw new Error(`${caller}: x has ${x.shape[3]} channels; weight [${p.weight.shape}] expects ${i}`);
  }
  if (i % groups !== 0)
    throw new Error(`${caller}: weight has ${i} input channels; groups (${groups}) must divide them`);
  if (extra.some((n, at) => n >= Math.max(strides[at]!, dilations[at]!))) {
    throw new Error(`${caller}: outputPadding (${extra}) must be smaller than the stride or the dilation`);
  }
  checkBias(caller, p, o * groups);
  const height = (x.shape[1]! - 1) * strides[0] - pads[0] - pads[2] + dilations[0] * (kh - 1) + extra[0] + 1;
  const width = (x.shape[2]! - 1) * strides[1] - pads[1] - pads[3] + dilations[1] * (kw - 1) + extra[1] + 1;
  if (height < 1 || width < 1) throw new Error(`${caller}: x has shape [${x.shape}]; the output would be empty`);
  return tf.tidy(() => addBias(conv2dInputGradOp(x, p.weight, attrs, [x.shape[0]!, height, width, o * groups]), p));
}

/**
 * One-dimensional cross-correlation over time.
 *
 * @param p `weight` [out, in/groups, k], `bias` [out] (optional)
 * @param x [B, T, in]
 * @returns [B, T', out]; with padding "causal" and stride 1, T' = T.
 */
export function conv1d(p: ConvParams, x: tf.Tensor, options: Conv1dOptions = {}): tf.Tensor {
  if (x.rank !== 3) throw new Error(`conv1d: x has shape [${x.shape}]; expected sequences [B, T, C]`);
  if (p.weight.rank !== 3)
    throw new Error(`conv1d: weight has shape [${p.weight.shape}]; expected [out, in/groups, k]`);
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
  const [o, i, k] = p.weight.shape as [number, number, number];
  const [b, t, c] = x.shape as [number, number, number];
  if (c !== i * groups) {
    throw new Error(
      `conv1d: x has ${c} channels; weight [${p.weight.shape}] with groups ${groups} expects ${i * groups}`,
    );
  }
  const [left, right] =
    padding === "causal" ? [dilation * (k - 1), 0] : typeof padding === "number" ? [padding, padding] : padding;
  return tf.tidy(() => {
    const image = { ...p, weight: tf.reshape(p.weight, [o, i, 1, k]) };
    const y = conv2d(image, tf.reshape(x, [b, 1, t, c]), {
      stride: [1, stride],
      padding: [0, left, 0, right],
      dilation: [1, dilation],
      groups,
    });
    return tf.reshape(y, [b, y.shape[2]!, o]);
  });
}

interface CreateConvOptions {
  /** Kernel height and width. */
  readonly kernel: Pair;
  readonly groups?: number;
  /** Whether to have a bias (default true). */
  readonly bias?: boolean;
  /** Of the weight; default PyTorch's U(-b, b), b = 1/sqrt(fan in). */
  readonly init?: Initialiser;
  /** Of the bias; default zeros. */
  readonly biasInit?: Initialiser;
}

const torchInit = kaimingUniform({ gain: Math.sqrt(1 / 3) });

/** Parameters of `conv2d`: weight [out, in/groups, kh, kw] and bias [out]. */
export function createConv2d(
  inChannels: number,
  outChannels: number,
  rng: Rng,
  options: CreateConvOptions,
): { weight: tf.Tensor; bias?: tf.Tensor } {
  return createConv("createConv2d", inChannels, outChannels, outChannels, inChannels, rng, options);
}

/** Parameters of `convTranspose2d`: weight [in, out/groups, kh, kw] and bias [out]. */
export function createConvTranspose2d(
  inChannels: number,
  outChannels: number,
  rng: Rng,
  options: CreateConvOptions,
): { weight: tf.Tensor; bias?: tf.Tensor } {
  return createConv("createConvTranspose2d", inChannels, outChannels, inChannels, outChannels, rng, options);
}

function createConv(
  caller: string,
  inChannels: number,
  outChannels: number,
  first: number,
  second: number,
  rng: Rng,
  options: CreateConvOptions,
): { weight: tf.Tensor; bias?: tf.Tensor } {
  const groups = options.groups ?? 1;
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw new Error(`${caller}: groups (${groups}) must divide ${inChannels} input and ${outChannels} output channels`);
  }
  const kernel = pair(caller, "kernel", options.kernel, 1);
  const weight = (options.init ?? torchInit)([first, second / groups, ...kernel], rng);
  return options.bias === false ? { weight } : { weight, bias: (options.biasInit ?? zerosInit())([outChannels], rng) };
}
