import * as tf from "@tensorflow/tfjs";
import { contract, parseEinsum } from "../contraction.ts";
import type { GradientOverride } from "./gradient-override.ts";

/** Missing in stock tfjs. The gradient of one operand is the contraction of dy with the other one. */
export const einsum: GradientOverride = {
  kernelName: "Einsum",
  saveAllInputs: true,
  gradFunc: (dy, operands, attrs) => {
    const { inputs, output } = parseEinsum(attrs.equation as string);
    const grads: Record<string, () => tf.Tensor> = {};
    for (const [i, labels] of inputs.entries()) {
      grads[i] = () => {
        const others = operands.map((tensor, j) => ({ tensor, labels: inputs[j]! })).filter((_, j) => j !== i);
        const known = output + others.map((other) => other.labels).join("");
        const kept = [...labels].filter((label) => known.includes(label)).join("");
        const grad = contract([{ tensor: dy, labels: output }, ...others], kept);
        // An index that only this operand has was summed away: its gradient is the same all along that axis.
        const shape = operands[i]!.shape;
        const ones = shape.map((size, axis) => (kept.includes(labels[axis]!) ? size : 1));
        return tf.broadcastTo(tf.reshape(grad, ones), shape);
      };
    }
    return grads;
  },
};
