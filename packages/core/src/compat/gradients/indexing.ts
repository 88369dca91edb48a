import * as tf from "@tensorflow/tfjs";
import { padAxis, reverseAxis, spreadAxis, sumRepeats } from "./axes.ts";
import type { GradientOverride } from "./gradient-override.ts";

// Stock tfjs has no gradients for these kernels (for Tile: none of rank 5 or more).

const noGradient = (indices: tf.Tensor) => () => tf.zeros(indices.shape);

export const gatherNd: GradientOverride = {
  kernelName: "GatherNd",
  inputsToSave: ["params", "indices"],
  gradFunc: (dy, [params, indices]) => ({
    params: () => tf.scatterND(indices!, dy, params!.shape as [number]),
    indices: noGradient(indices!),
  }),
};

export const scatterNd: GradientOverride = {
  kernelName: "ScatterNd",
  inputsToSave: ["indices"],
  gradFunc: (dy, [indices]) => ({ updates: () => tf.gatherND(dy, indices!), indices: noGradient(indices!) }),
};

export const tensorScatterUpdate: GradientOverride = {
  kernelName: "TensorScatterUpdate",
  inputsToSave: ["indices", "updates"],
  gradFunc: (dy, [indices, updates]) => ({
    tensor: () => {
      const hits = tf.scatterND(indices!, tf.onesLike(updates!), dy.shape as [number]);
      return tf.mul(dy, tf.cast(tf.equal(hits, 0), "float32"));
    },
    updates: () => tf.gatherND(dy, indices!),
    indices: noGradient(indices!),
  }),
};

/** Every value came from one place along the last axis; its gradient goes back there. */
export const topK = {
  kernelName: "TopK",
  inputsToSave: ["x"],
  outputsToSave: [false, true],
  gradFunc: ([dValues]: tf.Tensor[], [x, indices]: tf.Tensor[]) => ({
    x: () => {
      const hits = tf.cast(tf.oneHot(tf.cast(indices!, "int32"), x!.shape.at(-1)!), "float32");
      return tf.sum(tf.mul(hits, tf.expandDims(dValues!, -1)), -2);
    },
  }),
};

export const stridedSlice: GradientOverride = {
  kernelName: "StridedSlice",
  inputsToSave: ["x"],
  gradFunc: (dy, [x], attrs) => ({
    x: () => {
      const { begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask } =
        attrs as unknown as {
          [mask: string]: number;
        } & Record<"begin" | "end" | "strides", number[]>;
      const info = tf.slice_util.sliceInfo(
        x!.shape,
        begin,
        end,
        strides,
        beginMask ?? 0,
        endMask ?? 0,
        ellipsisMask ?? 0,
        newAxisMask ?? 0,
        shrinkAxisMask ?? 0,
      );
      if (dy.size === 0) return tf.zeros(x!.shape);
      const counts = tf.slice_util.computeOutShape(info.begin, info.end, info.strides);
      let grad = tf.reshape(dy, counts);
      for (const [axis, n] of x!.shape.entries()) {
        const stride = info.strides[axis]!;
        const span = (counts[axis]! - 1) * Math.abs(stride) + 1;
        const first = stride > 0 ? info.begin[axis]! : info.begin[axis]! - span + 1;
        if (stride < 0) grad = reverseAxis(grad, axis);
        grad = padAxis(spreadAxis(grad, axis, Math.abs(stride)), axis, first, n - first - span);
      }
      return grad;
    },
  }),
};

export const tile: GradientOverride = {
  kernelName: "Tile",
  inputsToSave: ["x"],
  gradFunc: (dy, [x], attrs) => ({
    x: () => {
      let grad = dy;
      for (const [axis, count] of (attrs.reps as number[]).entries()) grad = sumRepeats(grad, axis, count);
      return tf.reshape(grad, x!.shape);
    },
  }),
};

/** The inverse permutation: space to depth. */
export const depthToSpace: GradientOverride = {
  kernelName: "DepthToSpace",
  inputsToSave: ["x"],
  gradFunc: (dy, [x], attrs) => ({
    x: () => {
      const { blockSize, dataFormat } = attrs as { blockSize: number; dataFormat: string };
      if (dataFormat !== "NHWC") {
        throw new Error(`gradient of depthToSpace: dataFormat (${dataFormat}) is not supported; expected NHWC`);
      }
      const [n, height, width, depth] = x!.shape as [number, number, number, number];
      const row = (depth / blockSize) | 0;
      const blocks = tf.reshape(dy, [n * height, blockSize, width, row]);
      return tf.reshape(tf.transpose(blocks, [0, 2, 1, 3]), x!.shape);
    },
  }),
};
