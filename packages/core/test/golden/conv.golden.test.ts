import { avgPool2d, conv1d, conv2d, convTranspose2d, upsampleBilinear, upsampleNearest } from "@genai/core";
import { describeGolden, type GoldenTensor, type GoldenValue } from "@genai/testing";
import * as tf from "@tensorflow/tfjs";

await describeGolden("conv", ({ name, params = {}, inputs, outputs }) => {
  const p = params as Record<string, number>;
  const images = ["x", "y", "cotangent"];
  const options = {
    stride: p.stride ?? 1,
    padding: p.padding ?? 0,
    dilation: p.dilation ?? 1,
    groups: p.groups ?? 1,
  };
  if (name.startsWith("conv2d_mask")) {
    return {
      images,
      outputs: ({ x, weight, bias, mask }) => ({
        y: conv2d({ weight: tf.mul(weight!, mask!), bias: bias! }, x!, options),
      }),
    };
  }
  if (name.startsWith("conv2d")) {
    return { images, outputs: ({ x, weight, bias }) => ({ y: conv2d({ weight: weight!, bias: bias! }, x!, options) }) };
  }
  if (name.startsWith("conv_transpose2d")) {
    const outputPadding = p.output_padding!;
    return {
      images,
      outputs: ({ x, weight, bias }) => ({
        y: convTranspose2d({ weight: weight!, bias: bias! }, x!, { ...options, outputPadding }),
      }),
    };
  }
  if (name.startsWith("conv1d_causal")) {
    const { dilation, left_padding } = p as { dilation: number; left_padding: number };
    return {
      images,
      outputs: ({ x, weight, bias }) => ({
        y: conv1d({ weight: weight!, bias: bias! }, x!, { dilation, padding: [left_padding, 0] }),
      }),
    };
  }
  // The factor of these cases is in the shapes alone.
  const height = (value: GoldenValue | undefined) => (value as GoldenTensor).shape[2]!;
  const factor = height(outputs.y) / height(inputs.x);
  if (name === "upsample_nearest") return { images, outputs: ({ x }) => ({ y: upsampleNearest(x!, factor) }) };
  if (name === "upsample_bilinear") return { images, outputs: ({ x }) => ({ y: upsampleBilinear(x!, factor) }) };
  if (name.startsWith("avg_pool")) return { images, outputs: ({ x }) => ({ y: avgPool2d(x!, { size: 1 / factor }) }) };
  throw new Error(`conv: no test for the case ${name}`);
});
