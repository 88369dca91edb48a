import * as tf from "@tensorflow/tfjs";
import { spreadAxis } from "./axes.ts";
import type { GradientOverride } from "./gradient-override.ts";

type Pair = [number, number];
const pair = (value: unknown): Pair =>
  Array.isArray(value) ? (value as Pair) : [(value as number) ?? 1, (value as number) ?? 1];

const run = (kernel: string, inputs: tf.NamedTensorMap, attrs: tf.NamedAttrMap) =>
  tf.engine().runKernel(kernel, inputs, attrs) as tf.Tensor;

/** Adds dilations to what stock tfjs can: a dilated filter is a larger one with zeros between its taps. */
export const conv2d: GradientOverride = {
  kernelName: "Conv2D",
  inputsToSave: ["x", "filter"],
  gradFunc: (dy, [x, filter], attrs) => {
    const [dilationHeight, dilationWidth] = pair(attrs.dilations);
    const { strides, pad, dataFormat, dimRoundingMode } = attrs;
    const shared = { strides, pad, dataFormat, dimRoundingMode } as tf.NamedAttrMap;
    const [height, width, inChannels, outChannels] = filter!.shape as [number, number, number, number];
    const wideHeight = (height - 1) * dilationHeight + 1;
    const wideWidth = (width - 1) * dilationWidth + 1;
    return {
      x: () => {
        const wide = spreadAxis(spreadAxis(filter!, 0, dilationHeight), 1, dilationWidth);
        return run("Conv2DBackpropInput", { dy, filter: wide }, { ...shared, inputShape: x!.shape });
      },
      filter: () => {
        const filterShape = [wideHeight, wideWidth, inChannels, outChannels];
        const grad = run("Conv2DBackpropFilter", { x: x!, dy }, { ...shared, filterShape });
        if (dilationHeight === 1 && dilationWidth === 1) return grad;
        return tf.stridedSlice(grad, [0, 0, 0, 0], filterShape, [dilationHeight, dilationWidth, 1, 1]);
      },
    };
  },
};

/** Missing in stock tfjs; a second derivative through a convolution's weights needs it. */
export const conv2dBackpropFilter: GradientOverride = {
  kernelName: "Conv2DBackpropFilter",
  inputsToSave: ["x", "dy"],
  gradFunc: (g, [x, dy], attrs) => {
    const { strides, pad, dataFormat, dimRoundingMode } = attrs;
    return {
      x: () =>
        run("Conv2DBackpropInput", { dy: dy!, filter: g }, {
          strides,
          pad,
          dataFormat,
          dimRoundingMode,
          inputShape: x!.shape,
        } as tf.NamedAttrMap),
      dy: () =>
        run("Conv2D", { x: x!, filter: g }, {
          strides,
          pad,
          dataFormat,
          dilations: 1,
          dimRoundingMode,
        } as tf.NamedAttrMap),
    };
  },
};

/** Missing in stock tfjs: the gradient of conv3dTranspose, which is this kernel. */
export const conv3dBackpropInput: GradientOverride = {
  kernelName: "Conv3DBackpropInputV2",
  inputsToSave: ["dy", "filter"],
  gradFunc: (g, [dy, filter], { strides, pad }) => ({
    dy: () =>
      run("Conv3D", { x: g, filter: filter! }, {
        strides,
        pad,
        dataFormat: "NDHWC",
        dilations: [1, 1, 1],
      } as tf.NamedAttrMap),
    filter: () =>
      run("Conv3DBackpropFilterV2", { x: g, dy: dy! }, { strides, pad, filterShape: filter!.shape } as tf.NamedAttrMap),
  }),
};
