import * as tf from "@tensorflow/tfjs";

/** A function of tensors, with the values at which its gradient is checked. */
export interface GradientCase {
  readonly name: string;
  readonly fn: (...xs: tf.Tensor[]) => tf.Tensor;
  /** Shapes of the arguments, filled with values that are distinct and away from 0; or the tensors' values themselves. */
  readonly args: readonly { readonly shape: readonly number[]; readonly values?: readonly number[] }[];
}

/** Distinct values in [-1, 1] in an order that looks random and is the same everywhere; no two closer than 1 / n. */
export function spread(size: number, salt = 0): Float32Array {
  const out = new Float32Array(size);
  const step = [7, 11, 13, 17, 19, 23].find((p) => gcd(p, size) === 1) ?? 1;
  for (let i = 0; i < size; i++) out[i] = (2 * ((i * step + salt) % size) + 1) / size - 1;
  return out;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

const values = ({ args }: GradientCase): Float32Array[] =>
  args.map(({ shape, values: given }, i) =>
    given
      ? Float32Array.from(given)
      : spread(
          shape.reduce((a, b) => a * b, 1),
          i,
        ),
  );

/** The loss whose gradient is checked: a weighted sum of the outputs, summed in double precision. */
function lossOnHost(test: GradientCase, host: readonly Float32Array[]): number {
  return tf.tidy(() => {
    const out = test.fn(...host.map((v, i) => tf.tensor(v, test.args[i]!.shape as number[]))).dataSync();
    const weights = spread(out.length, 3);
    let sum = 0;
    for (let i = 0; i < out.length; i++) sum += out[i]! * weights[i]!;
    return sum;
  });
}

/** Gradients by tfjs' tape, one array per argument. */
export function tapeGradients(test: GradientCase): Float32Array[] {
  return tf.tidy(() => {
    const loss = (...xs: tf.Tensor[]): tf.Scalar => {
      const y = test.fn(...xs);
      return tf.sum(tf.mul(y, tf.tensor(spread(y.size, 3), y.shape)));
    };
    const xs = values(test).map((v, i) => tf.tensor(v, test.args[i]!.shape as number[]));
    return tf
      .grads(loss)(xs)
      .map((grad, i) => {
        if (String(grad.shape) !== String(test.args[i]!.shape)) {
          throw new Error(`gradient of argument ${i} has shape [${grad.shape}]; expected [${test.args[i]!.shape}]`);
        }
        return grad.dataSync() as Float32Array;
      });
  });
}

/** Gradients by central differences. */
export function numericGradients(test: GradientCase, epsilon = 1e-2): Float32Array[] {
  const host = values(test);
  return host.map((x) => {
    const grad = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      const at = x[i]!;
      x[i] = at + epsilon;
      const up = lossOnHost(test, host);
      x[i] = at - epsilon;
      grad[i] = (up - lossOnHost(test, host)) / (2 * epsilon);
      x[i] = at;
    }
    return grad;
  });
}

/** The largest difference between two lists of arrays. */
export function maxDifference(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  let worst = 0;
  for (const [i, x] of a.entries()) {
    for (const [j, v] of x.entries()) {
      const d = Math.abs(v - b[i]![j]!);
      if (!(d <= worst)) worst = d;
    }
  }
  return worst;
}

/** Leaves large numbers in freed memory, so that kernels which read memory that they did not set give themselves away. */
export function soilWasmHeap(): void {
  const blocks: tf.Tensor[] = [];
  for (let i = 1; i <= 8; i++) for (const size of [4 * i, 8 * i + 2, 9 * i, 32 * i]) blocks.push(tf.fill([size], 1e3));
  tf.dispose(blocks);
}
