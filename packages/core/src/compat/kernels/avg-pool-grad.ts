import * as tf from "@tensorflow/tfjs";
import { composed, wrapKernel } from "./wrap-kernel.ts";

type Size = number | [number, number];

interface PoolAttrs {
  readonly filterSize: Size;
  readonly strides: Size;
  readonly pad: number | "valid" | "same";
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
}

/**
 * Window area / number of window positions inside the image, [1, outHeight, outWidth, 1]; undefined where it is 1
 * everywhere.
 */
function borderScale(shape: readonly number[], attrs: PoolAttrs): tf.Tensor4D | undefined {
  const { filterSize, strides, pad, dimRoundingMode } = attrs;
  const input = shape as [number, number, number, number];
  const info = tf.backend_util.computePool2DInfo(input, filterSize, strides, 1, pad, dimRoundingMode);
  const { outHeight, outWidth, filterHeight, filterWidth, padInfo } = info;
  const inside = (at: number, filter: number, size: number) => Math.min(at + filter, size) - Math.max(at, 0);
  const scale = new Float32Array(outHeight * outWidth);
  for (let y = 0; y < outHeight; y++) {
    const rows = inside(y * info.strideHeight - padInfo.top, filterHeight, info.inHeight);
    for (let x = 0; x < outWidth; x++) {
      const columns = inside(x * info.strideWidth - padInfo.left, filterWidth, info.inWidth);
      scale[y * outWidth + x] = (filterHeight * filterWidth) / (rows * columns);
    }
  }
  return scale.every((value) => value === 1) ? undefined : tf.tensor4d(scale, [1, outHeight, outWidth, 1]);
}

/**
 * Average pooling divides by the number of pixels that a window holds; the stock kernels of its gradient divide by the
 * window's area, at the borders too. TensorFlow's own kernel is right.
 */
export function repairAvgPoolGrad(backendName: string): void {
  wrapKernel(
    "AvgPoolGrad",
    backendName,
    (stock) => (args) =>
      composed<PoolAttrs>(({ dy, input }, attrs) => {
        const scale = borderScale(input!.shape, attrs);
        return stock({ ...args, inputs: { dy: scale ? tf.mul(dy!, scale) : dy!, input: input! } }) as tf.TensorInfo;
      })(args),
  );
}
