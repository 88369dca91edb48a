import * as tf from "@tensorflow/tfjs";
import { expect } from "vitest";
import { type GoldenValue, goldenNumbers, isGoldenTensor, type Tolerance } from "./golden-files.ts";

type Comparable = tf.Tensor | GoldenValue | readonly number[];

async function read(value: Comparable): Promise<{ shape: number[]; data: ArrayLike<number>; exact: boolean }> {
  if (value instanceof tf.Tensor) {
    return { shape: value.shape, data: await value.data(), exact: value.dtype !== "float32" };
  }
  if (typeof value === "number") return { shape: [], data: [value], exact: false };
  if (isGoldenTensor(value)) {
    return { shape: value.shape, data: goldenNumbers(value), exact: value.dtype !== "float32" };
  }
  return { shape: [value.length], data: value, exact: false };
}

/**
 * Fails unless the shapes are the same and `|got - want| <= atol + rtol |want|` for every element; integers and booleans
 * must be equal. Names the worst element.
 *
 * @param what said first in the message
 */
export async function expectClose(
  got: Comparable,
  want: Comparable,
  tolerance: Tolerance,
  what = "value",
): Promise<void> {
  const a = await read(got);
  const b = await read(want);
  expect(a.shape, `${what}: shape`).toEqual(b.shape);
  const { atol, rtol } = b.exact ? { atol: 0, rtol: 0 } : tolerance;
  let worst = -1;
  let worstExcess = 0;
  for (let i = 0; i < b.data.length; i++) {
    const [x, y] = [a.data[i]!, b.data[i]!];
    if (Object.is(x, y) || x === y) continue;
    const difference = Math.abs(x - y);
    const allowed = atol + rtol * Math.abs(y);
    // NaN on either side, or an infinity that should not be there, is worse than any number.
    const excess = difference <= allowed ? 0 : Number.isFinite(difference) ? difference - allowed : Number.MAX_VALUE;
    if (excess > worstExcess) {
      worst = i;
      worstExcess = excess;
    }
  }
  if (worst < 0) {
    expect(worstExcess).toBe(0);
    return;
  }
  const [x, y] = [a.data[worst]!, b.data[worst]!];
  expect.fail(
    `${what}: element [${indexOf(worst, b.shape)}] is ${x}; expected ${y} within ${atol + rtol * Math.abs(y)} ` +
      `(differs by ${Math.abs(x - y)})`,
  );
}

function indexOf(flat: number, shape: readonly number[]): number[] {
  const out: number[] = [];
  let rest = flat;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    out.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  return out;
}
