import * as tf from "@tensorflow/tfjs";
import { padAxis, reverseAxis, sliceAxis } from "./axes.ts";
import type { GradientOverride } from "./gradient-override.ts";

/** Stock tfjs drops the gradient of the mirrored borders; here they are folded back onto what they mirror. */
export const mirrorPad: GradientOverride = {
  kernelName: "MirrorPad",
  inputsToSave: ["x"],
  gradFunc: (dy, [x], attrs) => ({
    x: () => {
      const { paddings, mode } = attrs as unknown as { paddings: [number, number][]; mode: string };
      // reflect does not repeat the edge, symmetric does.
      const edge = mode === "reflect" ? 1 : 0;
      let grad = dy;
      for (const [axis, [before, after]] of paddings.entries()) {
        const n = x!.shape[axis]!;
        let folded = sliceAxis(grad, axis, before, n);
        if (before > 0) {
          const mirrored = reverseAxis(sliceAxis(grad, axis, 0, before), axis);
          folded = tf.add(folded, padAxis(mirrored, axis, edge, n - before - edge));
        }
        if (after > 0) {
          const mirrored = reverseAxis(sliceAxis(grad, axis, before + n, after), axis);
          folded = tf.add(folded, padAxis(mirrored, axis, n - after - edge, edge));
        }
        grad = folded;
      }
      return grad;
    },
  }),
};
