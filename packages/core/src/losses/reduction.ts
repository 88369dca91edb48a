import * as tf from "@tensorflow/tfjs";

/**
 * How the losses of single elements become one number: "sum" of all, "mean" over all, "batchMean" the sum for each
 * sample (the first axis counts samples) averaged over the batch, "none" leaves them as they are.
 */
export type Reduction = "sum" | "mean" | "batchMean" | "none";

/** Applies a reduction to a tensor of losses whose first axis counts samples. */
export function reduceLoss(losses: tf.Tensor, reduction: Reduction): tf.Tensor {
  switch (reduction) {
    case "none":
      return losses;
    case "sum":
      return tf.sum(losses);
    case "mean":
      return tf.mean(losses);
    case "batchMean":
      return tf.div(tf.sum(losses), Math.max(losses.shape[0] ?? 1, 1));
  }
}

/** Throws unless both tensors have the same shape. */
export function assertSameShape(caller: string, a: [name: string, t: tf.Tensor], ...rest: [string, tf.Tensor][]): void {
  for (const [name, t] of rest) {
    if (t.rank === a[1].rank && t.shape.every((n, i) => n === a[1].shape[i])) continue;
    throw new Error(`${caller}: ${a[0]} has shape [${a[1].shape}] and ${name} [${t.shape}]; expected the same shape`);
  }
}
