import * as tf from "@tensorflow/tfjs";
import type { GradientOverride } from "./gradient-override.ts";

/**
 * Comparisons are constant almost everywhere. Stock tfjs has no gradient for them, so that a second derivative through
 * any gradient that compares (leakyRelu, maximum, clip, prelu) throws.
 */
export const comparisons: readonly GradientOverride[] = [
  "Equal",
  "NotEqual",
  "Greater",
  "GreaterEqual",
  "Less",
  "LessEqual",
  "LogicalAnd",
  "LogicalOr",
].map((kernelName) => ({
  kernelName,
  inputsToSave: ["a", "b"],
  gradFunc: (_dy, [a, b]) => ({ a: () => tf.zeros(a!.shape), b: () => tf.zeros(b!.shape) }),
}));

export const logicalNot: GradientOverride = {
  kernelName: "LogicalNot",
  inputsToSave: ["x"],
  gradFunc: (_dy, [x]) => ({ x: () => tf.zeros(x!.shape) }),
};
