import { crossEntropy, klCategorical, stopGradient } from "@genai/core";
import * as tf from "@tensorflow/tfjs";

export interface DistillationOptions {
  /** tau: above 1, what the teacher finds less likely counts for more; default 2. */
  readonly temperature?: number;
  /** w: the share of the teacher in the loss, 0 to 1; default 0.5. With 1 the targets only say which tokens count. */
  readonly teacherWeight?: number;
}

export type DistillationResult = {
  loss: tf.Scalar;
  /** tau^2 KL(teacher || student) at the temperature, a mean over the tokens that count. */
  kl: tf.Scalar;
  /** Cross-entropy of the targets, in nats. */
  crossEntropy: tf.Scalar;
};

/**
 * Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531): (1 - w) CE(targets, student) + w tau^2 KL(teacher_tau ||
 * student_tau), where x_tau = softmax(x / tau). No gradient goes to the teacher.
 *
 * @param studentLogits [..., V]
 * @param teacherLogits [..., V], of the same vocabulary
 * @param targets int32 [...], -100 where a token does not count
 */
export function distillationLoss(
  studentLogits: tf.Tensor,
  teacherLogits: tf.Tensor,
  targets: tf.Tensor,
  options: DistillationOptions = {},
): DistillationResult {
  const { temperature = 2, teacherWeight = 0.5 } = options;
  if (!(teacherWeight >= 0 && teacherWeight <= 1)) {
    throw new Error(`distillationLoss: teacherWeight (${teacherWeight}) must be from 0 to 1`);
  }
  if (studentLogits.shape.join() !== teacherLogits.shape.join()) {
    throw new Error(
      `distillationLoss: studentLogits [${studentLogits.shape}] and teacherLogits [${teacherLogits.shape}]; expected the ` +
        "same shape, and one vocabulary",
    );
  }
  return tf.tidy(() => {
    const counted = tf.notEqual(targets, tf.scalar(-100, "int32")).toFloat();
    const divergences = klCategorical(stopGradient(teacherLogits), studentLogits, { temperature, reduction: "none" });
    const kl = divergences
      .mul(counted)
      .sum()
      .div(tf.maximum(counted.sum(), tf.scalar(1))) as tf.Scalar;
    const ce = crossEntropy(studentLogits, targets) as tf.Scalar;
    return { loss: ce.mul(1 - teacherWeight).add(kl.mul(teacherWeight)) as tf.Scalar, kl, crossEntropy: ce };
  });
}
