import * as tf from "@tensorflow/tfjs";
import { expectClose } from "./expect-close.ts";
import type { Tolerance } from "./golden-files.ts";

export interface GradientCheck {
  /** Step of the central difference; default 1e-2, which suits float32 functions of values around 1. */
  readonly step?: number;
  readonly tolerance?: Tolerance;
}

/**
 * Fails unless the gradient of a scalar function agrees with central differences in every element of x.
 *
 * @param fn x to a scalar tensor
 */
export async function expectGradient(
  fn: (x: tf.Tensor) => tf.Tensor,
  x: tf.Tensor,
  options: GradientCheck = {},
): Promise<void> {
  const { step = 1e-2, tolerance = { atol: 5e-3, rtol: 5e-3 } } = options;
  const values = Float32Array.from(await x.data());
  const at = async (i: number, delta: number): Promise<number> => {
    const moved = Float32Array.from(values);
    moved[i]! += delta;
    const result = tf.tidy(() => fn(tf.tensor(moved, x.shape)));
    const [y] = await result.data();
    result.dispose();
    return y!;
  };
  const want: number[] = [];
  for (let i = 0; i < values.length; i++) want.push(((await at(i, step)) - (await at(i, -step))) / (2 * step));
  const got = tf.tidy(() => tf.grad(fn)(x));
  await expectClose(got, { shape: x.shape, dtype: "float32", data: want }, tolerance, "gradient");
  got.dispose();
}

/** `expectGradient` for the gradient itself: checks the second derivatives along the direction of the gradient. */
export async function expectSecondGradient(
  fn: (x: tf.Tensor) => tf.Tensor,
  x: tf.Tensor,
  options: GradientCheck = {},
): Promise<void> {
  await expectGradient((x) => tf.sum(tf.square(tf.grad(fn)(x))), x, options);
}
