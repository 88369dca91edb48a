import * as tf from "@tensorflow/tfjs";
import { type Tree, treeMap, treeZip } from "../tree.ts";
import { checkGrads, checkParams } from "./optimizer.ts";

/**
 * The start of an exponential moving average of parameters: a copy of them.
 *
 * @throws if a parameter is not float32.
 */
export function emaInit<P extends Tree>(params: P): P {
  checkParams("emaInit", params);
  return tf.tidy(() => treeMap(params, (param) => param.clone()) as tf.TensorContainer) as P;
}

/**
 * One step of an exponential moving average: ema + (1 - decay) * (params - ema).
 *
 * Averaged weights sample better than the last ones in GANs and diffusion models. A decay that changes from step to step
 * (see `emaDecayWarmup`) is a scalar tensor inside a compiled function: a number is a constant there.
 *
 * @param decay number or scalar in [0, 1]; 0.999 to 0.9999 are usual.
 * @throws if the trees differ in structure or shapes, or a number is out of range.
 */
export function emaUpdate<P extends Tree>(ema: P, params: P, decay: number | tf.Scalar): P {
  if (typeof decay === "number" && !(decay >= 0 && decay <= 1)) {
    throw new Error(`emaUpdate: decay (${decay}) must be in [0, 1]`);
  }
  checkParams("emaUpdate", params);
  checkGrads("emaUpdate", ema, params, "average");
  return tf.tidy(() => {
    const rate = typeof decay === "number" ? tf.scalar(1 - decay) : tf.scalar(1).sub(decay);
    return treeZip(ema, [params], (average, [param]) =>
      average.add(param!.sub(average).mul(rate)),
    ) as tf.TensorContainer;
  }) as P;
}
